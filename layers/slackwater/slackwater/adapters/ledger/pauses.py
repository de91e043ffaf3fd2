"""The kill switch's marks: one item, so that a worker knows all of them by one read."""

from collections.abc import Callable, Mapping
from typing import Final

from slackwater.adapters.ledger.table import ConditionFailed, Item, Table, Write
from slackwater.model.clock import iso, parse_iso
from slackwater.model.errors import Contended
from slackwater.policy.pause import Pause

_KEY: Final = ("PAUSE", "META")
ATTEMPTS: Final = 5


class Pauses:
    """Read by every worker, changed by people. The item does not expire."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def marks(self) -> Mapping[str, Pause]:
        """By profile (`*`: all of them)."""
        return _marks(self._table.get(_KEY) or {})

    def change(self, change: Callable[[Mapping[str, Pause]], Mapping[str, Pause]]) -> Mapping[str, Pause]:
        """Applies a pure function to the marks and gives what stands afterwards. Raises Contended."""
        item = self._table.get(_KEY) or {}
        for _ in range(ATTEMPTS):
            after = change(_marks(item))
            version = int(item.get("version", 0))
            marks = {name: {"at": iso(mark.paused_at), "reason": mark.reason} for name, mark in after.items()}
            write = Write(
                _KEY,
                set_={"v": 1, "version": version + 1, "marks": marks},
                condition="#version = :version" if version else "attribute_not_exists(#version)",
                values={"version": version} if version else {},
            )
            try:
                self._table.write(write)
            except ConditionFailed as failed:
                item = failed.item or {}
            else:
                return after
        raise Contended("the pause marks")


def _marks(item: Item) -> dict[str, Pause]:
    return {name: Pause(name, parse_iso(mark["at"]), mark["reason"]) for name, mark in item.get("marks", {}).items()}
