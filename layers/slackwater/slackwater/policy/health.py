"""When a route rests, who asks it again, and how calls come back to it.

A fault against a route lets it rest; one rest doubles the next. When a rest is over, one caller of the whole fleet may
probe it (a lease); an answer opens it again, by and by: a growing share of the calls that want it. Rests only move
calls to other routes, or back to their queue: no worker sleeps on them.

Times are product seconds since the epoch.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from slackwater.policy.classify import Fault


class Rest(NamedTuple):
    """Seconds: the first rest lies below `first_s`, each may be `growth` times as long as the one before, and none lies
    above `cap_s`; `after` faults in a row begin it. A small growth finds out early that a region is back."""

    first_s: float
    cap_s: float
    after: int
    growth: float = 2.0


_RESTS: Final = {
    # A quota that is merely full is the ledger's affair (policy.quota); one that stays closed is somebody else's.
    Fault.QUOTA: Rest(2, 60, 4),
    Fault.QUOTA_REQUESTS: Rest(2, 60, 4),
    Fault.QUOTA_TOKENS: Rest(4, 60, 4),
    Fault.QUOTA_DAILY: Rest(900, 3600, 1),  # the day's end is not told, so it is looked for hourly
    Fault.CAPACITY: Rest(0.6, 30, 2, 1.4),  # refused at once and not billed; one probe at a time is no burden
    Fault.US: Rest(60, 900, 1),  # a new subscription takes up to 15 minutes to work
}

LEAST_S: Final = 0.25
"""Shorter rests would end before another container could hear of them."""
RAMP_LEAST_S: Final = 1.0
RAMP_MOST_S: Final = 10.0
RAMP_ROUND_TRIPS: Final = 4
"""A ramp lasts so many times what its probe took: what was let in is answered or refused before all is let in."""
RAMP_FROM: Final = 0.1
PROBE_S: Final = 120.0
"""A probe that has not come back by then is given up, and another may be sent."""

PROBE_ASK_S: Final = 2.0
"""Whoever finds a probe on its way asks again so soon: most come back within seconds."""

_MOST_STRIKES: Final = 32  # the rests have long reached their cap by then


@dataclass(frozen=True, slots=True)
class RouteState:
    """What the fleet knows of a route. `strikes` rests since its last answer; `rested_at_s` when the last one began;
    `probe_until_s` is the probe's lease; `ramp_from_s` when it was opened again, and `ramp_s` how long that takes."""

    strikes: int = 0
    rested_at_s: float = 0.0
    rest_until_s: float = 0.0
    probe_until_s: float = 0.0
    prober: str = ""
    ramp_from_s: float = 0.0
    ramp_s: float = RAMP_MOST_S


@dataclass(frozen=True, slots=True)
class Closed:
    """Not by this route before `until_s`."""

    until_s: float


@dataclass(frozen=True, slots=True)
class MayProbe:
    """Whoever takes the lease may make one call."""


def faults_before_rest(fault: str) -> int | None:
    """How many faults in a row let a route rest; None for what says nothing of it. Raises ValueError for no Fault."""
    rest = _RESTS.get(Fault(fault))
    return None if rest is None else rest.after


def gate(state: RouteState, now_s: float, draw: float) -> Closed | MayProbe | None:
    """Whether a call may go by the route now (None: it may); `draw` is uniform in [0, 1) and decides on the ramp."""
    if state.rest_until_s > now_s:
        return Closed(state.rest_until_s)
    if state.strikes:
        return Closed(min(state.probe_until_s, now_s + PROBE_ASK_S)) if state.probe_until_s > now_s else MayProbe()
    if draw >= share_after_rest(now_s - state.ramp_from_s, state.ramp_s):
        return Closed(now_s + state.ramp_s / 10)
    return None


def probing(state: RouteState, now_s: float, prober: str, lease_s: float = PROBE_S) -> RouteState:
    """With the lease taken by `prober`."""
    return replace(state, prober=prober, probe_until_s=now_s + lease_s)


def after_fault(
    state: RouteState, fault: str, now_s: float, started_s: float, rng: Random, *, least_s: float = LEAST_S
) -> RouteState:
    """After a fault (a Fault's value) of a call that had started at `started_s`: while a route is closed only its probe
    says anything new, and that begins after the rest; earlier calls are of those who could not know of it yet. Nor does
    a fault that is not the route's. No rest is shorter than `least_s`.
    """
    drawn_s = rest_after(fault, state.strikes, rng)
    if not drawn_s or (state.strikes and started_s < state.rest_until_s):
        return state
    rest_s = max(drawn_s, least_s)
    return RouteState(state.strikes + 1, now_s, max(now_s + rest_s, state.rest_until_s))


def after_answer(state: RouteState, now_s: float, started_s: float) -> RouteState:
    """Open again after an answer to a call that had started after the last rest began."""
    if not state.strikes or started_s <= state.rested_at_s:
        return state
    ramp_s = RAMP_ROUND_TRIPS * (now_s - started_s)
    return RouteState(ramp_from_s=now_s, ramp_s=min(RAMP_MOST_S, max(RAMP_LEAST_S, ramp_s)))


def after_nothing(state: RouteState, prober: str, started_s: float) -> RouteState:
    """After a call of `prober` whose end says nothing of the route (a malformed job, a lost reply, a prompt that breaks
    the model): if it was the probe, its lease is given back, so that another call asks at once."""
    was_probe = state.strikes and state.prober == prober and started_s > state.rested_at_s
    return replace(state, prober="", probe_until_s=0.0) if was_probe else state


def rest_after(fault: str, strikes: int, rng: Random) -> float:
    """Seconds that a route rests after `fault` (a Fault's value), the route having rested `strikes` times since its
    last answer.

    0 for what says nothing of the route: malformed jobs, lost replies, slow or broken answers. Exponential with full
    jitter, capped. Raises ValueError for what is no Fault.
    """
    rest = _RESTS.get(Fault(fault))
    if rest is None:
        return 0.0
    bound = min(rest.cap_s, rest.first_s * rest.growth ** min(max(strikes, 0), _MOST_STRIKES))
    return rng.uniform(LEAST_S, bound)


def share_after_rest(open_for_s: float, ramp_s: float) -> float:
    """Which part of the calls that want it a route gets, `open_for_s` seconds after it was opened again."""
    if open_for_s < 0:
        return 0.0
    return min(1.0, RAMP_FROM + (1 - RAMP_FROM) * open_for_s / ramp_s)
