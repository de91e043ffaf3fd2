"""For the function that says how a run ended."""

from slackwater.bootstrap.kit import Kit
from slackwater.settings import Settings
from slackwater.usecases.announce import Announce


def build(settings: Settings) -> Announce:
    kit = Kit(settings)
    return Announce(runs=kit.runs, documents=kit.store, events=kit.events, clock=kit.clock)
