"""Whose doing a broken call is."""

from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.blame import (
    MAX_BROKEN,
    MAX_BROKEN_IN_OUTAGE,
    MAX_CLEARED,
    MAX_JOBS,
    QUIET_S,
    WINDOW_S,
    Record,
    is_the_jobs,
    pause_s,
)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("rst")), max_size=60))
def test_one_job_alone_never_makes_a_route_a_suspect(calls):
    record = Record()
    for at, (ok, route) in enumerate(calls):
        if ok:
            record.answered(route, at, at)
        else:
            assert not record.broke(route, "poison", at).suspect


@given(st.integers(2, 200), st.integers(1, 200))
def test_poison_between_answers_never_makes_a_route_a_suspect(poison, step_s):
    record = Record()
    for number in range(poison):
        record.answered("r", number * step_s, number * step_s)
        assert not record.broke("r", f"poison {number}", number * step_s + 0.5).suspect


def test_two_jobs_that_break_where_nothing_is_answered_blame_the_route():
    record = Record()
    assert not record.broke("r", "a", 0).suspect
    assert record.broke("r", "b", 1).suspect
    assert not record.broke("other", "b", 2).suspect


def test_shortly_after_an_answer_it_takes_three():
    record = Record()
    record.answered("r", 0, 0)
    assert [record.broke("r", job, at).suspect for at, job in enumerate("abc")] == [False, False, True]
    record.answered("r", 5, 5)
    assert [record.broke("r", job, 6 + QUIET_S).suspect for job in "ab"] == [False, True]


def test_what_is_older_than_the_window_says_nothing():
    record = Record()
    record.broke("r", "a", 0)
    assert not record.broke("r", "b", WINDOW_S).suspect


def test_a_job_is_cleared_of_nothing_by_calls_that_began_before_it_broke():
    record = Record()
    for route in "rst":
        record.broke(route, "a", 10)
        record.answered(route, 9, 11)
    assert record.broke("r", "a", 20).cleared == 0


def test_routes_that_answer_calls_begun_since_are_cleared_and_stay_so():
    record = Record()
    for route in "rst":
        assert record.broke(route, "a", 10).cleared == 0
    for route in "rs":
        record.answered(route, 11, 12)
    assert record.broke("r", "a", 20).cleared == 2
    record.answered("t", 21, 22)
    assert record.broke("s", "a", 23).cleared == 3
    assert record.broke("r", "b", 22).cleared == 0  # another job's breaks are its own


def test_the_memory_of_jobs_is_bounded():
    record = Record()
    for number in range(MAX_JOBS + 50):
        record.broke("r", str(number), number)
    assert len(record._jobs) == MAX_JOBS


@given(st.integers(1, 50), st.integers(0, 10), st.booleans())
def test_every_job_that_always_breaks_ends(broken, cleared, suspect):
    ended = is_the_jobs(broken, cleared, route_suspect=suspect)
    if cleared >= MAX_CLEARED or broken >= MAX_BROKEN_IN_OUTAGE or (broken >= MAX_BROKEN and not suspect):
        assert ended
    else:
        assert not ended


@given(st.integers(0, 100), st.floats(0, 10**6))
def test_a_pause_grows_and_never_takes_much_of_what_is_left(broken, left_s):
    assert 0 <= pause_s(broken, left_s) <= left_s / 10
    assert pause_s(broken, left_s) <= pause_s(broken + 1, left_s) <= 900
