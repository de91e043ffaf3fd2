"""Queue runs: their rows are stored, their jobs end, and they close, settle and, where messages were lost, expire."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.claim import Entry, Finished, JobState, QueueRun
from slackwater.model.clock import Clock, later
from slackwater.model.message import CloseRun
from slackwater.model.profile import DEFAULT_PROFILE
from slackwater.model.run import RunKind, RunState
from slackwater.usecases.ports import Workflow
from slackwater.usecases.replies import Replies

LOST_AFTER_S: Final = 15 * 60  # after its deadline a job that nobody ended was lost
READ_AT_ONCE: Final = 100
TICK_SOURCE: Final = "route-tick"


class JobsPort(Protocol):
    def get_many(self, jobs: Iterable[str]) -> dict[str, Entry]: ...
    def settle(self, run_id: str, finished: Sequence[Finished]) -> frozenset[str]: ...


class PartsPort(Protocol):
    def append(self, run_id: str, block: str, source: str, rows: Sequence[dict[str, Any]]) -> str: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> QueueRun | None: ...
    def newest(self, profile: str, name: str) -> QueueRun | None: ...
    def ask_close(self, run_id: str, *, expected: int | None, message_id: str) -> bool: ...
    def close_next(self, profile: str, name: str, *, expected: int | None, message_id: str) -> bool: ...
    def to_settling(self, run_id: str) -> bool: ...
    def look_again(self, run_id: str, at: datetime, *, deadline: datetime | None = None) -> None: ...
    def claimed(self, run_id: str) -> Iterator[tuple[str, int, str, str]]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A final row on its way into a part."""

    entry: Entry
    row: dict[str, Any]


class Results:
    """The last steps of queued jobs: part, ledger, reply, in this order, so that a crash between two loses nothing."""

    def __init__(self, *, jobs: JobsPort, parts: PartsPort, replies: Replies, look: Callable[[str], bool]) -> None:
        """`look` wakes a run's workflow when nothing of it is left to wait for."""
        self._jobs = jobs
        self._parts = parts
        self._replies = replies
        self._look = look

    def store(self, rows: Sequence[Row], source: str) -> frozenset[str]:
        """Writes the rows as parts of `source` and ends their jobs; gives the jobs whose reply could not be sent."""
        unsent: frozenset[str] = frozenset()
        in_order = sorted(rows, key=lambda r: (r.entry.run_id, r.entry.block, r.entry.ordinal))
        for run_id, of_run in groupby(in_order, key=lambda r: r.entry.run_id):
            finished: list[tuple[Entry, Finished]] = []
            for block, of_block in groupby(of_run, key=lambda r: r.entry.block):
                group = list(of_block)
                part = self._parts.append(run_id, block, source, [r.row for r in group])
                finished += [
                    (r.entry, Finished(r.entry.job, r.row, part, r.entry.refused, r.entry.decided)) for r in group
                ]
            unsent |= self.settle(run_id, finished)
        return unsent

    def settle(self, run_id: str, finished: Sequence[tuple[Entry, Finished]]) -> frozenset[str]:
        """Ends jobs whose rows are in S3, replies, and looks whether the run has settled; gives the jobs without
        their reply."""
        late = self._jobs.settle(run_id, [f for _, f in finished])
        unsent = self._replies.send((entry, f.row, f.part) for entry, f in finished if f.job not in late)
        self._look(run_id)
        return unsent

    def settle_jobs(self, run_id: str, rows: Sequence[Mapping[str, Any]], part: str) -> frozenset[str]:
        """As `settle`, for rows that a batch job brought. Doing it again ends nothing twice and sends only replies
        that are missing."""
        entries = self._jobs.get_many(str(row["job"]) for row in rows)
        finished: list[tuple[Entry, Finished]] = []
        unsent: frozenset[str] = frozenset()
        for row in rows:
            entry = entries[str(row["job"])]
            if entry.state is JobState.DONE and entry.part == part:
                unsent |= self._replies.send([(entry, dict(row), part)])
            else:
                finished.append((entry, Finished(entry.job, dict(row), part)))
        return unsent | self.settle(run_id, finished)


