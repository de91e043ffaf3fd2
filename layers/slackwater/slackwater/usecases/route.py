"""The job queue's messages, a batch at a time: claimed, refused, pooled or called, answered, and what found no room
sent on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.claim import Asked, Entry, Inbound
from slackwater.model.clock import Clock
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.message import CloseRun, NotAnObject
from slackwater.model.profile import Profile
from slackwater.usecases.asked import Reader
from slackwater.usecases.cancelled import cancelled_row, never
from slackwater.usecases.claims import Claims, Conflict, Drop, Later, Mine, Verdict, source_of
from slackwater.usecases.onward import Onward, Parcel
from slackwater.usecases.pools import PoolIntake
from slackwater.usecases.queue_runs import Closing, Results, Row, refusal_row
from slackwater.usecases.replies import Replies
from slackwater.usecases.run_profiles import RunProfiles
from slackwater.usecases.spending import CallsPort
from slackwater.usecases.tries import Call, Unfinished, rerouted

SOON_S: Final = 1


class Heart(Protocol):
    """Keeps the messages of this worker (adapters.heartbeat)."""

    def drop(self, receipt: str, hidden_s: int | None = None) -> None: ...


class WorkersPort(Protocol):
    def start(self, worker: str, jobs: Sequence[str]) -> None: ...


class RepeatsPort(Protocol):
    def add_repeats(self, run_id: str, number: int) -> None: ...
    def add_rerouted(self, run_id: str, number: int) -> None: ...
    def add_throttles(self, run_id: str, by_region: Mapping[str, int]) -> None: ...


class Lanes(Protocol):
    """Which lane a job takes, and its call. `lane` raises BadInput for a job that no lane of its profile can take."""

    def lane(self, mine: Mine, profile: Profile, version: str) -> tuple[Lane, dict[str, Any]]: ...
    def call(self, mine: Mine, lane: Lane, profile: Profile, version: str) -> Call: ...


@dataclass
class Outcome:
    """What became of a batch. `back`: ids of messages that stay on the queue; every other one is deleted."""

    back: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(
        default_factory=dict
    )  # message id → what went wrong: a class or code, never text of a message
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def fail(self, message_id: str, why: str) -> None:
        """Puts a message back because something is wrong (not because it has to wait)."""
        self.back.add(message_id)
        self.faults[message_id] = why


class Router:
    """One worker's way with a batch of messages."""

    def __init__(
        self,
        *,
        read: Reader,
        claims: Claims,
        closing: Closing,
        results: Results,
        replies: Replies,
        lanes: Lanes,
        pools: PoolIntake,
        engine: CallsPort,
        onward: Onward,
        workers: WorkersPort,
        repeats: RepeatsPort,
        profiles: RunProfiles,
        clock: Clock,
        cancelled: Callable[[str], bool] = never,
    ) -> None:
        self._read = read
        self._claims = claims
        self._closing = closing
        self._results = results
        self._replies = replies
        self._lanes = lanes
        self._pools = pools
        self._engine = engine
        self._onward = onward
        self._workers = workers
        self._repeats = repeats
        self._profiles = profiles
        self._clock = clock
        self._cancelled = cancelled

    def __call__(self, messages: Sequence[Inbound], *, worker: str, stop_at_wall_s: float, heart: Heart) -> Outcome:
        """Runs the batch once. Raises Lost if this worker was given up, and what the adapters raise: then every
        message stays."""
        outcome = Outcome()
        self._profiles.refresh()
        asked, words = self._parse(messages, heart, outcome)
        mine = self._claim(asked, worker, heart, outcome)
        for inbound, word in words:
            self._closing.heard(word, inbound.message_id, self._profiles.in_force.profiles)
            outcome.add("closing_words")
        mine = self._settle_known(mine, worker, outcome)
        calls = self._decide(mine, worker, outcome)
        self._make(calls, worker, stop_at_wall_s, outcome)
        return outcome

    # ------------------------------------------------------------------ in

    def _parse(
        self, messages: Sequence[Inbound], heart: Heart, outcome: Outcome
    ) -> tuple[list[Asked], list[tuple[Inbound, CloseRun]]]:
        asked: list[Asked] = []
        words: list[tuple[Inbound, CloseRun]] = []
        for inbound in messages:
            try:
                found = self._read(inbound)
            except NotAnObject:
                outcome.fail(inbound.message_id, "not_a_json_object")
                heart.drop(inbound.receipt, SOON_S)  # no try can mend it: to the dead-letter queue without delay
            except Exception as exc:  # noqa: BLE001 - one message's trouble stays its own; its class is reported, its text may quote
                outcome.fail(inbound.message_id, type(exc).__name__)
            else:
                if isinstance(found, CloseRun):
                    words.append((inbound, found))
                else:
                    asked.append(found)
        return asked, words

    def _claim(self, asked: Sequence[Asked], worker: str, heart: Heart, outcome: Outcome) -> list[Mine]:
        mine: list[Mine] = []
        conflicts: list[Asked] = []
        for verdict in self._claims(asked, worker):
            self._sort(verdict, mine, conflicts, heart, outcome)
        if conflicts:
            for verdict in self._claims([self._read.conflict(a) for a in conflicts], worker):
                self._sort(verdict, mine, [], heart, outcome)
        return mine

    def _sort(self, verdict: Verdict, mine: list[Mine], conflicts: list[Asked], heart: Heart, outcome: Outcome) -> None:
        message = verdict.asked.message
        match verdict:
            case Mine():
                mine.append(verdict)
            case Conflict():
                conflicts.append(verdict.asked)
            case Later(hidden_s=hidden_s):
                outcome.back.add(message.message_id)
                outcome.add("with_another_worker")
                heart.drop(message.receipt, hidden_s)
            case Drop(entry=entry):
                outcome.add("repeated_messages")
                if not self._replies.send_again(entry):
                    outcome.fail(message.message_id, "reply_failed")

    # ------------------------------------------------------------------ what needs no call

    def _settle_known(self, mine: Sequence[Mine], worker: str, outcome: Outcome) -> list[Mine]:
        """Refusals and jobs of cancelled runs get their rows; answers of dead workers are entered; the others are
        left to be called."""
        by_job = {m.entry.job: m.asked.message_id for m in mine}
        rows, left = [], []
        for m in mine:
            if m.stored is not None:
                outcome.add("answers_found")
                self._unsent(self._results.settle(m.entry.run_id, [(m.entry, m.stored)]), by_job, outcome)
            elif m.asked.refusal is not None:
                outcome.add("refused")
                problem, code = m.asked.refusal, m.asked.refusal_code
                rows.append(
                    Row(
                        m.entry,
                        refusal_row(
                            m.entry,
                            code=code,
                            message=problem.message,
                            pointer=problem.pointer,
                            at=self._clock.now(),
                        ),
                    )
                )
            elif self._cancelled(m.entry.run_id):
                outcome.add("cancelled")
                rows.append(Row(m.entry, cancelled_row(m.entry.as_job(m.asked), self._clock.now())))
            else:
                left.append(m)
        if rows:
            self._unsent(self._results.store(rows, source_of(worker)), by_job, outcome)
        return left

    def _decide(self, mine: Sequence[Mine], worker: str, outcome: Outcome) -> list[tuple[Mine, Call]]:
        calls: list[tuple[Mine, Call]] = []
        pooled: dict[tuple[str, str], tuple[Profile, list[Mine]]] = {}
        impossible: list[Row] = []
        for m in mine:
            try:
                profiles, version = self._profiles.of_run(m.entry.run_id)
                profile = profiles.named(m.entry.profile)
                lane, note = self._lanes.lane(m, profile, version)
                m = replace(m, entry=replace(m.entry, decided=note))  # noqa: PLW2901 - the same job, decided
                if lane is Lane.BATCH:
                    pooled.setdefault((m.entry.profile, version), (profile, []))[1].append(m)
                else:
                    calls.append((m, self._lanes.call(m, lane, profile, version)))
            except BadInput as exc:
                impossible.append(Row(m.entry, self._impossible(m, exc)))
            except Exception as exc:  # noqa: BLE001 - one job's trouble (a profile to mend) stays its own
                outcome.fail(m.asked.message_id, type(exc).__name__)
        for (_, version), (profile, group) in pooled.items():
            joined = self._pools.join(group, profile, version)
            outcome.add("pooled", len(joined))
        if impossible:
            by_job = {m.entry.job: m.asked.message_id for m in mine}
            self._unsent(self._results.store(impossible, source_of(worker)), by_job, outcome)
            outcome.add("impossible", len(impossible))
        return calls

    def _impossible(self, mine: Mine, problem: BadInput) -> dict[str, Any]:
        return result.failed(
            mine.entry.as_job(mine.asked),
            code="no_lane",
            message=problem.message,
            pointer=problem.pointer or None,
            finished_at=self._clock.now(),
        )

    # ------------------------------------------------------------------ calls

    def _make(self, calls: Sequence[tuple[Mine, Call]], worker: str, stop_at_wall_s: float, outcome: Outcome) -> None:
        if not calls:
            return
        sink = JobSink(
            {m.entry.job: m for m, _ in calls},
            self._results,
            self._workers,
            self._repeats,
            worker,
            throttles=self._engine.take_throttles,
        )
        unfinished = self._engine.run([call for _, call in calls], sink, stop_at_wall_s=stop_at_wall_s)
        sink.count_throttles()
        self._unsent(sink.unsent, {m.entry.job: m.asked.message_id for m, _ in calls}, outcome)
        outcome.add("stored", sink.stored)
        outcome.add("repeats", sink.losses)
        outcome.add("sent_on", len(unfinished))
        if unfinished:
            self._onward.hand_on([self._parcel(sink.held[u.call.job.job], u) for u in unfinished])

    def _parcel(self, mine: Mine, unfinished: Unfinished) -> Parcel:
        asked = mine.asked
        return Parcel(
            mine.entry,
            asked.first_sent_at,
            body=asked.body,
            body_key=asked.body_key,
            lane=asked.lane if asked.hop else None,  # of an envelope; a first message has it in its body
            not_before=unfinished.not_before,
            faults=unfinished.call.faults,
            rescued=asked.rescued,
        )

    def _unsent(self, jobs: frozenset[str] | set[str], message_of: Mapping[str, str], outcome: Outcome) -> None:
        """A job whose reply could not be sent is done, but its message comes back to try the reply again."""
        for job in jobs:
            outcome.fail(message_of[job], "reply_failed")


