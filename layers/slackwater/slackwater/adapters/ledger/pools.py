"""Pools: queued jobs that wait for the batch lane together.

`POOL#p/META | JOB#j`, and `POOLKEY#h(key)/META`, which points to the generation that takes jobs now. A job joins in
one transaction with its own state, while the pool is open and has room; else the next generation takes it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import ConditionFailed, Key, Table, TransactionFailed, Write, due_partition
from slackwater.model import ids
from slackwater.model.claim import Member, Pool, Pooled, PooledUnit, Room, size_of
from slackwater.model.clock import Clock, iso, later, parse_iso

JOINS_A_TRANSACTION: Final = 45  # two actions a job, and the pool
HALF_LIFE_S: Final = 6 * 3600  # of what is remembered of the jobs that have come


class Pools:
    """The ledger of pools. `Jobs` gives the job's side of a join."""

    def __init__(self, table: Table, clock: Clock, jobs: Jobs, *, retain_days: int = 30) -> None:
        self._table = table
        self._clock = clock
        self._jobs = jobs
        self._retain_s = (retain_days + 1) * 86_400

    def get(self, pool: str) -> Pool | None:
        item = self._table.get(_meta(pool))
        return None if item is None else pool_of(item)

    def current(
        self, key: str, profile: str, *, deadline: datetime, next_check_at: datetime, profiles_version: str = ""
    ) -> Pool:
        """The newest pool of a key; a first one is opened, under the profile of whoever comes first. It may be closed
        or full: see `open_next`."""
        while True:
            pool = self.newest(key)
            if pool is not None:
                return pool
            self.open_next(
                key, profile, 0, deadline=deadline, next_check_at=next_check_at, profiles_version=profiles_version
            )

    def newest(self, key: str) -> Pool | None:
        """The newest pool of a key, if there ever was one."""
        pointer = self._table.get(_key(key))
        return None if pointer is None or "pool" not in pointer else self.get(pointer["pool"])

    def open_next(
        self,
        key: str,
        profile: str,
        last: int,
        *,
        deadline: datetime,
        next_check_at: datetime,
        profiles_version: str = "",
    ) -> None:
        """Opens generation `last + 1` of a key, unless somebody has."""
        now = self._clock.now()
        pool = pool_id(key, last + 1)
        writes = [
            Write(
                _key(key),
                set_={"v": 1, "generation": last + 1, "pool": pool, "ttl": self._ttl()},
                condition="attribute_not_exists(#generation)" if last == 0 else "#generation = :last",
                values={} if last == 0 else {"last": last},
            ),
            Write(
                _meta(pool),
                put={
                    "v": 1,
                    "ttl": self._ttl(),
                    "pool": pool,
                    "key": key,
                    "generation": last + 1,
                    "profile": profile,
                    "profiles_version": profiles_version,
                    "state": "open",
                    "count": 0,
                    "bytes": 0,
                    "opened_at": iso(now),
                    "deadline_at": iso(deadline),
                    "gsi1pk": due_partition(pool),
                    "next_check_at": iso(next_check_at),
                },
                condition="attribute_not_exists(pk)",
            ),
        ]
        try:
            transact(self._table, writes)
        except TransactionFailed as exc:
            if "ConditionalCheckFailed" not in exc.reasons:
                raise

    def join(
        self, seen: Pool, members: Sequence[Member], *, deadline: datetime, next_check_at: datetime, room: Room
    ) -> frozenset[str] | None:
        """At most 45 held jobs join a pool; `deadline` is the earliest of theirs, `next_check_at` the first look they
        need.

        Gives the jobs that joined: a missing one was no longer held as it was seen. None if the pool is closed or has
        no room for all.
        """
        pool: Pool | None = seen
        members = list(members)
        while members:
            if pool is None or pool.state != "open" or not room.holds(pool, members):
                return None
            try:
                transact(
                    self._table,
                    [
                        _grown(pool, len(members), size_of(members), deadline, next_check_at, room),
                        *(self._jobs.joined(entry, pool.pool) for entry, _ in members),
                        *(self._member(pool.pool, pooled) for _, pooled in members),
                    ],
                )
                return frozenset(entry.job for entry, _ in members)
            except TransactionFailed as exc:
                failed = [i for i, why in enumerate(exc.reasons) if why == "ConditionalCheckFailed"]
                if not failed:
                    raise
                members = [member for i, member in enumerate(members, start=1) if i not in failed]
                pool = self.get(seen.pool)
        return frozenset()

    def join_unit(
        self, seen: Pool, unit: PooledUnit, *, deadline: datetime, next_check_at: datetime, room: Room
    ) -> bool | None:
        """Records of a file run join a pool as one unit, which is marked with the pool in the same transaction.

        False if the unit has ended or is in a pool already; None if the pool is closed or has no room for all of it.
        """
        pool: Pool | None = seen
        while True:
            if pool is None or pool.state != "open" or not room.has(pool, unit.jobs, unit.bytes):
                return None
            try:
                transact(
                    self._table,
                    [
                        _grown(pool, unit.jobs, unit.bytes, deadline, next_check_at, room),
                        Write(
                            (f"RUN#{unit.run_id}", f"UNIT#{unit.unit}"),
                            set_={"pool": pool.pool},
                            condition="attribute_exists(pk) AND attribute_not_exists(#pool) AND #state <> :ended",
                            values={"ended": "ended"},
                        ),
                        self._unit_member(pool.pool, unit),
                    ],
                )
                return True
            except TransactionFailed as exc:
                failed = [i for i, why in enumerate(exc.reasons) if why == "ConditionalCheckFailed"]
                if not failed:
                    raise
                if failed != [0]:
                    return False
                pool = self.get(seen.pool)

    def units(self, pool: str) -> Iterator[PooledUnit]:
        """The units of file runs that have joined and not left, in order of their ids."""
        for item in self._table.query(f"POOL#{pool}", prefix="UNIT#"):
            if not item.get("left"):
                yield PooledUnit(
                    unit=item["unit"],
                    run_id=item["run"],
                    lane=item["lane"],
                    jobs=item["jobs"],
                    bytes=item["bytes"],
                    deadline=parse_iso(item["deadline_at"]),
                )

    def leave_unit(self, pool: str, unit: str) -> bool:
        """A unit leaves while the pool is open; True if it is out (now or before)."""
        items = self._table.get_many([(f"POOL#{pool}", f"UNIT#{unit}")])
        if not items:
            return False
        (item,) = items
        if item.get("left"):
            return True
        gone = Write(
            (f"POOL#{pool}", f"UNIT#{unit}"), set_={"left": True}, condition="attribute_not_exists(#left)", values={}
        )
        try:
            transact(self._table, [_shrunk(pool, item["jobs"], item["bytes"]), gone])
        except TransactionFailed as exc:
            if "ConditionalCheckFailed" not in exc.reasons:
                raise
            return False
        return True

    def saw(self, key: str, jobs: int) -> float:
        """Notes that jobs of this kind have come, and gives how many have a day lately: a mean that forgets half in
        six hours, *without* these jobs. A hint: two writers at once may lose one of them."""
        now, pointer = self._clock.now(), self._table.get(_key(key)) or {}
        seen_at = pointer.get("seen_at")
        age_s = 0.0 if seen_at is None else max(0.0, (now - parse_iso(seen_at)).total_seconds())
        before: float = pointer.get("seen_milli", 0) * math.exp2(-age_s / HALF_LIFE_S)
        self._table.write(
            Write(
                _key(key),
                set_={"seen_milli": int(before) + 1000 * jobs, "seen_at": iso(now), "ttl": self._ttl()},
                set_once={"v": 1},
            )
        )
        return before / 1000 / (HALF_LIFE_S / math.log(2)) * 86_400

    def members(self, pool: str) -> Iterator[Pooled]:
        """Every job that has joined and not left, in order of their ids."""
        for item in self._table.query(f"POOL#{pool}", prefix="JOB#"):
            if item.get("left"):
                continue
            yield Pooled(
                job=item["job"],
                run_id=item["run"],
                block=item["block"],
                ordinal=item["ordinal"],
                id=item["id"],
                key=item["key"],
                deadline=parse_iso(item["deadline_at"]),
                bytes=item["bytes"],
                first_sent_at=parse_iso(item["first_sent_at"]),
                hop=item["hop"],
            )

    def leave(self, pool: str, jobs: Sequence[str]) -> frozenset[str]:
        """Jobs that leave while the pool is open: from there on no batch job can hold them. Gives those that are out
        (now or before); nobody leaves a pool that is closed, since its shard is named by its jobs."""
        out: set[str] = set()
        for start in range(0, len(jobs), JOINS_A_TRANSACTION):
            out |= self._leave(pool, jobs[start : start + JOINS_A_TRANSACTION])
        return frozenset(out)

    def _leave(self, pool: str, jobs: Sequence[str]) -> set[str]:
        items = {item["job"]: item for item in self._table.get_many([_member_key(pool, job) for job in jobs])}
        out = {job for job, item in items.items() if item.get("left")}
        staying = [item for job, item in items.items() if job not in out]
        if not staying:
            return out
        size = sum(item["bytes"] for item in staying)
        try:
            transact(
                self._table,
                [
                    _shrunk(pool, len(staying), size),
                    *(
                        Write(
                            _member_key(pool, item["job"]),
                            set_={"left": True},
                            condition="attribute_exists(pk) AND attribute_not_exists(#left)",
                        )
                        for item in staying
                    ),
                ],
            )
        except TransactionFailed as exc:
            if "ConditionalCheckFailed" not in exc.reasons:
                raise
            return out  # closed, or another pass was quicker: the next one sees
        return out | {item["job"] for item in staying}

    def shift(self, pool: str, old: str, new: str, *, next_check_at: datetime) -> bool:
        """From one state to the next; True also if it is there already."""
        try:
            self._table.write(
                Write(
                    _meta(pool),
                    set_={"state": new, f"{new}_at": iso(self._clock.now()), "next_check_at": iso(next_check_at)},
                    condition="#state = :old OR #state = :new",
                    values={"old": old, "new": new},
                )
            )
        except ConditionFailed:
            return False
        return True

    def look_again(self, pool: str, at: datetime | None) -> None:
        """When the tick looks next; None: never."""
        if at is None:
            self._table.write(Write(_meta(pool), remove=("gsi1pk", "next_check_at")))
        else:
            self._table.write(Write(_meta(pool), set_={"next_check_at": iso(at)}))

    def _member(self, pool: str, pooled: Pooled) -> Write:
        return Write(
            _member_key(pool, pooled.job),
            put={
                "v": 1,
                "ttl": self._ttl(),
                "job": pooled.job,
                "run": pooled.run_id,
                "block": pooled.block,
                "ordinal": pooled.ordinal,
                "id": pooled.id,
                "key": pooled.key,
                "deadline_at": iso(pooled.deadline),
                "bytes": pooled.bytes,
                "first_sent_at": iso(pooled.first_sent_at),
                "hop": pooled.hop,
            },
        )

    def _unit_member(self, pool: str, unit: PooledUnit) -> Write:
        return Write(
            (f"POOL#{pool}", f"UNIT#{unit.unit}"),
            put={
                "v": 1,
                "ttl": self._ttl(),
                "unit": unit.unit,
                "run": unit.run_id,
                "lane": unit.lane,
                "jobs": unit.jobs,
                "bytes": unit.bytes,
                "deadline_at": iso(unit.deadline),
            },
        )

    def _ttl(self) -> int:
        return int(later(self._clock.now(), self._retain_s).timestamp())


