"""Routes rest as long as the fault asks, never all at once, never for ever; one call asks, then more and more go."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from slackwater.policy.classify import Fault
from slackwater.policy.health import (
    LEAST_S,
    PROBE_ASK_S,
    PROBE_S,
    RAMP_FROM,
    RAMP_LEAST_S,
    RAMP_MOST_S,
    RAMP_ROUND_TRIPS,
    Closed,
    MayProbe,
    RouteState,
    after_answer,
    after_fault,
    faults_before_rest,
    gate,
    probing,
    rest_after,
    share_after_rest,
)

CAPS = {
    Fault.QUOTA: 60,
    Fault.QUOTA_REQUESTS: 60,
    Fault.QUOTA_TOKENS: 60,
    Fault.QUOTA_DAILY: 3600,
    Fault.CAPACITY: 120,
    Fault.US: 900,
}
FAULTS = st.sampled_from(list(Fault))
AGAINST = st.sampled_from(sorted(CAPS))
NOW_S = 1_700_000_000.0
RAMP = st.floats(RAMP_LEAST_S, RAMP_MOST_S)


@given(FAULTS, st.integers(-1, 10**9), st.integers())
def test_a_rest_is_bounded_and_only_for_what_counts_against_the_route(fault, strikes, seed):
    rest = rest_after(fault, strikes, Random(seed))
    if fault.against_route:
        assert LEAST_S <= rest <= CAPS[fault]
    else:
        assert rest == 0


@given(FAULTS)
def test_a_rest_begins_only_by_what_counts_against_the_route(fault):
    assert (faults_before_rest(fault) is not None) == fault.against_route


@pytest.mark.parametrize("fault", sorted(CAPS))
def test_rests_grow_with_strikes(fault):
    def mean(strikes):
        return sum(rest_after(fault, strikes, Random(seed)) for seed in range(400)) / 400

    assert mean(0) < mean(1) < mean(20)


def test_two_containers_do_not_come_back_together():
    assert len({rest_after(Fault.CAPACITY, 5, Random(seed)) for seed in range(50)}) == 50


def test_the_same_dice_give_the_same_rest():
    assert rest_after("quota_tokens", 3, Random(1)) == rest_after(Fault.QUOTA_TOKENS, 3, Random(1))


def test_an_unknown_fault_is_an_error():
    with pytest.raises(ValueError, match="nonsense"):
        rest_after("nonsense", 0, Random(1))
    with pytest.raises(ValueError, match="nonsense"):
        faults_before_rest("nonsense")


def test_a_resting_route_gets_nothing_and_a_rested_one_a_growing_share():
    assert share_after_rest(-0.1, 4) == 0
    assert share_after_rest(0, 4) == RAMP_FROM
    assert RAMP_FROM < share_after_rest(2, 4) < 1
    assert share_after_rest(4, 4) == share_after_rest(1e9, 4) == 1


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), RAMP)
def test_the_share_never_shrinks(open_s, more_s, ramp_s):
    assert 0 <= share_after_rest(open_s, ramp_s) <= share_after_rest(open_s + more_s, ramp_s) <= 1


@given(st.floats(0, 2 * RAMP_MOST_S), st.floats(0, 1, exclude_max=True), RAMP)
def test_the_dice_let_that_share_through_and_the_others_come_back_soon(open_s, draw, ramp_s):
    verdict = gate(RouteState(ramp_from_s=NOW_S, ramp_s=ramp_s), NOW_S + open_s, draw)
    share = share_after_rest(open_s, ramp_s)
    if draw < share - 1e-6:
        assert verdict is None
    elif draw > share + 1e-6:
        assert isinstance(verdict, Closed)
        assert NOW_S + open_s < verdict.until_s <= NOW_S + open_s + ramp_s


@given(st.floats(0, 900))
def test_a_ramp_lasts_some_round_trips_of_what_its_probe_took(probe_s):
    opened = after_answer(RouteState(strikes=3, rested_at_s=NOW_S - 1), NOW_S + probe_s, NOW_S)
    assert RAMP_LEAST_S <= opened.ramp_s <= RAMP_MOST_S
    if RAMP_LEAST_S < RAMP_ROUND_TRIPS * probe_s < RAMP_MOST_S:
        assert opened.ramp_s == pytest.approx(RAMP_ROUND_TRIPS * probe_s, abs=1e-6)


def test_a_region_that_is_back_is_found_within_a_part_of_the_time_that_it_was_away():
    for seed in range(200):
        rng, asked_s = Random(seed), [0.0]
        while asked_s[-1] < 60:
            asked_s.append(asked_s[-1] + rest_after(Fault.CAPACITY, len(asked_s) - 1, rng))
        assert asked_s[-1] - asked_s[-2] <= 30
        assert len(asked_s) < 40


def test_a_route_of_which_nothing_is_known_takes_every_call():
    assert gate(RouteState(), NOW_S, 0.999999) is None


@given(AGAINST, st.integers(), st.floats(0, 4000), st.floats(0, 1, exclude_max=True))
def test_a_route_is_closed_while_it_rests_then_asked_by_one_until_its_lease_is_over(fault, seed, later_s, draw):
    state = after_fault(RouteState(), fault, NOW_S, NOW_S - 1, Random(seed))
    verdict = gate(state, NOW_S + later_s, draw)
    if NOW_S + later_s < state.rest_until_s:
        assert verdict == Closed(state.rest_until_s)
        return
    assert verdict == MayProbe()
    asked = probing(state, NOW_S + later_s, "a")
    assert gate(asked, NOW_S + later_s, draw) == Closed(NOW_S + later_s + PROBE_ASK_S)  # most come back by then
    assert isinstance(gate(asked, NOW_S + later_s + PROBE_S - 1, draw), Closed)
    assert gate(asked, NOW_S + later_s + PROBE_S, draw) == MayProbe()


class Route(RuleBasedStateMachine):
    """Calls that begin and end in any order, some of which were let in before the route rested."""

    def __init__(self):
        super().__init__()
        self.state, self.now_s, self.rng = RouteState(), NOW_S, Random(1)
        self.open, self.probes = [], []

    @rule(seconds=st.floats(0.01, 200))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule()
    def a_call_begins_where_it_may(self):
        verdict = gate(self.state, self.now_s, 0.0)
        if isinstance(verdict, MayProbe):
            self.state = probing(self.state, self.now_s, "a")
            self.probes.append(self.now_s)
        if not isinstance(verdict, Closed):
            self.open.append(self.now_s)

    @rule(fault=AGAINST, data=st.data())
    def a_call_fails(self, fault, data):
        if self.open:
            began_s = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            before, self.state = self.state, after_fault(self.state, fault, self.now_s, began_s, self.rng)
            if before.strikes and began_s < before.rest_until_s:
                assert self.state == before
            elif self.state != before:
                assert self.state.strikes == before.strikes + 1
                self.probes.clear()

    @rule(data=st.data())
    def a_call_is_answered(self, data):
        if self.open:
            began_s = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            before, self.state = self.state, after_answer(self.state, self.now_s, began_s)
            if before.strikes and began_s <= before.rested_at_s:
                assert self.state == before
            if not self.state.strikes:
                self.probes.clear()

    @invariant()
    def no_two_probes_are_out_within_a_lease(self):
        assert all(later - first >= PROBE_S for first, later in zip(self.probes, self.probes[1:], strict=False))


TestRoute = Route.TestCase
