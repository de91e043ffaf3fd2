"""Calls under a switch and a budget: what is paused waits, what no budget holds is refused by name, the rest is called.

Stands before the engine and is called as it is. Money is held for a slice of calls before the first of them starts, and
settled after the last one ended, so that a container asks each account about twice a slice, and once a second at most.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model import result
from slackwater.model.clock import Clock, later
from slackwater.model.errors import Contended
from slackwater.model.job import Route
from slackwater.model.money import pico_from_usd_float
from slackwater.model.usage import Usage
from slackwater.policy import budget, most_cost
from slackwater.policy.budget import Account, Cap, Drawn, Limit, Verdict, Want
from slackwater.policy.classify import Fault
from slackwater.policy.prices import PriceBook
from slackwater.usecases.admission import Need, Ticket, Wait
from slackwater.usecases.cancelled import never
from slackwater.usecases.engine import Admission, Sink
from slackwater.usecases.tries import Call, Unfinished

HELD_S: Final = 30.0  # product seconds after which money that others hold is asked for again
DEAD_AFTER_S: Final = 60  # real seconds after the last moment of an invocation: its worker is dead
SETTLING_ATTEMPTS: Final = 3


class CallsPort(Protocol):
    """The engine (usecases.engine)."""

    def run(self, calls: Sequence[Call], sink: Sink, *, stop_at_wall_s: float) -> list[Unfinished]: ...
    def take_throttles(self) -> dict[str, dict[str, int]]: ...


class PausedPort(Protocol):
    """usecases.paused.Paused."""

    def __call__(self, profile: str) -> datetime | None: ...
    def any_of(self, profiles: Iterable[str]) -> datetime | None: ...


class AccountsPort(Protocol):
    """What was spent under each cap (adapters.ledger.budgets). `change` applies a pure function; raises Contended."""

    def change(self, key: tuple[str, str], change: Callable[[Account], tuple[Account, Any]]) -> tuple[Account, Any]: ...


class LimitsPort(Protocol):
    """The caps that a job of a run and a profile counts against now (usecases.limits)."""

    def __call__(self, run_id: str, profile: str) -> tuple[Limit, ...]: ...


class Gate:
    """An admission that lets nothing in while one of the profiles at work is paused: then the whole pass ends, and the
    next one tells them apart."""

    def __init__(self, admission: Admission, paused: PausedPort) -> None:
        self._admission = admission
        self._paused = paused
        self.profiles: frozenset[str] = frozenset()

    def enter(self, route: Route, need: Need, waiting: int) -> Ticket | Wait:
        """As the admission, or until when the pause is not asked about again."""
        until = self._paused.any_of(self.profiles)
        return self._admission.enter(route, need, waiting) if until is None else Wait(until)

    def leave(self, ticket: Ticket, usage: Usage | None, fault: Fault | None) -> None:
        self._admission.leave(ticket, usage, fault)

    def room_at(self, routes: Sequence[Route]) -> datetime:
        return self._admission.room_at(routes)

    def close(self) -> None:
        self._admission.close()


@dataclass
class _Slice:
    """Calls for which money is held: of each job the amount, by its id."""

    holder: str
    limits: tuple[Limit, ...]
    until_s: float
    held: dict[str, int] = field(default_factory=dict)
    spent_pico: int = 0

    def paid(self, call: Call, row: dict[str, Any]) -> None:
        """What a row tells of its call's cost: an answer's price; where that is unknown, or where nobody knows whether
        it was answered, all that is held; else nothing, for a refused call is not billed."""
        most = self.held.get(call.job.job)
        if most is None:
            return
        if row["status"] == "succeeded":
            cost = pico_from_usd_float(row["cost_usd"])
            self.spent_pico += most if cost is None else cost
        elif row["error"]["code"] == "outcome_unknown":
            self.spent_pico += most

    def lost(self, call: Call) -> None:
        """A reply was lost, and the call is made again: both may be billed."""
        self.spent_pico += self.held.get(call.job.job, 0)


class _Metering:
    """The worker's sink, and what its rows cost."""

    def __init__(self, sink: Sink, slices: Sequence[_Slice]) -> None:
        self._sink = sink
        self._slices = slices

    def starting(self, calls: Sequence[Call]) -> None:
        self._sink.starting(calls)

    def losing(self, call: Call) -> None:
        for one in self._slices:
            one.lost(call)
        self._sink.losing(call)

    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        for one in self._slices:
            for call, row in rows:
                one.paid(call, row)
        self._sink.store(rows)


@dataclass
class _Group:
    """Calls under the same caps."""

    limits: tuple[Limit, ...]
    calls: list[Call] = field(default_factory=list)


