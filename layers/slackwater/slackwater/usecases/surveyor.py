"""The machine inside a survey: lines in, rows and refusals by block out. `usecases.survey` is its door."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from slackwater.model import deadline, result
from slackwater.model.checks import fail
from slackwater.model.clock import iso
from slackwater.model.dialects import RECOGNISE_FROM, Dialect, recognise
from slackwater.model.dialects.row import NO_LABEL, Label, Row, Usual
from slackwater.model.dialects.template import Template
from slackwater.model.errors import BadInput
from slackwater.model.ids import block_name
from slackwater.model.input_row import default_id, request_fields
from slackwater.model.job import Lane
from slackwater.model.lines import MAX_LINE_BYTES, TooLong
from slackwater.model.native import NativeBody, Request, plain
from slackwater.model.native import plain_outline as native_outline
from slackwater.model.request import CACHE, plain_outline
from slackwater.model.words import counted
from slackwater.policy.blocks import Cutter
from slackwater.policy.cache import Prefix, prefix_of
from slackwater.policy.classes import Classes, Load
from slackwater.policy.durations import CALLABLE_BY_ALL, length_traits
from slackwater.policy.seen_ids import SeenIds
from slackwater.policy.tokens import input_tokens, max_output_tokens, of_text
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.overlap import Overlap

REFUSED: Final = "refused"
DUPLICATE_ID: Final = "duplicate_id"

RECORD_BYTES: Final = 16
"""A batch record's frame is at most so much longer than an input row's."""
RECOGNISE_BYTES: Final = 8 * 1024 * 1024
"""So much is held back at most until the dialect is known."""
MAX_LABELS: Final = 10_000
MAX_LESSONS: Final = 20
ENOUGH_TO_JUDGE: Final = 100
WORTH_COMPARING: Final = 0.5
"""The share of lines that must equal the template for it to be kept."""
MAX_EXPECTED_IDS: Final = 2_000_000


LimitCheck = Callable[[int | None], None]
"""A profile's word on a request's `maxTokens` (None: not set). Raises BadInput without a pointer."""


class BlockSink(Protocol):
    """Where blocks go. Called from several threads; writing the same again must be harmless."""

    def put_input(self, block: str, rows: bytes) -> None: ...
    def put_refused(self, block: str, rows: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Block:
    """A contiguous piece of the input. Blank lines are in its numbers, not in its counts; `bytes` are of the input."""

    block: str
    first_line: int
    last_line: int
    accepted: int
    refused: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What follows from a label, and where such jobs count in the open block (by traits)."""

    fields: dict[str, Any]  # of the row
    profile: str
    deadline: datetime | None
    lane: Lane | None
    max_tokens: int
    other_model: bool
    check_limit: LimitCheck | None
    model: str
    loads: dict[frozenset[str], Load] = field(default_factory=dict)


