"""The on-demand lane as a library: many calls in flight, failover by error class, parts flushed early and often."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.clock import Clock, later
from slackwater.model.errors import CallFailed
from slackwater.model.job import Job, Lane, Route
from slackwater.model.money import pico_from_usd_float
from slackwater.policy.classify import Fault
from slackwater.policy.prices import PriceBook, cost_pico, list_pico
from slackwater.policy.tokens import max_output_tokens
from slackwater.usecases.cancelled import cancelled_row, never
from slackwater.usecases.ports import Answer, Health, OnDemand

MAX_OPEN: Final = 64  # started and not yet stored: what one killed worker can make us pay twice
FLUSH_ROWS: Final = 64
FLUSH_S: Final = 5.0
FLUSH_PICO: Final = 10**10  # 0.01 USD of unwritten answers
MAX_LOSSES: Final = 3  # lost replies of one job in one pass, after which it fails: each may have been billed
MAX_FAULTS: Final = 5  # times the model may break on one job, over all its passes
SLOWEST_TOKENS_PER_S: Final = 15.0  # read timeout = start-up + max_tokens at this rate
STARTUP_S: Final = 60.0
LONGEST_CALL_S: Final = 840.0


@dataclass(frozen=True, slots=True)
class Call:
    """A job on its way: `routes` in the order to try; `faults` counts its earlier failures."""

    job: Job
    lane: Lane
    routes: tuple[Route, ...]
    home_region: str
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A call nobody could take now: it goes back to its queue until `not_before` (product time)."""

    call: Call
    not_before: datetime


class Sink(Protocol):
    """Where a worker's progress is kept. Raises Lost when another worker owns the work now."""

    def starting(self, calls: Sequence[Call]) -> None: ...
    def losing(self, call: Call) -> None: ...
    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None: ...


@dataclass
class _Progress:
    waiting: deque[Call]
    in_flight: dict[Future[dict[str, Any] | Unfinished], Call] = field(default_factory=dict)
    unwritten: list[tuple[Call, dict[str, Any]]] = field(default_factory=list)
    unwritten_pico: int = 0
    oldest_wall_s: float | None = None
    unfinished: list[Unfinished] = field(default_factory=list)

    @property
    def room(self) -> int:
        return MAX_OPEN - len(self.in_flight) - len(self.unwritten)


@dataclass
class _Tries:
    """What has become of a call so far in this pass."""

    call: Call
    attempts: int = 0
    losses: int = 0
    denied: int = 0

    def final(self, fault: Fault, code: str) -> tuple[str, str] | None:
        """Counts a failure; (code, message) once it is the last one: bounds for what may be paid or is the job's
        doing.
        """
        match fault:
            case Fault.JOB:
                return code, _JOB_REMEDY
            case Fault.UNKNOWN | Fault.TIMEOUT:
                self.losses += 1
                return ("outcome_unknown", _LOST_REMEDY) if self.losses >= MAX_LOSSES else None
            case Fault.MODEL_ERROR:
                self.call = replace(self.call, faults=self.call.faults + 1)
                return (code, _FAULTS_REMEDY) if self.call.faults >= MAX_FAULTS else None
            case Fault.US:
                self.denied += 1
        return None


