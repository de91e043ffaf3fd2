"""What earlier answers tell of the tokens of jobs to come, and how wide the error bars are."""

from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.errors import BadInput
from slackwater.policy.learned import (
    MIN_ANSWERS,
    Amount,
    Answers,
    History,
    Ratios,
    input_amount,
    output_amount,
    total,
)
from slackwater.usecases.learn import learn

MODEL, RUN = "some.model", "r" + "a" * 20
COUNTS = st.integers(0, 5_000)


def answers(pairs, reckoned=0):
    """Sums of (input, output) pairs."""
    each = list(pairs)
    read = sum(x for x, _ in each)
    return Answers(
        len(each),
        read,
        sum(y for _, y in each),
        sum(x * x for x, _ in each),
        sum(y * y for _, y in each),
        sum(x * y for x, y in each),
        reckoned,
        read if reckoned else 0,
    )


def row(line, read, written, *, model=MODEL, status="succeeded", run_id=RUN):
    usage = {"input_tokens": read, "output_tokens": written, "cache_read_tokens": 0, "cache_write_tokens": 0}
    return orjson.dumps({"line": line, "run_id": run_id, "status": status, "model": model, "usage": usage}) + b"\n"


@given(
    pairs=st.lists(st.tuples(COUNTS, COUNTS), min_size=MIN_ANSWERS, max_size=60),
    reckoned=st.integers(0, 100_000),
    jobs=st.integers(1, 10_000),
    estimated=st.integers(0, 10**7),
    limit=st.integers(1, 4_096),
)
def test_an_error_bar_holds_its_amount_and_no_answer_passes_its_limit(pairs, reckoned, jobs, estimated, limit):
    known = answers(pairs, reckoned)
    read = input_amount(estimated, jobs, known, None)
    written = output_amount(jobs * limit, jobs, read, known, None)
    assert 0 <= read.low <= read.tokens <= read.high
    assert 0 <= written.low <= written.tokens <= written.high <= jobs * limit


def test_without_history_the_answer_is_the_most_that_is_allowed_and_says_so():
    read = input_amount(1_000, 10, None, None)
    assert read == Amount(1_000, 750, 1_250, "estimated")
    assert output_amount(3_000, 10, read, None, None) == Amount(3_000, 0, 3_000, "max_tokens")


def test_answers_that_follow_their_question_are_known_by_it():
    known = answers([(x, 20 + 2 * x) for x in range(50, 150)], reckoned=2 * sum(range(50, 150)))
    read = input_amount(2 * 1_000 * 120, 1_000, known, None)
    assert (read.tokens, read.method) == (1_000 * 120, "history")
    assert output_amount(10**9, 1_000, read, known, None).tokens == pytest.approx(1_000 * (20 + 2 * 120), abs=1)


def test_where_the_input_was_not_reckoned_the_mean_answer_counts():
    known = answers([(x, 20 + 2 * x) for x in range(50, 150)])
    read = input_amount(5_000, 10, known, None)
    assert read.method == "estimated"
    assert output_amount(10**9, 10, read, known, None).tokens == pytest.approx(10 * (20 + 2 * 99.5), abs=1)


def test_a_line_is_not_followed_far_beyond_what_was_seen():
    known = answers([(x, 2 * x) for x in range(90, 111)] * 2, reckoned=100 * 42)
    far = Amount(10 * 5_000, 10 * 5_000, 10 * 5_000, "history")
    assert output_amount(10**9, 10, far, known, None).tokens < 10 * 2 * 120


def test_nineteen_in_twenty_error_bars_hold_what_comes():
    random, held = Random(5), 0
    for _ in range(300):
        seen, new = ([(random.gauss(100, 20), random.expovariate(1 / 150)) for _ in range(n)] for n in (80, 400))
        known = answers([(round(x), round(y)) for x, y in seen], reckoned=round(sum(x for x, _ in seen) / 1.1))
        read = input_amount(round(sum(x for x, _ in new) / 1.1), 400, known, None)
        written = output_amount(10**9, 400, read, known, None)
        held += written.low <= sum(y for _, y in new) <= written.high
    assert held >= 0.93 * 300


