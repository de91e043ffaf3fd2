"""Pools: queued jobs that wait for the batch lane together.

`POOL#p/META | JOB#j`, and `POOLKEY#h(key)/META`, which points to the generation that takes jobs now. A job joins in
one transaction with its own state, while the pool is open and has room; else the next generation takes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import ConditionFailed, Key, Table, TransactionFailed, Write, due_partition
from slackwater.model import ids
from slackwater.model.claim import Member, Pool, Pooled, Room
from slackwater.model.clock import Clock, iso, later, parse_iso

JOINS_A_TRANSACTION: Final = 45  # two actions a job, and the pool


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

    def current(self, key: str, profile: str, *, deadline: datetime, next_check_at: datetime) -> Pool:
        """The newest pool of a key; a first one is opened. It may be closed or full: see `open_next`."""
        while True:
            pointer = self._table.get(_key(key))
            if pointer is not None:
                pool = self.get(pointer["pool"])
                if pool is not None:
                    return pool
            self.open_next(key, profile, 0, deadline=deadline, next_check_at=next_check_at)

    def open_next(self, key: str, profile: str, last: int, *, deadline: datetime, next_check_at: datetime) -> None:
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
                        _grown(pool, members, deadline, next_check_at, room),
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
                    Write(
                        _meta(pool),
                        add={"count": -len(staying), "bytes": -size},
                        condition="#state = :open",
                        values={"open": "open"},
                    ),
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

    def _ttl(self) -> int:
        return int(later(self._clock.now(), self._retain_s).timestamp())


def _grown(pool: Pool, members: Sequence[Member], deadline: datetime, next_check_at: datetime, room: Room) -> Write:
    size = sum(pooled.bytes for _, pooled in members)
    set_: dict[str, Any] = {}
    condition = "#state = :open AND #count <= :most AND #bytes <= :size"
    values: dict[str, Any] = {
        "open": "open",
        "most": room.max_count - len(members),
        "size": room.max_bytes - size,
    }
    if deadline < pool.deadline:
        set_["deadline_at"] = iso(deadline)
        condition += " AND #deadline_at >= :mine"  # the earliest of all stands, whoever comes last
        values["mine"] = iso(deadline)
    if pool.next_check_at is None or next_check_at < pool.next_check_at:
        set_["next_check_at"] = iso(next_check_at)
    return Write(
        _meta(pool.pool), set_=set_, add={"count": len(members), "bytes": size}, condition=condition, values=values
    )


def pool_of(item: Mapping[str, Any]) -> Pool:
    """The pool in a POOL META item."""
    check = item.get("next_check_at")
    return Pool(
        pool=item["pool"],
        key=item["key"],
        generation=item["generation"],
        profile=item["profile"],
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