class Surveyor:
    """The state of one survey: `take` all lines, then `finish`. One instance, one file."""

    def __init__(
        self,
        *,
        writes: Overlap,
        sink: BlockSink,
        run_id: str,
        options: FileOptions,
        profiles: Mapping[str, int],
        size_bytes: int,
        now: datetime,
        cutter: Cutter,
        bounds: Mapping[str, LimitCheck],
        models: Mapping[str, str],
        keep_rows: bool = True,
    ) -> None:
        """`keep_rows` False: rows are counted and dropped, only refusals go to the sink."""
        self._keep_rows = keep_rows
        self._writes, self._sink = writes, sink
        self._run_id, self._options, self._profiles = run_id, options, profiles
        self._bounds, self._models = bounds, models
        self._size_bytes = size_bytes
        self._now = now
        self.dialect: Dialect | None = None
        self.lines = 0  # not counting blank ones
        self.blocks: list[Block] = []
        self.classes = Classes(options.profile)
        self._held: list[bytes] = []  # lines whose dialect is not known yet
        self._held_bytes = 0
        self._held_objects: list[dict[str, Any]] = []
        self._number = 0  # of the last line taken
        self._seen = SeenIds()
        self._labels: dict[Label, _Said] = {}
        self._template: Template | None = None
        self._lessons = 0
        self._other_models = self._first_other_model = 0
        self._cutter = cutter
        # the open block; before the first line there is none, which its first line says
        self._block = ""
        self._first_line = self._last_line = 0
        self._block_bytes = self._accepted = self._refused = 0
        self._rows, self._refusals = bytearray(), bytearray()
        self._counting: list[_Said] = []  # labels that have loads of this block

    # ------------------------------------------------------------------ lines

    def take(self, batch: Sequence[bytes]) -> None:
        """The next lines, in order."""
        if self.dialect is not None:
            self._take(batch)
            return
        for raw in batch:  # until the dialect is known
            self._held.append(raw)
            self._held_bytes += len(raw)
            if len(self._held_objects) < RECOGNISE_FROM:
                found = _object(raw)
                if found is not None:
                    self._held_objects.append(found)
        if len(self._held_objects) == RECOGNISE_FROM or self._held_bytes >= RECOGNISE_BYTES:
            self._release()

    def finish(self) -> None:
        """Writes what is left."""
        self._release()
        self._close_block()

    def warnings(self) -> tuple[str, ...]:
        """What the receipt should say once."""
        if not self._other_models:
            return ()
        return (
            f"the model named in {counted(self._other_models, 'line')} (first in line {self._first_other_model}) is no "
            f"profile of this stack: the profile `{self._options.profile}` decided instead",
        )

    def _release(self) -> None:
        if self._held_objects:
            self.dialect = recognise(self._held_objects, self._options.request_type)
            average = self._held_bytes // len(self._held)
            self._seen = SeenIds(min(MAX_EXPECTED_IDS, self._size_bytes // max(1, average)))
        held, self._held, self._held_bytes, self._held_objects = self._held, [], 0, []
        self._take(held)

    def _take(self, batch: Sequence[bytes]) -> None:
        """Piece by piece: lines that surely lie in the open block go at once, one that may open a block goes by
        itself."""
        place = 0
        while place < len(batch):
            piece = batch[place : place + self._cutter.room]
            size = sum(map(len, piece))
            if piece and self._cutter.fits(len(piece), size, self._number + len(piece)):
                self._cutter.count(*self._check(piece, size))
                place += len(piece)
                continue
            raw = batch[place]
            place += 1
            if _is_blank(raw):
                self._number += 1
                continue
            if self._cutter.starts_block(self._number + 1, len(raw)):
                self._close_block()
                self._open_block(self._number + 1)
            self._check((raw,), len(raw))

    def _check(self, lines: Sequence[bytes], size: int) -> tuple[int, int]:  # noqa: C901
        """Lines of the open block, each to its rows or refusals; how many are not blank, and their bytes.

        This is where a survey spends its time, hence flat: most lines equal the template but for id and text.
        """
        loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
        first_line_of, rows, template, number = self._seen.first_line, self._rows, self._template, self._number
        keep = self._keep_rows
        blank = blank_bytes = same = row_bytes = text_bytes = 0
        unlike = b""
        for raw in lines:
            number += 1
            try:
                found = loads(raw)
            except orjson.JSONDecodeError:
                if _is_blank(raw):
                    blank += 1
                    blank_bytes += len(raw)
                else:
                    self._refuse(number, None, BadInput(_what_is_wrong(raw)))
                continue
            varied = None if template is None else template.match(found)
            if varied is None or template is None:
                if self._check_unlike(number, found):
                    unlike = raw
                continue
            id_, text = varied
            if id_ is None:
                id_ = default_id(number)
            first_line = first_line_of(id_, number)
            if first_line is not None:
                self._refuse_repeated(number, id_, first_line)
                continue
            row = template.row
            row["line"], row["id"] = number, id_
            template.written_text[template.written_field] = text
            written = dumps(row, option=newline)
            if keep:
                rows += written
            row_bytes += len(written)
            same += 1
            text_bytes += len(text) if text.isascii() else len(text.encode())
        if same and template is not None:
            self._count_same(template, same, row_bytes, text_bytes)
        if unlike:
            self._learn(unlike, len(lines), same)
        self._number = number
        if blank < len(lines):
            self._last_line = number - (_blank_at_end(lines) if blank else 0)
        counted, size = len(lines) - blank, size - blank_bytes
        self.lines += counted
        self._block_bytes += size
        return counted, size

    def _count_same(self, template: Template, jobs: int, row_bytes: int, text_bytes: int) -> None:
        says, traits = self._said(template.label), template.traits | length_traits(template.limit)
        load = says.loads.get(traits) or self._load(says, traits)
        load.jobs += jobs
        load.bytes += row_bytes + RECORD_BYTES * jobs
        load.input_tokens += of_text(text_bytes + jobs * template.constant_bytes, jobs * template.messages, jobs)
        load.max_output_tokens += jobs * (says.max_tokens if template.limit is None else template.limit)
        self._accepted += jobs
        if says.other_model:
            self._other_models += jobs

    def _learn(self, raw: bytes, lines: int, same: int) -> None:
        """The next template, if few of the last lines equalled this one; a file in which hardly two are alike is
        given up."""
        if self._template is not None and (lines < ENOUGH_TO_JUDGE or same > WORTH_COMPARING * lines):
            return
        self._template = None
        if self._lessons == MAX_LESSONS or self.dialect is None:
            return
        self._lessons += 1
        known = self.dialect.usual(orjson.loads(raw))
        if known is not None:
            self._template = self.dialect.template(orjson.loads(raw), known)
        else:
            known = self._fitted_known(self.dialect, orjson.loads(raw))
            if known is not None:
                self._template = self.dialect.fitted_template(orjson.loads(raw), known)
        if known is not None and self._template is not None:
            self._template.row.update(self._said(known[3]).fields)

    def _fitted_known(self, dialect: Dialect, found: dict[str, Any]) -> Usual | None:
        """What an accepted line that depends on its model became, if that is text and nothing else."""
        row = dialect.read(found)
        if row.fit is None or row.tags:
            return None
        request = self._fitted(row).request
        outline = native_outline(request.body) if isinstance(request, NativeBody) else plain_outline(request)
        return None if outline is None else (row.id, request, outline, row.label)

    def _check_unlike(self, number: int, found: Any) -> bool:
        """A line that is not like the template; whether it may become the next one."""
        if type(found) is not dict or self.dialect is None:
            self._refuse(number, None, BadInput("the line is JSON, but no object"))
            return False
        known = self.dialect.usual(found)
        id_ = self.dialect.caller_id(found) if known is None else known[0]
        try:
            if known is None:
                read = self.dialect.read(found)
                row = self._fitted(read)
                self._accept(number, row, input_tokens(row.request), max_output_tokens(row.request, 0))
                return read.fit is not None
            id_, request, (traits, text_bytes, limit), label = known
            row = Row(id_, request, traits, label or NO_LABEL)
            self._accept(number, row, of_text(text_bytes, len(plain(request)["messages"])), limit or 0)
            return True
        except BadInput as exc:
            self._refuse(number, id_, exc)
            return False

    def _fitted(self, row: Row) -> Row:
        """A request that depends on the model of its line's profile, as that takes it. Raises BadInput."""
        if row.fit is None:
            return row
        request, traits = row.fit(self._said(row.label).model)
        return row._replace(request=request, traits=traits, fit=None)

    def _accept(self, number: int, row: Row, tokens: int, limit: int) -> None:
        """A checked line, `limit` 0 if it names none. Raises BadInput for what its label says."""
        id_, request, traits, label, tags, _ = row
        says = self._said(label)
        if says.check_limit is not None:  # a template's lines have its limit: they need no look
            self._check_limit(says, request, limit or None)
        if id_ is None:
            id_ = default_id(number)
        first_line = self._seen.first_line(id_, number)
        if first_line is not None:
            self._refuse_repeated(number, id_, first_line)
            return
        line = {"line": number, "id": id_, **request_fields(request), **says.fields}
        if tags:
            line["tags"] = tags
        written = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        if self._keep_rows:
            self._rows += written
        if limit > CALLABLE_BY_ALL:
            traits |= length_traits(limit)
        if CACHE in traits:
            load = self._load_of_prefix(says, traits, prefix_of(request))
        else:
            load = says.loads.get(traits) or self._load(says, traits)
        load.jobs += 1
        load.bytes += len(written) + RECORD_BYTES
        load.input_tokens += tokens
        load.max_output_tokens += limit or says.max_tokens
        self._accepted += 1
        if says.other_model:
            self._other_models += 1
            self._first_other_model = self._first_other_model or number

    def _check_limit(self, says: _Said, request: Request, limit: int | None) -> None:
        if says.check_limit is None or self.dialect is None:
            return
        try:
            says.check_limit(limit)
        except BadInput as exc:
            raise BadInput(exc.message, self.dialect.limit_at(request, says.model)) from None

    def _said(self, label: Label | None) -> _Said:
        """What follows from a label. Raises BadInput."""
        return self._labels.get(label or NO_LABEL) or self._say(label or NO_LABEL)

    def _say(self, label: Label) -> _Said:
        model, profile, deadline_text, lane = label
        own = self._options.profile
        if profile is not None and profile not in self._profiles:
            fail(f"there is no such profile: name one of {', '.join(sorted(self._profiles))}", "/profile")
        moment = None if deadline_text is None else _resolved(deadline_text, self._options.sent_at)
        is_profile = model is not None and model in self._profiles
        profile = (model if is_profile else profile) or own
        lane = lane or self._options.lane
        fields: dict[str, Any] = {} if profile == own else {"profile": profile}
        if moment is not None:
            fields["deadline"] = iso(moment)
        if lane is not None:
            fields["lane"] = lane
        other = model is not None and not is_profile
        limits = self._bounds.get(profile)
        model_id = self._models.get(profile, "")
        said = _Said(fields, profile, moment, lane, self._profiles[profile], other, limits, model_id)
        if len(self._labels) >= MAX_LABELS:
            self._labels.clear()
        self._labels[label] = said
        return said

    # ------------------------------------------------------------------ classes and blocks

    def _load_of_prefix(self, says: _Said, traits: frozenset[str], prefix: Prefix | None) -> Load:
        """The same for jobs with a cache point: those that share a prefix count together."""
        prefix = self.classes.told_apart(prefix)
        if prefix is None:
            return says.loads.get(traits) or self._load(says, traits)
        place = traits | {prefix.sha, str(prefix.ttl_s)}
        return says.loads.get(place) or self._load(says, traits, prefix, place)

    def _load(
        self,
        says: _Said,
        traits: frozenset[str],
        prefix: Prefix | None = None,
        place: frozenset[str] | None = None,
    ) -> Load:
        """Where jobs of this block with this label and these traits count."""
        classes = self.classes
        label = says.profile, says.deadline, says.lane, traits, prefix
        load = classes.load(self._block, classes.key(*label), says.deadline)
        if classes.coarsen():
            self._forget_loads()
            load = classes.load(self._block, classes.key(*label), says.deadline)
        says.loads[place or traits] = load
        self._counting.append(says)
        return load

    def _forget_loads(self) -> None:
        for says in self._counting:
            says.loads.clear()
        self._counting.clear()

    def _open_block(self, first_line: int) -> None:
        self._block = block_name(len(self.blocks))
        self._first_line = self._last_line = first_line
        self._block_bytes = self._accepted = self._refused = 0
        self._rows, self._refusals = bytearray(), bytearray()
        self._counting = []

    def _close_block(self) -> None:
        if not self._first_line:
            return
        self._forget_loads()
        for rows, put in ((self._rows, self._sink.put_input), (self._refusals, self._sink.put_refused)):
            if rows:
                self._writes.submit(len(rows), put, self._block, bytes(rows))
        counts = self._accepted, self._refused
        self.blocks.append(Block(self._block, self._first_line, self._last_line, *counts, self._block_bytes))

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
        self._refusals += orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        self._refused += 1

    def _refuse_repeated(self, number: int, id_: str, first_line: int) -> None:
        why = BadInput(f"line {first_line} has this id already: ids are unique in a file")
        self._refuse(number, id_, why, DUPLICATE_ID, first_line=first_line)


def _resolved(text: str, sent_at: datetime) -> datetime:
    try:
        return deadline.resolve(text, sent_at)
    except BadInput as exc:
        raise BadInput(exc.message, "/deadline") from None


def _blank_at_end(lines: Sequence[bytes]) -> int:
    return next(count for count, raw in enumerate(reversed(lines)) if not _is_blank(raw))


def _is_blank(raw: bytes) -> bool:
    return not isinstance(raw, TooLong) and not raw.strip()


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if type(found) is dict else None


def _what_is_wrong(raw: bytes) -> str:
    if isinstance(raw, TooLong):
        return f"the line has {len(raw):,} bytes: at most {MAX_LINE_BYTES:,}"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "the line is not valid UTF-8"
    return "the line is no valid JSON"
