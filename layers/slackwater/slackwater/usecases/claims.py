"""Which of the messages that came are this worker's to do: new ones, and those whose worker died; each job once.

What decides is the ledger, never the message: a message claims its job if its hop is not below the ledger's and
nobody alive holds it; with a lower hop it is dropped; else it waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from slackwater.model.claim import AlreadyClaimed, Asked, Entry, Fate, Finished, JobState, Placed, QueueRun, RunClosed
from slackwater.model.clock import Clock

JOBS_A_CLAIM: Final = 90
RACES: Final = 5  # how often a claim that another worker has overtaken is looked at again
PATIENCE: Final = 2  # receives after which a message waits until its job's worker must have ended
SPARE_S: Final = 5


class JobsPort(Protocol):
    """The ledger of queued jobs (adapters.ledger.jobs)."""

    def get_many(self, jobs: Iterable[str]) -> dict[str, Entry]: ...
    def claim(self, run: QueueRun, placed: Sequence[Placed], owner: str) -> list[Entry]: ...
    def take(self, seen: Entry, *, owner: str, message_id: str, hop: int, repeat: bool) -> Entry | None: ...


class RunsPort(Protocol):
    """The ledger of queue runs (adapters.ledger.queue_runs)."""

    def current(self, profile: str, name: str, **pins: Any) -> QueueRun: ...
    def ordinals(self, run_id: str, number: int) -> tuple[int, QueueRun]: ...


class PartsPort(Protocol):
    def keys(self, run_id: str, block: str, source: str) -> list[str]: ...
    def rows_of(self, key: str) -> Iterable[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Mine:
    """This worker's to do; `stored`: the answer is in S3 already and only the ledger does not know."""

    asked: Asked
    entry: Entry
    stored: Finished | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to do any more: delete the message. `entry` is the job as it is."""

    asked: Asked
    entry: Entry


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id is another request's."""

    asked: Asked
    entry: Entry


@dataclass(frozen=True, slots=True)
class Later:
    """Somebody alive holds the job: the message comes back in `hidden_s`."""

    asked: Asked
    hidden_s: int


Verdict = Mine | Drop | Conflict | Later


