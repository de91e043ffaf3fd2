"""What the same tokens would cost without the product, to the pico-dollar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.money import pico_per_token
from slackwater.model.usage import Usage
from slackwater.policy.baselines import added, article_pico, baselines
from slackwater.policy.prices import PriceBook, list_pico, load_price_book

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
COUNTS = st.integers(0, 10**7)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return load_price_book()


def test_three_baselines_of_haiku_to_the_pico(book: PriceBook) -> None:
    row = book.row(HAIKU, "us-east-1", "regional")
    assert row is not None
    found = baselines(Usage(1_000_003, 200_001), book, model_id=HAIKU, home_region="us-east-1")
    called = 1_000_003 * pico_per_token(row["input"]) + 200_001 * pico_per_token(row["output"])
    assert found.home_on_demand_pico == called
    batched = 1_000_003 * pico_per_token(row["batch_input"]) + 200_001 * pico_per_token(row["batch_output"])
    assert found.home_batch_pico == batched
    assert found.article_pico == called * 40 // 100


def test_an_unknown_region_has_no_baseline_and_never_zero(book: PriceBook) -> None:
    found = baselines(Usage(5, 5), book, model_id=HAIKU, home_region="xx-nowhere-1")
    assert (found.home_on_demand_pico, found.home_batch_pico, found.article_pico) == (None, None, None)
    assert article_pico(None) is None


def test_cached_tokens_are_plain_input_in_batch(book: PriceBook) -> None:
    cached = baselines(Usage(100, 50, cache_read_tokens=900), book, model_id=HAIKU, home_region="us-east-1")
    plain = baselines(Usage(1000, 50), book, model_id=HAIKU, home_region="us-east-1")
    assert cached.home_batch_pico == plain.home_batch_pico
    assert cached.home_on_demand_pico is not None and plain.home_on_demand_pico is not None
    assert cached.home_on_demand_pico < plain.home_on_demand_pico


@given(input_tokens=COUNTS, output_tokens=COUNTS, read=COUNTS, written=COUNTS)
def test_on_demand_at_home_is_what_receipts_list(
    book: PriceBook, input_tokens: int, output_tokens: int, read: int, written: int
) -> None:
    usage = Usage(input_tokens, output_tokens, read, written)
    found = baselines(usage, book, model_id=HAIKU, home_region="eu-central-1")
    assert found.home_on_demand_pico == list_pico(book, HAIKU, "eu-central-1", usage)


@given(a=st.one_of(st.none(), COUNTS), b=st.one_of(st.none(), COUNTS))
def test_unknown_plus_anything_is_unknown(a: int | None, b: int | None) -> None:
    assert added(a, b) == (None if a is None or b is None else a + b)
