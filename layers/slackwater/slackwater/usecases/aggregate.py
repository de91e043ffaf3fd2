"""All parts of a run, in order, once each: one results file, the errors again, and the receipt."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final, NamedTuple, Protocol, cast

import orjson

from slackwater.model import input_row, names, result
from slackwater.model.clock import Clock, iso
from slackwater.model.dialects import bedrock_output
from slackwater.model.dialects.answers import Translate, translated
from slackwater.model.dialects.outputs import FROM_THE_LINE
from slackwater.model.errors import Missing
from slackwater.model.job import Job, Lane
from slackwater.model.receipt import Tally, receipt
from slackwater.model.run import RunKind, is_cancelled, throttles_of
from slackwater.model.timeline import Timeline
from slackwater.model.words import counted
from slackwater.policy.capability import Capability
from slackwater.policy.classes import reckoned
from slackwater.policy.counterfactuals import Account
from slackwater.policy.infrastructure import Counts, estimate_pico
from slackwater.policy.prices import PriceBook
from slackwater.policy.summing import Brief, Summing, brief_of
from slackwater.usecases.accounting import Accounted, Accounting, Pinned, ShardsPort
from slackwater.usecases.canaries import NOTED as CANARY_NOTED
from slackwater.usecases.ports import ByteSink, Documents
from slackwater.usecases.remainders import NOTED as REMAINDER_NOTED
from slackwater.usecases.run_report import NAME, shards_of

MAX_CHOICES: Final = 20  # classes of a plan that a receipt tells of; plan.json has all
AHEAD: Final = 4  # blocks that are fetched while one is written


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def blocks(self, run_id: str) -> Iterator[dict[str, Any]]: ...
    def units(self, run_id: str) -> Iterator[dict[str, Any]]: ...


class ReportPort(Protocol):
    """Makes the page beside the receipt; a warning if it could not (usecases.run_report)."""

    def try_put(
        self, meta: Mapping[str, Any], receipt: Mapping[str, Any], timeline: Timeline, shards: Iterable[str]
    ) -> str | None: ...


class Row(NamedTuple):
    """A stored row: `raw` is its line as written, so that a winner is copied, not made anew. `key`: of its part;
    `brief`: what the sums need of it, if that is all they need."""

    line: int
    key: str
    raw: bytes
    status: str
    brief: Brief | None

    @property
    def value(self) -> dict[str, Any]:
        """The row, parsed anew: a million parsed answers are too much to keep, even a block at a time."""
        return cast(dict[str, Any], orjson.loads(self.raw))

    @property
    def rank(self) -> tuple[bool, str, str]:
        """The least is the final one of its line."""
        return self.status != "succeeded", self.value["finished_at"], self.key


@dataclass(frozen=True)
class Expected:
    """What a block must hold: lines → `<job> <caller's id>`.

    None for a file run, whose input is read only if a line is missing.
    """

    block: str
    lines: Mapping[int, str] | None
    count: int


def final_rows(parts: Iterable[tuple[str, bytes]]) -> tuple[list[Row], int]:
    """The one row of each line, in order, and how many others there were.

    Of several results for a line the earliest `succeeded` wins (`finished_at`, then key); a success beats a failure.
    """
    best: dict[int, Row] = {}
    kinds: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    extras = 0
    for key, body in parts:
        for raw in body.splitlines():
            value = orjson.loads(raw)
            line = value["line"]
            row = tuple.__new__(Row, (line, key, raw, value["status"], brief_of(value, kinds)))  # what Row() does
            other = best.get(line)
            if other is not None:
                extras += 1
            if other is None or row.rank < other.rank:
                best[line] = row
    return [best[line] for line in sorted(best)], extras


def _result_dialect(meta: Mapping[str, Any], survey: Mapping[str, Any]) -> str | None:
    """The dialect of the further results file, None for none: ours is in `results.jsonl`, `input` is the input's."""
    asked = meta.get("result_dialect")
    dialect = survey.get("dialect") if asked == "input" else asked
    return None if dialect in (None, "slackwater") else str(dialect)


class _Inputs:
    """The requests of a file run by line, a block at a time: results come in order."""

    def __init__(self, documents: Documents, run_id: str) -> None:
        self._documents = documents
        self._run_id = run_id
        self._blocks = documents.keys(names.input_prefix(run_id))
        self._requests: dict[int, dict[str, Any]] = {}
        self._last_line = 0

    def of(self, result: Mapping[str, Any]) -> dict[str, Any] | None:
        """The request of a result line; None for a line that was refused."""
        line: int = result["line"]
        while line > self._last_line:
            key = next(self._blocks, None)
            if key is None:
                return None
            rows = [orjson.loads(raw) for raw in self._documents.get(key).splitlines()]
            self._requests = {row["line"]: row["request"] for row in rows}
            self._last_line = max(self._requests, default=self._last_line)
        return self._requests.get(line)


