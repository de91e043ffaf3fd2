"""Which route a call prefers, and where it goes next: exact shares by position, the same answer on redelivery."""

from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from hashlib import shake_128
from itertools import groupby
from math import gcd, log

from slackwater.model.job import Route
from slackwater.model.profile import Mode

PriceOf = Callable[[Route], int | None]
"""What a typical call costs on a route, in pico-dollars (any fixed mix of tokens will do); None is unknown."""

EXACT_TO_THE_END = 8
"""Routes of which every subset's cycle fits into the cache."""


@lru_cache(maxsize=1024)
def smooth_cycle(weights: tuple[int, ...]) -> tuple[int, ...]:
    """One period of a smooth weighted round-robin over indices: each index as often as its weight (after dividing by
    their gcd), never in a lump. Raises ValueError for a weight below 1."""
    if not weights or min(weights) < 1:
        raise ValueError("every weight is at least 1")
    divisor = gcd(*weights)
    steps = [weight // divisor for weight in weights]
    total = sum(steps)
    current = [0] * len(steps)
    cycle = []
    for _ in range(total):
        current = [value + step for value, step in zip(current, steps, strict=True)]
        chosen = max(range(len(steps)), key=lambda i: (current[i], -i))
        current[chosen] -= total
        cycle.append(chosen)
    return tuple(cycle)


def share(routes: Sequence[Route], ordinal: int) -> Route:
    """The route at `ordinal` of a smooth weighted round-robin: exact shares in every period, the same answer on
    redelivery."""
    cycle = smooth_cycle(tuple(route.weight for route in routes))
    return routes[cycle[ordinal % len(cycle)]]


def weighted_order(routes: Sequence[Route], ordinal: int) -> list[Route]:
    """All routes: the one that `share` gives, then where this call goes if that one cannot.

    The calls of a route that is out are again shared exactly by weight among the others: each call's place among the
    calls of its first route is its ordinal in the cycle of the rest. Of more than `EXACT_TO_THE_END` routes there would
    be too many rests to know a cycle for each: the first is exact, those behind it are nearly so.
    """
    left = list(routes)
    order: list[Route] = []
    while left and (len(routes) <= EXACT_TO_THE_END or not order):
        cycle = smooth_cycle(tuple(route.weight for route in left))
        period, place = divmod(ordinal, len(cycle))
        chosen = cycle[place]
        ordinal = period * cycle.count(chosen) + cycle[:place].count(chosen)
        order.append(left.pop(chosen))
    return order + _following(left, ordinal)


def _following(routes: Sequence[Route], ordinal: int) -> list[Route]:
    """A weighted shuffle, the same for the same ordinal and routes: whichever are out, the others share by weight, as
    dice do (the least of exponential times at the rates of the weights comes first).
    """
    if not routes:
        return []
    thrown = f"{ordinal} {' '.join(route.name for route in routes)}"
    dice = shake_128(thrown.encode()).digest(4 * len(routes))
    times = {
        route: -log((int.from_bytes(dice[4 * n : 4 * n + 4], "little") + 0.5) / 2**32) / route.weight
        for n, route in enumerate(routes)
    }
    return sorted(routes, key=times.__getitem__)


def attempt_order(
    first: Route, routes: Iterable[Route], *, price: PriceOf, resting: Container[str] = (), ordinal: int = 0
) -> list[Route]:
    """`first`, then the others by price (unknown last), within a price by weight; a route that rests goes last,
    never away.

    `resting` holds names of routes. `ordinal` spreads the calls of a resting route over others of one price.
    """
    others = _by_price([route for route in routes if route != first], price, ordinal)
    return sorted([first, *others], key=lambda route: route.name in resting)


def order(
    mode: Mode, routes: Sequence[Route], ordinal: int, *, price: PriceOf, resting: Container[str] = ()
) -> list[Route]:
    """The order in which call number `ordinal` tries the routes under `mode`; resting routes go last in the same order.

    weighted: exact shares, then by price. cheapest: by price, within a price by weight. primary: as they are listed.
    """
    match mode:
        case Mode.WEIGHTED:
            if not routes:
                return []
            cycle = smooth_cycle(tuple(route.weight for route in routes))
            period, place = divmod(ordinal, len(cycle))
            first = cycle[place]
            rank = period * cycle.count(first) + cycle[:place].count(first)
            return attempt_order(routes[first], routes, price=price, resting=resting, ordinal=rank)
        case Mode.CHEAPEST:
            ordered = _by_price(routes, price, ordinal)
        case Mode.PRIMARY:
            ordered = list(routes)
    return sorted(ordered, key=lambda route: route.name in resting)


def _by_price(routes: Iterable[Route], price: PriceOf, ordinal: int) -> list[Route]:
    def key(route: Route) -> tuple[bool, int]:
        cost = price(route)
        return cost is None, cost or 0

    return [
        route
        for _, group in groupby(sorted(routes, key=key), key=key)
        for route in weighted_order(list(group), ordinal)
    ]
