"""For the function that writes shards and sends packs."""

from slackwater.bootstrap.shards import ShardsKit
from slackwater.settings import Settings
from slackwater.usecases.place import Place


def build(settings: Settings) -> Place:
    kit = ShardsKit(settings)
    return Place(documents=kit.store, runs=kit.runs, stage=kit.stage, settle=kit.settle, clock=kit.clock)
