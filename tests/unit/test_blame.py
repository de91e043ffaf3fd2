"""Whose doing a broken call is."""

from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.blame import (
    MAX_BROKEN,
    MAX_BROKEN_IN_OUTAGE,
    MAX_BROKEN_ROUTES,
    WINDOW_S,
    Ended,
    Record,
    answers,
    is_suspect,
    is_the_jobs,
    pause_s,
)

ended = st.lists(
    st.builds(Ended, st.floats(0, 200), st.none() | st.sampled_from("abcdef")), max_size=60
).map(lambda found: tuple(sorted(found, key=lambda one: one.at_s)))  # fmt: skip


@given(st.lists(st.booleans(), max_size=100))
def test_one_job_alone_never_makes_a_route_a_suspect(answered):
    record = Record()
    for at, ok in enumerate(answered):
        if ok:
            record.answered("r", at)
        else:
            assert not record.broke("r", "poison", at).suspect


def test_two_jobs_that_break_where_nothing_is_answered_blame_the_route():
    record = Record()
    assert not record.broke("r", "a", 0).suspect
    assert record.broke("r", "b", 1).suspect
    assert not record.broke("other", "b", 2).suspect


def test_what_is_older_than_the_window_says_nothing():
    record = Record()
    record.broke("r", "a", 0)
    assert not record.broke("r", "b", WINDOW_S + 1).suspect


@given(ended, st.integers(1, 5))
def test_a_route_that_answers_more_calls_than_jobs_break_on_it_is_no_suspect(found, poison):
    jobs = [Ended(200, str(i)) for i in range(poison)]
    answered = [Ended(200) for _ in range(poison)]
    assert not is_suspect((*jobs, *answered), 200)
    assert answers((*jobs, *answered), 200)


@given(ended)
def test_a_suspect_never_clears_itself_and_blames_a_job(found):
    assert not (is_suspect(found, 200) and answers(found, 200))


@given(st.integers(1, 50), st.integers(0, 10), st.booleans())
def test_every_job_that_always_breaks_ends(broken, cleared, suspect):
    if broken >= MAX_BROKEN_IN_OUTAGE:
        assert is_the_jobs(broken, cleared, route_suspect=suspect)
    if not suspect:
        assert is_the_jobs(broken, cleared, route_suspect=False) == (
            broken >= MAX_BROKEN or cleared >= MAX_BROKEN_ROUTES
        )
    elif broken < MAX_BROKEN_IN_OUTAGE:
        assert not is_the_jobs(broken, cleared, route_suspect=True)


@given(st.integers(0, 100), st.floats(0, 10**6))
def test_a_pause_grows_and_never_takes_much_of_what_is_left(broken, left_s):
    assert 0 <= pause_s(broken, left_s) <= left_s / 10
    assert pause_s(broken, left_s) <= pause_s(broken + 1, left_s) <= 300
