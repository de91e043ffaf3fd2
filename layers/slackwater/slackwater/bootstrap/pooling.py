"""What the functions share that decide about remainders of files: plan, place and work."""

from functools import cached_property

from slackwater.adapters.ledger.canaries import Canaries
from slackwater.bootstrap.profiled import ProfiledKit
from slackwater.bootstrap.queued import QueueKit
from slackwater.bootstrap.reckoned import ReckonedKit
from slackwater.usecases.pooled import PoolRecords
from slackwater.usecases.remainders import Leftover, PoolRemainder, Remainders


class PoolingKit(QueueKit, ProfiledKit, ReckonedKit):
    """Pools that records of files join."""

    @cached_property
    def canaries(self) -> Canaries:
        return Canaries(self.table, self.clock)

    @cached_property
    def remainders(self) -> Remainders:
        return Remainders(pools=self.pools, clock=self.clock, latest=self.latest)

    @cached_property
    def pool_remainder(self) -> PoolRemainder:
        return PoolRemainder(
            documents=self.store,
            profiles=self.profiles,
            join=PoolRecords(pools=self.pools, clock=self.clock, latest=self.latest),
            settle=self.settle,
        )

    @cached_property
    def leftover(self) -> Leftover:
        return Leftover(
            ask=self.remainders,
            pool=self.pool_remainder,
            profiles=self.profiles,
            prices=self.prices,
            note=self.runs.update,
        )
