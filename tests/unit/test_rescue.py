"""What batch did not answer goes on, boundedly, and what may have been paid for is counted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.job import Lane
from slackwater.policy.forecast import PRIOR, latest_start
from slackwater.policy.rescue import MAX_SHARD_GENERATIONS, RowVerdict, lost_records, plan_rescue, row_verdict

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def rescue(missing=500, *, generation=0, hours=24.0, batch_possible=True, calling_lane=Lane.ON_DEMAND):
    return plan_rescue(
        missing=missing,
        generation=generation,
        now=NOW,
        deadline=NOW + timedelta(hours=hours),
        forecast=PRIOR,
        drain_s=60,
        batch_possible=batch_possible,
        calling_lane=calling_lane,
    )


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (429, RowVerdict.RETRY),
        (500, RowVerdict.RETRY),
        (503, RowVerdict.RETRY),
        ("503", RowVerdict.RETRY),
        ("ThrottlingException", RowVerdict.RETRY),
        (400, RowVerdict.FINAL),
        ("400", RowVerdict.FINAL),
        ("ValidationException", RowVerdict.FINAL),
        (403, RowVerdict.OTHER_LANE),
        (408, RowVerdict.OTHER_LANE),
        (424, RowVerdict.OTHER_LANE),
        ("ModelErrorException", RowVerdict.OTHER_LANE),
        (None, RowVerdict.OTHER_LANE),
        (True, RowVerdict.OTHER_LANE),
        ({}, RowVerdict.OTHER_LANE),
    ],
)
def test_row_errors_have_a_verdict(code, verdict):
    assert row_verdict(code) is verdict


@given(st.none() | st.booleans() | st.integers() | st.text(max_size=30))
def test_any_code_has_a_verdict(code):
    assert row_verdict(code) in RowVerdict


@pytest.mark.parametrize(
    ("changes", "lane"),
    [
        ({}, Lane.BATCH),
        ({"missing": 100}, Lane.BATCH),
        ({"missing": 99}, Lane.ON_DEMAND),
        ({"hours": 8.5}, Lane.ON_DEMAND),
        ({"batch_possible": False}, Lane.ON_DEMAND),
        ({"batch_possible": False, "calling_lane": Lane.FLEX}, Lane.FLEX),
        ({"generation": 1}, Lane.BATCH),
        ({"generation": 2}, Lane.ON_DEMAND),
    ],
)
def test_the_missing_go_by_batch_again_only_if_all_allows_it(changes, lane):
    assert rescue(**changes).lane is lane


@given(st.integers(0, 10**6), st.floats(-1, 500))
def test_rescues_of_rescues_have_an_end(missing, hours):
    generation, by_batch = 0, 0
    while (plan := rescue(missing, generation=generation, hours=hours)).lane is Lane.BATCH:
        assert missing >= 100
        assert latest_start(NOW + timedelta(hours=hours), PRIOR, 60) >= NOW
        assert plan.generation == generation + 1
        generation, by_batch = plan.generation, by_batch + 1
    assert by_batch < MAX_SHARD_GENERATIONS
    assert plan.reason


@pytest.mark.parametrize(
    ("facts", "lost"),
    [
        ({"missing": 100, "processed": None, "rows_seen": 0, "any_output": False}, 100),
        ({"missing": 40, "processed": None, "rows_seen": 60, "any_output": True}, 0),
        ({"missing": 100, "processed": 0, "rows_seen": 0, "any_output": False}, 0),
        ({"missing": 100, "processed": 30, "rows_seen": 0, "any_output": False}, 30),
        ({"missing": 40, "processed": 100, "rows_seen": 60, "any_output": True}, 40),
        ({"missing": 40, "processed": 65, "rows_seen": 60, "any_output": True}, 5),
        ({"missing": 3, "processed": 500, "rows_seen": 60, "any_output": True}, 3),
        ({"missing": 40, "processed": 10, "rows_seen": 60, "any_output": True}, 0),
    ],
)
def test_repeats_are_what_may_have_been_paid_without_an_answer(facts, lost):
    assert lost_records(**facts) == lost
