"""A batch job and its life: pure decisions about when it moves, how far it got and how it ends.

Submitted → Validating → Scheduled → InProgress → Completed | PartiallyCompleted | Failed; Scheduled → Expired;
any open status → Stopping → Stopped.
(docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-monitor.html). Times are virtual seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from .clock import iso
from .config import Batch, Outcome, Range
from .models import ModelRef

OPEN: Final = frozenset({"Submitted", "Validating", "Scheduled", "InProgress", "Stopping"})
STATUSES: Final = frozenset({*OPEN, "Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"})
ID_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Timeline:
    """How long each stage of one job takes; drawn when it is created."""

    submitted_s: float
    validating_s: float
    scheduled_s: float
    base_s: float
    per_record_s: float
    stopping_s: float

    def running_s(self, records: int) -> float:
        """Time InProgress for this many records."""
        return self.base_s + records * self.per_record_s


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job that runs will end if nobody stops it; `at` None is never."""

    status: str
    at: float | None
    processed: int
    write_output: bool


def draw_timeline(batch: Batch, outcome: Outcome, rng: Random) -> Timeline:
    """The stages of one job, with jitter; the outcome's own times win."""

    def between(low_high: Range) -> float:
        return low_high[0] + (low_high[1] - low_high[0]) * rng.random()

    def either(own: float | None, low_high: Range) -> float:
        drawn = between(low_high)
        return drawn if own is None else own

    return Timeline(
        submitted_s=between(batch.submitted_s),
        validating_s=either(outcome.validating_s, batch.validating_s),
        scheduled_s=either(outcome.scheduled_s, batch.scheduled_s),
        base_s=either(outcome.base_s, batch.base_s),
        per_record_s=batch.per_record_s if outcome.per_record_s is None else outcome.per_record_s,
        stopping_s=between(batch.stopping_s),
    )


def ending(outcome: Outcome, timeline: Timeline, started_at: float, expires_at: float, records: int) -> Ending:
    """How a job that started then will end; one that outlasts its time-out is PartiallyCompleted then."""
    if outcome.stuck == "InProgress":
        return Ending("InProgress", None, math.floor(records * outcome.fraction), False)
    running_s = timeline.running_s(records)
    status = "Completed" if outcome.status == "Expired" else outcome.status
    share = 1.0 if status == "Completed" else outcome.fraction
    end = started_at + (running_s * share if outcome.after_s is None else outcome.after_s)
    write = outcome.write_output if outcome.write_output is not None else status != "Failed"
    if end > expires_at:
        running_s = (end - started_at) / share if share else running_s
        return Ending("PartiallyCompleted", expires_at, rows_at(expires_at, started_at, running_s, records), True)
    return Ending(status, end, math.floor(records * share), write)


def rows_at(now: float, started_at: float, running_s: float, records: int) -> int:
    """Rows processed so far by a job that runs evenly."""
    if running_s <= 0:
        return records
    return max(0, min(records, math.floor(records * (now - started_at) / running_s)))


def expires_from_queue(outcome: Outcome, scheduled_at: float, expires_at: float) -> float | None:
    """When a scheduled job that never starts expires; None if it is to start (or to hang)."""
    if outcome.status != "Expired":
        return None
    return expires_at if outcome.after_s is None else min(expires_at, scheduled_at + outcome.after_s)


