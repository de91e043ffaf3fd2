"""What a shard needs next: what the table says against what Bedrock says. Nothing waits for an event.

A shard is one file and at most one live batch job. Its life: staged (the file is in S3) → intent (a create is about
to be sent) → open (the job's ARN is known) → stopping → collecting (a worker reads the output) → settled. Everything
between an intent and its reply can get lost; the name, which is the idempotency token too, finds the job again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slackwater.model.batch_job import BatchJob
from slackwater.model.shard import Shard, ShardState
from slackwater.policy.forecast import MARGIN_S, guard_at, last_moment

INTENT_S: Final = 120
"""No create is sent later than this after its intent was written; the worker gives up instead."""

ABSENT_S: Final = 600
"""A name that the list has not shown for so long after the last possible create does not exist."""

GRACE_S: Final = 900
"""How long output may follow a job's end before what is missing counts as lost."""

CHECK_S: Final = 60
"""How often a shard is looked at while nothing else is due."""


LIVE: Final = frozenset({"Submitted", "Validating", "Scheduled", "InProgress"})
"""Statuses in which a job costs, or will cost, unless it is stopped."""

UNKNOWN: Final = "Unknown"
"""Stands for the status of a job that Bedrock does not know (any more)."""

_NO_OUTPUT_EXPECTED: Final = frozenset({"Failed", "Expired"})  # refused at validation, or never started


@dataclass(frozen=True, slots=True)
class Submit:
    """Write the intent and send the create. `may_move`: another region may be taken, since no job of the old name
    exists."""

    shard: str
    attempt: int
    may_move: bool = True


@dataclass(frozen=True, slots=True)
class Adopt:
    """The create's reply was lost, the job was not: note its ARN."""

    shard: str
    arn: str
    region: str


@dataclass(frozen=True, slots=True)
class Look:
    """Ask by Get (by ARN) for a job that the list does not show, then take this step again with the answer
    (`asked=True`)."""

    shard: str
    arn: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask Bedrock to stop the job."""

    shard: str
    arn: str
    region: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Read the output and settle. Unless `final`, a job without any output is left for a later look."""

    shard: str
    status: str
    processed: int | None
    final: bool


@dataclass(frozen=True, slots=True)
class Rescue:
    """Settle without output: every record is missing. `repeats`: how many of them may be on the bill already."""

    shard: str
    repeats: int
    reason: str


