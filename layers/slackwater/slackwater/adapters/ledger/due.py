"""What the tick reads: the items whose `next_check_at` has come, of every kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from slackwater.adapters.ledger.table import DUE_PARTITIONS, ConditionFailed, Key, Table, Write
from slackwater.model.clock import iso


@dataclass(frozen=True, slots=True)
class Due:
    """An item that is due: its kind (`RUN`, `POOL`, `SHARD`), its id, and the `next_check_at` that was seen."""

    kind: str
    id: str
    seen: str
    key: Key


class DueItems:
    """The sparse index GSI1. It is read eventually consistent: what it shows is a hint."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def due(self, now: datetime, *, limit: int) -> Iterator[Due]:
        """At most `limit` items of each of the eight partitions, the longest due first."""
        for partition in range(DUE_PARTITIONS):
            for item in self._table.due(partition, iso(now), limit=limit):
                kind, _, id_ = item["pk"].partition("#")
                yield Due(kind, id_, item["next_check_at"], (item["pk"], item["sk"]))

    def look_again(self, due: Due, at: datetime | None) -> bool:
        """When the tick looks next (None: never), unless somebody has said so since it was seen."""
        write = Write(
            due.key,
            set_={} if at is None else {"next_check_at": iso(at)},
            remove=("gsi1pk", "next_check_at") if at is None else (),
            condition="attribute_exists(#gsi1pk) AND #next_check_at = :seen",
            values={"seen": due.seen},
        )
        try:
            self._table.write(write)
        except ConditionFailed:
            return False
        return True
