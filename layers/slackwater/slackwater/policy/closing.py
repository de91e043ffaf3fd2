"""When a run of queued jobs is complete: only its callers know, so they say it, or silence does."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slackwater.model.words import counted

QUIET_S: Final = 60
"""Asked to close without a number: so long without a new job."""
IDLE_S: Final = 900
"""Nobody said a word: so long without a new job."""
EXPECTED_IDLE_S: Final = 3600
"""Asked to close at a number that is not reached: so long without a new job, since they may wait behind others in
the queue."""
CHECK_S: Final = 60


@dataclass(frozen=True, slots=True)
class RunArrivals:
    """What has come of a run. `expected` and `close_asked_at` are what `close_run` said, None if it was not said."""

    accepted: int
    refused: int
    last_arrival_at: datetime
    close_asked_at: datetime | None = None
    expected: int | None = None

    @property
    def arrived(self) -> int:
        """Accepted and refused jobs."""
        return self.accepted + self.refused


@dataclass(frozen=True, slots=True)
class Closing:
    """Whether the run closes now, why, a warning for its receipt, and else when to look again."""

    close: bool
    reason: str
    warning: str | None = None
    next_check_at: datetime | None = None


def closing(run: RunArrivals, now: datetime) -> Closing:
    """Whether an open queue run closes. Asking again, or late, is harmless."""
    if run.close_asked_at is None:
        return _after(run.last_arrival_at, IDLE_S, now, "no job for 15 minutes")
    if run.expected is None:
        since = max(run.last_arrival_at, run.close_asked_at)
        return _after(since, QUIET_S, now, "asked to close, and no job for 60 seconds")
    if run.arrived == run.expected:
        return Closing(True, f"all {run.expected} expected jobs have come")
    warning = f"expected {counted(run.expected, 'job')}, {run.arrived} came"
    if run.arrived > run.expected:
        return Closing(True, "more jobs than expected have come", warning)
    since = max(run.last_arrival_at, run.close_asked_at)
    return _after(since, EXPECTED_IDLE_S, now, "the expected jobs have not come within an hour", warning)


def _after(since: datetime, seconds: float, now: datetime, reason: str, warning: str | None = None) -> Closing:
    due = since + timedelta(seconds=seconds)
    if now >= due:
        return Closing(True, reason, warning)
    return Closing(False, "open", next_check_at=min(due, now + timedelta(seconds=CHECK_S)))