class Engine:
    """Makes calls through any route that has room. One engine serves one worker at a time."""

    def __init__(
        self,
        *,
        caller: OnDemand,
        health: Health,
        prices: PriceBook,
        clock: Clock,
        rng: random.Random,
        concurrency: int,
        cancelled: Callable[[str], bool] = never,
    ) -> None:
        """`cancelled`: whether the calls of a run must not be made any more (usecases.cancel)."""
        self._caller = caller
        self._health = health
        self._prices = prices
        self._clock = clock
        self._rng = rng
        self._concurrency = min(concurrency, MAX_OPEN)
        self._cancelled = cancelled

    def run(self, calls: Sequence[Call], sink: Sink, *, stop_at_wall_s: float) -> list[Unfinished]:
        """Ends every call as a stored row or an Unfinished; starts none that may not end before `stop_at_wall_s`."""
        progress = _Progress(deque(calls))
        with ThreadPoolExecutor(max(1, min(self._concurrency, len(calls)))) as pool:
            while progress.waiting or progress.in_flight:
                self._admit(progress, sink, pool, stop_at_wall_s)
                self._gather(progress)
                self._flush_if_due(progress, sink)
        self._flush(progress, sink)
        return progress.unfinished

    def _admit(self, progress: _Progress, sink: Sink, pool: ThreadPoolExecutor, stop_at_wall_s: float) -> None:
        """Starts calls in groups, so that what is in flight is recorded by one write for several calls."""
        free = min(self._concurrency - len(progress.in_flight), progress.room)
        if progress.in_flight and free < min(self._concurrency // 4, len(progress.waiting)):
            return
        group: list[Call] = []
        while progress.waiting and len(group) < free:
            call = progress.waiting.popleft()
            early = self._early(call, stop_at_wall_s)
            if early is None:
                group.append(call)
            else:
                self._keep(progress, call, early)
        if not group:
            return
        sink.starting(group)
        for call in group:
            progress.in_flight[pool.submit(self._call, call, sink, stop_at_wall_s)] = call

    def _early(self, call: Call, stop_at_wall_s: float) -> dict[str, Any] | Unfinished | None:
        """What can be said of a call without making it; None if it should be made."""
        now = self._clock.now()
        if self._cancelled(call.job.run_id):
            return cancelled_row(call.job, now)
        if now >= call.job.deadline:
            return self._deadline_missed(call, 0)
        resting = self._health.resting([route.name for route in call.routes])
        if len(resting) == len(call.routes):
            return Unfinished(call, min(resting.values()))
        if self._clock.wall_s() + _read_timeout_s(call.job) > stop_at_wall_s:
            return Unfinished(call, now)
        return None

    def _gather(self, progress: _Progress) -> None:
        if not progress.in_flight:
            return
        done, _ = wait(progress.in_flight, timeout=self._flush_in_s(progress), return_when=FIRST_COMPLETED)
        for future in done:
            self._keep(progress, progress.in_flight.pop(future), future.result())

    def _keep(self, progress: _Progress, call: Call, outcome: dict[str, Any] | Unfinished) -> None:
        if isinstance(outcome, Unfinished):
            progress.unfinished.append(outcome)
            return
        progress.unwritten.append((call, outcome))
        progress.unwritten_pico += pico_from_usd_float(outcome["cost_usd"]) or 0
        if progress.oldest_wall_s is None:
            progress.oldest_wall_s = self._clock.wall_s()

    def _flush_in_s(self, progress: _Progress) -> float | None:
        if progress.oldest_wall_s is None:
            return None
        return max(0.0, progress.oldest_wall_s + FLUSH_S - self._clock.wall_s())

    def _flush_if_due(self, progress: _Progress, sink: Sink) -> None:
        full = len(progress.unwritten) >= FLUSH_ROWS or progress.unwritten_pico >= FLUSH_PICO
        blocked = progress.waiting and progress.room <= 0
        if progress.unwritten and (full or blocked or self._flush_in_s(progress) == 0.0):
            self._flush(progress, sink)

    def _flush(self, progress: _Progress, sink: Sink) -> None:
        if progress.unwritten:
            sink.store(progress.unwritten)
        progress.unwritten, progress.unwritten_pico, progress.oldest_wall_s = [], 0, None

    # ------------------------------------------------------------------ one call, in its own thread

    def _call(self, call: Call, sink: Sink, stop_at_wall_s: float) -> dict[str, Any] | Unfinished:
        tries = _Tries(call)
        for route in self._order(call):
            outcome = self._by(route, tries, sink, stop_at_wall_s)
            if outcome is not None:
                return outcome
        if tries.denied == len(call.routes):
            return self._failed(call, call.routes[0], tries.attempts, "access_denied", _ACCESS_REMEDY)
        return Unfinished(tries.call, self._room_expected(call))

    def _by(
        self, route: Route, tries: "_Tries", sink: Sink, stop_at_wall_s: float
    ) -> dict[str, Any] | Unfinished | None:
        """What one route makes of a call, a lost reply repeated; None if another route should be tried."""
        call = tries.call
        while True:
            if tries.attempts and self._cancelled(call.job.run_id):
                return cancelled_row(call.job, self._clock.now(), tries.attempts, route)
            if self._clock.now() >= call.job.deadline:
                return self._deadline_missed(call, tries.attempts, route)
            if self._clock.wall_s() + _read_timeout_s(call.job) > stop_at_wall_s:
                return Unfinished(call, self._clock.now())
            tries.attempts += 1
            try:
                answer = self._caller.converse(
                    route, call.lane, call.job.request, read_timeout_s=_read_timeout_s(call.job)
                )
            except CallFailed as failure:
                fault = Fault(failure.fault)
                self._health.report(route.name, fault)
                final = tries.final(fault, failure.code)
                if final is not None:
                    return self._failed(call, route, tries.attempts, *final)
                if fault.maybe_paid:
                    sink.losing(call)  # counted before it is repeated: a crash in between must not hide it
                if fault is not Fault.UNKNOWN:
                    return None
            else:
                self._health.report(route.name, None)
                return self._succeeded(call, route, tries.attempts, answer)

    def _order(self, call: Call) -> Sequence[Route]:
        resting = self._health.resting([route.name for route in call.routes])
        return [route for route in call.routes if route.name not in resting]

    def _room_expected(self, call: Call) -> datetime:
        resting: Mapping[str, datetime] = self._health.resting([route.name for route in call.routes])
        now = self._clock.now()
        if len(resting) == len(call.routes):
            return max(now, min(resting.values()))
        return later(now, self._rng.uniform(0.5, 1.5))

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


_JOB_REMEDY = "the model refuses this request: mend the request"
_LOST_REMEDY = (
    "the reply was lost several times; each call may have been billed: look at the network, then send it again"
)
_FAULTS_REMEDY = "this request failed on every try: send it again later, or mend it"
_ACCESS_REMEDY = "no route may be called: the account's administrator grants model access and bedrock:InvokeModel"


def _read_timeout_s(job: Job) -> float:
    """Above the longest generation that `max_tokens` allows: a shorter one silently repeats a paid call."""
    return min(LONGEST_CALL_S, STARTUP_S + max_output_tokens(job.request) / SLOWEST_TOKENS_PER_S)