class Aggregate:
    """Reads block after block at flat memory; writes by streaming multipart uploads."""

    def __init__(
        self,
        *,
        documents: Documents,
        runs: RunsPort,
        shards: ShardsPort,
        profiles: Pinned,
        prices: PriceBook,
        capability: Capability,
        report: ReportPort,
        clock: Clock,
        calls_in_flight: int,
    ) -> None:
        """`calls_in_flight`: of one worker, which share the time that it waits."""
        self._documents = documents
        self._runs = runs
        self._clock = clock
        self._prices = prices
        self._accounting = Accounting(shards=shards, profiles=profiles, prices=prices, capability=capability)
        self._report = report
        self._calls_in_flight = calls_in_flight

    def __call__(self, run_id: str) -> dict[str, Any]:
        """Writes `results.jsonl errors.jsonl report.html` (and the result dialect's file), last `receipt.json`: its
        answer."""
        meta = self._runs.get(run_id)
        if meta is None:
            raise LookupError(f"no run {run_id}")
        survey = self._survey(run_id, meta)
        sums = Summing(Account(self._prices.length_bracket))
        parts = list(self._documents.keys(names.parts_prefix(run_id)))
        with ExitStack() as stack:
            outputs = self._outputs(run_id, _result_dialect(meta, survey), stack)
            for rows in self._blocks(run_id, parts, self._expected(run_id, meta, survey), sums.tally):
                sums.add_briefs(row.brief for row in rows if row.brief is not None)
                for row in rows:
                    if row.brief is None:
                        sums.add(row.value)
                for write in outputs:
                    write(rows)
        shards = shards_of(meta, parts, self._runs)
        document = self._receipt(meta, survey, sums.tally, self._accounting(meta, survey, sums.account, shards))
        warning = self._report.try_put(meta, document, sums.timeline, shards)
        document["report"] = NAME if warning is None else None
        if warning is not None:
            document["warnings"].append(warning)
        self._documents.put_json(names.run_key(run_id, "receipt.json"), document)
        return document

    def _survey(self, run_id: str, meta: Mapping[str, Any]) -> dict[str, Any]:
        if meta["kind"] == RunKind.QUEUE:
            return {}
        try:
            document: dict[str, Any] = self._documents.get_json(names.run_key(run_id, "survey.json"))
        except Missing:
            return {}
        return document

    def _outputs(self, run_id: str, dialect: str | None, stack: ExitStack) -> Sequence[Callable[[Sequence[Row]], None]]:
        def file(name: str) -> ByteSink:
            return stack.enter_context(self._documents.upload(names.run_key(run_id, name)))

        results, errors = file("results.jsonl"), file("errors.jsonl")

        def lines(rows: Sequence[Row]) -> None:
            if rows:
                results.write(b"\n".join([*(row.raw for row in rows), b""]))
            if failed := [row.raw for row in rows if row.status != "succeeded"]:
                errors.write(b"\n".join([*failed, b""]))

        if dialect is None:
            return (lines,)
        further, translate = file(f"results.{dialect}.jsonl"), self._translation(run_id, dialect)

        def said(rows: Sequence[Row]) -> None:
            for row in rows:
                further.write(orjson.dumps(translated(translate, row.value), option=orjson.OPT_APPEND_NEWLINE))

        return lines, said

    def _translation(self, run_id: str, dialect: str) -> Translate:
        if dialect != "bedrock":
            return FROM_THE_LINE[dialect]
        inputs = _Inputs(self._documents, run_id)
        return lambda result: bedrock_output.output_line(result, inputs.of(result))

    # ------------------------------------------------------------------ blocks

    def _expected(self, run_id: str, meta: Mapping[str, Any], survey: Mapping[str, Any]) -> dict[str, Expected]:
        if meta["kind"] == RunKind.FILE:
            return {
                b["block"]: Expected(b["block"], None, b["accepted"] + b["refused"]) for b in survey.get("blocks", ())
            }
        found: dict[str, dict[int, str]] = {}
        for item in self._runs.blocks(run_id):
            lines = found.setdefault(item["sk"].split("#")[1], {})
            lines.update({int(name[2:]): value for name, value in item.items() if name.startswith("j_")})
        return {block: Expected(block, lines, len(lines)) for block, lines in found.items()}

    def _blocks(
        self, run_id: str, parts: Sequence[str], expected: Mapping[str, Expected], tally: Tally
    ) -> Iterator[list[Row]]:
        keys = {block: list(group) for block, group in groupby(parts, names.block_of_part)}
        order = iter(sorted(expected.keys() | keys.keys()))
        with ThreadPoolExecutor(AHEAD * 2) as pool:

            def fetch(block: str) -> tuple[str, list[Any]]:
                return block, [(key, pool.submit(self._documents.get, key)) for key in keys.get(block, ())]

            ahead = [fetch(block) for block in islice(order, AHEAD)]
            while ahead:
                block, fetched = ahead.pop(0)
                ahead.extend(fetch(following) for following in islice(order, 1))
                rows, extras = final_rows((key, future.result()) for key, future in fetched)
                tally.extras += extras
                yield self._complete(run_id, expected.get(block), rows)

    def _complete(self, run_id: str, expected: Expected | None, rows: list[Row]) -> list[Row]:
        """Every expected line has its row: what no part holds fails as `lost`, which is never silent."""
        if expected is None or len(rows) == expected.count:
            return rows
        have = {row.line for row in rows}
        missing = [self._lost(job) for job in self._expected_jobs(run_id, expected) if job.line not in have]
        return sorted(rows + missing, key=lambda row: row.line)

    def _lost(self, job: Job) -> Row:
        value = result.failed(
            job,
            code="lost",
            message="no lane returned a result for this job: send it again, and tell us, since this should not happen",
            finished_at=self._clock.now(),
        )
        return Row(job.line, "", orjson.dumps(value), value["status"], None)

    def _expected_jobs(self, run_id: str, expected: Expected) -> Iterator[Job]:
        if expected.lines is not None:
            for line, claimed in expected.lines.items():
                job, _, caller_id = claimed.partition(" ")
                yield Job(run_id, expected.block, line, caller_id, job, "", self._clock.now(), request={})
            return
        for raw in self._documents.get(names.input_key(run_id, expected.block)).splitlines():
            row = orjson.loads(raw)
            yield self._job(run_id, expected.block, row["line"], row["id"])

    def _job(self, run_id: str, block: str, line: int, caller_id: str) -> Job:
        job = input_row.job_id(run_id, {"line": line, "id": caller_id})
        return Job(run_id, block, line, caller_id, job, "", self._clock.now(), request={})

    # ------------------------------------------------------------------ receipt

    def _receipt(
        self, meta: Mapping[str, Any], survey: Mapping[str, Any], tally: Tally, accounted: Accounted
    ) -> dict[str, Any]:
        run_id: str = meta["run_id"]
        reason = survey.get("reason") or meta.get("reason")
        plan = self._plan(run_id, meta)
        warnings = [*survey.get("warnings", ()), *meta.get("warnings", ()), *plan.get("warnings", ())]
        warnings += [
            f"{counted(records, 'record')} went by no batch job: the first calls of their shape were refused"
            for name, records in sorted(meta.items())
            if name.startswith(CANARY_NOTED)
        ]
        if survey.get("remedy"):
            warnings.insert(0, survey["remedy"])
        if tally.errors.get("lost"):
            warnings.append(f"{counted(tally.errors['lost'], 'job')} came back from no lane (error code lost)")
        warnings += tally.price_warnings()
        if meta.get("rerouted"):
            calls = counted(meta["rerouted"], "call")
            warnings.append(f"{calls} went by another route than the profile's mode prefers: it was full or resting")
        warnings += accounted.warnings
        return receipt(
            tally,
            run_id=run_id,
            status="failed" if reason else "cancelled" if is_cancelled(meta) else "settled",
            reason=reason,
            repeats=meta["repeats"],
            price_version=self._prices.version,
            infrastructure_pico=self._infrastructure_pico(meta, tally),
            warnings=list(dict.fromkeys(warnings)),
            started_at=meta["started_at"],
            finished_at=iso(self._clock.now()),
            deadline=meta.get("deadline_at"),
            profile=meta.get("profile"),
            name=meta.get("name"),
            dialect=survey.get("dialect"),
            late_results=meta.get("extras", 0),
            reckoned=reckoned(survey),
            throttles=throttles_of(meta),
            choices=choices_of(plan),
            remainders=[
                *plan.get("remainders", ()),
                *(decided for name, decided in sorted(meta.items()) if name.startswith(REMAINDER_NOTED)),
            ],
            **accounted.fields,
        )

    def _infrastructure_pico(self, meta: Mapping[str, Any], tally: Tally) -> int:
        jobs = {Lane(name): share.jobs for name, share in tally.lanes.items()}
        counts = Counts(
            called=jobs[Lane.ON_DEMAND] + jobs[Lane.FLEX],
            called_ms=tally.called_ms,
            batched=jobs[Lane.BATCH],
            queued=tally.lines if meta["kind"] == RunKind.QUEUE else 0,
            calls_in_flight=self._calls_in_flight,
        )
        return estimate_pico(counts)

    def _plan(self, run_id: str, meta: Mapping[str, Any]) -> Mapping[str, Any]:
        """The plan of a file run that got so far, else nothing."""
        if meta["kind"] == RunKind.QUEUE:
            return {}
        try:
            plan: Mapping[str, Any] = self._documents.get_json(names.run_key(run_id, "plan.json"))
        except Missing:
            return {}
        return plan


def choices_of(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Why jobs went where they went: the lane of each class, the largest first, with why it was taken and each other
    lane was not."""
    classes = sorted(plan.get("classes", ()), key=lambda entry: -entry["plan"]["jobs"])
    return [
        {
            "jobs": entry["plan"]["jobs"],
            "profile": entry["profile"],
            "traits": entry["traits"],
            "lane": entry["plan"]["lane"],
            "reasons": entry["plan"]["reasons"],
        }
        for entry in classes[:MAX_CHOICES]
    ]
