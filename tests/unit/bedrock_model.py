"""Batch jobs as AWS's documentation describes them, on a clock that the test moves: nothing here knows our reader.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html and its pages (statuses, results,
stopping, EventBridge's best effort), the API reference of CreateModelInvocationJob, GetModelInvocationJob,
ListModelInvocationJobs and StopModelInvocationJob. Where they say nothing (whether a stopped job writes its output,
how long a list lags), anything may happen here.

Records are bits of an integer. All times are seconds.
"""

from dataclasses import dataclass, field
from random import Random

NEVER = float("inf")
RUNNING = frozenset({"Submitted", "Validating", "Scheduled", "InProgress"})
ENDED = frozenset({"Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"})
FINAL, RETRY, OTHER = "400", "503", "424"  # error codes of output rows: the job's fault, ours to repeat, the model's


class Refused(Exception):
    """A definite answer: nothing was created. `full`: for its quota, or a throttle; else for good."""

    def __init__(self, *, full: bool) -> None:
        super().__init__()
        self.full = full


class NoAnswer(Exception):
    """The request or its reply was lost; what was asked may have been done."""


class Unreachable(Exception):
    """Nothing was sent."""


@dataclass
class Job:
    """One batch job and the fate that it was given."""

    name: str
    arn: str
    region: str
    records: int  # as bits
    created_at: float
    shown_at: float  # from here on lists have it
    validating_at: float
    scheduled_at: float
    started_at: float
    ends_at: float
    times_out_at: float
    fails: bool = False  # at validation
    missing: int = 0  # processed or not, these have no row in the output
    errors: dict[str, int] = field(default_factory=dict)  # code → records whose row is an error
    output_lag_s: float = 0.0
    keeps_output: bool = True
    stop_takes_s: float = 60.0
    order: int = 0  # which record comes first
    stopped_at: float = NEVER
    stop_done_at: float = NEVER

    def status(self, now: float) -> str:
        """Submitted → Validating → Scheduled → InProgress → an end; a stop before the end wins."""
        if now >= self.stopped_at:
            return "Stopped" if now >= self.stop_done_at else "Stopping"
        if now >= min(self.ends_at, self.times_out_at):
            if self.fails:
                return "Failed"
            if self.ends_at <= self.times_out_at:
                return "Completed"
            return "PartiallyCompleted" if self.started_at < self.times_out_at else "Expired"
        for since, status in (
            (self.started_at, "InProgress"),
            (self.scheduled_at, "Scheduled"),
            (self.validating_at, "Validating"),
        ):
            if now >= since:
                return status
        return "Submitted"

    def end(self, now: float) -> float | None:
        """When it ended, if it has."""
        if self.status(now) not in ENDED:
            return None
        return self.stop_done_at if now >= self.stopped_at else min(self.ends_at, self.times_out_at)

    def processed(self, now: float) -> int:
        """The records it has worked on, which are billed. A stop ends the work."""
        until = min(now, self.stopped_at, self.times_out_at)
        if self.fails or until <= self.started_at:
            return 0
        size = self.records.bit_length()
        if until >= self.ends_at:
            return self.records
        if self.ends_at == NEVER:  # it hangs after a part of the work
            share = min(0.6, (until - self.started_at) / 36_000)
        else:
            share = (until - self.started_at) / (self.ends_at - self.started_at)
        done = (1 << int(share * size)) - 1
        turned = (done << self.order) | (done >> (size - self.order))
        return turned & self.records

    def rows(self, now: float) -> int | None:
        """The records that have a row in the output; None while there is no output file."""
        ended = self.end(now)
        if ended is None or now < ended + self.output_lag_s or not self.keeps_output:
            return None
        done = self.processed(now)
        return done & ~self.missing if done else None

    def stop(self, now: float) -> bool:
        """StopModelInvocationJob: False where it had ended or was stopping (ConflictException)."""
        if self.status(now) not in RUNNING:
            return False
        self.stopped_at, self.stop_done_at = now, now + self.stop_takes_s
        return True


