"""Remainders of file runs: too few records for a batch job of their own. Decided by money (policy.remainder), and taken
into a pool where that says so."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from slackwater.model.claim import Pool, PooledUnit
from slackwater.model.clock import Clock
from slackwater.model.job import Lane
from slackwater.model.native import RequestType, plain, request_type
from slackwater.model.profile import Profile, Profiles
from slackwater.model.run import Unit
from slackwater.model.shard import Shard
from slackwater.policy.prices import PriceBook
from slackwater.policy.remainder import Company, Remainder, remainder
from slackwater.policy.rescue import MIN_RECORDS
from slackwater.policy.tokens import input_tokens, max_output_tokens
from slackwater.usecases import pooled
from slackwater.usecases.pools import pool_key
from slackwater.usecases.ports import Documents
from slackwater.usecases.stage import StageRecord

DAY_S: Final = 86_400
NOTED: Final = "remainder_"
"""What the names of a run's attributes begin with that tell of its remainders."""
RECORD_BYTES: Final = 64
"""What a record of a batch file has around its request."""
OPEN_AT_LEAST_S: Final = 3600.0  # a pool that has just been opened says little of how many come


class PoolsPort(Protocol):
    """The ledger of pools (adapters.ledger.pools)."""

    def newest(self, key: str) -> Pool | None: ...
    def saw(self, key: str, jobs: int) -> float: ...


class SettlePort(pooled.SettlePort, Protocol):
    def release(self, run_id: str, units: Sequence[Unit]) -> None: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class Remainders:
    """Asks what becomes of a remainder. Each question is remembered: what came lately tells what will come."""

    def __init__(self, *, pools: PoolsPort, clock: Clock, latest: pooled.Latest) -> None:
        self._pools = pools
        self._clock = clock
        self._latest = latest

    def __call__(
        self,
        jobs: int,
        size: int,
        *,
        profile: Profile,
        kind: RequestType,
        deadline: datetime,
        calling: Lane,
        saving_pico: int | None,
        min_records: int,
    ) -> Remainder:
        """`size`: their bytes; `deadline`: the earliest of theirs."""
        key, now = pool_key(profile, kind), self._clock.now()
        company = self._company(key, self._pools.saw(key, jobs), now)
        room = pooled.whole_room(profile)
        if jobs + company.waiting > room.max_count or size > room.max_bytes:
            company = Company()  # they do not fit
        return remainder(
            jobs,
            company=company,
            now=now,
            latest=self._latest(deadline, profile.model, jobs + company.waiting),
            calling=calling,
            saving_pico=saving_pico,
            min_records=min_records,
        )

    def _company(self, key: str, per_day: float, now: datetime) -> Company:
        pool = self._pools.newest(key)
        if pool is None or pool.state != "open":
            return Company(0, per_day)
        open_s = max(OPEN_AT_LEAST_S, (now - pool.opened_at).total_seconds())
        return Company(pool.count, max(per_day, pool.count / open_s * DAY_S))


class PoolRemainder:
    """Enters records as a unit of their run and takes it into a pool. May be done again."""

    def __init__(
        self,
        *,
        documents: Documents,
        profiles: Pinned,
        join: pooled.PoolRecords,
        settle: SettlePort,
    ) -> None:
        self._documents = documents
        self._profiles = profiles
        self._join = join
        self._settle = settle

    def __call__(
        self,
        records: Sequence[StageRecord],
        *,
        run_id: str,
        profile: str,
        version: str,
        lane: Lane,
        generation: int,
    ) -> None:
        """`lane` calls them if no batch job comes of it. Each record has its deadline."""
        named = self._profiles.pinned(version).named(profile)
        (kind,) = {request_type(record.request) for record in records}
        unit = pooled.store(self._documents, run_id, records, generation)
        self._settle.release(run_id, [pooled.unit_of(unit, lane, len(records), generation)])
        deadline = min(pooled.job_of(record).deadline for record in records)
        entered = PooledUnit(unit, run_id, lane.value, len(records), _size(records), deadline)
        key = pool_key(named, kind)
        if self._join.too_late(entered, key, named):  # much time has passed since: others must not pay for it
            packs = pooled.packs_of_records(run_id, lane.value, records, generation=pooled.AFTER_POOL)
            self._settle.unit(run_id, unit, f"pack-{unit}", {}, packs)
            return
        self._join(entered, key, profile, named, version)


class Leftover:
    """What a run's batch job left over and batch could still answer, too few for a job of its own."""

    def __init__(
        self,
        *,
        ask: Remainders,
        pool: PoolRemainder,
        profiles: Pinned,
        prices: PriceBook,
        note: Callable[..., object],
    ) -> None:
        """`note(run, **attributes)` adds attributes to the run's item."""
        self._ask = ask
        self._pool = pool
        self._profiles = profiles
        self._prices = prices
        self._note = note

    def decide(self, shard: Shard, records: Sequence[StageRecord]) -> Remainder:
        """Asks once; the answer is kept in the shard's verdict."""
        profile = self._profiles.pinned(shard.profiles_version).named(shard.profile)
        return self._ask(
            len(records),
            _size(records),
            profile=profile,
            kind=shard.request_type,
            deadline=min(pooled.job_of(record).deadline for record in records),
            calling=shard.rescue_lane,
            saving_pico=self._saving_pico(shard, records, profile),
            min_records=MIN_RECORDS,
        )

    def pool(self, shard: Shard, records: Sequence[StageRecord]) -> None:
        """May be done again."""
        self._pool(
            records,
            run_id=shard.owner,
            profile=shard.profile,
            version=shard.profiles_version,
            lane=shard.rescue_lane,
            generation=shard.generation + 1,
        )

    def note(self, shard: Shard, decided: Mapping[str, Any]) -> None:
        """For the receipt; noting it again changes nothing."""
        self._note(shard.owner, **{f"{NOTED}{shard.id}": dict(decided)})

    def _saving_pico(self, shard: Shard, records: Sequence[StageRecord], profile: Profile) -> int | None:
        saving = 0
        for record in records:
            tokens = input_tokens(record.request)
            most = max_output_tokens(record.request, profile.max_tokens)
            way = (shard.base_model, shard.region, shard.kind)
            call = self._prices.rates(*way, shard.rescue_lane.value, input_tokens=tokens)
            batch = self._prices.rates(*way, Lane.BATCH.value, input_tokens=tokens)
            if call is None or batch is None:
                return None
            saving += tokens * (call.input_pico - batch.input_pico) + most * (call.output_pico - batch.output_pico)
        return saving


def _size(records: Sequence[StageRecord]) -> int:
    return sum(len(orjson.dumps(plain(record.request))) + RECORD_BYTES for record in records)
