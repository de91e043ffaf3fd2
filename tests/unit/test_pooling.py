"""A pool closes when it is worth a batch job, and never waits past its latest safe moment."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.forecast import PRIOR, latest_start
from slackwater.policy.pooling import FULL_BYTES, PoolAction, PoolLoad, pool_step, release_at

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOURS = timedelta(hours=1)


def step(count, *, minutes=0.0, hours=24.0, size=1000, drain_s=60.0):
    deadline = None if count == 0 else NOW + hours * HOURS
    pool = PoolLoad(count, size, NOW - timedelta(minutes=minutes), deadline)
    return pool_step(pool, NOW, forecast=PRIOR, drain_s=drain_s)


@pytest.mark.parametrize(
    ("count", "minutes", "hours", "action"),
    [
        (1000, 0, 24, PoolAction.CLOSE),
        (999, 14.9, 24, PoolAction.KEEP),
        (999, 15, 24, PoolAction.CLOSE),
        (100, 15, 24, PoolAction.CLOSE),
        (99, 600, 24, PoolAction.KEEP),
        (99, 0, 8.51, PoolAction.RELEASE),
        (1000, 0, 8.51, PoolAction.RELEASE),  # batch could not hold the deadline
        (100, 0, 8.52, PoolAction.CLOSE),  # the next look would be too late
        (99, 0, 8.52, PoolAction.KEEP),
        (0, 600, 0, PoolAction.KEEP),
    ],
)
def test_the_rules_one_by_one(count, minutes, hours, action):
    taken = step(count, minutes=minutes, hours=hours)
    assert taken.action is action
    assert taken.reason


def test_a_pool_that_fills_a_file_closes():
    assert step(200, size=FULL_BYTES).action is PoolAction.CLOSE


def test_a_small_pool_is_looked_at_again_no_later_than_its_latest_safe_moment_and_then_released():
    pool = PoolLoad(5, 1000, NOW, NOW + 24 * HOURS)
    latest = latest_start(NOW + 24 * HOURS, PRIOR, 60)
    now, looks = NOW, 0
    while (taken := pool_step(pool, now, forecast=PRIOR, drain_s=60)).action is PoolAction.KEEP:
        now, looks = taken.next_check_at, looks + 1
    assert taken.action is PoolAction.RELEASE
    assert now == latest == release_at(NOW + 24 * HOURS, PRIOR, 60)
    assert looks > 100


@given(
    st.integers(0, 2000), st.floats(0, 5000), st.floats(-1, 100), st.integers(0, 2 * FULL_BYTES), st.floats(0, 10**5)
)
def test_a_pool_never_closes_below_the_minimum_or_past_its_moment(count, minutes, hours, size, drain_s):
    taken = step(count, minutes=minutes, hours=hours, size=size, drain_s=drain_s)
    assert taken == step(count, minutes=minutes, hours=hours, size=size, drain_s=drain_s)
    latest = latest_start(NOW + hours * HOURS, PRIOR, drain_s)
    if taken.action is PoolAction.CLOSE:
        assert count >= 100
        assert latest >= NOW
    if taken.action is PoolAction.KEEP:
        assert NOW < taken.next_check_at <= NOW + timedelta(seconds=60)
        if count:
            assert taken.next_check_at <= latest
    else:
        assert taken.next_check_at is None
    if count and latest < NOW:
        assert taken.action is PoolAction.RELEASE
