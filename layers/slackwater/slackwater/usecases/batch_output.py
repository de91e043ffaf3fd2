"""What a batch job left behind, joined on `recordId` with what was sent: at flat memory, and counted, not believed."""

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, Final, NamedTuple

import orjson

from slackwater.model import ids, result
from slackwater.model.clock import parse_iso
from slackwater.model.job import Job, Lane
from slackwater.model.native import NativeBody, Request, RequestType
from slackwater.model.native_usage import usage_of
from slackwater.model.shard import Shard
from slackwater.model.usage import Usage, UsageError
from slackwater.policy.prices import PriceBook, Rates, cost_pico
from slackwater.policy.rescue import RowVerdict, row_verdict
from slackwater.usecases.cancelled import CANCELLED, MESSAGE, never

IN_MEMORY_BYTES: Final = 16 * 1024 * 1024
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Group = tuple[str, str]
"""Run and block: what one part is for."""


class Member(NamedTuple):
    """One record of a shard, as the index has it. There are up to 100,000: a tuple is made three times as fast as a
    frozen dataclass."""

    group: Group
    line: int
    first_line: int
    id: str
    job: str
    deadline: datetime
    tags: dict[str, str] | None
    unit: str | None = None  # of its file run, if it came to the shard by a pool

    @property
    def position(self) -> int:
        """Its place in its block."""
        return self.line - self.first_line

    def as_job(self, profile: str, request_type: RequestType = RequestType.CONVERSE) -> Job:
        """The job for a result line; its request stays in the shard's file, here it has its type only."""
        run, block = self.group
        request: Request = NativeBody({}) if request_type is RequestType.INVOKE_MODEL else {}
        return Job(run, block, self.line, self.id, self.job, profile, self.deadline, request, None, self.tags)


def members_of(index: Iterable[Mapping[str, Any]], shard: Shard) -> list[Member]:
    """The records of a shard by ordinal. Raises ValueError where the index is not the shard's."""
    groups: dict[Group, Group] = {}
    members: list[Member] = []
    for row in index:
        if row["r"] != len(members):
            raise ValueError(f"shard {shard.id}: the index is out of order at {len(members)}")
        group = (row["run"], row["block"])
        members.append(
            Member(
                groups.setdefault(group, group),
                row["line"],
                row["first"],
                row["id"],
                row["job"],
                parse_iso(row["deadline"]) if "deadline" in row else shard.deadline_at,
                row.get("tags"),
                row.get("unit"),
            )
        )
    if len(members) != shard.records:
        raise ValueError(f"shard {shard.id}: {len(members)} records in the index, {shard.records} in the ledger")
    return members


@dataclass(slots=True)
class Counts:
    """Lines of the output, counted by us. `seen` counts records, the others lines."""

    lines: int = 0
    seen: int = 0
    succeeded: int = 0
    failed: int = 0
    unanswered: int = 0
    doubled: int = 0
    foreign: int = 0
    unreadable: int = 0

    def as_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in Counts.__dataclass_fields__}


@dataclass(slots=True)
class RowTokens:
    """Tokens of the answers that became rows: what the job's manifest should count, too. `unknown_usage` are answers
    that do not say."""

    row_input_tokens: int = 0
    row_output_tokens: int = 0
    unknown_usage: int = 0

    def add(self, usage: Usage | None) -> None:
        if usage is None:
            self.unknown_usage += 1
        else:
            self.row_input_tokens += usage.prompt_tokens
            self.row_output_tokens += usage.output_tokens

    def beside(self, manifest: Mapping[str, Any] | None) -> dict[str, int]:
        """These sums and the manifest's (`inputTokenCount`, `outputTokenCount`), as far as it has them
        (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html)."""
        sums = {name: getattr(self, name) for name in RowTokens.__dataclass_fields__}
        found = manifest or {}
        counts = found.get("inputTokenCount"), found.get("outputTokenCount")
        if all(type(count) is int for count in counts):
            sums["manifest_input_tokens"], sums["manifest_output_tokens"] = counts
        return sums


@dataclass(slots=True)
class Missing:
    """Ordinals without a final row: those that any lane may try, and those on which batch would fail alike."""

    retry: list[int] = field(default_factory=list)
    other_lane: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """The rows of one part: the newest ones, and where older ones lie in the file."""

    newest: bytearray = field(default_factory=bytearray)
    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))


class Rows:
    """Finished result lines of a shard, given back part by part. What is too much for memory goes to a temporary file,
    all parts at once, so that each has a few long pieces there: to read a hundred thousand short ones takes longer
    than all else."""

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self._in_memory_bytes = in_memory_bytes
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._parts: dict[Group, _Part] = {}
        self._held_bytes = 0
        self._written_bytes = 0

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, group: Group, row: Mapping[str, Any]) -> None:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        part = self._parts.get(group)
        if part is None:
            part = self._parts[group] = _Part()
        part.newest += line
        self._held_bytes += len(line)
        if self._held_bytes >= self._in_memory_bytes:
            self._put_away()

    def parts(self) -> Iterator[tuple[Group, bytes]]:
        """The lines of each part, in the order in which they came; the parts by run and block."""
        self._file.flush()
        for group in sorted(self._parts):
            part = self._parts[group]
            older = (os.pread(self._file.fileno(), *where) for where in zip(part.sizes, part.starts, strict=True))
            yield group, b"".join([*older, part.newest])

    def _put_away(self) -> None:
        for part in self._parts.values():
            if part.newest:
                self._file.write(part.newest)
                part.starts.append(self._written_bytes)
                part.sizes.append(len(part.newest))
                self._written_bytes += len(part.newest)
                part.newest.clear()
        self._held_bytes = 0


