"""How long a route rests after a fault. One rest doubles the next until an answer comes; jitter keeps the fleet apart.

A rest only moves calls to other routes, or back to their queue: no worker sleeps on it.
"""

from random import Random
from typing import Final, NamedTuple

from slackwater.policy.classify import Fault


class Rest(NamedTuple):
    """Seconds: the first rest lies below `first_s`, no rest above `cap_s`."""

    first_s: float
    cap_s: float


_RESTS: Final = {
    Fault.QUOTA: Rest(2, 60),  # quotas are per minute: by then there is room again
    Fault.QUOTA_REQUESTS: Rest(1, 60),
    Fault.QUOTA_TOKENS: Rest(4, 60),
    Fault.QUOTA_DAILY: Rest(900, 3600),  # the day's end is not told, so it is looked for hourly
    Fault.CAPACITY: Rest(1, 120),
    Fault.US: Rest(60, 900),  # a new subscription takes up to 15 minutes to work
}

LEAST_S: Final = 0.25
"""Shorter rests would end before another container could hear of them."""

_MAX_DOUBLINGS: Final = 16


def rest_after(fault: str, strikes: int, rng: Random) -> float:
    """Seconds that a route rests after `fault` (a Fault's value), the route having rested `strikes` times since its
    last answer.

    0 for what says nothing of the route: malformed jobs, lost replies, slow or broken answers. Exponential with full
    jitter, capped. Raises ValueError for what is no Fault.
    """
    rest = _RESTS.get(Fault(fault))
    if rest is None:
        return 0.0
    bound = min(rest.cap_s, rest.first_s * 2.0 ** min(max(strikes, 0), _MAX_DOUBLINGS))
    return max(LEAST_S, rng.uniform(0, bound))


def share_after_rest(rested_for_s: float) -> float:
    """Which part of its preferred calls a route gets `rested_for_s` seconds after its rest ended; below 0 it still
    rests.

    All or nothing for now: a gradual return (one leased probe, then a ramp) has its place here.
    """
    return 0.0 if rested_for_s < 0 else 1.0
