"""How many calls could have been admitted: the yardstick of bench/on_demand.py."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from bench.on_demand_lib.world import Meter, Offer, World


@dataclass(frozen=True)
class Admission:
    """A call that the oracle gets admitted."""

    job: int
    region: str
    at_s: float


def admissions(world: World, offers: Sequence[Offer], window_s: float) -> list[Admission]:
    """The calls that an oracle gets admitted within `window_s`, by the fake's own rules.

    It knows what no caller can: every bucket's level at every moment, when a region is down, and, because it knows
    latencies and answer lengths, when each reservation is given back and how much of it. So it calls at the very moment
    at which there is room, is never refused, and leaves no room unused while a job waits:

    - Jobs are taken in the order of their arrival. Knowing the lengths it could take short answers first and count
      more; but all jobs of a scenario must be answered, and a router that may not read ahead has nothing to choose by.
      What is measured is the use of the quota, not the choice of jobs.
    - Every call reserves `input + max_tokens` like anybody's (every job of a world has the same `max_tokens`).
    - Of the regions with room it takes the fullest: a full bucket loses its refill, an emptier one does not.
    - Time goes from event to event (an arrival, a settlement, refill that makes room, a region's return), so nothing
      is lost between looks.
    """
    waiting = sorted(offers, key=lambda offer: (offer.at_s, offer.job))
    meters = {name: Meter(region, world.burst_s) for name, region in world.regions.items()}
    ends: list[tuple[float, int, str, int, int]] = []  # (when, job, region, reserved, used)
    admitted: list[Admission] = []
    now_s = 0.0
    while waiting and len(admitted) < len(waiting):
        offer = waiting[len(admitted)]
        now_s = max(now_s, offer.at_s)
        while ends and ends[0][0] <= now_s:
            when, _, name, reserved, used = heapq.heappop(ends)
            meters[name].settle(when, reserved, used)
        if now_s >= window_s:
            break
        reserve = world.input_tokens(offer.job) + world.max_tokens
        for meter in meters.values():
            meter.refill(now_s)
        up = sorted(
            (name for name in meters if not world.regions[name].is_down(now_s)),
            key=lambda name: -meters[name].fullness(),
        )
        chosen = next((name for name in up if meters[name].admit(now_s, reserve)), None)
        if chosen is not None:
            admitted.append(Admission(offer.job, chosen, now_s))
            used = world.input_tokens(offer.job) + world.answer_tokens(offer.job) * world.burn_down
            heapq.heappush(ends, (now_s + world.latency_s(chosen, offer.job), offer.job, chosen, reserve, used))
            continue
        now_s = _next_event(world, meters, ends, now_s, reserve)
        if now_s == float("inf"):
            break
    return admitted


def _next_event(
    world: World, meters: dict[str, Meter], ends: list[tuple[float, int, str, int, int]], now_s: float, reserve: int
) -> float:
    """The next moment at which the oldest waiting job could find room."""
    returns = [end for region in world.regions.values() for _, end in region.down if end > now_s]
    rooms = [
        # a hair later, for the rounding of a time that was computed by division
        max(meter.room_at(reserve), now_s) + 1e-6
        for name, meter in meters.items()
        if not world.regions[name].is_down(now_s)
    ]
    return min([*returns, *rooms, *(end[0] for end in ends[:1])], default=float("inf"))
