"""Queued jobs and their runs, as the ledger keeps them: what a message says, and what is already known of its job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from slackwater.model.errors import BadInput, SlackwaterError
from slackwater.model.job import Job, Lane
from slackwater.model.native import Request


class JobState(StrEnum):
    """waiting (in a pool, or for a message on its way) ⇄ calling → done."""

    WAITING = "waiting"
    CALLING = "calling"
    DONE = "done"


class RunClosed(SlackwaterError):
    """The run takes no more jobs: open its next generation."""


class AlreadyClaimed(SlackwaterError):
    """Some jobs of a claim are in the ledger already: look there."""

    def __init__(self, jobs: frozenset[str]) -> None:
        super().__init__(f"{len(jobs)} jobs are claimed already")
        self.jobs = jobs


@dataclass(frozen=True, slots=True)
class Inbound:
    """A received message. `sent_at` is product time, `receives` counts this one."""

    message_id: str
    receipt: str
    body: str
    sent_at: datetime
    receives: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A message made definite: one job with its absolute deadline, or what is left of one that is refused."""

    message: Inbound
    profile: str
    name: str  # the caller's run_id, or the hour
    id: str
    job: str
    sha: str
    deadline: datetime
    first_sent_at: datetime
    request: Request
    body: dict[str, Any]  # the job message, to be sent again
    lane: Lane | None = None
    tags: dict[str, str] | None = None
    reply_to: str | None = None
    result_dialect: str | None = None  # of the reply, where it is not ours
    hop: int = 0
    refusal: BadInput | None = None
    refusal_code: str = "refused"
    body_key: str | None = None  # the body lies in S3 already
    rescued: bool = False  # a batch job left it over

    @property
    def message_id(self) -> str:
        return self.message.message_id


@dataclass(frozen=True, slots=True)
class Placed:
    """A message and the ordinal that it gets."""

    asked: Asked
    ordinal: int


@dataclass(frozen=True, slots=True)
class Entry:
    """`JOB#j/META`. `owners` are all workers that have held it: their parts may hold its result."""

    job: str
    run_id: str
    block: str
    ordinal: int
    id: str
    sha: str
    state: JobState
    profile: str
    deadline: datetime
    message_id: str
    hop: int = 0
    attempt: int = 1
    owners: tuple[str, ...] = ()
    pool: str | None = None
    part: str | None = None
    replied: bool = False
    reply_to: str | None = None
    result_dialect: str | None = None  # of the reply, where it is not ours
    faults: int = 0
    refused: bool = False
    decided: Mapping[str, Any] | None = field(default=None, compare=False)  # the last choice of a lane (policy.noted)

    @property
    def owner(self) -> str | None:
        """Who holds it, if it is being called."""
        return self.owners[-1] if self.owners else None

    def as_job(self, asked: Asked | None = None) -> Job:
        """The job for the engine; without its message (it is lost) it has an empty request."""
        return Job(
            self.run_id,
            self.block,
            self.ordinal,
            self.id,
            self.job,
            self.profile,
            self.deadline,
            {} if asked is None else asked.request,
            None if asked is None else asked.lane,
            None if asked is None else asked.tags,
            asked is not None and asked.rescued,
        )


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a worker: alive until about `soon_s`, at the latest `latest_s` (wall seconds), or dead with
    `started` jobs."""

    soon_s: float = 0
    latest_s: float = 0
    started: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A final row of a queued job and where it is kept."""

    job: str
    row: dict[str, Any]
    part: str
    refused: bool = False
    decided: Mapping[str, Any] | None = None

    @property
    def succeeded(self) -> bool:
        return bool(self.row["status"] == "succeeded")


@dataclass(frozen=True, slots=True)
class QueueRun:
    """`RUN#r/META` of a queue run, as far as intake and closing need it. Times are the product's."""

    run_id: str
    profile: str
    name: str
    generation: int
    state: str
    accepted: int
    refused: int
    unsettled: int
    next_ordinal: int
    started_at: datetime
    last_arrival_at: datetime
    deadline: datetime
    profiles_version: str  # pinned when it was opened
    expected: int | None = None
    close_asked_at: datetime | None = None
    token: str | None = None

    @property
    def arrived(self) -> int:
        return self.accepted + self.refused


@dataclass(frozen=True, slots=True)
class Pooled:
    """`POOL#p/JOB#j`: a job that waits for the batch lane; its message lies in S3 under `key`."""

    job: str
    run_id: str
    block: str
    ordinal: int
    id: str
    key: str
    deadline: datetime
    bytes: int
    first_sent_at: datetime
    hop: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """`POOL#p/META`. `key` is what its jobs share: `model|request type|residency|terms`. `profile`, of the version
    `profiles_version`, is the first job's; the others' say the same of everything that matters to a batch job."""

    pool: str
    key: str
    generation: int
    profile: str
    profiles_version: str
    state: str  # open | closed | released | staged
    count: int
    bytes: int
    opened_at: datetime
    deadline: datetime  # the earliest of its jobs
    next_check_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PooledUnit:
    """`POOL#p/UNIT#u`: records of one file run that wait for the batch lane together; `lane` calls them otherwise."""

    unit: str
    run_id: str
    lane: str
    jobs: int
    bytes: int
    deadline: datetime  # the earliest of its jobs


Member = tuple[Entry, Pooled]


def size_of(members: Sequence[Member]) -> int:
    """The bytes of all of them."""
    return sum(pooled.bytes for _, pooled in members)


@dataclass(frozen=True, slots=True)
class Room:
    """How much a pool takes."""

    max_count: int
    max_bytes: int

    def holds(self, pool: Pool, members: Sequence[Member]) -> bool:
        """Whether all of `members` fit."""
        return self.has(pool, len(members), size_of(members))

    def has(self, pool: Pool, jobs: int, size: int) -> bool:
        """Whether so many jobs of so many bytes fit."""
        return pool.count + jobs <= self.max_count and pool.bytes + size <= self.max_bytes