def test_few_answers_say_nothing_and_a_profiles_own_count_first():
    own, others = answers([(10, 5)] * MIN_ANSWERS), answers([(10, 500)] * 1_000)
    history = History({(MODEL, "mine"): own, (MODEL, "other"): others})
    assert history.answers(MODEL, "mine") == own
    assert history.answers(MODEL, "new") == own + others
    assert history.answers("another.model", "mine") is None
    assert History({(MODEL, "mine"): answers([(10, 5)] * (MIN_ANSWERS - 1))}).answers(MODEL, "mine") is None


def test_what_a_stack_learned_counts_where_no_answers_are_known():
    ratios = Ratios(0.8, 0.25, answers=500)
    assert History(ratios={MODEL: ratios}).ratios(MODEL) == ratios
    read = input_amount(1_000, 10, None, ratios)
    assert (read.tokens, read.method) == (800, "history")
    assert output_amount(3_000, 10, read, None, ratios).tokens == 750
    assert History(ratios={MODEL: Ratios(0.8, 0.25, answers=3)}).ratios(MODEL) is None


@given(st.dictionaries(st.tuples(st.text(min_size=1), st.none() | st.text(min_size=1)), st.builds(
    Answers, *[st.integers(0, 10**12)] * 8), max_size=4))  # fmt: skip
def test_a_saved_history_reads_back_as_it_was(sums):
    history = History(sums)
    assert dict(History.from_json(orjson.loads(orjson.dumps(history.to_json())))) == dict(history)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({"v": 9, "history": []}, ""),
        ({"v": 1, "history": [7]}, "/history/0"),
        ({"v": 1, "history": [{"model": "m", "jobs": -1}]}, "/history/0/jobs"),
        ({"v": 1, "history": [{"model": "m", "profile": 3}]}, "/history/0/profile"),
    ],
)
def test_a_history_that_is_none_names_its_fault(document, pointer):
    with pytest.raises(BadInput) as refused:
        History.from_json(document)
    assert refused.value.pointer == pointer


def test_a_sum_is_as_unsure_as_its_least_sure_part():
    sure, guess = Amount(10, 9, 11, "history"), Amount(5, 0, 5, "max_tokens")
    assert total([sure, guess]) == Amount(15, 9, 16, "max_tokens")
    assert total([]) == Amount(0, 0, 0, "given")


def test_a_runs_files_tell_lengths_and_ratio_of_its_profile():
    rows = [row(n, 100 + n, 50) for n in range(40)] + [row(41, 1, 1, status="failed")]
    receipt = {"run_id": RUN, "reckoned": {"mine": {"jobs": 41, "input_tokens": 8_200, "max_output_tokens": 9}}}
    ((key, sums),) = learn([b"".join(rows)], receipt)
    assert key == (MODEL, "mine")
    assert (sums.jobs, sums.output_tokens) == (40, 2_000)
    assert sums.input_ratio == pytest.approx((sum(range(100, 140)) / 40) / 200)


@pytest.mark.parametrize(
    "receipt",
    [
        None,
        {"run_id": "another", "reckoned": {"mine": {"jobs": 1, "input_tokens": 1, "max_output_tokens": 1}}},
        {"run_id": RUN},
        {"run_id": RUN, "reckoned": {"mine": {"jobs": 1, "input_tokens": None}}},
        {"run_id": RUN, "reckoned": {"mine": 7}},
        {"run_id": RUN, "reckoned": {"mine": {"jobs": 2, "input_tokens": 20}}},
        {"run_id": RUN, "reckoned": {name: {"jobs": 1, "input_tokens": 1} for name in ("a", "b")}},
    ],
)
def test_without_its_own_receipt_or_most_of_its_jobs_a_results_file_tells_lengths_alone(receipt):
    ((_, sums),) = learn([row(1, 10, 5)], receipt)
    assert sums.input_ratio is None
    assert (sums.jobs, sums.output_tokens) == (1, 5)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"id": "q"}', row(2, -1, 5)])
def test_a_line_that_is_no_result_is_named_by_its_number(line):
    with pytest.raises(BadInput, match="line 2 is no result row"):
        learn([row(1, 10, 5) + line])
