"""Queued jobs whose message lies in the dead-letter queue: they fail with that reason, so that their run can end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.claim import Entry, JobState
from slackwater.model.clock import Clock
from slackwater.usecases.queue_runs import TICK_SOURCE, Row

MESSAGE: Final = "its message lies in the dead-letter queue: see the alarm's first step, then send the job again"


class JobsPort(Protocol):
    def get_many(self, jobs: Iterable[str]) -> dict[str, Entry]: ...


class ResultsPort(Protocol):
    """usecases.queue_runs.Results."""

    def store(self, rows: Sequence[Row], source: str) -> frozenset[str]: ...


class FailJobs:
    """Takes what an envelope in the dead-letter queue tells: job and hop."""

    def __init__(self, *, jobs: JobsPort, results: ResultsPort, clock: Clock) -> None:
        self._jobs = jobs
        self._results = results
        self._clock = clock

    def __call__(self, dead: Iterable[Mapping[str, Any]]) -> int:
        """Fails those that wait for just this message; how many. A job that has gone on, or is done, is left alone."""
        hops = {str(one["job"]): int(one["hop"]) for one in dead}
        entries = self._jobs.get_many(hops)
        rows = [
            Row(
                entry,
                result.failed(
                    entry.as_job(),
                    code="undeliverable",
                    message=MESSAGE,
                    finished_at=self._clock.now(),
                    attempts=entry.attempt,
                ),
            )
            for job, entry in entries.items()
            if entry.state is JobState.WAITING and entry.pool is None and entry.hop <= hops[job]
        ]
        if rows:
            self._results.store(rows, TICK_SOURCE)
        return len(rows)
