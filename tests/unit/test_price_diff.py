"""A price table against an offer: what differs, what is refused until somebody names it, and the table that follows."""

from decimal import Decimal

import pytest

from slackwater.policy import price_table
from slackwater.policy.price_diff import What, changes, new_table
from slackwater.policy.price_offers import OfferReader, Quote, Slot
from slackwater.policy.prices import PriceBook, read_table, shipped_table
from tests.unit.rig import HAIKU

BEDROCK, MARKETPLACE = "AmazonBedrock", "AmazonBedrockFoundationModels"
NOVA_PRO = "amazon.nova-pro-v1:0"
HAIKU_5_5 = "anthropic.claude-haiku-5-5"
SHIPPED = read_table(shipped_table())


def table(*keys):
    """The shipped table with these rows only."""
    keys = keys or ((NOVA_PRO, "us-east-1", "regional"),)
    rows = [row for row in SHIPPED["rows"] if (row["model_id"], row["region"], row["kind"]) in keys]
    assert len(rows) == len(keys)
    return SHIPPED | {"rows": rows}


def listed(content, **changed):
    """What the offers would say if they agreed with every row of `content`, but for `changed` fields of its first;
    None: not in the offer."""
    reader = OfferReader(content, today="2026-11-25")
    reader.offer(BEDROCK, "2026-11-20T13:01:14Z")
    reader.offer(MARKETPLACE, "2026-11-20T13:01:14Z")
    for number, row in enumerate(content["rows"]):
        offer = MARKETPLACE if row["model_id"].startswith("anthropic.") else BEDROCK
        fields = {name: row.get(name) for name in price_table.FIELDS} | (changed if not number else {})
        for name, price in fields.items():
            if price is not None:
                slot = Slot(row["model_id"], row["region"], row["kind"], name.replace("long_", "long."))
                reader.reading.quotes[slot] = Quote(price, "2026-11-01", offer, False)
                reader.reading.regions[offer].add(row["region"])
    return reader.done()


def only(found):
    (change,) = found
    return change


def test_a_table_that_agrees_with_its_offers_has_no_changes():
    assert changes(SHIPPED, listed(SHIPPED)) == []


@pytest.mark.parametrize("price", ["0.85", "0.75", "1.2", "0.54"])
def test_a_price_may_move_a_little(price):
    change = only(changes(table(), listed(table(), input=price)))
    assert (change.what, change.old, change.new, change.refused, change.stands) == (
        What.CHANGED, "0.8", price, "", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"input": "1.21"}, "1.512 times more"),
        ({"input": "0.53"}, "1.509 times less"),
        ({"input": "800"}, "1,000 times more"),  # a price per thousand tokens taken for one per million
        ({"output": "0"}, "a price of zero"),
        ({"cache_read": "0"}, "a price of zero"),
        ({"cache_read": None}, "no longer in the offer"),
        ({"batch_input": "0.81", "input": "0.8"}, "2.025 times more"),
        ({"flex_cache_read": "0.21"}, "dearer than cache_read (0.2)"),
        ({"flex_cache_read": "0.1"}, ""),
        ({"cache_write_5m": "0"}, "a price of zero"),
    ],
)
def test_what_looks_like_a_mistake_is_refused_and_says_why(changed, why):
    change = only(changes(table(), listed(table(), **changed)))
    assert change.refused == why
    assert change.stands == (not why)


def test_a_discount_that_costs_more_than_the_full_price_is_refused():
    found = listed(table(), batch_input="0.44", input="0.43")
    refused = {one.slot.field: one.refused for one in changes(table(), found, max_factor=Decimal(2))}
    assert refused == {"input": "", "batch_input": "dearer than input (0.43)"}


def test_how_far_a_price_may_jump_is_for_the_caller_to_say():
    found = listed(table(), input="1.3")
    assert only(changes(table(), found)).refused
    assert not only(changes(table(), found, max_factor=Decimal(2))).refused


def test_a_new_price_is_measured_by_what_the_model_costs_elsewhere():
    content = table((NOVA_PRO, "us-east-1", "regional"), (NOVA_PRO, "eu-west-1", "regional"))
    bare = content | {"rows": [content["rows"][0] | dict.fromkeys(("batch_input", "batch_output")), content["rows"][1]]}
    sane = changes(bare, listed(bare, batch_input="0.4", batch_output="1.6"))
    assert [(one.what, one.refused) for one in sane] == [(What.ADDED, "")] * 2
    found = changes(bare, listed(bare, batch_input="0.0004", batch_output="1.6"))
    wrong = next(one for one in found if one.slot.field == "batch_input")
    assert wrong.refused == "it costs 0.46 elsewhere"
    assert not any(one.stands for one in found)  # an output price alone would be half a price