Action = Submit | Adopt | Look | Stop | Collect | Rescue


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now, and when to look again (None: never; the shard is settled)."""

    actions: tuple[Action, ...]
    next_check_at: datetime | None


def step(
    shard: Shard,
    observed: BatchJob | None,
    now: datetime,
    *,
    drain_s: float,
    behind_s: float = 0.0,
    leased: bool = False,
    listed: bool = True,
    asked: bool = False,
) -> Step:
    """What this shard needs next. Calling it again with the same arguments, or late, or twice, is harmless.

    `observed` is the listed job of `shard.job_name` in any region of ours, or None. `drain_s` is how long the shard's
    records take on the calling lanes under the quotas that are left; `behind_s`, how long before the deadline they have
    to be done, since other shards need the same quotas after them (policy.drain). `leased`: a worker holds the shard at
    this moment (wall time). `listed` False: the region's list could not be read, or the Get of a Look failed, so that
    not to see the job means nothing. `asked`: Bedrock was asked by Get too, and knows no such job.
    """
    if observed is not None and observed.name != shard.job_name:
        observed = None  # never act on another name
    if leased and shard.state is not ShardState.SETTLED:
        return Step((), now + timedelta(seconds=CHECK_S))
    times = moments(shard, drain_s, behind_s)
    match shard.state:
        case ShardState.STAGED:
            return _staged(shard, observed, now, times)
        case ShardState.INTENT:
            return _intent(shard, observed, now, times, listed)
        case ShardState.OPEN | ShardState.STOPPING | ShardState.COLLECTING:
            return _sent(shard, observed, now, times, listed=listed, asked=asked)
        case ShardState.SETTLED:
            return _settled(shard, observed, now)


def stray(job: BatchJob, shard: Shard | None, prefix: str) -> bool:
    """Whether a live job of this stack's prefix serves nobody: its shard is unknown, settled, or has gone on to
    another name."""
    if not job.name.startswith(prefix) or job.status not in LIVE:
        return False
    return shard is None or shard.job_name != job.name or shard.state is ShardState.SETTLED


@dataclass(frozen=True, slots=True)
class Moments:
    """From `guard` on a running job is stopped; at `last` rescue can wait no longer for what it finished."""

    guard: datetime
    last: datetime


def moments(shard: Shard, drain_s: float, behind_s: float = 0.0) -> Moments:
    """Reckoned anew at each look, from the earliest deadline of the shard's jobs: earlier when draining has become
    slower, later when it has become faster. The guard of a cancelled shard holds as it was set, as does that of a shard
    whose earliest deadline was not noted, unless draining has become slower."""
    if shard.earliest_at is not None and not shard.cut:
        done_by = shard.earliest_at - timedelta(seconds=behind_s)
        return Moments(guard_at(done_by, drain_s), last_moment(done_by, drain_s))
    guard = min(shard.guard_at, guard_at(shard.deadline_at, drain_s))
    earliest = min(shard.deadline_at, shard.guard_at + timedelta(seconds=MARGIN_S + drain_s))
    return Moments(guard, max(guard, last_moment(earliest, drain_s)))


def _staged(shard: Shard, observed: BatchJob | None, now: datetime, times: Moments) -> Step:
    if observed is not None and not observed.ended:  # an intent that was taken back too early
        return Step((Adopt(shard.id, observed.arn, observed.region),), _soon(now))
    if now >= times.guard:
        return Step((Rescue(shard.id, 0, "no batch slot before the last safe moment"),), _soon(now))
    return Step((Submit(shard.id, shard.attempt),), _soon(now))


def _intent(shard: Shard, observed: BatchJob | None, now: datetime, times: Moments, listed: bool) -> Step:
    if observed is not None:
        return Step((Adopt(shard.id, observed.arn, observed.region),), _soon(now))
    if shard.intent_at is None:
        raise ValueError(f"shard {shard.id} is in state intent without intent_at")
    absent_at = shard.intent_at + timedelta(seconds=INTENT_S + ABSENT_S)
    if listed and now >= absent_at:
        if now >= times.guard:
            return Step((Rescue(shard.id, 0, "the job never came to be"),), _soon(now))
        return Step((Submit(shard.id, shard.attempt),), _soon(now))
    if now >= times.last:
        # it may still appear: then it is stopped, and what it did is a repeat
        reason = "the create's outcome is unknown at the last moment"
        return Step((Rescue(shard.id, shard.records, reason),), _soon(now))
    return Step((), min(_soon(now), absent_at) if now < absent_at else _soon(now))


def _sent(shard: Shard, observed: BatchJob | None, now: datetime, times: Moments, *, listed: bool, asked: bool) -> Step:
    guard, rescue_at = times.guard, times.last
    if observed is None:
        return _unseen(shard, now, rescue_at, listed, asked)
    if observed.ended:
        return _collect(shard, observed.status, observed.processed_records, now, rescue_at)
    if now >= rescue_at:
        return Step(_give_up(shard, observed), _soon(now))
    if now >= guard and observed.status in LIVE:
        return Step((Stop(shard.id, observed.arn, observed.region),), min(_soon(now), rescue_at))
    return Step((), min(_soon(now), guard if now < guard else rescue_at))


def _give_up(shard: Shard, hung: BatchJob) -> tuple[Action, ...]:
    """Asked to stop in good time, and it still hangs: what it has processed is lost to us, and may be on the bill."""
    reason = "the job hung until the last moment"
    if hung.status in LIVE:  # it may go on until the stop is heard
        return Stop(shard.id, hung.arn, hung.region), Rescue(shard.id, shard.records, reason)
    lost = shard.records if hung.processed_records is None else min(hung.processed_records, shard.records)
    return (Rescue(shard.id, lost, reason),)


def _unseen(shard: Shard, now: datetime, rescue_at: datetime, listed: bool, asked: bool) -> Step:
    if shard.arn is None:  # given up before there was a job
        return Step((Collect(shard.id, UNKNOWN, None, True),), _soon(now))
    if asked:
        return _collect(shard, UNKNOWN, None, now, rescue_at)
    if not listed and now >= rescue_at:
        reason = "the job's region cannot be asked at the last moment"
        return Step((Rescue(shard.id, shard.records, reason),), _soon(now))
    return Step((Look(shard.id, shard.arn),), _soon(now))


def _collect(shard: Shard, status: str, processed: int | None, now: datetime, rescue_at: datetime) -> Step:
    """An ended job is always collected: what it processed was paid for. Output may follow the end, but not for ever."""
    waited = shard.stopped_seen_at is not None and now >= shard.stopped_seen_at + timedelta(seconds=GRACE_S)
    nothing_ran = status in _NO_OUTPUT_EXPECTED and not processed
    final = waited or nothing_ran or now >= rescue_at
    return Step((Collect(shard.id, status, processed, final),), _soon(now))


def _settled(shard: Shard, observed: BatchJob | None, now: datetime) -> Step:
    if observed is not None and observed.status in LIVE:
        return Step((Stop(shard.id, observed.arn, observed.region),), _soon(now))
    return Step((), _soon(now) if observed is not None and observed.status == "Stopping" else None)


def _soon(now: datetime) -> datetime:
    return now + timedelta(seconds=CHECK_S)