class JobSink:
    """Keeps the ledger in step with the calls of one batch of queued jobs."""

    def __init__(
        self,
        held: Mapping[str, Mine],
        results: Results,
        workers: WorkersPort,
        repeats: RepeatsPort,
        worker: str,
        *,
        throttles: Callable[[], Mapping[str, Mapping[str, int]]],
    ) -> None:
        self.held = held
        self._throttles = throttles
        self._results = results
        self._workers = workers
        self._repeats = repeats
        self._worker = worker
        self.unsent: set[str] = set()
        self.stored = 0
        self._lost: list[str] = []  # appended to by the threads of the calls

    @property
    def losses(self) -> int:
        return len(self._lost)

    def starting(self, calls: Sequence[Call]) -> None:
        """Raises Lost for a worker that was given up: nothing of it may begin."""
        self._workers.start(self._worker, [call.job.job for call in calls])

    def losing(self, call: Call) -> None:
        self._lost.append(call.job.job)
        self._repeats.add_repeats(call.job.run_id, 1)

    def count_throttles(self) -> None:
        """Adds the refusals met since the last time to their runs."""
        for run_id, by_region in self._throttles().items():
            self._repeats.add_throttles(run_id, by_region)

    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        self.count_throttles()  # first: with its last job a run may settle
        found = [Row(self._entry(call), self._counted(call, row)) for call, row in rows]
        self.unsent |= self._results.store(found, source_of(self._worker))
        self.stored += len(rows)
        for run_id, number in Counter(call.job.run_id for call in rerouted(rows)).items():
            self._repeats.add_rerouted(run_id, number)

    def _counted(self, call: Call, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the batch job that left it over among its attempts."""
        rescued = self.held[call.job.job].asked.rescued
        return {**row, "attempts": row["attempts"] + 1} if rescued else row

    def _entry(self, call: Call) -> Entry:
        return self.held[call.job.job].entry