@dataclass
class Region:
    """One region's control plane. `down`: spans in which it cannot be reached; `full`: in which it refuses new jobs
    for its quota, which other people's jobs use up; `refuses`: it never takes this model."""

    name: str
    dice: Random
    down: list[tuple[float, float]] = field(default_factory=list)
    full: list[tuple[float, float]] = field(default_factory=list)
    refuses: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)  # by token, which is the name here
    foreign: list[Job] = field(default_factory=list)
    lost_replies: int = 10  # in a hundred creates

    def reachable(self, now: float) -> bool:
        return not any(start <= now < end for start, end in self.down)

    def create(self, name: str, records: int, now: float, timeout_h: int) -> str:
        """Raises Refused, NoAnswer, Unreachable. The same token again makes no second job."""
        if not self.reachable(now):
            raise Unreachable
        lost = self.dice.randrange(100) < self.lost_replies
        if lost and self.dice.random() < 0.4:
            raise NoAnswer  # the request was lost
        if name not in self.jobs:
            if self.refuses:
                raise Refused(full=False)
            if any(start <= now < end for start, end in self.full) or self.dice.random() < 0.05:
                raise Refused(full=True)
            self.jobs[name] = self._born(name, records, now, timeout_h)
        if lost:
            raise NoAnswer
        return self.jobs[name].arn

    def get(self, arn: str, now: float) -> Job | None:
        if not self.reachable(now):
            raise Unreachable
        return next((job for job in self.jobs.values() if job.arn == arn), None)

    def list(self, now: float) -> dict[str, Job]:
        """Everybody's jobs by name, but for the youngest."""
        if not self.reachable(now) or self.dice.random() < 0.05:
            raise Unreachable
        shown = {name: job for name, job in self.jobs.items() if job.shown_at <= now}
        return shown | {job.name: job for job in self.foreign}

    def stop(self, arn: str, now: float) -> bool:
        if not self.reachable(now):
            raise Unreachable
        return any(job.arn == arn and job.stop(now) for job in [*self.jobs.values(), *self.foreign])

    def _born(self, name: str, records: int, now: float, timeout_h: int) -> Job:
        dice = self.dice
        size = records.bit_length()
        validating = now + dice.uniform(1, 60)
        scheduled = validating + dice.uniform(10, 600)
        queue_s = dice.choice([0, 300, 1_800, 7_200, 40_000, NEVER])
        started = scheduled + queue_s
        work_s = dice.choice([60, 600, 3_600, 14_400, 60_000, NEVER])
        job = Job(
            name, f"arn:{self.name}:{name}", self.name, records, now, now + dice.choice([0, 5, 60, 400, 590]),
            validating, scheduled, started, started + work_s, now + max(24, timeout_h) * 3600.0,
            output_lag_s=dice.choice([0, 0, 30, 300, 800]), stop_takes_s=dice.choice([1, 30, 300, 900, NEVER]),
            order=dice.randrange(size),
        )  # fmt: skip
        if dice.random() < 0.12:  # AWS gives no reason to think that it never ends one before its time
            job.times_out_at = scheduled + dice.choice([1_000, 4_000, 9_000])
        what = dice.random()
        if what < 0.08:
            job.fails, job.ends_at, job.keeps_output = True, scheduled + dice.choice([0, 0, 3_000]), False
        elif what < 0.3:
            job.missing = records & dice.getrandbits(size) & dice.getrandbits(size)
        elif what < 0.33:
            job.missing = records
        if dice.random() < 0.25:
            some = records & ~job.missing & dice.getrandbits(size) & dice.getrandbits(size) & dice.getrandbits(size)
            job.errors = {dice.choice([FINAL, RETRY, OTHER]): some}
        job.keeps_output = job.keeps_output and dice.random() < 0.85
        return job
