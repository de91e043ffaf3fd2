"""What ended batch jobs teach a forecast: quantiles, what was cut off, sizes, versions, and how good it has been."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.forecast import PRIOR, Forecast
from slackwater.policy.history import (
    HALF_LIFE_S,
    MIN_HISTORY,
    NEWEST,
    Turnaround,
    forecast,
    quantile,
    score,
    size_of,
    took,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def job(took_s, whole=True, records=500, ago_s=0.0, told=None):
    return Turnaround(took_s, whole, records, NOW - timedelta(seconds=ago_s), told)


def of(*seconds, **more):
    return [job(s, **more) for s in seconds]


def test_until_there_are_twenty_own_jobs_the_forecast_is_the_prior_and_says_so():
    assert (PRIOR.p50_s, PRIOR.p95_s, PRIOR.basis) == (7200, 28800, "prior")
    assert forecast(of(*[60] * 19), 500) == Forecast(7200, 28800, "prior", 19, "prior-1")
    ripe = forecast(of(*[60] * 20), 500)
    assert (ripe.p50_s, ripe.p95_s, ripe.basis, ripe.n) == (60, 60, "history", 20)


def test_history_of_one_age_gives_nearest_rank_quantiles():
    found = forecast(of(*range(100, 0, -1)), 500)
    assert (found.p50_s, found.p95_s, found.n) == (50, 95, 100)


def test_recent_jobs_weigh_more():
    old = of(*[3600] * 20, ago_s=2 * HALF_LIFE_S)
    assert forecast(old + of(*[60] * 4), 500).p50_s == 3600
    assert forecast(old + of(*[60] * 5), 500).p50_s == 60  # 5 against 20 of a quarter each


def test_of_more_than_two_hundred_only_the_newest_are_looked_at():
    assert NEWEST == 200
    found = forecast(of(*[60] * 200) + of(*[9000] * 50, ago_s=60), 500)
    assert (found.n, found.p95_s) == (200, 60)


def test_a_job_that_was_stopped_tells_that_it_would_have_taken_longer():
    ended = of(*[600] * 20)
    cut = [job(900, whole=False) for _ in range(20)]
    assert forecast(ended, 500).p95_s == 600
    both = forecast(ended + cut, 500)
    assert both.p50_s == 600
    assert both.p95_s == PRIOR.p95_s  # the upper half was never seen to end: at least the prior
    late = forecast(ended + [job(50_000, whole=False) for _ in range(20)], 500)
    assert late.p95_s == 50_000  # or the longest that was seen


def test_a_job_that_was_stopped_early_says_nothing_against_those_that_took_longer():
    """The product-limit estimate by hand: 10 cut off at 100, 10 ended at 200, 10 at 300."""
    some = [job(100, whole=False)] * 10 + of(*[200] * 10, *[300] * 10)
    assert quantile(some, 50) == 200
    assert quantile(some, 51) == 300


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.booleans(), st.integers(100, 10**5), st.floats(0, 10**7)),
        min_size=MIN_HISTORY,
        max_size=60,
    ),
    st.randoms(),
    st.sampled_from([100, 5_000, 50_000]),
)
def test_the_same_jobs_make_the_same_forecast_in_any_order_and_p95_is_never_below_p50(rows, rnd, records):
    some = [job(took_s, whole, n, ago_s) for took_s, whole, n, ago_s in rows]
    found = forecast(some, records)
    rnd.shuffle(some)
    assert forecast(some, records) == found
    assert 1 <= found.p50_s <= found.p95_s


@given(st.lists(st.integers(1, 10**5), min_size=MIN_HISTORY, max_size=60), st.data())
def test_to_learn_that_a_job_was_cut_off_instead_never_makes_the_forecast_shorter(seconds, data):
    which = data.draw(st.integers(0, len(seconds) - 1))
    ended = of(*seconds)
    cut = [*ended[:which], job(seconds[which], whole=False), *ended[which + 1 :]]
    assert quantile(cut, 50) >= quantile(ended, 50)
    assert quantile(cut, 95) >= quantile(ended, 95)


def test_a_size_with_twenty_jobs_has_its_own_forecast():
    some = of(*[60] * 20, records=500) + of(*[7000] * 20, records=50_000)
    assert [size_of(n) for n in (100, 999, 1_000, 9_999, 10_000)] == [0, 0, 1, 1, 2]
    assert forecast(some, 200).p95_s == 60
    assert forecast(some, 90_000).p95_s == 7000
    assert forecast(some, 5_000).p95_s == 7000  # of that size and larger: too long rather than too short


def test_a_size_without_its_own_history_is_never_forecast_shorter_than_the_prior():
    small = of(*[60] * 30, records=500)
    found = forecast(small, 50_000)
    assert (found.p50_s, found.p95_s, found.basis, found.n) == (PRIOR.p50_s, PRIOR.p95_s, "all_sizes", 30)
    slow = of(*[90_000] * 30, records=500)
    assert forecast(slow, 50_000).p95_s == 90_000


def test_a_version_tells_what_a_forecast_was_made_from():
    some = of(*range(1, 30))
    first = forecast(some, 500)
    assert first.version.startswith("h1-")
    assert forecast(some, 300).version == first.version  # of the same jobs
    assert forecast([*some, job(3)], 500).version != first.version
    assert forecast([], 500).version == PRIOR.version == "prior-1"


@pytest.mark.parametrize(
    ("status", "stop_after_s", "known"),
    [
        ("Completed", None, (3600, True)),
        ("Completed", 600, (3600, True)),  # it ended before the stop was heard
        ("PartiallyCompleted", None, (3600, False)),
        ("Expired", None, (3600, False)),
        ("Stopped", None, (3600, False)),
        ("Stopped", 3000, (3000, False)),  # what followed was no work
        ("Rescued", 3000, (3000, False)),
        ("Rescued", None, None),  # nobody could ask
        ("Failed", None, None),
        ("Unknown", None, None),
    ],
)
def test_what_a_jobs_end_says_of_its_turnaround(status, stop_after_s, known):
    submitted = NOW - timedelta(hours=1)
    stop = None if stop_after_s is None else submitted + timedelta(seconds=stop_after_s)
    assert took(status, submitted, NOW, stop) == known
    assert took(status, None, NOW, stop) is None


def test_forecasts_are_scored_by_how_many_jobs_kept_within_them():
    told = Forecast(100, 1000, "history", 20)
    some = [job(s, told=told) for s in (50, 100, 900, 2000)]
    found = score([*some, job(1)])
    assert (found.jobs, found.within_p50, found.within_p95) == (4, 0.5, 0.75)
    # (0.5·50 + 0.05·950 + 0 + 0.05·900 + 0.5·800 + 0.05·100 + 0.5·1900 + 0.95·1000) / 2 / 4
    assert found.pinball_s == pytest.approx((25 + 47.5 + 45 + 400 + 5 + 950 + 950) / 8, abs=0.1)


def test_a_job_that_was_cut_off_is_judged_only_where_it_can_be():
    told = Forecast(100, 1000, "prior", 0)
    found = score([job(500, whole=False, told=told)])
    assert (found.jobs, found.within_p50, found.within_p95, found.pinball_s) == (1, 0.0, None, None)
    assert score([]).as_json() == {"jobs": 0, "within_p50": None, "within_p95": None, "pinball_s": None}
