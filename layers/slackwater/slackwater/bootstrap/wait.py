"""For the function that keeps a run's task token."""

from slackwater.bootstrap.kit import Kit
from slackwater.settings import Settings
from slackwater.usecases.wait import Wait


def build(settings: Settings) -> Wait:
    kit = Kit(settings)
    return Wait(runs=kit.runs, settle=kit.settle)