class Claims:
    """Sorts messages into verdicts; new jobs of one run are claimed together."""

    def __init__(
        self,
        *,
        jobs: JobsPort,
        runs: RunsPort,
        fate: Callable[[str], Fate],
        parts: PartsPort,
        clock: Clock,
        pins: Callable[[], Mapping[str, str]],
        arrived: Callable[[QueueRun, int], None],
    ) -> None:
        """`pins`: the versions that a new run keeps; `arrived` is told a run's count of jobs after each claim."""
        self._jobs = jobs
        self._runs = runs
        self._fate = fate
        self._parts = parts
        self._clock = clock
        self._pins = pins
        self._arrived = arrived

    def __call__(self, asked: Sequence[Asked], owner: str) -> list[Verdict]:
        """One verdict a message, in any order."""
        verdicts: list[Verdict] = []
        while asked:
            first, others = _each_job_once(asked)
            verdicts += self._judge(first, owner)
            asked = others
        return verdicts

    def _judge(self, asked: Sequence[Asked], owner: str) -> list[Verdict]:
        known = self._jobs.get_many(a.job for a in asked)
        verdicts: list[Verdict] = []
        fresh: dict[tuple[str, str], list[Asked]] = {}
        for one in asked:
            if one.job in known:
                verdicts.append(self._known(one, known[one.job], owner))
            else:
                fresh.setdefault((one.profile, one.name), []).append(one)
        for (profile, name), group in fresh.items():
            for start in range(0, len(group), JOBS_A_CLAIM):
                verdicts += self._fresh(profile, name, group[start : start + JOBS_A_CLAIM], owner)
        return verdicts

    # ------------------------------------------------------------------ new jobs

    def _fresh(self, profile: str, name: str, group: list[Asked], owner: str) -> list[Verdict]:
        """Claims new jobs in the open run; one that closes meanwhile hands them to its next generation."""
        verdicts: list[Verdict] = []
        while group:
            run = self._runs.current(profile, name, **self._pins())
            try:
                first, run = self._runs.ordinals(run.run_id, len(group))
                entries = self._jobs.claim(run, [Placed(a, first + i) for i, a in enumerate(group)], owner)
            except RunClosed:
                continue
            except AlreadyClaimed as exc:
                entries_now = self._jobs.get_many(exc.jobs)
                verdicts += [self._known(a, entries_now[a.job], owner) for a in group if a.job in entries_now]
                group = [a for a in group if a.job not in entries_now]
                continue
            self._arrived(run, run.arrived + len(group))
            return verdicts + [Mine(a, entry) for a, entry in zip(group, entries, strict=True)]
        return verdicts

    # ------------------------------------------------------------------ known jobs

    def _known(self, asked: Asked, entry: Entry, owner: str) -> Verdict:
        for _ in range(RACES):
            verdict = self._look(asked, entry, owner)
            if verdict is not None:
                return verdict
            entry = self._jobs.get_many([asked.job])[asked.job]
        return Later(asked, SPARE_S)

    def _look(self, asked: Asked, entry: Entry, owner: str) -> Verdict | None:
        """The verdict as things stand; None if they moved meanwhile."""
        if asked.sha != entry.sha:
            return Conflict(asked, entry)
        if entry.state is JobState.DONE or asked.hop < entry.hop:
            return Drop(asked, entry)
        if entry.state is JobState.WAITING:
            if entry.pool is not None and asked.hop == entry.hop:
                return Drop(asked, entry)  # its body lies in the pool
            return self._take(asked, entry, owner, repeat=False, stored=None)
        if entry.owner == owner:
            return Drop(asked, entry)  # its other message is in this batch, and brings it back if need be
        return self._held(asked, entry, owner)

    def _held(self, asked: Asked, entry: Entry, owner: str) -> Verdict | None:
        fate = self._fate(str(entry.owner))
        if fate.started is None:
            if asked.message_id != entry.message_id and asked.hop == entry.hop:
                return Drop(asked, entry)  # a second copy; the first one is held by a living worker
            wake_s = fate.soon_s if asked.message.receives <= PATIENCE else fate.latest_s
            return Later(asked, max(1, int(wake_s - self._clock.wall_s()) + SPARE_S))
        stored = self._stored(entry)
        lost = stored is None and entry.job in fate.started
        return self._take(asked, entry, owner, repeat=lost and not entry.refused, stored=stored)

    def _take(self, asked: Asked, entry: Entry, owner: str, *, repeat: bool, stored: Finished | None) -> Verdict | None:
        taken = self._jobs.take(entry, owner=owner, message_id=asked.message_id, hop=asked.hop, repeat=repeat)
        return None if taken is None else Mine(asked, taken, stored)

    def _stored(self, entry: Entry) -> Finished | None:
        """The answer, if one of the job's workers wrote it before it died."""
        for worker in entry.owners:
            for key in self._parts.keys(entry.run_id, entry.block, source_of(worker)):
                for row in self._parts.rows_of(key):
                    if row["line"] == entry.ordinal:
                        return Finished(entry.job, row, key, entry.refused)
        return None


def source_of(worker: str) -> str:
    """The `<source>` of the parts that a worker writes for queued jobs."""
    return f"route-{worker}"


def _each_job_once(asked: Sequence[Asked]) -> tuple[list[Asked], list[Asked]]:
    """Of several messages of one job the one with the highest hop goes first; the others look at what it did."""
    first: dict[str, Asked] = {}
    for one in sorted(asked, key=lambda a: -a.hop):
        first.setdefault(one.job, one)
    chosen = {id(one) for one in first.values()}
    return [one for one in asked if id(one) in chosen], [one for one in asked if id(one) not in chosen]
