"""Shares are exact in every period, and failover keeps them exact among the rest."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.job import Route
from slackwater.model.profile import Mode
from slackwater.policy.weights import attempt_order, order, share, smooth_cycle, weighted_order

weights = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def routes_of(numbers):
    return [Route(f"r{i}", "m", "m", "regional", weight) for i, weight in enumerate(numbers)]


def same_price(_):
    return 7


FIVE_THREE_TWO = routes_of([5, 3, 2])


@given(weights, st.integers(0, 10**9))
def test_every_period_from_anywhere_has_exactly_the_weights(numbers, start):
    routes = routes_of(numbers)
    counted = Counter(share(routes, start + i).region for i in range(sum(numbers)))
    assert counted == {route.region: route.weight for route in routes}


def test_five_three_two_holds_in_every_ten():
    for start in range(100):
        counted = Counter(share(FIVE_THREE_TWO, start + i).region for i in range(10))
        assert counted == {"r0": 5, "r1": 3, "r2": 2}


@given(weights)
def test_no_route_runs_ahead_of_its_share_by_a_whole_call_or_more(numbers):
    cycle = smooth_cycle(tuple(numbers))
    total = sum(numbers)
    for index, weight in enumerate(numbers):
        for length in range(1, len(cycle) + 1):
            assert abs(cycle[:length].count(index) - length * weight / total) < len(numbers)
            if len(numbers) == 2:
                assert abs(cycle[:length].count(index) - length * weight / total) < 1


def test_the_cycle_is_smooth_not_lumped():
    assert smooth_cycle((5, 1, 1)) == (0, 0, 1, 0, 2, 0, 0)


@pytest.mark.parametrize("numbers", [(), (0,), (1, -1)])
def test_weights_below_one_are_an_error(numbers):
    with pytest.raises(ValueError, match="at least 1"):
        smooth_cycle(numbers)


@given(weights, st.integers(0, 10**6))
def test_the_order_is_the_share_first_then_every_other_route_once(numbers, ordinal):
    routes = routes_of(numbers)
    tried = weighted_order(routes, ordinal)
    assert tried[0] == share(routes, ordinal)
    assert sorted(tried, key=lambda r: r.region) == routes
    assert tried == weighted_order(routes, ordinal)


@given(weights.filter(lambda w: len(w) > 1))
def test_the_calls_of_a_dead_route_are_shared_exactly_among_the_rest(numbers):
    routes = routes_of(numbers)
    rest = sum(numbers[1:])
    period = sum(numbers)
    diverted = Counter(
        next(r.region for r in weighted_order(routes, i) if r is not routes[0])
        for i in range(period * rest)
        if share(routes, i) is routes[0]
    )
    assert diverted == {r.region: numbers[0] * r.weight for r in routes[1:]}


def test_of_many_routes_each_comes_once_and_the_first_two_are_shared_exactly():
    routes = routes_of([1 + n % 3 for n in range(15)])
    period = sum(route.weight for route in routes)
    rest = period - routes[0].weight
    orders = [order(Mode.WEIGHTED, routes, i, price=same_price) for i in range(period * rest)]
    assert all(len(set(tried)) == len(routes) for tried in orders)
    assert Counter(tried[0].region for tried in orders) == {r.region: r.weight * rest for r in routes}
    diverted = Counter(tried[1].region for tried in orders if tried[0] is routes[0])
    assert diverted == {r.region: routes[0].weight * r.weight for r in routes[1:]}


def test_the_calls_of_several_dead_routes_of_many_are_shared_nearly_by_weight():
    routes = routes_of([1 + n % 3 for n in range(30)])
    dead = set(routes[:10])
    alive = sum(route.weight for route in routes[10:])
    calls = 50 * sum(route.weight for route in routes)
    served = Counter(
        next(r for r in order(Mode.WEIGHTED, routes, i, price=same_price) if r not in dead) for i in range(calls)
    )
    for route in routes[10:]:
        assert served[route] == pytest.approx(calls * route.weight / alive, rel=0.3)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_resting_route_goes_last_never_away(mode):
    for ordinal in range(20):
        tried = order(mode, FIVE_THREE_TWO, ordinal, price=same_price, resting={FIVE_THREE_TWO[0].name})
        assert tried[-1] == FIVE_THREE_TWO[0]
        assert len(tried) == 3


def test_weighted_starts_with_the_share_and_fails_over_by_price():
    prices = {"r0": 3, "r1": 2, "r2": None}
    for ordinal in range(10):
        tried = order(Mode.WEIGHTED, FIVE_THREE_TWO, ordinal, price=lambda r: prices[r.region])
        assert tried[0] == share(FIVE_THREE_TWO, ordinal)
        rest = [r.region for r in tried[1:]]
        assert rest == [name for name in ("r1", "r0", "r2") if name in rest]


def test_cheapest_goes_by_price_and_within_a_price_by_weight():
    prices = {"r0": 9, "r1": 1, "r2": 1}
    first = Counter(
        order(Mode.CHEAPEST, FIVE_THREE_TWO, i, price=lambda r: prices[r.region])[0].region for i in range(5)
    )
    assert first == {"r1": 3, "r2": 2}
    last = order(Mode.CHEAPEST, FIVE_THREE_TWO, 0, price=lambda r: prices[r.region])[-1]
    assert last.region == "r0"


def test_cheapest_never_prefers_an_unknown_price():
    tried = order(Mode.CHEAPEST, FIVE_THREE_TWO, 3, price=lambda r: None if r.region == "r0" else 10**15)
    assert tried[-1].region == "r0"


def test_primary_is_the_listed_order():
    assert order(Mode.PRIMARY, FIVE_THREE_TWO, 7, price=same_price) == FIVE_THREE_TWO


def test_no_routes_give_no_order():
    assert [order(mode, [], 0, price=same_price) for mode in Mode] == [[], [], []]


def test_attempt_order_takes_the_first_as_given():
    tried = attempt_order(FIVE_THREE_TWO[2], FIVE_THREE_TWO, price=same_price)
    assert tried[0] == FIVE_THREE_TWO[2]
    assert len(set(tried)) == 3
