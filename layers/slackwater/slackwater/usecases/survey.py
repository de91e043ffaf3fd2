"""Survey: every line of a dropped file checked, the good ones cut into blocks, the bad ones refused by line; at flat memory.

Nothing is decided here but what is a job. The document that a survey returns (`survey.json`) counts jobs by class, so that a plan
never needs to read them. Surveying the same object again writes the same blocks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final, Protocol, Self

import orjson

from slackwater.model import deadline, result
from slackwater.model.checks import fail
from slackwater.model.clock import iso
from slackwater.model.dialects import RECOGNISE_FROM, Dialect, recognise
from slackwater.model.dialects.row import Row
from slackwater.model.errors import BadInput
from slackwater.model.ids import block_name
from slackwater.model.input_row import default_id
from slackwater.model.lines import MAX_LINE_BYTES, TooLong, batches
from slackwater.policy import tokens
from slackwater.policy.blocks import Cutter
from slackwater.policy.classes import Classes, Load
from slackwater.policy.seen_ids import SeenIds
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.overlap import Overlap

VERSION: Final = 1
EMPTY_INPUT: Final = "empty_input"
NOT_JSONL: Final = "not_jsonl"
TOO_LARGE: Final = "too_large"
UNKNOWN_PROFILE: Final = "unknown_profile"
BAD_OPTION: Final = "bad_option"

REFUSED: Final = "refused"
DUPLICATE_ID: Final = "duplicate_id"

RECORD_BYTES: Final = 16
"""A batch record's frame is at most so much longer than an input row's."""
RECOGNISE_BYTES: Final = 8 * 1024 * 1024
"""So much is held back at most until the dialect is known."""
MAX_CACHED_DEADLINES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be; beyond, it is refused as a whole."""

    file_bytes: int = 5_000_000_000
    lines: int = 2_000_000
    line_bytes: int = MAX_LINE_BYTES


