"""What batch jobs took: the HIST items that `ShardLedger.remember` writes, read for forecasts."""

from collections.abc import Iterator
from typing import Any

from slackwater.adapters.ledger.table import Table
from slackwater.model.clock import parse_iso
from slackwater.policy.forecast import Forecast
from slackwater.policy.history import NEWEST, Turnaround, took


class History:
    """Reads only."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def turnarounds(self, region: str, model: str, *, limit: int = NEWEST) -> list[Turnaround]:
        """What the newest ended jobs of a model in a region took, newest first, of at most `limit` items. Those whose
        end says nothing of it are left out."""
        items = self._table.query(f"HIST#{region}|{model}", forward=False, limit=limit)
        return [one for item in items if (one := _turnaround(item)) is not None]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Region and model wherever a job has ended in the time that items are kept for."""
        for item in self._table.query("HISTS"):
            region, _, model = item["sk"].partition("|")
            yield region, model


def _turnaround(item: dict[str, Any]) -> Turnaround | None:
    ended_at = parse_iso(item["ended_at"])
    if "took_s" in item:
        known = None if item["took_s"] is None else (item["took_s"], item["took_whole"])
    else:  # of before it was noted
        submitted_at = item.get("submitted_at")
        known = took(item["status"], None if submitted_at is None else parse_iso(submitted_at), ended_at)
    if known is None:
        return None
    told = item.get("forecast")
    return Turnaround(known[0], known[1], item["records"], ended_at, None if told is None else Forecast.from_json(told))