def test_half_a_price_is_refused_and_cannot_be_accepted():
    everything = listed(table(), batch_output=None)
    change = only(changes(table(), everything, accept=[NOVA_PRO]))
    assert change.refused == "half a price: batch_input has one"
    assert not change.stands


def test_whole_prices_that_are_gone_can_be_accepted():
    found = changes(table(), listed(table(), batch_input=None, batch_output=None), accept=[f"{NOVA_PRO}/*/*/batch_*"])
    assert [(one.what, one.stands) for one in found] == [(What.GONE, True)] * 2


@pytest.mark.parametrize(
    ("pattern", "stands"),
    [
        (f"{NOVA_PRO}/us-east-1/regional/input", True),
        (f"{NOVA_PRO}/us-east-1", True),
        (NOVA_PRO, True),
        ("amazon.nova-*/*/*/input", True),
        ("*", True),
        ("amazon.nova", False),
        (f"{NOVA_PRO}/eu-west-1", False),
        (f"{NOVA_PRO}/*/*/output", False),
        (f"{NOVA_PRO}/us-east-1/regional/input/x", False),
    ],
)
def test_a_refused_change_is_accepted_by_name(pattern, stands):
    change = only(changes(table(), listed(table(), input="1.7"), accept=[pattern]))
    assert change.refused
    assert change.stands == stands


def test_two_prices_for_one_thing_change_nothing_whoever_accepts_them():
    found = listed(table(), input=None)
    found.conflicts[Slot(NOVA_PRO, "us-east-1", "regional", "input")] = ("0.8", "0.9")
    change = only(changes(table(), found, accept=["*"]))
    assert (change.what, change.refused, change.stands) == (What.CONFLICT, "more than one price: 0.8 and 0.9", False)
    kept = new_table(table(), found, [change])
    assert kept["rows"][0]["input"] == "0.8"


def test_a_region_or_an_offer_that_was_not_read_loses_nothing():
    content = table(
        (NOVA_PRO, "us-east-1", "regional"), (NOVA_PRO, "eu-west-2", "regional"), (HAIKU, "us-east-1", "global")
    )
    found = listed(content)
    for slot in [slot for slot in found.quotes if slot.region == "eu-west-2" or slot.model_id == HAIKU]:
        del found.quotes[slot]
    found.regions = {BEDROCK: {"us-east-1"}, MARKETPLACE: set()}
    assert changes(content, found) == []
    found.regions[BEDROCK].add("eu-west-2")
    gone = changes(content, found)
    assert {one.slot.region for one in gone} == {"eu-west-2"}
    assert all(one.what is What.GONE and one.refused for one in gone)


def test_a_price_that_was_derived_and_is_not_listed_is_named_as_that():
    content = table(("openai.gpt-oss-120b-1:0", "eu-west-2", "regional"))
    found = changes(content, listed(content, flex_input=None, flex_output=None))
    assert {one.refused for one in found} == {"derived from a ratio so far, and not in the offer"}


def test_other_regions_come_in_when_they_are_asked_for_and_prove_no_way_to_call():
    found = listed(table())
    for name, price in (("input", "0.9"), ("output", "3.6")):
        found.quotes[Slot(NOVA_PRO, "us-west-1", "regional", name)] = Quote(price, "2026-11-01", BEDROCK, False)
    assert changes(table(), found) == []
    added = changes(table(), found, regions=["us-west-1"])
    new = new_table(table(), found, added)
    row = new["rows"][-1]
    assert (row["region"], row["input"], row["batch_input"], row["access"], row["batch_via"]) == (
        "us-west-1", "0.9", None, [], [],
    )  # fmt: skip
    assert list(price_table.problems(new)) == []


# ---------------------------------------------------------------------- the new table


def test_the_new_table_is_read_by_the_book_and_has_a_version_of_its_own():
    found = listed(table(), input="0.85")
    new = new_table(table(), found, changes(table(), found))
    book = PriceBook.from_bytes(price_table.render(new).encode())
    assert book.rates(NOVA_PRO, "us-east-1", "regional", "on_demand").input_pico == 850_000
    assert new["version"].startswith("2026-11-20-")
    assert len(new["version"]) == len("2026-11-20-12345678")
    again = new_table(table(), found, changes(table(), found))
    assert again == new
    other = listed(table(), input="0.86")
    assert new_table(table(), other, changes(table(), other))["version"] != new["version"]