class BlockSink(Protocol):
    """Where blocks go. Called from several threads; writing the same again must be harmless."""

    def put_input(self, block: str, rows: bytes) -> None: ...
    def put_refused(self, block: str, rows: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Block:
    """A contiguous piece of the input, blank lines included in its numbers, not in its counts; `bytes` of input."""

    block: str
    first_line: int
    last_line: int
    accepted: int
    refused: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """`reason` says why nothing will run (else None), `remedy` what to do about it."""

    run_id: str
    dialect: str | None
    lines: int
    accepted: int
    refused_lines: int
    bytes: int
    warnings: tuple[str, ...]
    reason: str | None
    remedy: str | None
    blocks: tuple[Block, ...]
    classes: Classes

    def to_json(self) -> dict[str, Any]:
        """The document `survey.json`."""
        document: dict[str, Any] = {"v": VERSION}
        for name in ("run_id", "dialect", "lines", "accepted", "refused_lines", "bytes", "warnings", "reason", "remedy"):
            document[name] = getattr(self, name)
        document["blocks"] = [asdict(block) for block in self.blocks]
        return document | self.classes.to_json()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote."""
        plain = {name: document[name] for name in cls.__slots__ if name not in ("warnings", "blocks", "classes")}
        return cls(
            **plain,
            warnings=tuple(document["warnings"]),
            blocks=tuple(Block(**block) for block in document["blocks"]),
            classes=Classes.from_json(document),
        )


def refuse_file(
    run_id: str, reason: str, remedy: str, *, profile: str = "", size_bytes: int = 0, warnings: tuple[str, ...] = ()
) -> Survey:
    """The survey of a file that is refused as a whole: nothing of it runs."""
    return Survey(run_id, None, 0, 0, 0, size_bytes, warnings, reason, remedy, (), Classes(profile))


def survey(
    chunks: Iterable[bytes],
    sink: BlockSink,
    *,
    run_id: str,
    options: FileOptions,
    profiles: Mapping[str, int],
    size_bytes: int,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> Survey:
    """Reads the file once and writes its blocks and refused lines to `sink`.

    `profiles`: the names a line may go by, each with the output tokens to reckon with where a request sets no limit. `size_bytes`: the
    object's size, looked at before anything is read. Raises what `chunks` and `sink` raise; nothing for what the file may hold.
    """
    if size_bytes > limits.file_bytes:
        return _too_large(run_id, options, size_bytes, limits)
    if options.profile not in profiles:
        known = ", ".join(sorted(profiles))
        remedy = f"there is no such profile: put the file under inbox/<profile>/, where profile is one of {known}"
        return refuse_file(run_id, UNKNOWN_PROFILE, remedy, profile=options.profile, size_bytes=size_bytes)
    with Overlap() as writes:
        surveyor = _Surveyor(writes, sink, run_id, options, profiles, size_bytes, now)
        for batch in batches(chunks, limits.line_bytes):
            surveyor.take(batch)
            if surveyor.lines > limits.lines:
                return _too_large(run_id, options, size_bytes, limits)
        return surveyor.finish()


def _too_large(run_id: str, options: FileOptions, size_bytes: int, limits: Limits) -> Survey:
    remedy = f"split the file: at most {limits.file_bytes:,} bytes and {limits.lines:,} lines"
    return refuse_file(run_id, TOO_LARGE, remedy, profile=options.profile, size_bytes=size_bytes)


class _Surveyor:
    """The state of one survey. One instance, one file."""

    def __init__(
        self,
        writes: Overlap,
        sink: BlockSink,
        run_id: str,
        options: FileOptions,
        profiles: Mapping[str, int],
        size_bytes: int,
        now: datetime,
    ) -> None:
        self._writes = writes
        self._sink = sink
        self._run_id = run_id
        self._options = options
        self._profiles = profiles
        self._size_bytes = size_bytes
        self._now = now
        self._dialect: Dialect | None = None
        self._held: list[tuple[int, bytes | TooLong]] = []  # lines whose dialect is not known yet
        self._held_bytes = 0
        self._held_objects: list[dict[str, Any]] = []
        self._number = 0  # of the last line taken
        self._seen: SeenIds | None = None
        self._cutter = Cutter()
        self._blocks: list[Block] = []
        self._open_block()
        self._classes = Classes(options.profile)
        self._loads: dict[frozenset[str], Load] = {}  # of this block, for lines that name nothing but a request
        self._deadlines: dict[str, datetime] = {}
        self._other_models = 0
        self._first_other_model = 0
        self.lines = 0
        self._bytes = 0

    # ------------------------------------------------------------------ lines

    def take(self, batch: list[bytes | TooLong]) -> None:
        """The next lines, in order."""
        if self._seen is None:
            taken = sum(map(len, batch)) + len(batch)
            self._seen = SeenIds(min(2_000_000, len(batch) * self._size_bytes // taken))
        number = self._number
        self._number += len(batch)
        if self._dialect is not None:
            for raw in batch:
                number += 1
                self._line(number, raw)
            return
        for raw in batch:
            number += 1
            if self._dialect is not None:
                self._line(number, raw)
            else:
                self._hold(number, raw)

    def _hold(self, number: int, raw: bytes | TooLong) -> None:
        self._held.append((number, raw))
        self._held_bytes += len(raw) + 1
        found = _object(raw)
        if found is not None:
            self._held_objects.append(found)
        if len(self._held_objects) >= RECOGNISE_FROM or self._held_bytes >= RECOGNISE_BYTES:
            self._release()

    def _release(self) -> None:
        if self._held_objects:
            self._dialect = recognise(self._held_objects)
        held, self._held, self._held_bytes, self._held_objects = self._held, [], 0, []
        for number, raw in held:
            self._line(number, raw)

    def _line(self, number: int, raw: bytes | TooLong) -> None:
        try:
            found = orjson.loads(raw)  # type: ignore[arg-type]  # a TooLong is refused like a broken line
        except orjson.JSONDecodeError:
            found = None
            if type(raw) is bytes and not raw.strip():
                return
        size = len(raw) + 1
        if self._cutter.starts_block(number, size):
            self._close_block()
            self._first_line = number
        self._last_line = number
        self._block_bytes += size
        self.lines += 1
        if type(found) is not dict or self._dialect is None:
            self._refuse(number, None, BadInput(_what_is_wrong(raw)))
            return
        caller_id = self._dialect.caller_id(found)
        try:
            self._accept(number, self._dialect.read(found))
        except BadInput as exc:
            self._refuse(number, caller_id, exc)

    def _accept(self, number: int, row: Row) -> None:
        id_, request, traits, model, profile, deadline_text, lane, tags = row
        if id_ is None:
            id_ = default_id(number)
        line: dict[str, Any] = {"line": number, "id": id_, "request": request}
        special = row[3:] != _NOTHING_SPECIAL or self._options.lane is not None
        if special:
            self._put_special(line, number, row)
        first_line = self._seen.first_line(id_, number)  # type: ignore[union-attr]  # made by the first `take`
        if first_line is not None:
            self._refuse_repeated(number, id_, first_line)
            return
        raw = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        self._rows.append(raw)
        load = None if special else self._loads.get(traits)
        if load is None:
            load = self._load(line, traits, special)
        load.jobs += 1
        load.bytes += len(raw) + RECORD_BYTES
        load.input_tokens += tokens.input_tokens(request)
        load.max_output_tokens += tokens.max_output_tokens(request, self._profiles[line.get("profile", self._options.profile)])

    def _put_special(self, line: dict[str, Any], number: int, row: Row) -> None:
        """What a line says beyond its request. Raises BadInput."""
        profile = row.profile
        if profile is not None and profile not in self._profiles:
            fail(f"there is no such profile: name one of {', '.join(sorted(self._profiles))}", "/profile")
        if row.deadline is not None:
            line["deadline"] = iso(self._resolved(row.deadline))
        if row.model is not None:
            if row.model in self._profiles:
                profile = row.model
            else:
                self._other_models += 1
                self._first_other_model = self._first_other_model or number
        if profile is not None and profile != self._options.profile:
            line["profile"] = profile
        lane = row.lane or self._options.lane
        if lane is not None:
            line["lane"] = lane
        if row.tags:
            line["tags"] = row.tags

    def _resolved(self, text: str) -> datetime:
        moment = self._deadlines.get(text)
        if moment is None:
            try:
                moment = deadline.resolve(text, self._options.sent_at)
            except BadInput as exc:
                raise BadInput(exc.message, "/deadline") from None
            if len(self._deadlines) >= MAX_CACHED_DEADLINES:
                self._deadlines.clear()
            self._deadlines[text] = moment
        return moment

    # ------------------------------------------------------------------ classes and blocks

    def _load(self, line: Mapping[str, Any], traits: frozenset[str], special: bool) -> Load:
        text = line.get("deadline")
        moment = None if text is None else self._resolved_row(text)
        key = self._classes.key(line.get("profile"), moment, line.get("lane"), traits)
        load = self._classes.load(self._block, key, moment)
        if self._classes.coarsen():
            self._loads.clear()
            load = self._classes.load(self._block, self._classes.key(line.get("profile"), moment, line.get("lane"), traits), moment)
        if not special:
            self._loads[traits] = load
        return load

    def _open_block(self) -> None:
        self._block = block_name(len(self._blocks))
        self._rows: list[bytes] = []
        self._refused: list[bytes] = []
        self._first_line = self._last_line = 0
        self._block_bytes = 0
        self._loads = {}

    def _close_block(self) -> None:
        if not self._first_line:
            return
        name = self._block
        if self._rows:
            rows = b"".join(self._rows)
            self._writes.submit(len(rows), self._sink.put_input, name, rows)
        if self._refused:
            rows = b"".join(self._refused)
            self._writes.submit(len(rows), self._sink.put_refused, name, rows)
        self._blocks.append(
            Block(name, self._first_line, self._last_line, len(self._rows), len(self._refused), self._block_bytes)
        )
        self._bytes += self._block_bytes
        self._open_block()

    # ------------------------------------------------------------------ refusals

    def _refuse(self, number: int, caller_id: str | None, why: BadInput, code: str = REFUSED, **more: Any) -> None:
        row = result.refused(
            self._run_id,
            number,
            caller_id,
            code=code,
            message=why.message,
            pointer=why.pointer or None,
            at=self._now,
            **more,
        )
        self._refused.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def _refuse_repeated(self, number: int, id_: str, first_line: int) -> None:
        why = BadInput(f"line {first_line} has this id already: ids are unique in a file")
        self._refuse(number, id_, why, DUPLICATE_ID, first_line=first_line)

    # ------------------------------------------------------------------ the end

    def finish(self) -> Survey:
        """The last block, and the document."""
        self._release()
        self._close_block()
        reason, remedy = self._verdict()
        accepted = sum(block.accepted for block in self._blocks)
        return Survey(
            run_id=self._run_id,
            dialect=None if self._dialect is None else self._dialect.name,
            lines=self.lines,
            accepted=accepted,
            refused_lines=self.lines - accepted,
            bytes=self._size_bytes,
            warnings=self._options.warnings + self._own_warnings(),
            reason=reason,
            remedy=remedy,
            blocks=tuple(self._blocks),
            classes=self._classes,
        )

    def _verdict(self) -> tuple[str | None, str | None]:
        if not self.lines:
            return EMPTY_INPUT, "the file has no line: put one JSON object on each"
        if self._dialect is None:
            return NOT_JSONL, "no line of the file is a JSON object: put one on each line (JSON Lines, UTF-8)"
        return None, None

    def _own_warnings(self) -> tuple[str, ...]:
        if not self._other_models:
            return ()
        return (
            f"{self._other_models} lines name a model that is no profile of this stack (the first is line "
            f"{self._first_other_model}): the profile `{self._options.profile}` decided instead",
        )


_NOTHING_SPECIAL: Final = (None, None, None, None, None)


def _object(raw: bytes | TooLong) -> dict[str, Any] | None:
    try:
        found = orjson.loads(raw)  # type: ignore[arg-type]
    except orjson.JSONDecodeError:
        return None
    return found if type(found) is dict else None


def _what_is_wrong(raw: bytes | TooLong) -> str:
    if isinstance(raw, TooLong):
        return f"the line has {len(raw):,} bytes: at most {MAX_LINE_BYTES:,}"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "the line is not valid UTF-8"
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "the line is no valid JSON"
    return "the line is JSON, but no object"
