"""Slots: open batch jobs per region and base model. `SLOT#region|model/COUNT` and one item for each shard that holds
one; both change in one transaction, so that the count is the number of the holders."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import Key, Table, TransactionFailed, Write
from slackwater.model.clock import Clock, iso, parse_iso
from slackwater.policy.slots import MAX_OPEN, Slots

GIVEN_TTL_S: Final = 86_400
_DAY_S: Final = 86_400
COUNT: Final = "COUNT"


class SlotLedger:
    """Taken and given back by one writer or many, early, late or twice: a shard holds at most one slot of a place."""

    def __init__(self, table: Table, clock: Clock, *, retain_days: int = 30) -> None:
        self._table = table
        self._clock = clock
        self._retain_s = retain_days * _DAY_S

    def get(self, region: str, model: str) -> tuple[Slots, datetime | None]:
        """What is known of a place, and when others' jobs were last counted there."""
        item = self._table.get(_count(region, model)) or {}
        counted_at = item.get("counted_at")
        return self._slots(item), None if counted_at is None else parse_iso(counted_at)

    def take(self, region: str, model: str, shard: str) -> bool:
        """A slot for a shard, unless all are taken; True too if it holds one already."""
        slots, _ = self.get(region, model)
        writes = [
            Write(
                (_pk(region, model), shard),
                put={"v": 1, "ttl": self._ttl(), "held": True, "taken_at": iso(self._clock.now())},
                condition="attribute_not_exists(pk) OR #held = :no",
                values={"no": False},
            ),
            Write(
                _count(region, model),
                set_={"v": 1, "ttl": self._ttl()},
                add={"taken": 1},
                condition="attribute_not_exists(#taken) OR #taken < :room",
                values={"room": slots.limit - slots.others},
            ),
        ]
        if slots.limit <= slots.others:
            return self._holds(region, model, shard)
        try:
            transact(self._table, writes)
        except TransactionFailed as exc:
            if "ConditionalCheckFailed" not in exc.reasons:
                raise
            return exc.reasons[0] == "ConditionalCheckFailed"  # it holds one
        return True

    def give(self, region: str, model: str, shard: str) -> bool:
        """The shard's slot is free again; False if it held none."""
        freed = Write(
            (_pk(region, model), shard),
            set_={"held": False, "ttl": int(self._clock.wall_s()) + GIVEN_TTL_S},
            condition="#held = :yes",
            values={"yes": True},
        )
        try:
            transact(self._table, [freed, Write(_count(region, model), add={"taken": -1})])
        except TransactionFailed as exc:
            if exc.reasons[0] != "ConditionalCheckFailed":
                raise
            return False
        return True

    def holders(self, region: str, model: str) -> Iterator[str]:
        """The shards that hold a slot there."""
        for item in self._table.query(_pk(region, model)):
            if item.get("held"):
                yield str(item["sk"])

    def counted(self, region: str, model: str, *, others: int, queued_s: float) -> None:
        """What a list of the region showed: open jobs that no slot stands for, and the age of the oldest of ours that
        waits."""
        self._table.write(
            Write(
                _count(region, model),
                set_={
                    "v": 1,
                    "ttl": self._ttl(),
                    "others": others,
                    "queued_s": int(queued_s),
                    "counted_at": iso(self._clock.now()),
                },
            )
        )

    def learned(self, region: str, model: str, limit: int, *, until: datetime) -> None:
        """Bedrock refused a job though slots were free: so many are allowed, as far as we know."""
        self._table.write(
            Write(_count(region, model), set_={"v": 1, "ttl": self._ttl(), "limit": limit, "limit_until": iso(until)})
        )

    def _slots(self, item: dict[str, Any]) -> Slots:
        limit, until = item.get("limit", MAX_OPEN), item.get("limit_until")
        if until is None or parse_iso(until) <= self._clock.now():
            limit = MAX_OPEN
        return Slots(item.get("taken", 0), item.get("others", 0), limit, float(item.get("queued_s", 0)))

    def _holds(self, region: str, model: str, shard: str) -> bool:
        item = self._table.get((_pk(region, model), shard))
        return item is not None and bool(item.get("held"))

    def _ttl(self) -> int:
        return int(self._clock.wall_s()) + self._retain_s


def _pk(region: str, model: str) -> str:
    return f"SLOT#{region}|{model}"


def _count(region: str, model: str) -> Key:
    return _pk(region, model), COUNT
