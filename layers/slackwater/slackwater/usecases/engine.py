"""The on-demand lane as a library: many calls in flight, failover by error class, parts flushed early and often.

The worker's own thread decides everything; the others only make calls.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.clock import Clock, later
from slackwater.model.errors import CallFailed
from slackwater.model.job import Route
from slackwater.model.money import pico_from_usd_float
from slackwater.model.usage import Usage
from slackwater.policy import blame, durations
from slackwater.policy.classify import Fault
from slackwater.policy.prices import PriceBook, cost_pico, list_pico
from slackwater.policy.tokens import max_output_tokens
from slackwater.usecases.admission import Need, Ticket, Wait
from slackwater.usecases.cancelled import cancelled_row, never
from slackwater.usecases.ports import Answer, OnDemand
from slackwater.usecases.tries import Call, Tries, Unfinished, begin

MAX_OPEN: Final = 64  # started and not yet stored: what one killed worker can make us pay twice
FLUSH_ROWS: Final = 64
FLUSH_S: Final = 5.0
FLUSH_PICO: Final = 10**10  # 0.01 USD of unwritten answers
LOOK_AHEAD: Final = 64  # waiting calls that are asked for one that may start
IDLE_S: Final = 0.5
IDLE_TOTAL_S: Final = 2.0
"""Real seconds that a worker with nothing in flight waits for room, at once and in all: about what sending the work
back and starting on it anew would cost."""


class Sink(Protocol):
    """Where a worker's progress is kept. Raises Lost when another worker owns the work now."""

    def starting(self, calls: Sequence[Call]) -> None: ...
    def losing(self, call: Call) -> None: ...
    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None: ...


class Admission(Protocol):
    """Which call may start, and by which route (usecases.admission)."""

    def enter(self, route: Route, need: Need, waiting: int) -> Ticket | Wait: ...
    def leave(self, ticket: Ticket, usage: Usage | None, fault: Fault | None) -> None: ...
    def room_at(self, routes: Sequence[Route]) -> datetime: ...
    def close(self) -> None: ...


@dataclass
class _Progress:
    waiting: deque[Tries]
    ended: SimpleQueue[tuple[Tries, Ticket, Future[Answer]]] = field(default_factory=SimpleQueue)
    in_flight: int = 0
    unwritten: list[tuple[Call, dict[str, Any]]] = field(default_factory=list)
    unwritten_pico: int = 0
    oldest_wall_s: float | None = None
    unfinished: list[Unfinished] = field(default_factory=list)
    room_at: datetime | None = None  # when one of the waiting calls may start; None: some may now
    idled_s: float = 0.0

    @property
    def room(self) -> int:
        return MAX_OPEN - self.in_flight - len(self.unwritten)


