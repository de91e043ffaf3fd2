"""Who may start a call, by which route, and when: the routes' health and the fleet's quota ledger, asked rarely.

A container draws about a second's worth of calls from a pool (region, quota family, model) in one update of the
ledger, and settles its ended calls in the same. Between two draws it decides by itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

from slackwater.model.clock import Clock
from slackwater.model.errors import Contended
from slackwater.model.job import Lane, Route
from slackwater.model.usage import Usage
from slackwater.policy.burn_down import burn_down
from slackwater.policy.classify import Fault
from slackwater.policy.quota import SEARCH_DRAW_S, Dealings, Pool, Seen, Throttle, deal

Answer = TypeVar("Answer")

SETTLE_S: Final = 0.4  # unsettled answers of a pool that is short of tokens keep others waiting no longer
FEW_CALLS: Final = 8
EMPTY_S: Final = 1.0  # an empty pool is asked again no later
LEAST_REAL_S: Final = 0.02  # a ledger's update takes about that long
INPUT_MARGIN: Final = 1.05
CLOSING_ATTEMPTS: Final = 3  # where the ledger is contended; what is lost then flows back by itself, throttles apart


class Quotas(Protocol):
    """The fleet's ledger. `change` applies a pure function to a pool; raises Contended."""

    def change(self, pool: str, change: Callable[[Pool], tuple[Pool, Answer]], now_s: float) -> tuple[Pool, Answer]: ...