class OutcomeBook:
    """Hands out outcomes: the first that matches and is not spent, else one roll over the odds, else the default."""

    def __init__(self) -> None:
        self._used: dict[int, int] = {}

    def take(self, batch: Batch, name: str, region: str, model: ModelRef, rng: Random) -> Outcome:
        for position, outcome in enumerate(batch.outcomes):
            if outcome.times is not None and self._used.get(position, 0) >= outcome.times:
                continue
            if outcome.match is not None and not re.search(outcome.match, name):
                continue
            if outcome.region not in (None, region) or outcome.model not in (None, model.name, model.base, model.given):
                continue
            self._used[position] = self._used.get(position, 0) + 1
            return outcome
        roll = rng.random()
        for weighted in batch.odds:
            if roll < weighted.share:
                return weighted.outcome
            roll -= weighted.share
        return batch.default


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What becomes of each row, by its place in the order of processing."""

    order: list[int]
    errors: frozenset[int]
    missing: frozenset[int]
    doubled: frozenset[int]


def plan_rows(records: int, outcome: Outcome, rng: Random) -> RowPlan:
    """Shuffle the rows and pick exact shares of them (rounded up) for each mishap; no row has two."""
    order = list(range(records))
    rng.shuffle(order)
    pool = list(range(records))
    rng.shuffle(pool)
    picked = []
    for share in (outcome.error_rows, outcome.missing_rows, outcome.doubled_rows):
        count = min(len(pool), math.ceil(records * share))
        picked.append(frozenset(pool[:count]))
        pool = pool[count:]
    return RowPlan(order, *picked)


def new_job_id(rng: Random) -> str:
    """Twelve lower-case letters or digits."""
    return "".join(rng.choice(ID_LETTERS) for _ in range(12))


@dataclass
class Job:
    """One batch job; changed by its life alone, and by Stop."""

    region: str
    job_id: str
    arn: str
    request: Mapping[str, Any]
    model: ModelRef
    outcome: Outcome
    timeline: Timeline
    submitted_at: float
    expires_at: float
    listed_at: float
    timeout_hours: int
    invocation_type: str
    status: str = "Submitted"
    message: str | None = None
    modified_at: float = 0.0
    ended_at: float | None = None
    started_at: float | None = None
    ending: Ending | None = None
    stop_rows: int | None = None
    total: int | None = None
    processed: int = 0
    succeeded: int = 0
    failed: int = 0
    billed_rows: int = 0
    history: list[tuple[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.request["jobName"])

    @property
    def open(self) -> bool:
        return self.status in OPEN

    def moved(self, status: str, now: float, message: str | None = None) -> None:
        """Enter a status."""
        self.status, self.modified_at = status, now
        self.message = message if message is not None else self.message
        self.history.append((status, now))
        if not self.open:
            self.ended_at = now

    def counts(self, now: float) -> tuple[int, int, int]:
        """Processed, succeeded and failed rows as Get shows them at this moment."""
        if self.status == "InProgress":
            rows = self.rows(now)
            return rows, rows, 0
        return self.processed, self.succeeded, self.failed

    def rows(self, now: float) -> int:
        """Rows processed so far by a running job, on an even way to its ending; one that hangs stays short of it."""
        if self.started_at is None or self.ending is None or self.total is None:
            return 0
        end = self.ending
        if end.at is None:
            return min(end.processed, rows_at(now, self.started_at, self.timeline.running_s(self.total), self.total))
        return rows_at(now, self.started_at, end.at - self.started_at, end.processed)

    def document(self, now: float) -> dict[str, Any]:
        """The job as Get and List show it."""
        request = self.request
        shown: dict[str, Any] = {
            "jobArn": self.arn,
            "jobName": self.name,
            "modelId": request["modelId"],
            "roleArn": request["roleArn"],
            "status": self.status,
            "submitTime": iso(self.submitted_at),
            "lastModifiedTime": iso(self.modified_at),
            "inputDataConfig": request["inputDataConfig"],
            "outputDataConfig": request["outputDataConfig"],
            "timeoutDurationInHours": self.timeout_hours,
            "jobExpirationTime": iso(self.expires_at),
            "modelInvocationType": self.invocation_type,
        }
        for name in ("clientRequestToken", "vpcConfig"):
            if request.get(name) is not None:
                shown[name] = request[name]
        if self.message is not None:
            shown["message"] = self.message
        if self.ended_at is not None:
            shown["endTime"] = iso(self.ended_at)
        if self.total is not None:
            processed, succeeded, failed = self.counts(now)
            shown |= {
                "totalRecordCount": self.total,
                "processedRecordCount": processed,
                "successRecordCount": succeeded,
                "errorRecordCount": failed,
            }
        return shown

    def hidden(self) -> dict[str, Any]:
        """What only the control endpoint shows."""
        return {
            "region": self.region,
            "outcome": self.outcome.model_dump(exclude_defaults=True),
            "listed_at": iso(self.listed_at),
            "billed_rows": self.billed_rows,
            "history": [{"status": status, "at": iso(at)} for status, at in self.history],
        }
