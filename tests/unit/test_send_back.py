"""How long work without room lies in its queue."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.send_back import delay_s, useful_from
from tests.unit.rig import START

SECONDS = st.floats(-1e6, 1e6)
DRAWS = st.floats(0, 1, exclude_max=True)


def at(seconds: float):
    return START + timedelta(seconds=seconds)


@pytest.mark.promise(4)
@given(SECONDS, SECONDS, DRAWS)
def test_a_wait_is_at_least_a_second_at_most_what_sqs_delays_and_never_past_the_deadline(ready_s, left_s, draw):
    wait_s = delay_s(START, at(ready_s), at(left_s), draw)
    assert 0 <= wait_s <= min(900, max(0, left_s)) + 1e-6
    if left_s >= 900:
        assert wait_s >= 1


@given(st.floats(1, 590), DRAWS)
def test_nobody_comes_back_before_room_is_expected_nor_half_as_late_again(ready_s, draw):
    wait_s = delay_s(START, at(ready_s), at(86_400), draw)
    assert ready_s - 1e-3 <= wait_s <= 1.5 * ready_s + 1e-3


def test_what_waits_for_one_route_does_not_come_back_as_one():
    assert len({delay_s(START, at(60), at(3600), draw / 100) for draw in range(100)}) == 100


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_a_useful_part_is_a_quarter_and_at_most_sixty_four(ready_s):
    moments = [at(s) for s in ready_s]
    when = useful_from(moments)
    ready = sum(moment <= when for moment in moments)
    assert ready >= min(64, len(moments) / 4)
    assert sum(moment < when for moment in moments) < min(64, len(moments) / 4)  # no later than it must be


def test_nothing_waits_for_nothing():
    with pytest.raises(ValueError, match="nothing waits"):
        useful_from([])