def _shrunk(pool: str, count: int, size: int) -> Write:
    """Some leave: only while it is open."""
    return Write(
        _meta(pool), add={"count": -count, "bytes": -size}, condition="#state = :open", values={"open": "open"}
    )


def _grown(  # noqa: PLR0917 - what comes in, and what it must not break
    pool: Pool, count: int, size: int, deadline: datetime, next_check_at: datetime, room: Room
) -> Write:
    set_: dict[str, Any] = {}
    condition = "#state = :open AND #count <= :most AND #bytes <= :size"
    values: dict[str, Any] = {
        "open": "open",
        "most": room.max_count - count,
        "size": room.max_bytes - size,
    }
    if deadline < pool.deadline:
        set_["deadline_at"] = iso(deadline)
        condition += " AND #deadline_at >= :mine"  # the earliest of all stands, whoever comes last
        values["mine"] = iso(deadline)
    if pool.next_check_at is None or next_check_at < pool.next_check_at:
        set_["next_check_at"] = iso(next_check_at)
    return Write(_meta(pool.pool), set_=set_, add={"count": count, "bytes": size}, condition=condition, values=values)


def pool_of(item: Mapping[str, Any]) -> Pool:
    """The pool in a POOL META item."""
    check = item.get("next_check_at")
    return Pool(
        pool=item["pool"],
        key=item["key"],
        generation=item["generation"],
        profile=item["profile"],
        profiles_version=item["profiles_version"],
        state=item["state"],
        count=item["count"],
        bytes=item["bytes"],
        opened_at=parse_iso(item["opened_at"]),
        deadline=parse_iso(item["deadline_at"]),
        next_check_at=None if check is None else parse_iso(check),
    )


def pool_id(key: str, generation: int) -> str:
    """The pool of a key and generation: `l` (for "lake": r, p and s are taken) and a hash."""
    return "l" + ids.h(f"{key}|{generation}")


def _meta(pool: str) -> Key:
    return f"POOL#{pool}", "META"


def _member_key(pool: str, job: str) -> Key:
    return f"POOL#{pool}", f"JOB#{job}"


def _key(key: str) -> Key:
    return f"POOLKEY#{ids.h(key)}", "META"