class Join:
    """Takes output lines in any order, and what never came."""

    def __init__(
        self, shard: Shard, members: list[Member], prices: PriceBook, rows: Rows, *, finished_at: datetime
    ) -> None:
        self._shard = shard
        self._members = members
        self._prices = prices
        self._rows = rows
        self._finished_at = finished_at
        self._native = shard.request_type is RequestType.INVOKE_MODEL
        self._alike = result.Alike(self._some_line())
        self._rates: dict[int, tuple[Rates | None, Rates | None]] = {}  # by the bracket of a prompt's length
        self._long_prices = prices.has_long_context_prices(shard.base_model)
        self._answered = bytearray(len(members))
        self._errors: dict[int, str] = {}  # ordinal → code, until an answer of the same record turns up
        self.counts = Counts()
        self.tokens = RowTokens()

    def take(self, line: bytes) -> None:
        """One line of an output file; of several answers for a record the first stands."""
        self.counts.lines += 1
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            self.counts.unreadable += 1
            return
        ordinal = ids.ordinal_of_record(found.get("recordId")) if isinstance(found, dict) else None
        if ordinal is None or ordinal >= len(self._members):
            self.counts.foreign += 1
            return
        again = self._answered[ordinal] or ordinal in self._errors
        output, error = found.get("modelOutput"), found.get("error")
        if again:
            self.counts.doubled += 1
        if self._answered[ordinal]:
            return
        if isinstance(output, dict) and not error and self._is_answer(output):
            self._errors.pop(ordinal, None)
            self._answer(ordinal, output)
        elif isinstance(error, dict):
            self._errors.setdefault(ordinal, _code(error.get("errorCode")))
        else:  # neither an answer nor an error: as good as not there
            self.counts.unreadable += 1

    def _is_answer(self, output: dict[str, Any]) -> bool:
        """A native answer has another shape in every family: any object that is not empty is one."""
        if self._native:
            return bool(output)
        return isinstance(output.get("output"), dict)

    def _usage(self, output: dict[str, Any]) -> Usage | None:
        if self._native:
            return usage_of(output)
        try:
            return Usage.from_converse(output.get("usage"))
        except (UsageError, AttributeError):  # impossible counts are unknown counts
            return None

    def _some_line(self) -> dict[str, Any]:
        """What the lines of all answers have in common."""
        shard = self._shard
        nobody = Member(("", ""), 0, 0, "", "", shard.deadline_at, None)
        return result.succeeded(
            nobody.as_job(shard.profile, shard.request_type),
            lane=Lane.BATCH,
            route=shard.route,
            tier="default",
            response={},
            usage=None,
            cost_pico=None,
            list_pico=None,
            price_version=self._prices.version,
            attempts=shard.generation,
            latency_ms=None,
            finished_at=self._finished_at,
        )

    def _rates_of(self, prompt_tokens: int) -> tuple[Rates | None, Rates | None]:
        """What a token costs in this job, and on demand at home."""
        prices, model = self._prices, self._shard.base_model
        bracket = prices.length_bracket(model, prompt_tokens) if self._long_prices else 0
        found = self._rates.get(bracket)
        if found is None:
            place = self._shard.region, self._shard.kind, "batch", None
            paid = prices.rates(model, *place, input_tokens=prompt_tokens)
            home = self._shard.home_region, "regional", "on_demand", "default"
            found = self._rates[bracket] = paid, prices.rates(model, *home, input_tokens=prompt_tokens)
        return found

    def _answer(self, ordinal: int, output: dict[str, Any]) -> None:
        group, line, _, id_, job, _, tags, _ = self._members[ordinal]
        usage = self._usage(output)
        paid, listed = (None, None) if usage is None else self._rates_of(usage.prompt_tokens)
        money = cost_pico(paid, usage), cost_pico(listed, usage)
        self._rows.add(group, self._alike.line(id_, job, group[0], line, output, usage, *money, tags))
        self.tokens.add(usage)
        self._answered[ordinal] = 1
        self.counts.succeeded += 1

    def finish(self, now: datetime, cancelled: Callable[[str], bool] = never) -> "Missing":
        """Fails what no retry will help, what is past its deadline and what belongs to a cancelled run; the rest is
        still to be answered."""
        self.counts.seen = self.counts.succeeded + len(self._errors)
        missing = Missing()
        for ordinal, member in enumerate(self._members):
            if self._answered[ordinal]:
                continue
            code = self._errors.get(ordinal)
            verdict = RowVerdict.RETRY if code is None else row_verdict(code)
            if verdict is RowVerdict.FINAL:
                self._fail(member, f"batch_{code}", "the model refused this request in a batch job", self._finished_at)
            elif cancelled(member.group[0]):
                self._fail(member, CANCELLED, MESSAGE, now)
            elif now >= member.deadline:
                self._fail(member, "deadline_missed", "no answer came before the deadline", now)
            else:
                self.counts.unanswered += code is None
                (missing.retry if verdict is RowVerdict.RETRY else missing.other_lane).append(ordinal)
        return missing

    def _fail(self, member: Member, code: str, message: str, at: datetime) -> None:
        self.counts.failed += 1
        shard = self._shard
        self._rows.add(
            member.group,
            result.failed(
                member.as_job(self._shard.profile),
                code=code,
                message=message,
                finished_at=at,
                lane=Lane.BATCH,
                route=shard.route,
                attempts=shard.generation,
            ),
        )


def _code(value: Any) -> str:
    """The provider's code, if it is one: never its text."""
    text = str(value)
    return text if not isinstance(value, bool | None) and _CODE.fullmatch(text) else "unknown"
