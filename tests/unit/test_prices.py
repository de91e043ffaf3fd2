"""The price book: the published numbers, exactly, and None for everything else."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.money import MoneyError, pico_from_usd, pico_per_token
from slackwater.model.usage import Usage
from slackwater.policy.prices import (
    PriceBook,
    PriceTableError,
    Rates,
    cost_pico,
    list_pico,
    load_price_book,
    read_table,
    shipped_table,
)
from tools import build_price_table

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
OPUS_4_8 = "anthropic.claude-opus-4-8"
LONG = "anthropic.claude-haiku-5-5"

TABLE = read_table(shipped_table())
BOOK = load_price_book()
TOKENS = st.integers(min_value=0, max_value=10**7)
USAGES = st.builds(Usage, TOKENS, TOKENS)


def per_million(rates):
    """Input and output price in USD per million tokens."""
    return None if rates is None else (Decimal(rates.input_pico) / 10**6, Decimal(rates.output_pico) / 10**6)


@pytest.mark.parametrize(
    ("way", "price"),
    [
        ((HAIKU, "us-west-2", "global", "on_demand", None), ("1.00", "5.00")),
        ((HAIKU, "us-west-2", "global", "batch", None), ("0.50", "2.50")),
        ((HAIKU, "us-west-2", "regional", "on_demand", None), ("1.10", "5.50")),
        ((HAIKU, "eu-west-2", "regional", "batch", None), ("0.55", "2.75")),
        ((GPT_OSS, "eu-west-2", "regional", "on_demand", "default"), ("0.23", "0.93")),
        ((GPT_OSS, "eu-west-2", "regional", "batch", None), ("0.12", "0.47")),
        ((GPT_OSS, "eu-west-2", "regional", "flex", "flex"), ("0.115", "0.465")),
        ((GPT_OSS, "eu-north-1", "regional", "on_demand", None), ("0.15", "0.60")),
        ((GPT_OSS, "eu-north-1", "regional", "batch", "default"), ("0.075", "0.30")),
        ((GPT_OSS, "eu-north-1", "regional", "flex", None), ("0.075", "0.30")),
        ((OPUS_4_8, "us-east-1", "global", "on_demand", None), ("5.00", "25.00")),
        (("amazon.nova-micro-v1:0", "us-east-1", "regional", "on_demand", None), ("0.035", "0.14")),
        (("amazon.nova-2-lite-v1:0", "us-west-2", "regional", "batch", None), ("0.1595", "1.3255")),
        (("amazon.nova-2-lite-v1:0", "eu-central-1", "regional", "batch", None), ("0.2145", "1.9785")),
        (("amazon.nova-pro-v1:0", "us-east-1", "regional", "on_demand", "priority"), ("1.40", "5.60")),
        (("deepseek.v3.2", "eu-west-2", "regional", "on_demand", None), ("0.961", "2.8675")),
    ],
)
def test_the_book_has_the_published_price(way, price):
    assert per_million(BOOK.rates(*way)) == tuple(map(Decimal, price))


def test_cache_prices_belong_to_the_standard_tier_only():
    standard = BOOK.rates(HAIKU, "us-east-1", "global", "on_demand")
    assert standard == Rates(1_000_000, 5_000_000, 100_000, 1_250_000, 2_000_000)
    batch = BOOK.rates(HAIKU, "us-east-1", "global", "batch")
    assert (batch.cache_read_pico, batch.cache_write_5m_pico, batch.cache_write_1h_pico) == (None, None, None)


def test_a_flex_call_that_was_served_by_the_standard_tier_is_billed_as_standard():
    assert BOOK.rates(GPT_OSS, "eu-north-1", "regional", "flex", "default") == BOOK.rates(
        GPT_OSS, "eu-north-1", "regional", "on_demand"
    )


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("model", "region", "kind", "lane", "tier"),
    [
        (OPUS_4_8, "us-east-1", "global", "batch", None),  # no such SKU
        (HAIKU, "us-east-1", "global", "flex", None),  # no Claude has the tier
        (HAIKU, "us-east-1", "global", "on_demand", "reserved"),  # rent, not a price per token
        (HAIKU, "us-east-1", "global", "on_demand", "a new tier"),
        (HAIKU, "us-east-1", "global", "batch", "flex"),
        (HAIKU, "us-east-1", "global", "teleport", None),
        (HAIKU, "us-east-1", "galactic", "on_demand", None),
        (
            HAIKU,
            "me-central-1",
            "global",
            "on_demand",
            None,
        ),  # elsewhere the price is known: no reason to guess it here
        (GPT_OSS, "us-east-1", "global", "on_demand", None),
        ("global." + HAIKU, "us-east-1", "global", "on_demand", None),  # the book wants base ids
        ("nobody.model-v1", "us-east-1", "regional", "on_demand", None),
        (LONG, "us-east-1", "global", "on_demand", None),  # depends on the prompt's length, which was not said
    ],
)
def test_an_unknown_price_is_none_and_never_zero(model, region, kind, lane, tier):
    rates = BOOK.rates(model, region, kind, lane, tier)
    assert rates is None
    assert cost_pico(rates, Usage(1000, 300)) is None


@pytest.mark.promise(7)
def test_every_rate_of_the_book_is_the_tables_text_and_none_where_the_table_has_none():
    lanes = (
        ("on_demand", None, ""),
        ("flex", None, "flex_"),
        ("batch", None, "batch_"),
        ("on_demand", "priority", "priority_"),
    )
    for row in TABLE["rows"]:
        for lane, tier, prefix in lanes:
            rates = BOOK.rates(row["model_id"], row["region"], row["kind"], lane, tier, input_tokens=0)
            if row[f"{prefix}input"] is None:
                assert rates is None
                continue
            assert rates.input_pico == pico_per_token(row[f"{prefix}input"]) > 0
            assert rates.output_pico == pico_per_token(row[f"{prefix}output"]) > 0
            if not prefix:
                for name in ("cache_read", "cache_write_5m", "cache_write_1h"):
                    known = getattr(rates, f"{name}_pico")
                    assert known == (None if row[name] is None else pico_per_token(row[name]))


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    "usage", [Usage(10, 10, cache_read_tokens=1), Usage(10, 10, 0, 1), Usage(10, 10, 0, 1, 1), Usage(0, 0, 1)]
)
def test_cache_tokens_without_a_known_rate_make_the_cost_unknown(usage):
    assert cost_pico(Rates(1, 1), usage) is None


@pytest.mark.promise(7)
def test_an_unknown_usage_has_an_unknown_cost_and_list_price():
    assert cost_pico(Rates(1, 1), None) is None
    assert BOOK.cost_pico(HAIKU, "us-east-1", "global", "on_demand", None, usage=None) is None
    assert list_pico(BOOK, HAIKU, "us-east-1", None) is None


def test_a_published_price_of_zero_is_a_known_price():
    usage = Usage(1000, 0, 0, 5000)
    assert BOOK.cost_pico(
        "amazon.nova-2-lite-v1:0", "us-east-1", "global", "on_demand", None, usage=usage
    ) == pico_from_usd("0.0003")


def test_cache_reads_and_writes_are_added_to_the_input_at_their_own_rates():
    usage = Usage(1000, 100, cache_read_tokens=10_000, cache_write_tokens=3_000, cache_write_1h_tokens=1_000)
    expected = pico_from_usd("0.001") + pico_from_usd("0.0005") + pico_from_usd("0.001")
    expected += 2 * pico_from_usd("0.00125") + pico_from_usd("0.002")
    assert BOOK.cost_pico(HAIKU, "us-west-2", "global", "on_demand", "default", usage=usage) == expected


def test_sixty_tokens_of_a_small_model_cost_what_they_cost():
    usage = Usage(60, 0)
    assert BOOK.cost_pico(
        "amazon.nova-micro-v1:0", "us-east-1", "regional", "on_demand", None, usage=usage
    ) == pico_from_usd("0.0000021")


@given(USAGES, st.sampled_from([row for row in TABLE["rows"] if row["batch_input"]]))
def test_a_cost_is_the_decimal_product_to_the_last_pico(usage, row):
    cost = BOOK.cost_pico(row["model_id"], row["region"], row["kind"], "batch", None, usage=usage)
    exact = Decimal(row["batch_input"]) * usage.input_tokens + Decimal(row["batch_output"]) * usage.output_tokens
    assert cost == exact * 10**6


@given(st.lists(USAGES, max_size=20))
def test_the_cost_of_a_run_is_the_cost_of_its_tokens(usages):
    rates = BOOK.rates(GPT_OSS, "eu-west-2", "regional", "flex")
    together = Usage(sum(u.input_tokens for u in usages), sum(u.output_tokens for u in usages))
    assert sum(cost_pico(rates, usage) for usage in usages) == cost_pico(rates, together)


@pytest.mark.parametrize(("prompt_tokens", "factor"), [(0, 1), (99_999, 1), (100_000, 1), (100_001, 5), (900_000, 5)])
def test_a_long_prompt_multiplies_every_rate_from_above_the_threshold(prompt_tokens, factor):
    rates = BOOK.rates(LONG, "us-east-1", "global", "on_demand", input_tokens=prompt_tokens)
    assert (rates.input_pico, rates.output_pico, rates.cache_read_pico) == (
        100_000 * factor,
        500_000 * factor,
        10_000 * factor,
    )
    assert BOOK.has_long_context_prices(LONG)
    assert not BOOK.has_long_context_prices(HAIKU)


def test_cached_tokens_count_for_the_length_of_a_prompt():
    usage = Usage(1, 1, cache_read_tokens=100_000)
    assert BOOK.cost_pico(LONG, "us-east-1", "global", "on_demand", None, usage=usage) == 5 * (
        100_000 + 500_000 + 10_000 * 100_000
    )


def test_the_list_price_is_the_home_regions_regional_standard_price():
    assert list_pico(BOOK, HAIKU, "us-east-1", Usage(10**6, 10**6)) == pico_from_usd("6.60")
    assert list_pico(BOOK, GPT_OSS, "eu-west-2", Usage(10**6, 10**6)) == pico_from_usd("1.16")
    assert list_pico(BOOK, LONG, "us-east-1", Usage(200_000, 0)) == pico_from_usd("0.11")


@pytest.mark.promise(7)
def test_a_home_without_a_regional_price_has_no_list_price():
    assert BOOK.rates("amazon.nova-2-lite-v1:0", "eu-west-2", "global", "on_demand") is not None
    assert list_pico(BOOK, "amazon.nova-2-lite-v1:0", "eu-west-2", Usage(1000, 1000)) is None


def test_a_price_computed_from_a_ratio_says_so():
    assert BOOK.rates(GPT_OSS, "eu-west-2", "regional", "flex").derived
    assert not BOOK.rates(GPT_OSS, "eu-west-2", "regional", "on_demand").derived
    assert not BOOK.rates(GPT_OSS, "us-east-1", "regional", "flex").derived


def test_every_row_names_its_sources_and_they_are_dated():
    assert BOOK.version == TABLE["version"]
    for row in TABLE["rows"]:
        assert row["source"]["standard"] in TABLE["sources"]
        for source in row["source"].values():
            assert source in TABLE["sources"] or source.startswith("derived ")
    assert all(len(source["as_of"]) == 10 for source in TABLE["sources"].values())
    assert BOOK.row(HAIKU, "us-east-1", "global")["input"] == "1"
    assert BOOK.row(HAIKU, "me-central-1", "global") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"v": 2, "version": "x"}', b'{"v": 0}'])
def test_a_table_of_another_kind_is_refused(data):
    with pytest.raises(PriceTableError):
        PriceBook.from_bytes(data)


def facts(**changes):
    """A minimal source for the table's builder, with one row of which `changes` are made."""
    row = {"model_id": "m.x", "region": "us-east-1", "route": "regional"}
    row |= dict.fromkeys(build_price_table.PRICES) | {"input": Decimal("1.10"), "output": 5}
    row |= {"access": ["ON_DEMAND"], "batch_documented_via": [], "source": {"standard": "S1"}, "derived": []} | changes
    return {
        "generated": "2026-01-01",
        "currency": "USD",
        "unit": "USD per 1,000,000 tokens",
        "known_conflicts": [],
        "prices_as_of": {"S1": "2026-01-01"},
        "sources": {"S1": {"what": "a list"}},
        "long_context": {},
        "models": [{"model_id": "m.x", "name": "X", "provider": "M", "lifecycle": "ACTIVE"}],
        "rows": [row],
    }


