"""Read timeouts above the longest generation, and what is too long to be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.durations import (
    CALLABLE_BY_ALL,
    LONGEST_GENERATION_S,
    SLOWEST_OF_OTHERS,
    SLOWEST_TOKENS_PER_S,
    TIMEOUTS_S,
    covers,
    generation_s,
    length_traits,
    longest_answer_tokens,
    outlasts,
    read_timeout_s,
    slowest_rate,
    too_long,
)

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
MODELS = [HAIKU, "us.anthropic.claude-opus-4-6-v1", "amazon.nova-micro-v1:0", "openai.gpt-oss-120b-1:0", "some.new-one"]
models = st.sampled_from(MODELS)
tokens = st.integers(1, 1_000_000)


def test_a_model_without_a_row_is_taken_to_be_as_slow_as_the_slowest():
    assert slowest_rate("some.new-one") == SLOWEST_OF_OTHERS <= min(rate for _, rate in SLOWEST_TOKENS_PER_S)


@given(models, tokens, st.booleans())
def test_a_read_timeout_is_above_the_longest_generation_and_within_an_invocation(model, max_tokens, flex):
    if outlasts(model, max_tokens):
        assert generation_s(model, max_tokens) > LONGEST_GENERATION_S
        with pytest.raises(ValueError, match="batch only"):
            read_timeout_s(model, max_tokens, flex=flex)
        return
    timeout = read_timeout_s(model, max_tokens, flex=flex)
    assert timeout in TIMEOUTS_S
    assert timeout >= generation_s(model, max_tokens) + 20  # some start-up always fits on top
    assert covers(900 - 20, timeout)  # a fresh invocation less what it keeps for storing


@given(models, tokens, tokens)
def test_a_longer_answer_never_has_a_shorter_timeout(model, one, other):
    low, high = sorted((one, other))
    if not outlasts(model, high):
        assert read_timeout_s(model, low) <= read_timeout_s(model, high)


@given(models, tokens)
def test_flex_is_given_no_less_time(model, max_tokens):
    if not outlasts(model, max_tokens):
        assert read_timeout_s(model, max_tokens, flex=True) >= read_timeout_s(model, max_tokens)


def test_a_usual_answer_has_the_shortest_timeout_so_that_its_client_is_shared():
    assert {read_timeout_s(model, 300) for model in MODELS} == {TIMEOUTS_S[0]}


@given(st.floats(0, 2000), st.sampled_from(TIMEOUTS_S))
def test_no_call_is_covered_by_less_than_its_timeout(remaining_s, timeout):
    assert not (covers(remaining_s, timeout) and remaining_s <= timeout)


@given(models, st.none() | tokens)
def test_the_trait_of_a_job_says_exactly_which_models_may_be_called_for_it(model, max_tokens):
    traits = length_traits(max_tokens)
    assert len(traits) <= 1
    refused = too_long(frozenset({"tools"}) | traits, model)
    assert (refused is not None) == (max_tokens is not None and outlasts(model, max_tokens))
    if max_tokens is not None and max_tokens <= CALLABLE_BY_ALL:
        assert not traits


def test_the_reason_names_the_most_that_may_be_asked_for():
    reason = too_long(length_traits(64_000), HAIKU)
    assert reason is not None and f"{longest_answer_tokens(HAIKU):,} tokens" in reason and "batch" in reason
