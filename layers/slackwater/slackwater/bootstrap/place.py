"""For the function that writes shards and sends packs."""

from slackwater.bootstrap.pooling import PoolingKit
from slackwater.bootstrap.shards import ShardsKit
from slackwater.settings import Settings
from slackwater.usecases.place import Place


class PlaceKit(ShardsKit, PoolingKit):
    """Shards and pools."""


def build(settings: Settings) -> Place:
    kit = PlaceKit(settings)
    return Place(
        documents=kit.store,
        runs=kit.runs,
        stage=kit.stage,
        settle=kit.settle,
        clock=kit.clock,
        pool=kit.pool_remainder,
        ask_canaries=kit.canaries.ask,
    )
