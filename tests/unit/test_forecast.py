"""The turnaround forecast and the moments that follow from it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.forecast import PRIOR, Forecast, guard_at, last_moment, latest_start, slowest

DEADLINE = datetime(2026, 12, 1, 6, tzinfo=UTC)


def test_jobs_in_several_regions_have_ended_when_the_slowest_has():
    quick, slow = Forecast(60, 600, "history", 30), Forecast(30, 900, "history", 20)
    assert slowest([quick, slow]) == slow
    assert slowest([quick, PRIOR]) == PRIOR
    assert slowest([]) == PRIOR


def test_a_forecast_survives_its_json():
    told = Forecast(60, 600, "history", 30, "h1-abc")
    assert Forecast.from_json(told.as_json()) == told


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
    assert guard_at(DEADLINE, 60) == DEADLINE - timedelta(minutes=31)
    assert guard_at(DEADLINE, 3600) == DEADLINE - timedelta(hours=1, minutes=30)
    assert last_moment(DEADLINE, 3600) == DEADLINE - timedelta(hours=1)


@given(st.floats(0, 10**6))
def test_the_guard_leaves_time_to_stop_before_the_last_moment(drain_s):
    assert latest_start(DEADLINE, PRIOR, drain_s) < last_moment(DEADLINE, drain_s)
    assert guard_at(DEADLINE, drain_s) == last_moment(DEADLINE, drain_s) - timedelta(minutes=30)


@given(st.floats(0, 10**6))
def test_a_job_that_is_begun_at_its_latest_start_has_its_p95_before_it_is_stopped(drain_s):
    begun = latest_start(DEADLINE, PRIOR, drain_s)
    assert guard_at(DEADLINE, drain_s) - begun >= timedelta(seconds=PRIOR.p95_s - 1)
