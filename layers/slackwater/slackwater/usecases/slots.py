"""Slots for batch jobs: taken before a create, given back when the job has ended. Other people's jobs are counted from
Bedrock's own list; so are our leaks."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Final, Protocol

from slackwater.model import ids
from slackwater.model.batch_job import BatchCallFailed, OpenJob
from slackwater.model.clock import Clock, later
from slackwater.model.job import Lane, Route
from slackwater.model.shard import Shard, ShardState
from slackwater.policy.capability import resolve_model
from slackwater.policy.forecast import PRIOR
from slackwater.policy.prices import PriceBook
from slackwater.policy.routes import typical_price
from slackwater.policy.slots import Place, Slots, placement

COUNT_S: Final = 300.0  # a count that is older is made again by whoever needs a slot
LEARNED_S: Final = 3600.0  # a limit that a refusal has shown is believed so long
BELIEVABLE: Final = 10  # the lowest default that AWS has had is 20
WAITING: Final = frozenset({"Submitted", "Validating", "Scheduled"})
PATIENCE_S: Final = float(PRIOR.p50_s)  # a queue in which a job of ours waits for longer is passed by


class LedgerPort(Protocol):
    """adapters.ledger.slots."""

    def get(self, region: str, model: str) -> tuple[Slots, datetime | None]: ...
    def take(self, region: str, model: str, shard: str) -> bool: ...
    def give(self, region: str, model: str, shard: str) -> bool: ...
    def holders(self, region: str, model: str) -> Iterator[str]: ...
    def counted(self, region: str, model: str, *, others: int, queued_s: float) -> None: ...
    def learned(self, region: str, model: str, limit: int, *, until: datetime) -> None: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class JobsPort(Protocol):
    """Bedrock's batch jobs. Raises BatchCallFailed."""

    def open_jobs(self, region: str) -> Iterator[OpenJob]: ...


class BatchSlots:
    """Where a shard may begin now. A region that cannot be counted (it may be down) comes after all that can: a create
    there may end unknown, and what it made could not be seen. Where there is no other the old count holds."""

    def __init__(
        self,
        *,
        ledger: LedgerPort,
        shards: ShardsPort,
        jobs: JobsPort,
        prices: PriceBook,
        clock: Clock,
        stack_arn: str,
    ) -> None:
        self._ledger = ledger
        self._shards = shards
        self._jobs = jobs
        self._price = typical_price(prices, Lane.BATCH)
        self._clock = clock
        self._prefix = ids.job_name_prefix(stack_arn)

    def take(self, shard: Shard, others: Iterable[Route]) -> Route | None:
        """A slot for the shard: in its own region if one is free there and its queue moves, else in the best of
        `others`. None: no region has room now. May be asked again."""
        here, counted = self._look(shard.region, shard.base_model)
        moves = counted and here.queued_s <= PATIENCE_S
        if moves and self._ledger.take(shard.region, shard.base_model, shard.id):
            return shard.route
        seen = {counted: [Place(shard.route, here, here=True)]}
        for route in others:
            slots, counted = self._look(route.region, route.base_model)
            seen.setdefault(counted, []).append(Place(route, slots))
        ordered = (placement(seen.get(known, ()), price=self._price, patience_s=PATIENCE_S) for known in (True, False))
        for route in chain.from_iterable(ordered):
            if self._ledger.take(route.region, shard.base_model, shard.id):
                return route
        return None

    def give(self, shard: Shard) -> None:
        """Its job has ended, or there is none."""
        self._ledger.give(shard.region, shard.base_model, shard.id)

    def refused(self, shard: Shard) -> None:
        """Bedrock had no slot though the ledger had one: the limit is what is open, unless that is so little that our
        count is more likely to be wrong."""
        slots, _ = self._ledger.get(shard.region, shard.base_model)
        limit = slots.others + slots.taken - 1
        if limit < BELIEVABLE:
            return
        self._ledger.learned(shard.region, shard.base_model, limit, until=later(self._clock.now(), LEARNED_S))

    def _look(self, region: str, model: str) -> tuple[Slots, bool]:
        """What is known of a region, and whether that is new enough."""
        slots, counted_at = self._ledger.get(region, model)
        if counted_at is not None and self._clock.now() < later(counted_at, COUNT_S):
            return slots, True
        try:
            self._count(region, model)
        except BatchCallFailed:
            return slots, False
        return self._ledger.get(region, model)[0], True

    def _count(self, region: str, model: str) -> None:
        """Counts open jobs of the model that no slot stands for, and frees the slots that stand for no job any more."""
        now = self._clock.now()
        holders = set(self._ledger.holders(region, model))
        others, queued_s = 0, 0.0
        for job in self._jobs.open_jobs(region):
            named = resolve_model(job.model_id)
            if named is None or named.model_id != model:
                continue
            ours = ids.JOB_NAME.match(job.name) if job.name.startswith(self._prefix) else None
            if ours is None or ours["shard"] not in holders:
                others += 1  # another's, or one that its shard has left behind
            elif job.status in WAITING and job.submitted_at is not None:
                queued_s = max(queued_s, (now - job.submitted_at).total_seconds())
        self._ledger.counted(region, model, others=others, queued_s=queued_s)
        for shard_id in holders:
            if self._leaked(self._shards.get(shard_id), region):
                self._ledger.give(region, model, shard_id)

    def _leaked(self, shard: Shard | None, region: str) -> bool:
        """A worker died between a slot and what it is for. One that is being taken at this moment is no leak: its
        shard is leased."""
        if shard is None or shard.state is ShardState.SETTLED:
            return True
        if shard.lease_until_s > self._clock.wall_s():
            return False
        return shard.region != region or shard.state is ShardState.STAGED