def test_a_built_table_is_read_by_the_book_with_one_row_a_line():
    text = build_price_table.render(build_price_table.table(facts()))
    book = PriceBook.from_bytes(text.encode())
    assert book.rates("m.x", "us-east-1", "regional", "on_demand") == Rates(1_100_000, 5_000_000)
    assert [line for line in text.splitlines() if '"kind"' in line] == [
        orjson.dumps(orjson.loads(text)["rows"][0]).decode()
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"input": Decimal("-1")},
        {"input": Decimal("0.0000001")},
        {"input": "1.10"},
        {"input": True},
        {"batch_input": 1},
        {"route": "orbital"},
        {"model_id": "m.y"},
    ],
)
def test_a_source_with_an_implausible_row_builds_no_table(changes):
    with pytest.raises(ValueError, match=r"m\.[xy]"):
        build_price_table.table(facts(**changes))


def test_a_source_with_a_row_twice_builds_no_table():
    source = facts()
    source["rows"] *= 2
    with pytest.raises(ValueError, match="twice"):
        build_price_table.table(source)


def test_a_multiplier_that_breaks_a_pico_is_refused_and_not_rounded():
    source = facts(input=Decimal("0.000001"))
    source["long_context"] = {
        "m.x": {"above_input_tokens": 10, "multiplier_all_token_prices": Decimal("1.5"), "source": "S1"}
    }
    book = PriceBook(build_price_table.table(source))
    assert book.rates("m.x", "us-east-1", "regional", "on_demand", input_tokens=10).input_pico == 1
    with pytest.raises(MoneyError):
        book.rates("m.x", "us-east-1", "regional", "on_demand", input_tokens=11)
