"""Places one item of a plan: a shard with its file, records for a pool, or the packs of some blocks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import orjson

from slackwater.model import input_row, names, result
from slackwater.model.clock import Clock, parse_iso
from slackwater.model.job import Job, Lane, Route
from slackwater.model.run import Unit
from slackwater.policy.canary import CANARIES
from slackwater.policy.classes import Classes
from slackwater.usecases.packs import packs_of
from slackwater.usecases.ports import Documents
from slackwater.usecases.routing import job_of_row
from slackwater.usecases.settle import Settle
from slackwater.usecases.stage import Stage, StageRecord

FIRST_GENERATION: Final = 1


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def register(self, run_id: str, units: Sequence[Unit]) -> None: ...


class PoolOfRun(Protocol):
    """Enters records as a unit of their run and takes it into the open pool of their kind."""

    def __call__(
        self,
        records: Sequence[StageRecord],
        *,
        run_id: str,
        profile: str,
        version: str,
        lane: Lane,
        generation: int,
    ) -> None: ...


class _Placing(NamedTuple):
    """What one row of the input becomes: a record of a batch group, a call of a lane, or a refusal."""

    row: dict[str, Any]
    group: int | None
    ordinal: int | None
    calling_lane: str | None
    refused: Mapping[str, str] | None
    canary: str | None = None  # its shape, if it is one


class _Sorter:
    """Reads blocks under a plan and says of each row where it goes: the same for every item that looks at it."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._groups = plan["groups"]
        self._classes = Classes.from_json(plan)
        keys = [entry.key for entry in self._classes]
        self._only = keys[0] if len(keys) == 1 else None  # then no row has to be asked for its class
        self._plans = {
            entry.key: document["plan"] for entry, document in zip(self._classes, plan["classes"], strict=True)
        }
        self._leftover = [
            [(piece["first"], piece["first"] + piece["records"]) for piece in group["leftover"]]
            for group in self._groups
        ]

    def sort(self, block: str, rows: Iterable[dict[str, Any]]) -> Iterator[_Placing]:
        """The rows of a block, in order."""
        first: dict[Any, int] = {}
        next_ordinal = {g: group["offsets"].get(block, 0) for g, group in enumerate(self._groups)}
        for row in rows:
            key = self._only or self._classes.of_row(row).key
            decided = self._plans[key]
            group = decided["group"]
            if group is None:
                yield _Placing(row, None, None, decided["calling_lane"], decided["refused"])
                continue
            ordinal = next_ordinal[group]
            next_ordinal[group] += 1
            canary = decided["canary"]
            if canary is not None and canary["block"] == block and first.get(key, 0) < CANARIES:
                first[key] = first.get(key, 0) + 1
                yield _Placing(row, None, None, decided["calling_lane"], None, canary["shape"])
                continue
            if any(start <= ordinal < end for start, end in self._leftover[group]):
                yield _Placing(row, None, None, decided["calling_lane"], decided["refused"])
            else:
                yield _Placing(row, group, ordinal, None, None)


