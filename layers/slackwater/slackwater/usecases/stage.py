"""A shard's files and its entry in the ledger: from here on the tick knows of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Protocol, cast

import orjson

from slackwater.model import ids
from slackwater.model.clock import Clock, iso
from slackwater.model.job import Lane, Route
from slackwater.model.native import Request, RequestType, plain, request_type
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.cache import MARKS, without_points
from slackwater.policy.tokens import max_output_tokens

_MARKS: Final = tuple(f'"{name}"'.encode() for name in MARKS)  # a line without these bytes has no cache point
MIN_RECORDS: Final = 100  # Bedrock's quotas for every listed model
MAX_RECORDS: Final = 100_000
MAX_BYTES: Final = 950_000_000  # Bedrock takes 1 GB, and it is not said whether that is 10⁹ or 2³⁰
BUFFER_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One job that goes into a shard, all of whose requests are of one type. `first_line`: the first line of its
    block; `unit`: the unit of its file run that waited in a pool with it."""

    run: str
    block: str
    line: int
    id: str
    job: str
    request: Request
    first_line: int
    deadline_at: datetime | None = None  # where it is not the shard's
    tags: dict[str, str] | None = None
    unit: str | None = None


class ShardsPort(Protocol):
    def create(self, shard: Shard) -> bool: ...


class FilesPort(Protocol):
    def put_input(self, shard: Shard, file: BinaryIO) -> None: ...
    def put_index(self, shard: Shard, file: BinaryIO) -> None: ...


ByRegion = Callable[[str, Sequence[str], int], Mapping[str, Mapping[str, Any]]]
"""Model, regions and records of a job → what is forecast of it there (usecases.forecasts.Forecasts.by_region)."""


class Stage:
    """Stages shards. Staging the same jobs again gives the same shard and writes the same bytes."""

    def __init__(
        self, *, shards: ShardsPort, files: FilesPort, clock: Clock, forecasts: ByRegion | None = None
    ) -> None:
        """`forecasts` are noted with the shard, so that they can be scored when its job has ended."""
        self._forecasts = forecasts
        self._shards = shards
        self._files = files
        self._clock = clock

    def _told(self, model: str, regions: Sequence[str], records: int) -> Mapping[str, Mapping[str, Any]]:
        return {} if self._forecasts is None else self._forecasts(model, regions, records)

    def shard(
        self,
        *,
        owner_kind: OwnerKind | str,
        owner: str,
        profile: str,
        home_region: str,
        records: Iterable[StageRecord],
        region: str,
        model_id: str,
        base_model: str,
        kind: str,
        deadline_at: datetime,
        guard_at: datetime,
        generation: int,
        profiles_version: str = "",
        rescue_lane: Lane = Lane.ON_DEMAND,
        alternatives: Sequence[Route] = (),
        min_records: int = MIN_RECORDS,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        entering: Callable[[str], None] | None = None,
        quotas: Sequence[str] = (),
        canaries: Sequence[str] = (),
    ) -> str:
        """Writes input and index, enters the shard as `staged` and gives its id.

        `owner` is the run's or pool's id, `deadline_at` the latest deadline of the jobs, `guard_at` the moment from
        which a running job is stopped; `alternatives` are the batch routes to try after a definite refusal;
        `entering` is told the id before the ledger is; `quotas` are those that calling the jobs would draw on
        (usecases.drains.quotas_of). Raises ValueError where the records break a limit of Bedrock: the cut was wrong.
        """
        with _Spool() as spool:
            for record in records:
                spool.add(record, deadline_at)
            spool.check(min_records, max_records, max_bytes)
            shard = Shard(
                id=ids.shard_id(owner, spool.jobs, generation),
                state=ShardState.STAGED,
                region=region,
                model_id=model_id,
                base_model=base_model,
                kind=kind,
                attempt=1,
                records=len(spool.jobs),
                bytes=spool.bytes,
                owner_kind=OwnerKind(owner_kind),
                owner=owner,
                profile=profile,
                home_region=home_region,
                deadline_at=deadline_at,
                guard_at=guard_at,
                generation=generation,
                request_type=spool.request_type,
                profiles_version=profiles_version,
                rescue_lane=rescue_lane,
                alternatives=tuple(alternatives),
                next_check_at=self._clock.now(),
                staged_at=self._clock.now(),
                earliest_at=spool.earliest(deadline_at),
                max_output_tokens=spool.max_output_tokens,
                quotas=tuple(quotas),
                canaries=tuple(canaries),
                forecasts=self._told(base_model, [region, *(r.region for r in alternatives)], len(spool.jobs)),
            )
            self._files.put_index(shard, spool.file("index"))
            self._files.put_input(shard, spool.file("input"))
        if entering is not None:
            entering(shard.id)
        self._shards.create(shard)
        return shard.id


def _line(ordinal: int, request: Request) -> bytes:
    record = {"recordId": ids.record_id(ordinal), "modelInput": plain(request)}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class _Spool:
    """Records on their way to S3: flat memory but for the job ids, of which there are at most 100,000."""

    def __init__(self) -> None:
        self._input = TemporaryFile(buffering=BUFFER_BYTES)  # noqa: SIM115 - closed by __exit__
        self._index = TemporaryFile(buffering=BUFFER_BYTES)  # noqa: SIM115
        self.jobs: list[str] = []
        self.bytes = 0
        self.max_output_tokens = 0
        self._types: set[RequestType] = set()
        self._earliest: datetime | None = None

    def earliest(self, default: datetime) -> datetime:
        """The earliest deadline of the records; `default` is that of those which name none."""
        return default if self._earliest is None else min(default, self._earliest)

    @property
    def request_type(self) -> RequestType:
        """What all records are for. Raises ValueError where they are mixed: a batch job is of one type."""
        (found, *others) = self._types or {RequestType.CONVERSE}
        if others:
            raise ValueError("a shard of two request types")
        return found

    def __enter__(self) -> "_Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self._index.close()

    def add(self, record: StageRecord, default_deadline: datetime) -> None:
        ordinal = len(self.jobs)
        line = _line(ordinal, record.request)
        if _MARKS[0] in line or _MARKS[1] in line:
            line = _line(ordinal, without_points(record.request))
        row: dict[str, Any] = {
            "r": ordinal,
            "run": record.run,
            "block": record.block,
            "line": record.line,
            "first": record.first_line,
            "id": record.id,
            "job": record.job,
        }
        if record.deadline_at is not None and record.deadline_at != default_deadline:
            row["deadline"] = iso(record.deadline_at)
        if record.tags:
            row["tags"] = record.tags
        if record.unit is not None:
            row["unit"] = record.unit
        self._input.write(line)
        self._index.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._types.add(request_type(record.request))
        self.max_output_tokens += max_output_tokens(record.request)
        if record.deadline_at is not None:
            known = self._earliest
            self._earliest = record.deadline_at if known is None else min(known, record.deadline_at)
        self.jobs.append(record.job)
        self.bytes += len(line)

    def check(self, min_records: int, max_records: int, max_bytes: int) -> None:
        if not min_records <= len(self.jobs) <= max_records:
            raise ValueError(f"a shard of {len(self.jobs)} records: {min_records} to {max_records} are allowed")
        if self.bytes > max_bytes:
            raise ValueError(f"a shard of {self.bytes} bytes: at most {max_bytes} are allowed")
        if len(set(self.jobs)) != len(self.jobs):
            raise ValueError("a job is twice in one shard")

    def file(self, which: str) -> BinaryIO:
        file = self._input if which == "input" else self._index
        file.seek(0)
        return cast(BinaryIO, file)
