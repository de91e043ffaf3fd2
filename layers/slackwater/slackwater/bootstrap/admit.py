"""For the function that starts the run of a dropped file."""

from slackwater.bootstrap.kit import Kit
from slackwater.settings import Settings
from slackwater.usecases.admit import Admit


def build(settings: Settings) -> Admit:
    kit = Kit(settings)
    return Admit(workflow=kit.workflow, bucket=kit.store)