class Closing:
    """When a queue run takes no more jobs, and what happens to it then."""

    def __init__(
        self,
        *,
        runs: RunsPort,
        jobs: JobsPort,
        results: Results,
        workflow: Workflow,
        clock: Clock,
        ask_tick: Callable[[str], object],
    ) -> None:
        """`ask_tick` asks for a run to be closed now; if that gets lost, the tick finds it within a minute."""
        self._runs = runs
        self._jobs = jobs
        self._results = results
        self._workflow = workflow
        self._clock = clock
        self._ask = ask_tick

    def heard(self, word: CloseRun, message_id: str, profiles: Iterable[str]) -> tuple[str, ...]:
        """A closing word: the open runs of that name that it closes.

        With a profile one run, without it all open ones of the name. If none is open (yet: SQS keeps no order), the
        word waits 15 minutes for the next run of that name, under the profile, or else under whichever of the stack's
        profiles begins one first.
        """
        names = (word.profile,) if word.profile is not None else tuple(dict.fromkeys((*profiles, DEFAULT_PROFILE)))
        closed = self._close_open(word, message_id, names)
        if closed:
            return closed
        for profile in names:
            self._runs.close_next(profile, word.close_run, expected=word.expected, message_id=message_id)
        return self._close_open(word, message_id, names)  # one that began while the word was put down

    def _close_open(self, word: CloseRun, message_id: str, profiles: Sequence[str]) -> tuple[str, ...]:
        closed = []
        for profile in profiles:
            run = self._runs.newest(profile, word.close_run)
            if run is None or run.state != RunState.OPEN:
                continue
            if self._runs.ask_close(run.run_id, expected=word.expected, message_id=message_id):
                closed.append(run.run_id)
                if run.arrived == word.expected:
                    self._ask(run.run_id)
        return tuple(closed)

    def arrived(self, run: QueueRun, now_arrived: int) -> None:
        """After a claim: a run whose expected jobs are all there need not wait for the tick."""
        if now_arrived == run.expected:
            self._ask(run.run_id)

    def close_queue_run(self, run_id: str) -> bool:
        """The run takes no more jobs and its workflow starts; done again it starts nothing. False for a run that has
        ended."""
        if not self._runs.to_settling(run_id):
            return False
        self._workflow.start(run_id, {"run_id": run_id, "kind": RunKind.QUEUE.value})
        run = self._runs.get(run_id)
        if run is not None:
            self._runs.look_again(run_id, later(run.deadline, LOST_AFTER_S))
        return True

    def expire(self, run_id: str) -> int:
        """Fails the jobs of a run that nobody has ended 15 minutes after their deadline, since their messages are
        lost; how many.

        The run is looked at again when the next of its open jobs is due.
        """
        now = self._clock.now()
        run = self._runs.get(run_id)
        if run is None or run.unsettled <= 0:
            return 0
        overdue: list[Entry] = []
        open_until: list[datetime] = []
        for entry in self.open_jobs(run_id):
            if later(entry.deadline, LOST_AFTER_S) <= now:
                overdue.append(entry)
            else:
                open_until.append(entry.deadline)
        for start in range(0, len(overdue), READ_AT_ONCE):
            self._results.store(
                [Row(entry, self._lost_row(entry)) for entry in overdue[start : start + READ_AT_ONCE]], TICK_SOURCE
            )
        if open_until:
            self._runs.look_again(run_id, later(min(open_until), LOST_AFTER_S), deadline=max(open_until))
        return len(overdue)

    def open_jobs(self, run_id: str) -> Iterator[Entry]:
        """The jobs of a run that have not ended."""
        claimed = self._runs.claimed(run_id)
        while some := list(islice(claimed, READ_AT_ONCE)):
            entries = self._jobs.get_many(job for _, _, job, _ in some)
            for entry in entries.values():
                if entry.state is not JobState.DONE:
                    yield entry

    def _lost_row(self, entry: Entry) -> dict[str, Any]:
        if entry.refused:
            return result.refused(
                entry.run_id,
                entry.ordinal,
                entry.id,
                code="refused",
                message="this message was refused; why is lost with it",
                pointer=None,
                at=self._clock.now(),
            )
        return result.failed(
            entry.as_job(),
            code="deadline_missed",
            message="not answered by its deadline: its message was lost, or lies in the dead-letter queue",
            finished_at=self._clock.now(),
            attempts=entry.attempt,
        )


def refusal_row(entry: Entry, *, code: str, message: str, pointer: str, at: datetime) -> dict[str, Any]:
    """The row of a message that was refused: it has a place in the run, but no job."""
    return result.refused(
        entry.run_id, entry.ordinal, entry.id, code=code, message=message, pointer=pointer or None, at=at
    )
