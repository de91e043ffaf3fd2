"""The turnaround forecast and the moments that follow from it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.forecast import PRIOR, Forecast, forecast, guard_at, last_moment, latest_start

DEADLINE = datetime(2026, 12, 1, 6, tzinfo=UTC)


def test_until_there_are_twenty_own_jobs_the_forecast_is_the_prior_and_says_so():
    assert (PRIOR.p50_s, PRIOR.p95_s, PRIOR.basis) == (7200, 28800, "prior")
    assert forecast([60] * 19) == Forecast(7200, 28800, "prior", 19)
    assert forecast([60] * 20) == Forecast(60, 60, "history", 20)


def test_history_gives_nearest_rank_quantiles():
    assert forecast(range(100, 0, -1)) == Forecast(50, 95, "history", 100)


def test_the_chance_of_being_late_passes_through_both_quantiles():
    assert PRIOR.p_late(PRIOR.p50_s) == pytest.approx(0.5)
    assert PRIOR.p_late(PRIOR.p95_s) == pytest.approx(0.05)
    assert PRIOR.p_late(0) == PRIOR.p_late(-5) == 1
    assert 0 < PRIOR.p_late(23 * 3600) < 0.01


@given(st.floats(1, 10**6), st.floats(1, 10**6))
def test_more_slack_never_makes_it_later(a, b):
    assert PRIOR.p_late(max(a, b)) <= PRIOR.p_late(min(a, b))


def test_a_history_without_spread_is_a_step():
    sure = Forecast(60, 60, "history", 20)
    assert (sure.p_late(59), sure.p_late(60)) == (1, 0)


def test_the_moments_are_those_of_the_rule():
    assert latest_start(DEADLINE, PRIOR, 600) == DEADLINE - timedelta(hours=8, minutes=40)
    assert guard_at(DEADLINE, 60) == DEADLINE - timedelta(minutes=30)
    assert guard_at(DEADLINE, 3600) == DEADLINE - timedelta(hours=2)
    assert last_moment(DEADLINE, 3600) == DEADLINE - timedelta(hours=1)


@given(st.floats(0, 10**6))
def test_the_guard_leaves_time_to_stop_before_the_last_moment(drain_s):
    assert latest_start(DEADLINE, PRIOR, drain_s) < last_moment(DEADLINE, drain_s)
    assert guard_at(DEADLINE, drain_s) <= last_moment(DEADLINE, drain_s)
    if drain_s < 1800:
        assert guard_at(DEADLINE, drain_s) < last_moment(DEADLINE, drain_s)