class Place:
    """Placing an item again gives the same shard and the same packs, and counts neither twice."""

    def __init__(
        self,
        *,
        documents: Documents,
        runs: RunsPort,
        stage: Stage,
        settle: Settle,
        clock: Clock,
        pool: PoolOfRun,
        ask_canaries: Callable[..., None] | None = None,
    ) -> None:
        """`pool` takes records into a pool as a unit of their run (usecases.remainders); `ask_canaries` notes which
        jobs prove a shape (adapters.ledger.canaries)."""
        self._ask = ask_canaries
        self._pool = pool
        self._documents = documents
        self._runs = runs
        self._stage = stage
        self._settle = settle
        self._clock = clock

    def __call__(self, run_id: str, item: Mapping[str, Any]) -> int:
        """Places `item` of the run's plan; gives how many units the run waits for more. Raises LookupError for an
        unknown run.
        """
        meta = self._runs.get(run_id)
        if meta is None:
            raise LookupError(f"no run {run_id}")
        plan = self._documents.get_json(names.run_key(run_id, "plan.json"))
        placing = _ItemOfRun(self._documents, meta, plan, item)
        if item["kind"] == "shard":
            self._shard(placing)
            return 1
        if item["kind"] == "pool":
            group = plan["groups"][item["group"]]
            records = list(placing.records(item["group"], item["first"], item["first"] + item["records"]))
            self._pool(
                records,
                run_id=run_id,
                profile=group["profile"],
                version=meta["profiles_version"],
                lane=Lane(group["rescue_lane"]),
                generation=FIRST_GENERATION,
            )
            return 1
        return self._packs(placing)

    def _shard(self, placing: "_ItemOfRun") -> None:
        item, meta = placing.item, placing.meta
        group = placing.plan["groups"][item["group"]]
        routes = [Route(**route) for route in group["routes"]]
        here = next(route for route in routes if route.region == item["region"])
        self._stage.shard(
            owner_kind="run",
            owner=meta["run_id"],
            profile=group["profile"],
            home_region=group["home_region"],
            records=placing.records(item["group"], item["first"], item["first"] + item["records"]),
            region=here.region,
            model_id=here.model_id,
            base_model=here.base_model,
            kind=here.kind,
            deadline_at=parse_iso(group["deadline_at"]),
            guard_at=parse_iso(group["guard_at"]),
            generation=FIRST_GENERATION,
            profiles_version=meta["profiles_version"],
            rescue_lane=Lane(group["rescue_lane"]),
            alternatives=[route for route in routes if route != here],
            canaries=group.get("canaries", ()),
            entering=self._waits_for_shard(meta["run_id"], item["records"]),
            quotas=group.get("quotas", ()),
        )

    def _waits_for_shard(self, run_id: str, records: int) -> Callable[[str], None]:
        """The run waits for a shard before the tick can know of it, so that it cannot settle unnoticed."""

        def enter(shard: str) -> None:
            self._runs.register(run_id, [Unit(shard, "shard", None, Lane.BATCH.value, None, jobs=records)])

        return enter

    def _packs(self, placing: "_ItemOfRun") -> int:
        units: list[Unit] = []
        for block, first_line, placed in placing.blocks():
            by_lane: dict[tuple[str, str], list[Job]] = {}
            refusals = []
            for row in placed:
                if row.group is not None:
                    continue
                job = job_of_row(row.row, placing.meta, block)
                if row.refused is not None or row.calling_lane is None:
                    refusals.append(self._refusal(job, row.refused or {}))
                else:
                    by_lane.setdefault((row.calling_lane, row.canary or ""), []).append(job)
            if refusals:
                self._put_refusals(placing.meta["run_id"], block, refusals)
            for (lane, shape), jobs in by_lane.items():
                run_id = placing.meta["run_id"]
                units += packs_of(run_id, block, lane, jobs, first_line=first_line, generation=FIRST_GENERATION)
                if shape and self._ask is not None:
                    self._ask(shape, run=run_id, block=block, unit=units[-1].id, lines=[job.line for job in jobs])
        self._settle.release(placing.meta["run_id"], units)
        return len(units)

    def _refusal(self, job: Job, why: Mapping[str, str]) -> dict[str, Any]:
        return result.failed(job, code=why["code"], message=why["message"], finished_at=self._clock.now())

    def _put_refusals(self, run_id: str, block: str, rows: Sequence[dict[str, Any]]) -> None:
        body = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        self._documents.put(names.part_key(run_id, block, "refused", 1), body, content_type="application/x-ndjson")


class _ItemOfRun:
    """The blocks of one item, read one at a time."""

    def __init__(
        self, documents: Documents, meta: Mapping[str, Any], plan: Mapping[str, Any], item: Mapping[str, Any]
    ) -> None:
        self._documents = documents
        self._sorter = _Sorter(plan)
        self.meta, self.plan, self.item = dict(meta), plan, item
        self._deadline = parse_iso(meta["deadline_at"])

    def blocks(self) -> Iterator[tuple[str, int, Iterator[_Placing]]]:
        """(block, its first line, its rows as they are placed)."""
        first, last = self.item["blocks"]
        for block in self.plan["blocks"]:
            if first <= block["block"] <= last and block["accepted"]:
                key = names.input_key(self.meta["run_id"], block["block"])
                rows = map(orjson.loads, self._documents.get(key).splitlines())  # one at a time: parsed rows are large
                yield block["block"], block["first_line"], self._sorter.sort(block["block"], rows)

    def records(self, group: int, start: int, end: int) -> Iterator[StageRecord]:
        """The records `start` … `end` − 1 of a batch group, in order."""
        for block, first_line, placed in self.blocks():
            for row in placed:
                if row.group == group and row.ordinal is not None and start <= row.ordinal < end:
                    yield self._record(block, first_line, row.row)

    def _record(self, block: str, first_line: int, row: dict[str, Any]) -> StageRecord:
        return StageRecord(
            run=self.meta["run_id"],
            block=block,
            line=row["line"],
            id=row["id"],
            job=input_row.job_id(self.meta["run_id"], row),
            request=input_row.request_of(row),
            first_line=first_line,
            deadline_at=parse_iso(row["deadline"]) if row.get("deadline") else self._deadline,
            tags=row.get("tags"),
        )
