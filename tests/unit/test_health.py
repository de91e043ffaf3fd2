"""Routes rest for as long as the fault asks, never all at once, never for ever."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.classify import Fault
from slackwater.policy.health import LEAST_S, rest_after, share_after_rest

CAPS = {
    Fault.QUOTA: 60,
    Fault.QUOTA_REQUESTS: 60,
    Fault.QUOTA_TOKENS: 60,
    Fault.QUOTA_DAILY: 3600,
    Fault.CAPACITY: 120,
    Fault.US: 900,
}


@given(st.sampled_from(list(Fault)), st.integers(-1, 10**9), st.integers())
def test_a_rest_is_bounded_and_only_for_what_counts_against_the_route(fault, strikes, seed):
    rest = rest_after(fault, strikes, Random(seed))
    if fault.against_route:
        assert LEAST_S <= rest <= CAPS[fault]
    else:
        assert rest == 0


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


def test_a_resting_route_gets_nothing_and_a_rested_one_its_share():
    assert share_after_rest(-0.1) == 0
    assert share_after_rest(0) == 1