class RoutesHealth(Protocol):
    """What the fleet knows of its routes."""

    def gate(self, name: str) -> datetime | None: ...
    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]: ...
    def report(self, name: str, fault: str | None, started_at: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Need:
    """What a call will ask of a quota: estimated input, and the output it allows, in tokens."""

    input_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to make one call by `route`; it must be handed back by `leave`."""

    route: Route
    need: Need
    tokens: float
    started_at: datetime
    wall_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not by this route before `until`; `stay`: no other route should be taken instead (nothing says that this one is
    full, its limit is only being looked for)."""

    until: datetime
    stay: bool = False


@dataclass
class _Purse:
    """One container's side of a pool."""

    pool: Pool | None = None
    calls: int = 0
    tokens: float = 0.0
    owed_tokens: float = 0.0
    throttles: list[Throttle] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    drawn_wall_s: float = -math.inf
    dealt_wall_s: float = -math.inf
    next_draw_wall_s: float = -math.inf
    next_start_wall_s: float = -math.inf
    spacing_real_s: float = 0.0
    until_s: float = 0.0
    started: int = 0  # since the last draw

    @property
    def unsettled(self) -> bool:
        return bool(self.calls or self.owed_tokens or self.throttles or self.seen.answers)


class Admission:
    """For one worker at a time; not thread-safe."""

    def __init__(self, *, quotas: Quotas, health: RoutesHealth, clock: Clock) -> None:
        self._quotas = quotas
        self._health = health
        self._clock = clock
        self._purses: dict[str, _Purse] = {}
        self._names: dict[Route, tuple[str, int]] = {}

    def enter(self, route: Route, need: Need, waiting: int) -> Ticket | Wait:
        """Leave for one of `waiting` calls like this one, or when to ask again."""
        name, factor = self._pool_of(route)
        purse = self._purse(name)
        wall_s = self._clock.wall_s()
        tokens = _reserved(purse.pool, need, factor)
        if purse.calls < 1 or purse.tokens < tokens:
            if wall_s >= purse.next_draw_wall_s:
                self._draw(name, purse, tokens, waiting)
            if purse.calls < 1 or purse.tokens < tokens:
                return self._later(purse, tokens)
        if wall_s < purse.next_start_wall_s - LEAST_REAL_S / 4:
            return Wait(self._moment_in(purse.next_start_wall_s - wall_s), stay=True)
        closed_until = self._health.gate(route.name)
        if closed_until is not None:
            return Wait(closed_until)
        purse.next_start_wall_s = max(purse.next_start_wall_s, wall_s) + purse.spacing_real_s
        purse.calls -= 1
        purse.tokens -= tokens
        purse.started += 1
        return Ticket(route, need, tokens, self._clock.now(), wall_s)

    def leave(self, ticket: Ticket, usage: Usage | None, fault: Fault | None) -> None:
        """Settles a call: an answer by what it used, a refusal, or a loss of which nothing is known and all is kept."""
        name, factor = self._pool_of(ticket.route)
        purse = self._purse(name)
        if fault is not None and fault.is_quota and fault is not Fault.QUOTA_DAILY and ticket.route.tier == Lane.FLEX:
            fault = Fault.CAPACITY  # flex is refused first, while the quota that it shares may have room for others
        if usage is not None:
            used = usage.input_tokens + usage.cache_write_tokens + usage.output_tokens * factor
            purse.owed_tokens += used - ticket.tokens
            purse.seen = _and(purse.seen, ticket.need, usage)
            settle_at_wall_s = purse.dealt_wall_s + self._real(SETTLE_S)
            if self._is_scarce(purse, ticket.tokens) and self._clock.wall_s() >= settle_at_wall_s:
                self._settle(name, purse)
        elif fault is not None and fault.is_quota:
            if fault is not Fault.QUOTA_DAILY:
                is_tokens = fault is Fault.QUOTA_TOKENS
                purse.throttles.append(Throttle(is_tokens, ticket.started_at.timestamp(), ticket.tokens))
                self._settle(name, purse)
        elif fault is not None and not fault.maybe_paid:
            purse.owed_tokens -= ticket.tokens
        self._health.report(ticket.route.name, fault, ticket.started_at)

    def room_at(self, routes: Sequence[Route]) -> datetime:
        """When the first of `routes` is expected to take a call; not after now if one may already."""
        resting = self._health.resting([route.name for route in routes])
        now = self._clock.now()
        return min(max(now, resting.get(route.name, now), self._room_at(route)) for route in routes)

    def close(self) -> None:
        """Gives back what was drawn and not used, and settles what is not settled."""
        for name, purse in self._purses.items():
            for _ in range(CLOSING_ATTEMPTS):
                if not purse.unsettled:
                    break
                self._settle(name, purse)
        self._purses.clear()

    # ------------------------------------------------------------------ the ledger

    def _draw(self, name: str, purse: _Purse, tokens: float, waiting: int) -> None:
        wall_s = self._clock.wall_s()
        lately = purse.started / max(wall_s - purse.drawn_wall_s, LEAST_REAL_S) if purse.started else 0.0
        calls = max(1, min(waiting, max(8, math.ceil(1.2 * lately))))
        granted = self._deal(name, purse, calls, tokens)
        purse.drawn_wall_s, purse.started = wall_s, 0
        pool = purse.pool
        if granted is None or pool is None:
            purse.next_draw_wall_s = wall_s + LEAST_REAL_S
            return
        purse.calls, purse.tokens = granted, granted * tokens
        if granted < calls:
            pause_s = pool.pause_s(self._now_s(), min(waiting, 8), tokens, self._grain_s())
            purse.next_draw_wall_s = wall_s + max(LEAST_REAL_S, self._real(pause_s))
            purse.spacing_real_s = self._real(pause_s) / granted if granted and pool.spread else 0.0
        else:
            purse.spacing_real_s = 0.0
        if not granted:
            now_s = self._now_s()
            purse.until_s = pool.ready_at(now_s, min(waiting, 64), tokens, self._grain_s())
            # no sooner than one call has room: others may give some back, so within a time
            empty_s = min(pool.ready_at(now_s, 1, tokens, self._grain_s()) - now_s, EMPTY_S)
            purse.next_draw_wall_s = max(purse.next_draw_wall_s, wall_s + self._real(empty_s))

    def _settle(self, name: str, purse: _Purse) -> None:
        self._deal(name, purse, 0, 0.0)
        purse.next_draw_wall_s = self._clock.wall_s() + max(LEAST_REAL_S, self._real(SEARCH_DRAW_S))
        if purse.pool is not None:
            purse.until_s = purse.pool.ready_at(self._now_s(), 1, 0, self._grain_s())

    def _deal(self, name: str, purse: _Purse, calls: int, tokens_each: float) -> int | None:
        """One update; None where the ledger was contended: nothing is forgotten."""
        dealings = Dealings(
            requests=-purse.calls,
            tokens=purse.owed_tokens - purse.tokens,
            throttles=tuple(purse.throttles),
            seen=purse.seen,
            calls=calls,
            tokens_each=tokens_each,
        )
        now_s, grain_s = self._now_s(), self._grain_s()
        try:
            purse.pool, granted = self._quotas.change(name, lambda pool: deal(pool, now_s, dealings, grain_s), now_s)
        except Contended:
            return None
        purse.calls, purse.tokens, purse.owed_tokens = 0, 0.0, 0.0
        purse.throttles, purse.seen = [], Seen()
        purse.dealt_wall_s = self._clock.wall_s()
        return granted

    # ------------------------------------------------------------------ small things

    def _room_at(self, route: Route) -> datetime:
        purse = self._purses.get(self._pool_of(route)[0])
        return datetime.fromtimestamp(0.0 if purse is None else purse.until_s, UTC)

    def _later(self, purse: _Purse, tokens: float) -> Wait:
        pool = purse.pool
        stay = pool is not None and pool.requests.searching and self._has_tokens(pool, tokens)
        wait_s = purse.next_draw_wall_s - self._clock.wall_s()
        until = self._moment_in(max(wait_s, 0.0))
        ready = datetime.fromtimestamp(purse.until_s, UTC)
        return Wait(until if stay else max(until, ready), stay=stay)

    def _is_scarce(self, purse: _Purse, tokens: float) -> bool:
        """Whether tokens are to be given back of which others may have too few."""
        if purse.owed_tokens >= 0 or purse.pool is None:
            return False
        room = purse.pool.tokens.room(self._now_s(), tokens, self._grain_s(), unmetered=True)
        return room is not None and room < FEW_CALLS

    def _has_tokens(self, pool: Pool, tokens: float) -> bool:
        """Whether it is not for tokens that a call must wait."""
        now_s = self._now_s()
        ready_s = pool.tokens.ready_at(now_s, tokens, self._grain_s(), unmetered=True)
        return pool.tokens.throttles == 0 and ready_s <= now_s

    def _purse(self, name: str) -> _Purse:
        purse = self._purses.get(name)
        if purse is None:
            purse = self._purses[name] = _Purse()
        return purse

    def _pool_of(self, route: Route) -> tuple[str, int]:
        found = self._names.get(route)
        if found is None:
            found = self._names[route] = (pool_name(route), burn_down(route.base_model))
        return found

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _grain_s(self) -> float:
        """Product seconds in which nothing smaller can be told apart: two updates of the ledger."""
        return 2 * LEAST_REAL_S / self._real(1.0)

    def _real(self, product_s: float) -> float:
        return self._clock.real_s(product_s)

    def _moment_in(self, real_s: float) -> datetime:
        return datetime.fromtimestamp(self._now_s() + real_s / self._real(1.0), UTC)


def pool_name(route: Route) -> str:
    """`region|family|model`: what shares one quota. Service tiers share it; in-region, geographic and global calls do
    not (https://docs.aws.amazon.com/general/latest/gr/bedrock.html).
    """
    if route.model_id == route.base_model:
        family = "on_demand"
    else:
        family = "global" if route.model_id.startswith("global.") else "cross_region"
    return f"{route.region}|{family}|{route.base_model}"


def _reserved(pool: Pool | None, need: Need, factor: int) -> float:
    """What a call is likely to hold at its start, or to have used at its end where that is more (Claude's answers burn
    several times their tokens)."""
    if pool is None or not pool.answers:
        return need.input_tokens * INPUT_MARGIN + need.max_tokens
    prompt = need.input_tokens * pool.input_ratio * INPUT_MARGIN
    return prompt + need.max_tokens * max(1.0, pool.output_ratio * factor)


def _and(seen: Seen, need: Need, usage: Usage) -> Seen:
    return Seen(
        seen.answers + 1,
        seen.estimated_tokens + need.input_tokens,
        seen.input_tokens + usage.input_tokens + usage.cache_write_tokens,  # what is read from a cache is free
        seen.max_tokens + need.max_tokens,
        seen.output_tokens + usage.output_tokens,
    )
