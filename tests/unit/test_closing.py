"""A queue run closes when its caller or silence says so."""

from datetime import UTC, datetime, timedelta

import pytest

from slackwater.policy.closing import RunArrivals, closing

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def run(*, last=0, asked=None, expected=None, accepted=118, refused=2):
    return RunArrivals(accepted, refused, ago(last), None if asked is None else ago(asked), expected)


@pytest.mark.parametrize(
    ("arrivals", "closes"),
    [
        (run(last=899), False),
        (run(last=900), True),
        (run(last=0, asked=59), False),
        (run(last=59, asked=600), False),
        (run(last=60, asked=60), True),
        (run(last=600, asked=59), False),  # quiet counts from the word, too
        (run(last=0, asked=0, expected=120), True),
        (run(last=0, asked=0, expected=121), False),
        (run(last=900, asked=900, expected=121), False),  # the missing one may wait behind others in the queue
        (run(last=3600, asked=3600, expected=121), True),
    ],
)
def test_the_rules_one_by_one(arrivals, closes):
    taken = closing(arrivals, NOW)
    assert taken.close is closes
    assert taken.reason
    assert (taken.next_check_at is None) is closes
    if not closes:
        assert NOW < taken.next_check_at <= NOW + timedelta(seconds=60)


def test_refused_jobs_count_towards_the_expected():
    assert closing(run(asked=0, expected=118), NOW).warning == "expected 118 jobs, 120 came"
    assert closing(run(asked=0, expected=120), NOW).warning is None


def test_a_number_that_is_never_reached_does_not_hold_a_run_for_ever_and_is_said():
    taken = closing(run(last=4000, asked=4000, expected=500), NOW)
    assert taken.close
    assert taken.warning == "expected 500 jobs, 120 came"
