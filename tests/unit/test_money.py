"""Money is exact inside and decimal at the edge."""

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slackwater.model.money import (
    EXACT_FLOAT_PICO,
    PICO,
    MoneyError,
    pico_from_usd,
    pico_from_usd_float,
    pico_per_token,
    usd,
    usd_float,
    usd_text,
)
from slackwater.model.usage import Usage, UsageError

EDGE_AMOUNTS = st.integers(min_value=-EXACT_FLOAT_PICO + 1, max_value=EXACT_FLOAT_PICO - 1)
ANY_AMOUNT = st.integers(min_value=-(10**24), max_value=10**24)


@given(EDGE_AMOUNTS)
@example(1)
@example(EXACT_FLOAT_PICO - 1)
@example(2_000_000)  # 60 tokens of a small model
def test_an_edge_number_below_a_thousand_dollars_reads_back_to_the_same_pico(pico):
    assert pico_from_usd_float(usd_float(pico)) == pico
    assert pico_from_usd(repr(usd_float(pico))) == pico


@given(EDGE_AMOUNTS)
def test_an_edge_number_survives_a_json_file(pico):
    written = orjson.dumps({"cost_usd": usd_float(pico)})
    assert pico_from_usd_float(orjson.loads(written)["cost_usd"]) == pico


@given(st.integers(min_value=EXACT_FLOAT_PICO, max_value=10**22))
def test_a_larger_edge_number_is_the_nearest_double(pico):
    assert usd_float(pico) == float(usd(pico))


@given(ANY_AMOUNT)
def test_decimals_and_text_are_exact_at_any_size(pico):
    assert pico_from_usd(usd(pico)) == pico
    assert pico_from_usd(usd_text(pico)) == pico
    assert "e" not in usd_text(pico).lower()


@pytest.mark.parametrize(
    ("pico", "text"),
    [(0, "0"), (2_000_000, "0.000002"), (PICO, "1"), (-PICO // 2, "-0.5"), (1, "0.000000000001"), (10 * PICO, "10")],
)
def test_text_for_people_has_no_exponent_and_no_idle_zeros(pico, text):
    assert usd_text(pico) == text


@pytest.mark.promise(7)
@pytest.mark.parametrize("convert", [usd, usd_float, usd_text, pico_from_usd_float])
def test_an_unknown_amount_stays_unknown(convert):
    assert convert(None) is None


@pytest.mark.parametrize("amount", ["1e999999999", "-1e99", "1e-99", "nan", "inf", "-Infinity", "five", "", "1,5"])
def test_what_is_no_amount_is_refused(amount):
    with pytest.raises(MoneyError):
        pico_from_usd(amount)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 1e300])
def test_what_is_no_edge_number_is_refused(amount):
    with pytest.raises(MoneyError):
        pico_from_usd_float(amount)


def test_an_amount_finer_than_a_pico_dollar_is_refused_and_never_rounded():
    assert pico_from_usd("0.000000000001") == 1
    with pytest.raises(MoneyError, match="12 decimals"):
        pico_from_usd("0.0000000000001")


def test_an_edge_number_that_somebody_computed_in_floats_is_rounded_to_the_pico():
    assert pico_from_usd_float(0.1 + 0.2) == 3 * PICO // 10
    assert pico_from_usd_float(5) == 5 * PICO
    assert pico_from_usd_float(1.5e-12) == 2
    assert pico_from_usd_float(-1.4e-12) == -1


@given(st.decimals(min_value=0, max_value=10_000, places=6))
def test_the_price_of_a_million_tokens_is_a_million_times_the_price_of_one(price):
    assert pico_per_token(price) * 10**6 == pico_from_usd(price)


@pytest.mark.parametrize(
    ("price", "pico"), [("1", 10**6), ("0.035", 35_000), ("0.000001", 1), ("0", 0), (5, 5 * 10**6)]
)
def test_a_dollar_per_million_tokens_is_a_million_pico_per_token(price, pico):
    assert pico_per_token(price) == pico


def test_a_price_that_is_not_whole_pico_per_token_is_refused():
    with pytest.raises(MoneyError, match="6 decimals"):
        pico_per_token("0.0000001")


def test_usage_is_read_from_converse_with_cache_reads_and_writes_apart_from_the_input():
    usage = Usage.from_converse(
        {
            "inputTokens": 10,
            "outputTokens": 20,
            "totalTokens": 30,
            "cacheReadInputTokens": 400,
            "cacheWriteInputTokens": 300,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 200}],
        }
    )
    assert usage == Usage(10, 20, 400, 300, 100)
    assert usage.prompt_tokens == 710
    assert usage.to_json() == {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": 400,
        "cache_write_tokens": 300,
        "cache_write_1h_tokens": 100,
    }


def test_cache_writes_without_a_lifetime_have_the_one_that_was_asked_for():
    reported = {"inputTokens": 1, "outputTokens": 1, "cacheWriteInputTokens": 50}
    assert Usage.from_converse(reported).cache_write_1h_tokens == 0
    assert Usage.from_converse(reported, default_ttl="1h").cache_write_1h_tokens == 50


@pytest.mark.promise(7)
@pytest.mark.parametrize("reported", [None, {}, {"inputTokens": 3}, {"outputTokens": 3}, {"inputTokens": None}])
def test_usage_that_was_not_reported_is_unknown_and_not_zero(reported):
    assert Usage.from_converse(reported) is None


@pytest.mark.parametrize("count", [-1, "3", 2.5, True])
def test_an_impossible_token_count_is_refused(count):
    with pytest.raises(UsageError):
        Usage.from_converse({"inputTokens": count, "outputTokens": 1})


@given(st.builds(Usage, *[st.integers(min_value=0, max_value=10**9)] * 4))
def test_usage_survives_a_result_line(usage):
    assert Usage.from_json(orjson.loads(orjson.dumps(usage.to_json()))) == usage
    assert Usage.from_json(None) is None
