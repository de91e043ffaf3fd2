"""Units that nobody will end any more: what they have answered stays, their other lines fail with the reason."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from slackwater.model import bits, names, result
from slackwater.model.clock import Clock
from slackwater.model.run import ENDED
from slackwater.model.shard import Shard, ShardState
from slackwater.usecases import cancelled
from slackwater.usecases.batch_output import Member, members_of
from slackwater.usecases.cancelled import CANCELLED
from slackwater.usecases.pooled import POOLED, job_of, records_of
from slackwater.usecases.ports import Documents
from slackwater.usecases.routing import job_of_row
from slackwater.usecases.stage import StageRecord

MESSAGES: Final = {
    CANCELLED: cancelled.MESSAGE,
    "deadline_missed": "no answer came before the deadline",
    "undeliverable": "its message lies in a dead-letter queue: see the alarm's first step, then run the file again",
}


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def units(self, run_id: str) -> Iterator[dict[str, Any]]: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class FilesPort(Protocol):
    def index(self, shard: Shard) -> Iterator[dict[str, Any]]: ...


class PartsPort(Protocol):
    def append(self, run_id: str, block: str, source: str, rows: Sequence[dict[str, Any]]) -> str: ...
    def rows(self, run_id: str, block: str, source: str) -> Iterator[dict[str, Any]]: ...


class SettlePort(Protocol):
    def unit(self, run_id: str, unit_id: str, source: str, covered: Mapping[str, bytes]) -> None: ...


class FailUnits:
    """Ends units of a file run. Doing it again changes nothing."""

    def __init__(
        self,
        *,
        runs: RunsPort,
        shards: ShardsPort,
        files: FilesPort,
        parts: PartsPort,
        documents: Documents,
        settle: SettlePort,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._shards = shards
        self._files = files
        self._parts = parts
        self._documents = documents
        self._settle = settle
        self._clock = clock

    def __call__(self, run_id: str, code: str, only: Iterable[str] | None = None) -> int:
        """Fails the open units of a run (or `only` some), but for those that a living worker holds; how many."""
        meta = self._runs.get(run_id)
        if meta is None or meta["state"] in ENDED:
            return 0
        wanted = None if only is None else set(only)
        failed = 0
        for unit in list(self._runs.units(run_id)):
            if unit["state"] == "ended" or (wanted is not None and unit["unit"] not in wanted):
                continue
            if unit["kind"] == "pack":
                failed += self._pack(meta, unit, code)
            elif unit["kind"] == POOLED:
                failed += self._pooled(meta, unit["unit"], code)
            else:
                failed += self._shard(meta, unit["unit"], code)
        return failed

    def _pack(self, meta: Mapping[str, Any], unit: Mapping[str, Any], code: str) -> int:
        if unit.get("lease_until", 0) > self._clock.wall_s():
            return 0
        run_id, block, source = meta["run_id"], unit["block"], f"pack-{unit['unit']}"
        first = unit["first_line"]
        stored = {row["line"] - first for row in self._parts.rows(run_id, block, source)}
        open_ = set(bits.unpack(unit["lines"])) - stored
        rows = []
        for line in self._documents.get(names.input_key(run_id, block)).splitlines():
            row = orjson.loads(line)
            if row["line"] - first in open_:
                job = job_of_row(row, dict(meta), block)
                rows.append(
                    result.failed(job, code=code, message=MESSAGES[code], finished_at=self._clock.now(), attempts=0)
                )
        if rows:
            self._parts.append(run_id, block, source, rows)
        self._settle.unit(run_id, unit["unit"], source, {block: unit["lines"]})
        return 1

    def _pooled(self, meta: Mapping[str, Any], unit: str, code: str) -> int:
        """Records that wait in a pool. One whose batch job ends after all brings late rows; a success counts."""
        run_id, source = meta["run_id"], f"pack-{unit}"
        by_block: dict[str, list[StageRecord]] = {}
        for record in records_of(self._documents, run_id, unit):
            by_block.setdefault(record.block, []).append(record)
        for block, records in sorted(by_block.items()):
            stored = {row["line"] for row in self._parts.rows(run_id, block, source)}
            at = self._clock.now()
            rows = [
                result.failed(job_of(record), code=code, message=MESSAGES[code], finished_at=at, attempts=0)
                for record in records
                if record.line not in stored
            ]
            if rows:
                self._parts.append(run_id, block, source, rows)
        covered = {block: bits.pack(r.line - r.first_line for r in records) for block, records in by_block.items()}
        self._settle.unit(run_id, unit, source, covered)
        return 1

    def _shard(self, meta: Mapping[str, Any], shard_id: str, code: str) -> int:
        shard = self._shards.get(shard_id)
        if shard is None:
            raise LookupError(f"no shard {shard_id}")
        if shard.lease_until_s > self._clock.wall_s() and shard.state is not ShardState.SETTLED:
            return 0
        run_id, source = meta["run_id"], f"shard-{shard_id}"
        by_block: dict[str, list[Member]] = {}
        for member in members_of(self._files.index(shard), shard):
            by_block.setdefault(member.group[1], []).append(member)
        for block, members in sorted(by_block.items()):
            stored = {row["line"] for row in self._parts.rows(run_id, block, source)}
            rows = [
                result.failed(
                    member.as_job(shard.profile),
                    code=code,
                    message=MESSAGES[code],
                    finished_at=self._clock.now(),
                    route=shard.route,
                    attempts=0,
                )
                for member in members
                if member.line not in stored
            ]
            if rows:
                self._parts.append(run_id, block, source, rows)
        covered = {block: bits.pack(m.position for m in members) for block, members in by_block.items()}
        self._settle.unit(run_id, shard_id, source, covered)
        return 1