def test_every_price_that_the_offers_confirm_names_them_and_its_day():
    content = table()
    new = new_table(content, listed(content), [])
    row = new["rows"][0]
    assert set(row["source"].values()) == {"AWS-2026-11-20"}
    assert row["effective"] == dict.fromkeys(row["source"], "2026-11-01")
    assert new["sources"]["AWS-2026-11-20"]["as_of"] == "2026-11-20"
    assert new["sources"].items() > SHIPPED["sources"].items()


def test_a_price_that_was_kept_keeps_its_source():
    content = table((HAIKU, "us-east-1", "global"))
    before = content["rows"][0]["source"]["cache"]
    found = listed(content, cache_write_1h=None)
    new = new_table(content, found, changes(content, found))
    row = new["rows"][0]
    assert row["cache_write_1h"] == "2"
    assert (row["source"]["cache"], row["source"]["cache_write_1h"]) == ("AWS-2026-11-20", before)
    assert content["rows"][0]["source"]["cache"] == before  # the table that was compared is as it was


def test_a_listed_price_is_no_longer_called_derived():
    content = table(("openai.gpt-oss-120b-1:0", "eu-west-2", "regional"))
    new = new_table(content, listed(content), [])
    assert "flex_input" in content["rows"][0]["derived"]
    assert new["rows"][0]["derived"] == []
    assert not PriceBook(new).rates("openai.gpt-oss-120b-1:0", "eu-west-2", "regional", "flex").derived


def test_cache_prices_of_a_tier_are_added_where_they_are_listed():
    found = listed(table(), flex_cache_read="0.1")
    new = new_table(table(), found, changes(table(), found))
    rates = PriceBook(new).rates(NOVA_PRO, "us-east-1", "regional", "flex")
    assert rates.cache_read_pico == 100_000
    assert PriceBook(table()).rates(NOVA_PRO, "us-east-1", "regional", "flex").cache_read_pico is None


def test_listed_prices_of_long_prompts_go_before_the_multiplier():
    content = table((HAIKU_5_5, "us-east-1", "global"))
    found = listed(content, long_input="0.4", long_output="1.5")
    added = changes(content, found)
    assert [(one.slot.field, one.refused) for one in added] == [("long.input", ""), ("long.output", "")]
    book = PriceBook(new_table(content, found, added))
    way = (HAIKU_5_5, "us-east-1", "global", "on_demand")
    assert book.rates(*way, input_tokens=100_000).input_pico == 100_000
    long = book.rates(*way, input_tokens=100_001)
    assert (long.input_pico, long.output_pico, long.cache_read_pico) == (400_000, 1_500_000, 50_000)


def test_a_limit_without_a_multiplier_prices_only_what_is_listed():
    content = table((HAIKU_5_5, "us-east-1", "global"))
    (model,) = [one for one in content["models"] if one["model_id"] == HAIKU_5_5]
    bare = model | {"long_context": [model["long_context"][0] | {"multiplier": None}]}
    content |= {"models": [bare if one is model else one for one in content["models"]]}
    way = (HAIKU_5_5, "us-east-1", "global", "on_demand")
    assert PriceBook(content).rates(*way, input_tokens=100_001) is None
    content["rows"][0] |= {"long": {"input": "0.4", "output": "1.5"}}
    long = PriceBook(content).rates(*way, input_tokens=100_001)
    assert (long.input_pico, long.output_pico, long.cache_read_pico) == (400_000, 1_500_000, None)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"input": "-1"}, "input is no price"),
        ({"input": 1.1}, "input is no price"),
        ({"input": "0.0000001"}, "input is no price"),
        ({"input": None}, "half a price"),
        ({"long": {"input": "x"}}, "input is no price"),
        ({"kind": "orbital"}, "unknown kind"),
        ({"model_id": "nobody.model"}, "not listed"),
        ({"derived": None}, "derived is a list"),
    ],
)
def test_a_table_with_a_broken_row_is_told_from_a_sound_one(spoilt, said):
    assert list(price_table.problems(SHIPPED)) == []
    content = table()
    broken = content | {"rows": [content["rows"][0] | spoilt]}
    assert any(said in problem for problem in price_table.problems(broken))


def test_a_table_of_the_first_version_is_still_read():
    first = SHIPPED | {
        "v": 1,
        "models": [
            {name: value for name, value in model.items() if not name.startswith("offer")}
            for model in SHIPPED["models"]
        ],
    }
    book = PriceBook.from_bytes(price_table.render(first).encode())
    assert book.rates(NOVA_PRO, "us-east-1", "regional", "batch").output_pico == 1_600_000
    assert changes(first, listed(SHIPPED)) == []
