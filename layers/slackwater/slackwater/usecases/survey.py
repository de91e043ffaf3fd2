"""Survey: every line of a dropped file checked, the good ones cut into blocks, the bad ones refused by line; at flat
memory.

Nothing is decided here but what is a job. The document that a survey returns (`survey.json`) counts jobs by class, so
that a plan never needs to read them. Surveying the same object again writes the same blocks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self

from slackwater.model.lines import MAX_LINE_BYTES, batches
from slackwater.policy.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_LINES, MAX_BLOCK_SPAN, Cutter
from slackwater.policy.classes import Classes
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.overlap import Overlap
from slackwater.usecases.surveyor import Block, BlockSink, LimitCheck, Surveyor

VERSION: Final = 1
EMPTY_INPUT: Final = "empty_input"
NOT_JSONL: Final = "not_jsonl"
TOO_LARGE: Final = "too_large"
UNKNOWN_PROFILE: Final = "unknown_profile"
BAD_OPTION: Final = "bad_option"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be (beyond, it is refused as a whole), a line (beyond, it is refused), and a block."""

    file_bytes: int = 5_000_000_000
    lines: int = 2_000_000
    line_bytes: int = MAX_LINE_BYTES
    block_lines: int = MAX_BLOCK_LINES
    block_bytes: int = MAX_BLOCK_BYTES
    block_span: int = MAX_BLOCK_SPAN


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
        for name in (
            "run_id",
            "dialect",
            "lines",
            "accepted",
            "refused_lines",
            "bytes",
            "warnings",
            "reason",
            "remedy",
        ):
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
    limits: Limits = Limits(),
    bounds: Mapping[str, LimitCheck] | None = None,
    models: Mapping[str, str] | None = None,
    keep_rows: bool = True,
) -> Survey:
    """Reads the file once and writes its blocks and refused lines to `sink`.

    `profiles`: the names a line may go by, each with the output tokens to reckon with where a request sets no limit;
    `bounds`: what a profile says to a request's `maxTokens`, where it says something; `models`: each one's base model
    id, which decides whether a native body fits.
    `keep_rows` False: nothing but counts is wanted; `sink` gets the refused lines only.
    `size_bytes`: the object's size, looked at before anything is read. Raises what `chunks` and `sink` raise; nothing
    for what the file may hold.
    """
    if size_bytes > limits.file_bytes:
        return _too_large(run_id, options, size_bytes, limits)
    if options.profile not in profiles:
        known = ", ".join(sorted(profiles))
        remedy = f"there is no such profile: put the file under inbox/<profile>/, where profile is one of {known}"
        return refuse_file(run_id, UNKNOWN_PROFILE, remedy, profile=options.profile, size_bytes=size_bytes)
    with Overlap() as writes:
        surveyor = Surveyor(
            writes=writes,
            sink=sink,
            run_id=run_id,
            options=options,
            profiles=profiles,
            size_bytes=size_bytes,
            now=now,
            bounds=bounds or {},
            models=models or {},
            cutter=Cutter(limits.block_lines, limits.block_bytes, limits.block_span),
            keep_rows=keep_rows,
        )
        for batch in batches(chunks, limits.line_bytes):
            surveyor.take(batch)
            if surveyor.lines > limits.lines:
                return _too_large(run_id, options, size_bytes, limits)
        surveyor.finish()
    return _document(surveyor, run_id, options, size_bytes)


def _too_large(run_id: str, options: FileOptions, size_bytes: int, limits: Limits) -> Survey:
    remedy = f"split the file: at most {limits.file_bytes:,} bytes and {limits.lines:,} lines"
    return refuse_file(run_id, TOO_LARGE, remedy, profile=options.profile, size_bytes=size_bytes)


def _document(done: Surveyor, run_id: str, options: FileOptions, size_bytes: int) -> Survey:
    reason = remedy = None
    if not done.lines:
        reason, remedy = EMPTY_INPUT, "the file has no line: put one JSON object on each"
    elif done.dialect is None:
        reason, remedy = NOT_JSONL, "no line of the file is a JSON object: put one on each line (JSON Lines, UTF-8)"
    accepted = sum(block.accepted for block in done.blocks)
    return Survey(
        run_id=run_id,
        dialect=None if done.dialect is None else done.dialect.name,
        lines=done.lines,
        accepted=accepted,
        refused_lines=done.lines - accepted,
        bytes=size_bytes,
        warnings=options.warnings + done.warnings(),
        reason=reason,
        remedy=remedy,
        blocks=tuple(done.blocks),
        classes=done.classes,
    )
