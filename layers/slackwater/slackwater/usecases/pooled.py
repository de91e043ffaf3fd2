"""Records of file runs that wait in a pool: too few for a batch job of their own, a unit of their run until they end.

The records lie in S3 beside the run's other files; the ledger holds their number only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Protocol

import orjson

from slackwater.model import ids, names
from slackwater.model.claim import Pool, PooledUnit, Room
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.model.input_row import request_fields, request_of
from slackwater.model.job import Job, Lane
from slackwater.model.profile import Profile
from slackwater.model.run import Unit
from slackwater.policy.forecast import latest_start
from slackwater.policy.pooling import FULL_BYTES, MAX_WAIT_S
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.packs import packs_of
from slackwater.usecases.ports import Documents
from slackwater.usecases.stage import MAX_RECORDS, StageRecord

AFTER_POOL: Final = 2  # the generation of packs that waited in a pool first
POOLED: Final = "pooled"
"""The kind of such a unit."""


class SettlePort(Protocol):
    """usecases.settle."""

    def unit(
        self, run_id: str, unit_id: str, source: str, covered: Mapping[str, bytes], replacements: Sequence[Unit] = ()
    ) -> None: ...


class PoolsPort(Protocol):
    """The ledger of pools (adapters.ledger.pools)."""

    def newest(self, key: str) -> Pool | None: ...
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
    def join_unit(
        self, seen: Pool, unit: PooledUnit, *, deadline: datetime, next_check_at: datetime, room: Room
    ) -> bool | None: ...


class Latest:
    """When a pool's batch job must begin at the latest: from then on the tick, which reckons alike, releases it."""

    def __init__(self, *, forecasts: ForecastsPort, regions: Sequence[str], drain_jobs_per_s: float) -> None:
        """`regions`: all that have a batch bucket, since a pool may go to any of them; the slowest counts."""
        self._forecasts = forecasts
        self._regions = regions
        self._drain_jobs_per_s = drain_jobs_per_s

    def __call__(self, deadline: datetime, model: str, jobs: int) -> datetime:
        """For `jobs` jobs of a model, the earliest of their deadlines being `deadline`."""
        forecast = self._forecasts.over(model, self._regions, jobs)
        return latest_start(deadline, forecast, jobs / self._drain_jobs_per_s)


def store(documents: Documents, run_id: str, records: Sequence[StageRecord], generation: int) -> str:
    """Writes the records of a unit; gives its id. Writing them again writes the same."""
    unit = ids.pack_id(run_id, [record.job for record in records], generation)
    rows = [_row(record) for record in records]
    body = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    documents.put(names.pooled_key(run_id, unit), body, content_type="application/x-ndjson")
    return unit


def records_of(documents: Documents, run_id: str, unit: str) -> Iterator[StageRecord]:
    """The records of a unit, in order. Raises Missing."""
    for line in documents.get(names.pooled_key(run_id, unit)).splitlines():
        row = orjson.loads(line)
        yield StageRecord(
            run=run_id,
            block=row["block"],
            line=row["line"],
            id=row["id"],
            job=row["job"],
            request=request_of(row),
            first_line=row["first"],
            deadline_at=parse_iso(row["deadline"]) if "deadline" in row else None,
            tags=row.get("tags"),
            unit=unit,
        )


def packs_of_records(run_id: str, lane: str, records: Iterable[StageRecord], *, generation: int) -> list[Unit]:
    """The packs that call records instead: those of each block on their own, in the order of their lines."""
    units: list[Unit] = []
    for block, of_block in groupby(sorted(records, key=lambda r: r.line), key=lambda r: r.block):
        some = list(of_block)
        jobs = [job_of(record) for record in some]
        units += packs_of(run_id, block, lane, jobs, first_line=some[0].first_line, generation=generation)
    return units


def job_of(record: StageRecord) -> Job:
    """The job of a record, for a result line or a pack: its request stays in its file."""
    deadline = record.deadline_at
    if deadline is None:
        raise ValueError(f"a pooled record of {record.run} has no deadline")
    return Job(record.run, record.block, record.line, record.id, record.job, "", deadline, {}, None, record.tags)


def _row(record: StageRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "block": record.block,
        "line": record.line,
        "first": record.first_line,
        "id": record.id,
        "job": record.job,
        **request_fields(record.request),
    }
    if record.deadline_at is not None:
        row["deadline"] = iso(record.deadline_at)
    if record.tags:
        row["tags"] = record.tags
    return row


class PoolRecords:
    """Takes records of a file run, entered as a unit of it, into the open pool of their kind."""

    def __init__(self, *, pools: PoolsPort, clock: Clock, latest: Latest) -> None:
        self._pools = pools
        self._clock = clock
        self._latest = latest

    def too_late(self, unit: PooledUnit, key: str, profile: Profile) -> bool:
        """Whether the pool that takes the unit would be released at once, with all the others in it."""
        pool = self._pools.newest(key)
        waiting = pool.count if pool is not None and pool.state == "open" else 0
        return self._clock.now() >= self._latest(unit.deadline, profile.model, waiting + unit.jobs)

    def __call__(self, unit: PooledUnit, key: str, name: str, profile: Profile, version: str) -> bool:
        """`key` is the pool's (usecases.pools.pool_key). False if the unit has ended, or is in a pool already. May be
        done again. Raises ValueError for what no pool can hold."""
        room = whole_room(profile)
        if unit.jobs > room.max_count or unit.bytes > room.max_bytes:
            raise ValueError(f"unit {unit.unit} of {unit.run_id} is too large for any pool")
        latest = self._latest(unit.deadline, profile.model, unit.jobs)
        opening: dict[str, Any] = {
            "deadline": unit.deadline,
            "next_check_at": min(latest, later(self._clock.now(), MAX_WAIT_S)),
            "profiles_version": version,
        }
        while True:
            pool = self._pools.current(key, name, **opening)
            latest = self._latest(unit.deadline, profile.model, pool.count + unit.jobs)
            look_at = min(latest, max(self._clock.now(), later(pool.opened_at, MAX_WAIT_S)))
            joined = self._pools.join_unit(pool, unit, deadline=unit.deadline, next_check_at=look_at, room=room)
            if joined is not None:
                return joined
            self._pools.open_next(key, name, pool.generation, **opening)


def whole_room(profile: Profile) -> Room:
    """What a pool holds that files' records join: as much as one batch job of the profile may."""
    return Room(profile.batch_max_records or MAX_RECORDS, profile.batch_max_bytes or FULL_BYTES)


def unit_of(unit: str, lane: Lane, jobs: int, generation: int) -> Unit:
    """The unit that a run waits for while its records are in a pool."""
    return Unit(unit, POOLED, None, lane.value, None, generation=generation, jobs=jobs)
