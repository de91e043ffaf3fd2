"""The batch jobs of a run, as the run report shows them: their shards, and how they ended."""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Final

from slackwater.adapters.ledger.table import Item, Table
from slackwater.model.clock import iso, parse_iso
from slackwater.report.data import BatchJob

MOST: Final = 5_000  # ended jobs of one region and model that are looked through for those of the run


class RunJobs:
    """Reads only."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __call__(self, shard_ids: Sequence[str], since: datetime) -> list[BatchJob]:
        """What is still known of these shards; `since`: none of them ended before it."""
        shards = self._table.get_many([(f"SHARD#{shard}", "META") for shard in sorted(set(shard_ids))])
        ended: dict[str, Item] = {}
        for place in sorted({(item["region"], item["base_model"]) for item in shards}):
            ended |= self._ended(*place, since)
        return [_job(item, ended.get(_id(item))) for item in sorted(shards, key=_id)]

    def _ended(self, region: str, model: str, since: datetime) -> dict[str, Item]:
        """The newest end of each shard."""
        newest_first = self._table.query(f"HIST#{region}|{model}", forward=False, limit=MOST)
        found: dict[str, Item] = {}
        for item in takewhile(lambda item: str(item["sk"]) >= iso(since), newest_first):
            found.setdefault(str(item["sk"]).partition("#")[2], item)
        return found


def _id(shard: Item) -> str:
    return str(shard["pk"]).removeprefix("SHARD#")


def _job(shard: Item, ended: Item | None) -> BatchJob:
    submitted = (ended or {}).get("submitted_at") or shard.get("submitted_at")
    return BatchJob(
        shard=_id(shard),
        region=shard["region"],
        model=shard["base_model"],
        records=int(shard["records"]),
        submitted_at=None if submitted is None else parse_iso(submitted),
        ended_at=None if ended is None else parse_iso(ended["ended_at"]),
        status=None if ended is None else ended["status"],
        forecast=(ended or {}).get("forecast") or shard.get("forecast"),
    )