class Spending:
    """The engine, for calls that may be paused or too dear. One serves one worker at a time."""

    def __init__(
        self,
        *,
        engine: CallsPort,
        gate: Gate,
        paused: PausedPort,
        limits: LimitsPort,
        accounts: AccountsPort,
        prices: PriceBook,
        clock: Clock,
        cancelled: Callable[[str], bool] = never,
    ) -> None:
        """`gate` is the engine's admission."""
        self._engine = engine
        self._gate = gate
        self._paused = paused
        self._limits = limits
        self._accounts = accounts
        self._prices = prices
        self._clock = clock
        self._cancelled = cancelled

    def take_throttles(self) -> dict[str, dict[str, int]]:
        """As the engine."""
        return self._engine.take_throttles()

    def run(self, calls: Sequence[Call], sink: Sink, *, stop_at_wall_s: float) -> list[Unfinished]:
        """As the engine. Beyond it, what is paused is Unfinished until its pause is asked about again, and what no
        budget holds is stored as a failed row with the code `budget`, or is Unfinished until the next day's."""
        free, groups, unfinished = self._sorted(calls)
        self._gate.profiles = frozenset(call.job.profile for call in calls) - {u.call.job.profile for u in unfinished}
        while free or groups:
            slices: list[_Slice] = []
            taken = list(free)
            for group in groups:
                drawn, one = self._draw(group, sink, unfinished, stop_at_wall_s)
                taken += drawn
                slices += [one] if drawn else []
            if not taken:
                break
            metered = _Metering(sink, slices) if slices else sink
            ended = self._engine.run(taken, metered, stop_at_wall_s=stop_at_wall_s)
            for one in slices:  # not if the engine broke off: nobody knows what was answered, and the holds will tell
                self._settle(one)
            unfinished += ended
            free, groups = [], [group for group in groups if group.calls]
            if 2 * len(ended) > len(taken):  # no room, no time, or a pause: the others would fare alike
                soonest = min(one.not_before for one in ended)
                return unfinished + [Unfinished(call, soonest) for group in groups for call in group.calls]
        until = later(self._clock.now(), HELD_S)
        return unfinished + [Unfinished(call, until) for group in groups for call in group.calls]

    def _sorted(self, calls: Sequence[Call]) -> tuple[list[Call], list[_Group], list[Unfinished]]:
        """Calls that cost nothing here (no cap, or they end without being made), those under caps, and those that are
        paused."""
        now = self._clock.now()
        free: list[Call] = []
        paused: list[Unfinished] = []
        groups: dict[tuple[Limit, ...], _Group] = {}
        for call in calls:
            job = call.job
            if now >= job.deadline or self._cancelled(job.run_id):
                free.append(call)
                continue
            until = self._paused(job.profile)
            if until is not None:
                paused.append(Unfinished(call, until))
                continue
            limits = self._limits(job.run_id, job.profile)
            if limits:
                groups.setdefault(limits, _Group(limits)).calls.append(call)
            else:
                free.append(call)
        return free, list(groups.values()), paused

    # ------------------------------------------------------------------ money

    def _draw(
        self, group: _Group, sink: Sink, unfinished: list[Unfinished], stop_at_wall_s: float
    ) -> tuple[list[Call], _Slice]:
        """Takes from the group what money is held for now, and what is refused; leaves the others in it."""
        one = _Slice(uuid.uuid4().hex[:20], group.limits, stop_at_wall_s + DEAD_AFTER_S)
        costs = [most_cost.of_call(c.job.request, c.lane, c.routes, self._prices) for c in group.calls]
        rows = [
            (c, self._refused(c, budget.UNKNOWN_PRICE)) for c, cost in zip(group.calls, costs, strict=True) if not cost
        ]
        wanted = [(c, cost) for c, cost in zip(group.calls, costs, strict=True) if cost]
        group.calls = []
        drawn = {i: Drawn(Verdict.TAKEN, max(cost.values())) for i, (_, cost) in enumerate(wanted)}
        for limit in group.limits:
            mine = [i for i, found in drawn.items() if found.verdict is Verdict.TAKEN]
            wants = [Want(min(wanted[i][1].values()), drawn[i].pico) for i in mine]
            account, answers = self._draw_from(limit, wants, one)
            for i, found in zip(mine, answers, strict=True):
                drawn[i] = found
                if found.verdict is Verdict.REFUSED:
                    call, cost = wanted[i]
                    outcome = self._over(call, limit, account, min(cost.values()))
                    if isinstance(outcome, Unfinished):
                        unfinished.append(outcome)
                    else:
                        rows.append((call, outcome))
        taken: list[Call] = []
        for i, (call, cost) in enumerate(wanted):
            if drawn[i].verdict is Verdict.TAKEN:
                routes = tuple(route for route in call.routes if cost.get(route, drawn[i].pico + 1) <= drawn[i].pico)
                taken.append(replace(call, routes=routes))
                one.held[call.job.job] = drawn[i].pico
            elif drawn[i].verdict is Verdict.WAIT:
                group.calls.append(call)
        if rows:
            sink.store(rows)
        if not taken:
            self._settle(one)  # one account had room, another had not
        return taken, one

    def _draw_from(self, limit: Limit, wants: Sequence[Want], one: _Slice) -> tuple[Account, tuple[Drawn, ...]]:
        def change(account: Account) -> tuple[Account, tuple[Drawn, ...]]:
            return budget.draw(
                account,
                wants,
                limit_pico=limit.limit_pico,
                holder=one.holder,
                now_s=self._clock.wall_s(),
                until_s=one.until_s,
            )

        try:
            return self._accounts.change(limit.account, change)
        except Contended:
            return Account(), tuple(Drawn(Verdict.WAIT) for _ in wants)

    def _over(self, call: Call, limit: Limit, account: Account, needed_pico: int) -> Unfinished | dict[str, Any]:
        """The row of a call that a cap does not hold; a patient one waits for the next day's."""
        if limit.cap is Cap.DAY and limit.renews_at is not None and call.job.deadline > limit.renews_at:
            return Unfinished(call, limit.renews_at)
        return self._refused(call, budget.refusal(limit, account, needed_pico))

    def _refused(self, call: Call, message: str) -> dict[str, Any]:
        return result.failed(call.job, code=budget.CODE, message=message, finished_at=self._clock.now())

    def _settle(self, one: _Slice) -> None:
        """What cannot be settled now ends with its hold, and counts as spent."""
        for limit in one.limits:
            for _ in range(SETTLING_ATTEMPTS):
                try:
                    self._accounts.change(limit.account, lambda a: budget.settle(a, one.holder, one.spent_pico))
                except Contended:
                    continue
                break
