"""Whether a run was cancelled, as those need it who are about to begin something for it."""

from datetime import datetime
from threading import Lock
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.clock import Clock
from slackwater.model.job import Job, Route
from slackwater.model.run import is_cancelled

CANCELLED: Final = "cancelled"
MESSAGE: Final = "the run was cancelled before this job was answered"
KNOWN_FOR_S: Final = 2.0  # real seconds for which "not cancelled" is believed
KNOWN_RUNS: Final = 1_000


class MetaPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class CancelledRuns:
    """Whether a run has been cancelled: asked before each call, answered from the ledger every two seconds at most."""

    def __init__(self, runs: MetaPort, clock: Clock) -> None:
        self._runs = runs
        self._clock = clock
        self._known: dict[str, tuple[float, bool]] = {}
        self._lock = Lock()  # the engine asks from its threads

    def __call__(self, run_id: str) -> bool:
        now_s = self._clock.wall_s()
        with self._lock:
            looked_s, cancelled = self._known.get(run_id, (0.0, False))
            if cancelled or now_s - looked_s < KNOWN_FOR_S:
                return cancelled
            if len(self._known) >= KNOWN_RUNS:
                self._known.clear()
            cancelled = is_cancelled(self._runs.get(run_id))
            self._known[run_id] = (now_s, cancelled)
        return cancelled


def never(run_id: str) -> bool:  # noqa: ARG001 - the shape of CancelledRuns
    """For callers that know no runs."""
    return False


def cancelled_row(job: Job, at: datetime, attempts: int = 0, route: Route | None = None) -> dict[str, Any]:
    """The row of a job that was not answered, after so many calls."""
    return result.failed(job, code=CANCELLED, message=MESSAGE, finished_at=at, route=route, attempts=attempts)
