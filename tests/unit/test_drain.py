"""How fast calls drain under the quotas that are left, and the room that shards leave to each other."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.drain import SLOWEST, Claim, Mean, behind_s, jobs_per_s
from slackwater.policy.forecast import guard_at
from slackwater.policy.quota import Meter, Pool
from tests.unit.rig import HAIKU

NOW_S = 1.8e9
EAST, WEST = f"us-east-1|global|{HAIKU}", f"us-west-2|global|{HAIKU}"
MODEST = f"us-east-1|on_demand|{'m'}"
EACH = Mean(1000, 300)
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def told(rpm=None, tpm=None, **more):
    return Pool(
        Meter(told_per_s=None if rpm is None else rpm / 60), Meter(told_per_s=None if tpm is None else tpm / 60), **more
    )


def rate(pools, each=EACH, assumed=20.0):
    return jobs_per_s(pools, each, assumed=assumed, now_s=NOW_S)


def test_where_nothing_is_known_the_parameter_holds():
    assert rate({}) == 20
    assert rate({EAST: Pool(), WEST: Pool()}) == pytest.approx(20)


def test_known_limits_are_summed_over_the_routes():
    assert rate({EAST: told(rpm=600), WEST: told(rpm=60)}) == pytest.approx(11)


def test_tokens_limit_where_they_are_scarcer_and_output_counts_with_its_burn_down():
    # Claude: 1000 + 5 x 300 quota tokens a call
    assert rate({EAST: told(rpm=6000, tpm=150_000)}) == pytest.approx(1)
    assert rate({MODEST: told(rpm=6000, tpm=78_000)}) == pytest.approx(1)  # burn-down 1
    seen = told(tpm=150_000, input_ratio=0.5, output_ratio=1 / 3, answers=100)
    assert rate({EAST: seen}) == pytest.approx(2.5)  # 500 + 5 x 100 a call, as calls have turned out


def test_a_quota_of_which_nothing_is_known_counts_as_its_share_of_the_parameter():
    assert rate({EAST: told(rpm=60), WEST: Pool()}) == pytest.approx(1 + 10)


def test_a_learned_limit_counts_as_it_stands():
    learned = Meter(learned_per_s=2.0, throttles=3, throttled_at_s=NOW_S - 8, hold_s=8.0, recent_at_s=NOW_S)
    assert rate({EAST: Pool(requests=learned)}) == pytest.approx(2)


def test_a_quota_of_nothing_divides_by_nothing():
    assert rate({EAST: told(rpm=0)}) == SLOWEST
    assert rate({}, assumed=0) == SLOWEST


# ---------------------------------------------------------------- the room that shards leave to each other

LEAD_S = 240.0


def claim(name, hours=10.0, drain_s=3600.0, quotas=(EAST,), by=8.0, **more):
    return Claim(name, frozenset(quotas), NOON + timedelta(hours=hours), drain_s, NOON + timedelta(hours=by), **more)


def hours_behind(*claims, now=NOON):
    return {name: seconds / 3600 for name, seconds in behind_s(claims, now, lead_s=LEAD_S).items()}


def test_a_shard_alone_has_until_its_deadline():
    assert hours_behind(claim("a")) == {"a": 0}


def test_shards_of_one_deadline_are_rescued_one_after_the_other():
    assert hours_behind(claim("a"), claim("b"), claim("c")) == {"a": 2, "b": 1, "c": 0}


def test_one_that_is_being_rescued_already_is_first_then_the_one_that_has_come_less_far():
    found = hours_behind(claim("a"), claim("b", processed=10), claim("c", going=True, processed=90))
    assert found == {"c": 2, "a": 1, "b": 0}


def test_a_later_deadline_that_leaves_room_changes_nothing():
    assert hours_behind(claim("a", hours=10, by=99), claim("b", hours=12)) == {"a": 0, "b": 0}


def test_one_of_a_later_deadline_is_called_after_it_however_early_it_is_stopped():
    found = behind_s([claim("a", hours=10, by=99), claim("b", hours=10.5)], NOON, lead_s=LEAD_S)
    stopped = guard_at(NOON + timedelta(hours=10.5), LEAD_S + 3600)
    assert found == {"a": (NOON + timedelta(hours=10) - stopped).total_seconds(), "b": 0}


def test_shards_of_other_quotas_do_not_wait_for_each_other():
    apart = hours_behind(claim("a", quotas=(EAST,)), claim("b", quotas=(WEST,)))
    assert apart == {"a": 0, "b": 0}
    chained = hours_behind(claim("a", quotas=(EAST,)), claim("b", quotas=(WEST,)), claim("c", quotas=(EAST, WEST)))
    assert sorted(chained.values()) == [0, 1, 2]
    assert sorted(hours_behind(claim("a", quotas=()), claim("b", quotas=())).values()) == [0, 1]


def test_room_is_left_for_the_largest_of_later_deadlines_that_would_be_called_at_once():
    last = claim("b", hours=20, drain_s=7200, called_s=7200), claim("c", hours=30, drain_s=3600, called_s=3600)
    assert hours_behind(claim("a"), *last)["a"] == 2
    again = claim("b", hours=20, drain_s=7200, called_s=900), last[1]  # most of it would go by batch again
    assert hours_behind(claim("a"), *again)["a"] == 1


def test_where_not_all_can_be_rescued_none_is_stopped_for_others_before_its_forecast_has_passed():
    many = [claim(f"s{n:03d}", by=6) for n in range(200)]  # 200 hours of calls, ten hours of time
    found = behind_s(many, NOON, lead_s=LEAD_S)
    guards = [guard_at(NOON + timedelta(hours=10, seconds=-seconds), LEAD_S + 3600) for seconds in found.values()]
    assert min(guards) == NOON + timedelta(hours=6)


def test_where_not_all_can_be_rescued_those_whose_turn_has_passed_are_left_to_batch():
    now = NOON + timedelta(hours=7)  # three more can be rescued, one after the other
    found = hours_behind(*(claim(f"s{n}", by=0) for n in range(6)), now=now)
    assert found == {"s0": 0, "s1": 0, "s2": 0, "s3": 2, "s4": 1, "s5": 0}


def test_what_is_being_rescued_already_may_be_late_without_giving_up_the_others():
    now = NOON + timedelta(hours=7.5)
    assert hours_behind(claim("a", going=True), claim("b"), claim("c"), now=now)["b"] == 1


claims = st.builds(
    lambda name, hours, drain_s, quotas, going: claim(name, hours, drain_s, quotas, by=99, going=going),
    st.integers(0, 10**9).map(str),
    st.floats(1, 48),
    st.floats(1, 20_000),
    st.sets(st.sampled_from([EAST, WEST, MODEST])).map(tuple),
    st.booleans(),
)


@given(st.lists(claims, max_size=12, unique_by=lambda one: one.shard))
def test_who_begins_at_its_last_moment_is_done_before_the_next_of_the_same_quotas_begins(some):
    found = behind_s(some, NOON - timedelta(days=30), lead_s=LEAD_S)
    assert set(found) == {one.shard for one in some}
    assert all(seconds >= 0 for seconds in found.values())
    done = {one.shard: one.deadline - timedelta(seconds=found[one.shard]) for one in some}
    begins = {one.shard: done[one.shard] - timedelta(seconds=one.drain_s) for one in some}
    for one in some:
        for other in some:
            if one is not other and set(one.quotas) & set(other.quotas) and begins[one.shard] < begins[other.shard]:
                assert done[one.shard] <= begins[other.shard] + timedelta(milliseconds=1)