class Engine:
    """Makes calls through any route that has room. One engine serves one worker at a time."""

    def __init__(
        self,
        *,
        caller: OnDemand,
        admission: Admission,
        prices: PriceBook,
        clock: Clock,
        rng: random.Random,
        concurrency: int,
        cancelled: Callable[[str], bool] = never,
    ) -> None:
        """`cancelled`: whether the calls of a run must not be made any more (usecases.cancel)."""
        self._caller = caller
        self._admission = admission
        self._prices = prices
        self._clock = clock
        self._rng = rng
        self._concurrency = min(concurrency, MAX_OPEN)
        self._cancelled = cancelled
        self._record = blame.Record()
        self._throttles: Counter[tuple[str, str]] = Counter()

    def run(self, calls: Sequence[Call], sink: Sink, *, stop_at_wall_s: float) -> list[Unfinished]:
        """Ends every call as a stored row or an Unfinished; starts none that may not end before `stop_at_wall_s`."""
        progress = _Progress(deque())
        for call in calls:
            self._begin(progress, call)
        try:
            with ThreadPoolExecutor(max(1, min(self._concurrency, len(calls)))) as threads:
                while progress.waiting or progress.in_flight:
                    self._admit(progress, sink, threads, stop_at_wall_s)
                    self._gather(progress, sink)
                    self._flush_if_due(progress, sink)
            self._flush(progress, sink)
        finally:
            self._admission.close()
        return progress.unfinished

    def take_throttles(self) -> dict[str, dict[str, int]]:
        """Calls refused for a quota since it was last asked: run → region → number."""
        by_run: dict[str, dict[str, int]] = {}
        for (run_id, region), number in self._throttles.items():
            by_run.setdefault(run_id, {})[region] = number
        self._throttles.clear()
        return by_run

    def _begin(self, progress: _Progress, call: Call) -> None:
        model = call.routes[0].base_model
        if durations.outlasts(model, max_output_tokens(call.job.request)):
            reason = durations.too_long_reason(model)
            self._keep(progress, call, self._failed(call, call.routes[0], 0, "too_long_for_a_call", reason))
        else:
            progress.waiting.append(begin(call))

    # ------------------------------------------------------------------ starting calls

    def _admit(self, progress: _Progress, sink: Sink, threads: ThreadPoolExecutor, stop_at_wall_s: float) -> None:
        """Starts calls in groups, so that what is in flight is recorded by one write for several calls."""
        free = min(self._concurrency - progress.in_flight, progress.room)
        if progress.in_flight and free < self._least_group(progress):
            progress.room_at = None  # an answer must come first
            return
        if progress.room_at is not None and self._clock.now() < progress.room_at:
            if not progress.in_flight:
                self._idle_or_hand_back(progress)
            return
        group, back = self._choose(progress, free, stop_at_wall_s)
        progress.waiting.extendleft(reversed(back))
        if group:
            new = [tries.call for tries, _ in group if not tries.recorded]
            if new:
                sink.starting(new)
            for tries, ticket in group:
                tries.recorded = True
                self._start(progress, tries, ticket, threads)
        elif not progress.in_flight and progress.waiting and progress.room > 0:
            self._idle_or_hand_back(progress)

    def _least_group(self, progress: _Progress) -> int:
        return min(self._concurrency // 4, len(progress.waiting))

    def _choose(
        self, progress: _Progress, free: int, stop_at_wall_s: float
    ) -> tuple[list[tuple[Tries, Ticket]], list[Tries]]:
        group: list[tuple[Tries, Ticket]] = []
        back: list[Tries] = []
        progress.room_at = None
        waiting = len(progress.waiting)
        full: dict[Route, Wait] = {}
        while progress.waiting and len(group) < free and len(back) < LOOK_AHEAD:
            tries = progress.waiting.popleft()
            early = self._early(tries, stop_at_wall_s)
            if early is not None:
                self._keep(progress, tries.call, early)
                continue
            entered = self._enter(tries, waiting, full)
            if isinstance(entered, Ticket):
                group.append((tries, entered))
            else:
                tries.room_at = entered
                back.append(tries)
        if back and len(group) < free:
            progress.room_at = min(tries.room_at or self._clock.now() for tries in back)
        return group, back

    def _early(self, tries: Tries, stop_at_wall_s: float) -> dict[str, Any] | Unfinished | None:
        """What can be said of a call without making it; None if it should be made."""
        call, now = tries.call, self._clock.now()
        if self._cancelled(call.job.run_id):
            return cancelled_row(call.job, now, tries.attempts, tries.last)
        if now >= call.job.deadline:
            return self._deadline_missed(call, tries.attempts, tries.last)
        if not durations.covers(stop_at_wall_s - self._clock.wall_s(), tries.read_timeout_s):
            return Unfinished(call, now)
        if not tries.left:
            return Unfinished(call, self._another_pass(call))
        return None

    def _enter(self, tries: Tries, waiting: int, full: dict[Route, Wait]) -> Ticket | datetime:
        """Leave by the first of its routes that has room, or when one will have; `full` are those just found so."""
        soonest: datetime | None = None
        for route in tries.left:
            entered: Ticket | Wait = full.get(route) or self._admission.enter(route, tries.need, waiting)
            if isinstance(entered, Ticket):
                return entered
            full[route] = entered
            soonest = entered.until if soonest is None else min(soonest, entered.until)
            if entered.stay:
                return entered.until
        return soonest or self._clock.now()

    def _start(self, progress: _Progress, tries: Tries, ticket: Ticket, threads: ThreadPoolExecutor) -> None:
        tries.attempts += 1
        tries.last = ticket.route
        progress.in_flight += 1
        call = tries.call
        future = threads.submit(
            self._caller.converse, ticket.route, call.lane, call.job.request, read_timeout_s=tries.read_timeout_s
        )
        future.add_done_callback(lambda done: progress.ended.put((tries, ticket, done)))

    def _idle_or_hand_back(self, progress: _Progress) -> None:
        """Nothing is in flight and nobody has room: a moment is waited for, a longer time is not."""
        now = self._clock.now()
        room_at = progress.room_at or now
        wait_s = self._clock.real_s(max(0.0, (room_at - now).total_seconds()))
        if wait_s <= IDLE_S and progress.idled_s < IDLE_TOTAL_S:
            progress.idled_s += max(wait_s, 0.01)
            return
        for tries in progress.waiting:
            until = max(now, tries.room_at or room_at, self._paused(tries.call))
            progress.unfinished.append(Unfinished(tries.call, until))
        progress.waiting.clear()
        progress.room_at = None

    # ------------------------------------------------------------------ ended calls

    def _gather(self, progress: _Progress, sink: Sink) -> None:
        """Takes what has ended; waits for the first, until something is due."""
        if not progress.in_flight and progress.room_at is None:
            return
        try:
            ended = progress.ended.get(timeout=self._due_in_s(progress))
            while True:
                self._ended(progress, sink, *ended)
                ended = progress.ended.get_nowait()
        except Empty:
            return

    def _due_in_s(self, progress: _Progress) -> float | None:
        """Real seconds until the next flush, or until a waiting call may start; None: only an answer is waited for."""
        due = []
        if progress.oldest_wall_s is not None and progress.in_flight:
            due.append(progress.oldest_wall_s + FLUSH_S - self._clock.wall_s())
        if progress.room_at is not None and progress.waiting:
            due.append(self._clock.real_s((progress.room_at - self._clock.now()).total_seconds()))
        return max(0.001, min(due)) if due else None

    def _ended(self, progress: _Progress, sink: Sink, tries: Tries, ticket: Ticket, future: Future[Answer]) -> None:
        progress.in_flight -= 1
        progress.idled_s = 0.0
        try:
            answer = future.result()
        except CallFailed as failure:
            outcome = self._refused(tries, ticket, failure, sink)
            if outcome is None:
                progress.waiting.appendleft(tries)
                progress.room_at = None
                return
        else:
            self._admission.leave(ticket, answer.usage, None)
            began_at, now = ticket.started_at.timestamp(), self._clock.now().timestamp()
            self._record.answered(ticket.route.name, began_at, now)
            outcome = self._succeeded(tries.call, ticket.route, tries.attempts, answer)
        self._keep(progress, tries.call, outcome)

    def _refused(self, tries: Tries, ticket: Ticket, failure: CallFailed, sink: Sink) -> dict[str, Any] | None:
        """The row of a call's last failure; None if it goes on."""
        fault = Fault(failure.fault)
        if fault.is_quota:
            self._throttles[tries.call.job.run_id, ticket.route.region] += 1
        blamed = None
        if fault.may_follow_job:  # by itself it says nothing of the route
            blamed = self._record.broke(ticket.route.name, tries.call.job.job, self._clock.now().timestamp())
        self._admission.leave(ticket, None, Fault.CAPACITY if blamed is not None and blamed.suspect else fault)
        final = tries.final(fault, failure.code, blamed)
        if final is not None:
            return self._failed(tries.call, ticket.route, tries.attempts, *final)
        if fault.maybe_paid:
            sink.losing(tries.call)  # counted before it is repeated: a crash in between must not hide it
        if fault is not Fault.UNKNOWN:
            tries.left.remove(ticket.route)
        return None

    def _another_pass(self, call: Call) -> datetime:
        now, room_at = self._clock.now(), self._admission.room_at(call.routes)
        if room_at <= now and not call.faults:
            return later(now, self._rng.uniform(0.5, 1.5))
        return max(room_at, self._paused(call))

    def _paused(self, call: Call) -> datetime:
        """Until when a job waits on which something broke: else the same few would try a broken route every time."""
        now = self._clock.now()
        if not call.faults:
            return now
        left_s = (call.job.deadline - now).total_seconds()
        return later(now, blame.pause_s(call.faults, left_s) * self._rng.uniform(0.5, 1.5))

    # ------------------------------------------------------------------ keeping rows

    def _keep(self, progress: _Progress, call: Call, outcome: dict[str, Any] | Unfinished) -> None:
        if isinstance(outcome, Unfinished):
            progress.unfinished.append(outcome)
            return
        progress.unwritten.append((call, outcome))
        progress.unwritten_pico += pico_from_usd_float(outcome["cost_usd"]) or 0
        if progress.oldest_wall_s is None:
            progress.oldest_wall_s = self._clock.wall_s()

    def _flush_if_due(self, progress: _Progress, sink: Sink) -> None:
        if not progress.unwritten or progress.oldest_wall_s is None:
            return
        full = len(progress.unwritten) >= FLUSH_ROWS or progress.unwritten_pico >= FLUSH_PICO
        blocked = progress.waiting and progress.room < max(1, self._least_group(progress))
        if full or blocked or self._clock.wall_s() >= progress.oldest_wall_s + FLUSH_S:
            self._flush(progress, sink)

    def _flush(self, progress: _Progress, sink: Sink) -> None:
        if progress.unwritten:
            sink.store(progress.unwritten)
        progress.unwritten, progress.unwritten_pico, progress.oldest_wall_s = [], 0, None

    def _succeeded(self, call: Call, route: Route, attempts: int, answer: Answer) -> dict[str, Any]:
        prompt_tokens = None if answer.usage is None else answer.usage.prompt_tokens
        rates = self._prices.rates(
            route.base_model, route.region, route.kind, call.lane.value, answer.tier, input_tokens=prompt_tokens
        )
        return result.succeeded(
            call.job,
            lane=call.lane,
            route=route,
            tier=answer.tier,
            response=answer.response,
            usage=answer.usage,
            cost_pico=cost_pico(rates, answer.usage),
            list_pico=list_pico(self._prices, route.base_model, call.home_region, answer.usage),
            price_version=self._prices.version,
            attempts=attempts,
            latency_ms=answer.latency_ms,
            finished_at=self._clock.now(),
        )

    def _failed(self, call: Call, route: Route, attempts: int, code: str, message: str) -> dict[str, Any]:
        return result.failed(
            call.job,
            code=code,
            message=message,
            finished_at=self._clock.now(),
            lane=call.lane,
            route=route,
            attempts=attempts,
        )

    def _deadline_missed(self, call: Call, attempts: int, route: Route | None = None) -> dict[str, Any]:
        return result.failed(
            call.job,
            code="deadline_missed",
            message="not answered by its deadline: give it more time, or its profile more routes",
            finished_at=self._clock.now(),
            lane=call.lane,
            route=route,
            attempts=attempts,
        )
