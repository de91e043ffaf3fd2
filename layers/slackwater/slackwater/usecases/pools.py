"""Pools: jobs that can wait gather for a batch job, and leave together: into a shard, or back to the on-demand lane
in time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final, Protocol

import orjson

from slackwater.model import ids
from slackwater.model.claim import Entry, JobState, Member, Pool, Pooled, PooledUnit, Room
from slackwater.model.clock import Clock, later
from slackwater.model.input_row import request_of
from slackwater.model.job import Lane
from slackwater.model.native import RequestType, request_type
from slackwater.model.profile import Profile
from slackwater.policy.forecast import Forecast
from slackwater.policy.pooling import MAX_WAIT_S, PoolLoad, PoolStep, pool_step
from slackwater.usecases.claims import Mine
from slackwater.usecases.onward import Onward, Parcel
from slackwater.usecases.pooled import AFTER_POOL, Latest, SettlePort, packs_of_records, records_of
from slackwater.usecases.ports import Documents
from slackwater.usecases.stage import StageRecord

JOINS_AT_ONCE: Final = 45
READ_AT_ONCE: Final = 100
UPLOADS_AT_ONCE: Final = 8
JOBS_A_BLOCK: Final = 1_000
NOT_TERMS: Final = ("budget", "default_deadline", "description", "max_tokens", "max_tokens_max", "max_tokens_min")
"""Fields of a profile that say nothing of where, how and for how much a batch job runs."""
AGAIN_S: Final = 600.0  # a pool whose work message was lost gets another one


class PoolsPort(Protocol):
    """The ledger of pools (adapters.ledger.pools)."""

    def get(self, pool: str) -> Pool | None: ...
    def current(
        self, key: str, profile: str, *, deadline: datetime, next_check_at: datetime, profiles_version: str = ""
    ) -> Pool: ...
    def open_next(
        self,
        key: str,
        profile: str,
        last: int,
        *,
        deadline: datetime,
        next_check_at: datetime,
        profiles_version: str = "",
    ) -> None: ...
    def units(self, pool: str) -> Iterator[PooledUnit]: ...
    def join(
        self,
        seen: Pool,
        members: Sequence[Member],
        *,
        deadline: datetime,
        next_check_at: datetime,
        room: Room,
    ) -> frozenset[str] | None: ...
    def members(self, pool: str) -> Iterator[Pooled]: ...
    def shift(self, pool: str, old: str, new: str, *, next_check_at: datetime) -> bool: ...
    def look_again(self, pool: str, at: datetime | None) -> None: ...


class JobsPort(Protocol):
    def get_many(self, jobs: Iterable[str]) -> dict[str, Entry]: ...


class PoolIntake:
    """Takes held jobs into the open pool of their kind."""

    def __init__(
        self,
        *,
        pools: PoolsPort,
        documents: Documents,
        clock: Clock,
        room: Room,
        latest: Latest,
    ) -> None:
        self._pools = pools
        self._documents = documents
        self._clock = clock
        self._room = room
        self._latest = latest

    def join(self, mine: Sequence[Mine], profile: Profile, version: str) -> frozenset[str]:
        """Every job joins some pool of its profile's terms (all are of one profile of one version here) and request
        type; a missing one was no longer held as it was seen."""
        joined: set[str] = set()
        for kind in RequestType:
            some = [m for m in mine if request_type(m.asked.request) is kind]
            if some:
                joined |= self._join_all(some, profile, version, kind)
        return frozenset(joined)

    def _join_all(self, mine: Sequence[Mine], profile: Profile, version: str, kind: RequestType) -> set[str]:
        joined: set[str] = set()
        name = mine[0].entry.profile
        key = pool_key(profile, kind)
        room = room_of(profile, self._room)
        left = list(mine)
        while left:
            deadline = min(m.entry.deadline for m in left)
            latest = self._latest(deadline, profile.model, min(len(left), room.max_count))
            check_at = min(latest, later(self._clock.now(), MAX_WAIT_S))
            opening: dict[str, Any] = {"deadline": deadline, "next_check_at": check_at}
            pool = self._pools.current(key, name, **opening, profiles_version=version)
            some = self._that_fit(pool, left, room)
            taken = self._join(pool, some, room, profile.model) if some else None
            if taken is None:
                self._pools.open_next(key, name, pool.generation, **opening, profiles_version=version)
                continue
            joined |= taken
            left = left[len(some) :]
        return joined

    def _that_fit(self, pool: Pool, left: Sequence[Mine], whole: Room) -> list[Mine]:
        if pool.state != "open":
            return []
        room, size = min(JOINS_AT_ONCE, whole.max_count - pool.count), pool.bytes
        some: list[Mine] = []
        for mine in left[: max(0, room)]:
            size += len(orjson.dumps(mine.asked.body))
            if size > whole.max_bytes and (some or pool.count):
                break
            some.append(mine)
        return some

    def _join(self, pool: Pool, some: Sequence[Mine], room: Room, model: str) -> frozenset[str] | None:
        bodies = {m.entry.job: orjson.dumps(m.asked.body) for m in some}
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as uploads:
            list(uploads.map(lambda job: self._documents.put(body_key(pool.pool, job), bodies[job]), bodies))
        members = [(m.entry, _pooled(pool.pool, m, len(bodies[m.entry.job]))) for m in some]
        now = self._clock.now()
        deadline = min(m.entry.deadline for m in some)
        full = pool.count + len(some) >= room.max_count
        latest = self._latest(deadline, model, pool.count + len(some))
        look_at = now if full else min(latest, max(now, later(pool.opened_at, MAX_WAIT_S)))
        return self._pools.join(pool, members, deadline=deadline, next_check_at=look_at, room=room)


def due(pool: Pool, now: datetime, *, forecast: Forecast, drain_jobs_per_s: float) -> PoolStep:
    """What an open pool needs now: `close` (then `stage_pool`), `release` (then `release_pool`) or another look."""
    load = PoolLoad(pool.count, pool.bytes, pool.opened_at, pool.deadline if pool.count else None)
    return pool_step(load, now, forecast=forecast, drain_s=pool.count / drain_jobs_per_s)


class PoolKeeper:
    """What becomes of a pool: called by tick and work, again and again without harm."""

    def __init__(
        self,
        *,
        pools: PoolsPort,
        jobs: JobsPort,
        documents: Documents,
        onward: Onward,
        settle: SettlePort,
        clock: Clock,
    ) -> None:
        self._settle = settle
        self._pools = pools
        self._jobs = jobs
        self._documents = documents
        self._onward = onward
        self._clock = clock

    def close_pool(self, pool: str) -> bool:
        """It takes no more jobs and will be staged; False if it is released or staged."""
        return self._pools.shift(pool, "open", "closed", next_check_at=later(self._clock.now(), AGAIN_S))

    def stage_pool(self, pool: str) -> Iterator[StageRecord]:
        """The records of a closed pool, all that ever joined, in a fixed order: staging it again makes the same shard.

        Call `staged` when the shard is in the ledger. Raises LookupError for a pool that is not closed.
        """
        if not self.close_pool(pool):
            raise LookupError(f"pool {pool} is not closed")
        for member in self._pools.members(pool):
            message = orjson.loads(self._documents.get(member.key))
            yield StageRecord(
                run=member.run_id,
                block=member.block,
                line=member.ordinal,
                id=member.id,
                job=member.job,
                request=request_of(message),
                first_line=member.ordinal - member.ordinal % JOBS_A_BLOCK,
                deadline_at=member.deadline,
                tags=message.get("tags"),
            )
        for unit in self._pools.units(pool):
            yield from records_of(self._documents, unit.run_id, unit.unit)

    def deadline(self, pool: str) -> datetime:
        """The latest deadline of its jobs; of a file's records that wait together the earliest stands for all. Raises
        LookupError for a pool without any."""
        queued = (member.deadline for member in self._pools.members(pool))
        latest = max(chain(queued, (unit.deadline for unit in self._pools.units(pool))), default=None)
        if latest is None:
            raise LookupError(f"pool {pool} has no jobs")
        return latest

    def staged(self, pool: str) -> None:
        """Its jobs are in a shard: the tick has no more business with it."""
        if self._pools.shift(pool, "closed", "staged", next_check_at=self._clock.now()):
            self._pools.look_again(pool, None)

    def release_pool(self, pool: str) -> int:
        """Sends every job that still waits in it back to the job queue for the on-demand lane; how many. 0 for a
        closed pool."""
        if not self._pools.shift(pool, "open", "released", next_check_at=later(self._clock.now(), AGAIN_S)):
            return 0
        sent = self._send_on(pool, self._pools.members(pool)) + self.release_units(pool)
        self._pools.look_again(pool, None)
        return sent

    def release_units(self, pool: str) -> int:
        """The records of file runs that wait in it are called after all; how many. May be done again."""
        sent = 0
        for unit in self._pools.units(pool):
            records = records_of(self._documents, unit.run_id, unit.unit)
            packs = packs_of_records(unit.run_id, unit.lane, records, generation=AFTER_POOL)
            self._settle.unit(unit.run_id, unit.unit, f"pack-{unit.unit}", {}, packs)
            sent += unit.jobs
        return sent

    def rescue_jobs(self, pool: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """The same for the jobs that a pool's shard brought no answer for (`rows` of its index); how many were still
        waiting."""
        missing = {str(row["job"]) for row in rows}
        left = (member for member in self._pools.members(pool) if member.job in missing)
        return self._send_on(pool, left, rescued=True)

    def _send_on(self, pool: str, members: Iterable[Pooled], *, rescued: bool = False) -> int:
        sent = 0
        left = iter(members)
        while some := list(islice(left, READ_AT_ONCE)):
            entries = self._jobs.get_many(member.job for member in some)
            parcels = [
                Parcel(entries[m.job], m.first_sent_at, body_key=m.key, lane=Lane.ON_DEMAND, rescued=rescued)
                for m in some
                if m.job in entries and _waits_in(entries[m.job], pool)
            ]
            self._onward.release(parcels)
            sent += len(parcels)
        return sent


def pool_key(profile: Profile, kind: RequestType) -> str:
    """What the jobs of a pool share: `model|request type|residency|terms`.

    The terms are all of the profile but what a batch job has nothing to do with: profiles (and versions of one) that
    would send it to the same places for the same money share a pool, whatever they are called.
    """
    residency = profile.residency if isinstance(profile.residency, str) else ",".join(profile.residency)
    terms = profile.model_dump(mode="json", exclude=set(NOT_TERMS))
    digest = ids.h(orjson.dumps(terms, option=orjson.OPT_SORT_KEYS).decode())
    return f"{profile.model}|{kind.value}|{residency}|{digest}"


def room_of(profile: Profile, room: Room) -> Room:
    """A pool becomes one batch job, so it takes no more than the profile wants in one."""
    count, size = room.max_count, room.max_bytes
    return Room(min(count, profile.batch_max_records or count), min(size, profile.batch_max_bytes or size))


def body_key(pool: str, job: str) -> str:
    """Where a pooled job's message lies in the home bucket."""
    return f"v1/pools/{pool}/{job}.json"


def _waits_in(entry: Entry, pool: str) -> bool:
    return entry.state is JobState.WAITING and entry.pool == pool


def _pooled(pool: str, mine: Mine, size: int) -> Pooled:
    entry = mine.entry
    return Pooled(
        job=entry.job,
        run_id=entry.run_id,
        block=entry.block,
        ordinal=entry.ordinal,
        id=entry.id,
        key=body_key(pool, entry.job),
        deadline=entry.deadline,
        bytes=size,
        first_sent_at=mine.asked.first_sent_at,
        hop=entry.hop,
    )
