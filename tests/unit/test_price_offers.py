"""AWS's bulk offers, mapped: what is understood exactly, and what is named and left alone."""

import gzip
import json
import tracemalloc
from copy import deepcopy

import pytest

from slackwater.policy.price_offers import OTHER, Meter, OfferReader, Slot, Why, meter_of
from slackwater.policy.prices import read_table, shipped_table
from slackwater_cli import offer_files
from slackwater_cli.errors import Complaint
from tests.unit import offers
from tests.unit.rig import HAIKU

TABLE = read_table(shipped_table())
NOVA_PRO, NOVA_2, QWEN = "amazon.nova-pro-v1:0", "amazon.nova-2-lite-v1:0", "qwen.qwen3-32b-v1:0"
HAIKU_5_5 = "anthropic.claude-haiku-5-5"
BEDROCK, MARKETPLACE = "AmazonBedrock", "AmazonBedrockFoundationModels"


def reading(tmp_path, *documents, today="2026-11-25"):
    reader = OfferReader(TABLE, today=today)
    for number, document in enumerate(documents):
        offer_files.read(offers.write(tmp_path / f"{number}.json", document), reader)
    return reader.done()


def prices(found):
    """Prices by `MODEL/REGION/KIND/FIELD`."""
    return {slot.path: quote.price for slot, quote in found.quotes.items()}


def whys(found):
    return {(one.name, one.why) for one in found.unmapped}


@pytest.mark.parametrize(
    ("usagetype", "model", "kind", "field"),
    [
        ("USE1-NovaPro-input-tokens", "NovaPro", "regional", "input"),
        ("EU-NovaMicro-output-tokens-batch", "NovaMicro", "regional", "batch_output"),
        ("USE1-NovaLite-cache-read-input-token-count", "NovaLite", "regional", "cache_read"),
        ("USE1-NovaLite-cache-write-input-token-count", "NovaLite", "regional", "cache_write_5m"),
        ("USW2-Nova2.0Lite-cache-write-input-token-count-flex", "Nova2.0Lite", "regional", "flex_cache_write_5m"),
        ("USE1-Nova2.0Lite-input-tokens-cross-region-global", "Nova2.0Lite", "global", "input"),
        ("USE1-Nova2.0Lite-input-tokens-cross-region-global-batch", "Nova2.0Lite", "global", "batch_input"),
        ("USE1-Nova2.0Lite-input-tokens-flex-cross-region-global", "Nova2.0Lite", "global", "flex_input"),
        ("USE1-Nova2.0Pro-text-input-tokens-priority-cross-region-global", "Nova2.0Pro", "global", "priority_input"),
        ("USE1-Llama4-Maverick-17B-input-tokens-batch", "Llama4-Maverick-17B", "regional", "batch_input"),
        ("APS2-openai.gpt-oss-20b-mantle-input-tokens-standard", "openai.gpt-oss-20b", "regional", "input"),
        ("USW2-moonshotai.kimi-k3-mantle-input-tokens-global-flex", "moonshotai.kimi-k3", "global", "flex_input"),
        ("USE1-xai.grok-4.6-mantle-cache-read-tokens-standard", "xai.grok-4.6", "regional", "cache_read"),
        ("USW2-MP:USW2_InputTokenCount-Units", "", "regional", "input"),
        ("USW2-MP:USW2_OutputTokenCount_Geo-Units", "", "regional", "output"),
        ("APN1-MP:APN1_InputTokenCount_Global-Units", "", "global", "input"),
        ("USE1-MP:USE1_InputTokenCount_Global_Batch-Units", "", "global", "batch_input"),
        ("USE1-MP:USE1_CacheReadInputTokenCount-Units", "", "regional", "cache_read"),
        ("USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units", "", "global", "cache_write_1h"),
        ("APN1-MP:APN1_output_tokens_standard-Units", "", "regional", "output"),
        ("USE1-MP:USE1_output_tokens_batch-Units", "", "regional", "batch_output"),
        ("USE1-MP:USE1_cache_write_tokens_global_standard-Units", "", "global", "cache_write_5m"),
        ("USE1-MP:USE1_cache_write_tokens_1h_global_standard-Units", "", "global", "cache_write_1h"),
    ],
)
def test_a_usage_type_says_model_route_tier_and_kind_of_token(usagetype, model, kind, field):
    assert meter_of(usagetype) == Meter(model, kind, field, False, "-mantle-" in usagetype)


@pytest.mark.parametrize(
    "usagetype",
    [
        "USE1-MP:USE1_input_tokens_long_ctx_global_standard-Units",
        "USW2-MP:USW2_InputTokenCount_LCtx_Global-Units",
        "USE1-Claude4Sonnet-input-tokens-long-context-cross-region-global",
    ],
)
def test_prices_of_long_prompts_are_kept_apart(usagetype):
    meter = meter_of(usagetype)
    assert (meter.kind, meter.field, meter.long) == ("global", "input", True)


@pytest.mark.parametrize(
    "usagetype",
    [
        "USE1-NovaPro-input-tokens-latency-optimized",
        "USW2-MP:USW2_OutputTokenCount_LatencyOptimized-Units",
        "USE1-Nova2.0Lite-output-tokens-custom-model",
        "USE1-Nova2.0Lite-ProvisionedThroughput-NoCommit-ModelUnits",
        "USW2-MP:USW2_Reserved_1Month_InputTPM_Geo-Units",
        "Claude4.5Sonnet-reserved-3-month-input-tokens-per-minute-cross-region-geo",
        "USW2-Nova2.0Omni-input-audio-token-count",
        "USE1-MP:USE1_InputImageCount-Units",
        "USE1-Nova2.0Lite-nova-grounding",
        "USE1-NovaMultiModalEmbeddings-input-tokens",
        "USW2-moonshotai.kimi-k3-mantle-cache-write-tokens-30m-standard",
        "USE1-cohere.rerank-english-v3-search-units",
        "USE1-MP:USE1_CacheReadInputTokenCount_Batch-Units",
    ],
)
def test_what_the_router_does_not_use_is_set_aside(usagetype):
    assert meter_of(usagetype) == OTHER


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    "usagetype",
    [
        "USW2-MP:USW2_InputTokenCount_Quantum-Units",
        "USE1-NovaPro-input-tokens-something-new",
        "USE1-NovaPro-input-tokens-standard-v2",
        "USE1-NovaPro-input-tokens-batch-flex",
        "USE1-NovaPro-input-tokens-1h",
        "USE1-MP:USE1_cached_input_tokens_standard-Units",
        "USE1-MP:USE1_input_tokens_standard",
        "USE1-MP:USE1_MillionBatchInputTokens-Units",
    ],
)
def test_a_word_that_is_not_known_is_never_guessed(usagetype):
    assert meter_of(usagetype) is None


def test_an_offer_prices_every_tier_and_cache_of_a_model_exactly(tmp_path):
    found = reading(
        tmp_path, offers.offer(BEDROCK, offers.NOVA + offers.QWEN), offers.offer(MARKETPLACE, offers.CLAUDE)
    )
    assert not found.unmapped
    assert not found.conflicts
    row = f"{NOVA_PRO}/us-east-1/regional/"
    listed = prices(found)
    assert {path.removeprefix(row): price for path, price in listed.items() if path.startswith(row)} == {
        "input": "0.8",
        "output": "3.2",
        "batch_input": "0.4",
        "batch_output": "1.6",
        "flex_input": "0.4",
        "flex_output": "1.6",
        "priority_input": "1.4",
        "priority_output": "5.6",
        "cache_read": "0.2",
    }
    assert listed[f"{QWEN}/us-east-1/regional/priority_input"] == "0.2625"
    assert listed[f"{HAIKU}/us-west-2/global/cache_write_1h"] == "2"
    assert listed[f"{HAIKU}/us-west-2/regional/batch_input"] == "0.55"
    assert found.quotes[Slot(HAIKU, "us-west-2", "global", "input")].effective == "2026-11-01"
    assert found.published == {BEDROCK: "2026-11-20T13:01:14Z", MARKETPLACE: "2026-11-20T13:01:14Z"}
    assert found.regions == {BEDROCK: {"us-east-1"}, MARKETPLACE: {"us-west-2"}}


def test_the_sample_agrees_with_the_shipped_table_price_for_price(tmp_path):
    rows = {(row["model_id"], row["region"], row["kind"]): row for row in TABLE["rows"]}
    found = reading(
        tmp_path, offers.offer(BEDROCK, offers.NOVA + offers.QWEN), offers.offer(MARKETPLACE, offers.CLAUDE)
    )
    assert len(found.quotes) == 31
    for slot, quote in found.quotes.items():
        assert rows[slot.model_id, slot.region, slot.kind][slot.field] == quote.price, slot.path


@pytest.mark.promise(7)
def test_a_model_that_the_table_does_not_name_is_listed_and_priced_nowhere(tmp_path):
    document = offers.offer(
        BEDROCK,
        [
            offers.bedrock("USE1-moonshotai.kimi-k3-mantle-input-tokens-standard", "Kimi K3", "0.0033"),
            offers.bedrock("USE1-moonshotai.kimi-k3-mantle-output-tokens-standard", "Kimi K3", "0.0165"),
            # one letter short of a name in the table
            offers.bedrock("USE1-qwen.qwen3-32-mantle-input-tokens-standard", "", "0.0001"),
            *offers.OTHERS[2:],
        ],
    )
    found = reading(tmp_path, document)
    assert not found.quotes
    assert {(one.name, one.why): number for one, number in found.unmapped.items()} == {
        ("Kimi K3", Why.MODEL): 2,
        ("qwen.qwen3-32", Why.MODEL): 1,
    }
    assert found.others == 1


@pytest.mark.promise(7)
def test_names_that_lead_to_two_models_lead_to_none(tmp_path):
    product = offers.bedrock("USE1-qwen.qwen3-32b-mantle-input-tokens-standard", "Nova Pro", "0.0001")
    found = reading(tmp_path, offers.offer(BEDROCK, [product]))
    assert not found.quotes
    assert whys(found) == {("Nova Pro", Why.MODEL)}


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("unit", "description", "usd", "price"),
    [
        ("1K tokens", "", "0.0008000000", "0.8"),
        ("1M tokens", "", "0.8000000000", "0.8"),
        ("Units", "Million Input Tokens", "0.8", "0.8"),
        ("Units", "Thousand Input Tokens", "0.0008", "0.8"),
        ("1K tokens", "", "0.000126175", "0.126175"),
        ("Units", "Input Tokens", "0.8", Why.UNIT),
        ("1B tokens", "", "800", Why.UNIT),
        ("1M TPM Hour", "", "0.8", Why.UNIT),
        ("Requests", "Million Requests", "0.8", Why.UNIT),
        ("Units", "Million or Thousand Input Tokens", "0.8", Why.UNIT),
        ("", "", "0.8", Why.UNIT),
        ("1K tokens", "", "0.0000000001", Why.FINE),
        ("1K tokens", "", "-0.1", Why.PRICE),
        ("1K tokens", "", "NaN", Why.PRICE),
        ("1K tokens", "", "free", Why.PRICE),
    ],
)
def test_a_unit_counts_its_tokens_or_there_is_no_price(tmp_path, unit, description, usd, price):
    one = offers.marketplace(
        "USW2-MP:USW2_InputTokenCount-Units", "Claude Haiku 4.5", usd, unit=unit, description=description or "a price"
    )
    found = reading(tmp_path, offers.offer(MARKETPLACE, [one]))
    if isinstance(price, Why):
        assert not found.quotes
        assert whys(found) == {("Claude Haiku 4.5", price)}
    else:
        assert prices(found) == {f"{HAIKU}/us-west-2/regional/input": price}


def test_a_price_listed_twice_is_one_and_two_different_ones_are_none(tmp_path):
    def found(*usd):
        return reading(
            tmp_path,
            offers.offer(BEDROCK, [offers.bedrock("USE1-NovaPro-input-tokens", "Nova Pro", price) for price in usd]),
        )

    slot = Slot(NOVA_PRO, "us-east-1", "regional", "input")
    assert prices(found("0.0008", "0.00080")) == {slot.path: "0.8"}
    several = found("0.0009", "0.0008", "0.0009")
    assert not several.quotes
    assert several.conflicts == {slot: ("0.8", "0.9")}


def test_the_price_of_the_endpoint_that_is_called_goes_before_that_of_mantle(tmp_path):
    runtime = offers.bedrock("USE1-Qwen3-32B-input-tokens", "Qwen3 32B", "0.00015")
    mantle = offers.bedrock("USE1-qwen.qwen3-32b-mantle-input-tokens-standard", "Qwen3 32B", "0.00020")
    for order in ([runtime, mantle], [mantle, runtime]):
        found = reading(tmp_path, offers.offer(BEDROCK, order))
        assert prices(found) == {f"{QWEN}/us-east-1/regional/input": "0.15"}
        assert not found.conflicts
    assert prices(reading(tmp_path, offers.offer(BEDROCK, [mantle]))) == {f"{QWEN}/us-east-1/regional/input": "0.2"}


@pytest.mark.promise(7)
@pytest.mark.parametrize("attributes", [{"inferenceType": "Input tokens batch"}, {"service_tier": "flex"}])
def test_a_product_whose_words_contradict_its_usage_type_has_no_price(tmp_path, attributes):
    one = offers.bedrock("USE1-NovaPro-input-tokens", "Nova Pro", "0.0004", **attributes)
    found = reading(tmp_path, offers.offer(BEDROCK, [one]))
    assert not found.quotes
    assert whys(found) == {("Nova Pro", Why.METER)}


def test_long_prompts_have_prices_only_where_the_table_knows_from_when_on(tmp_path):
    meter = "USW2-MP:USW2_input_tokens_long_ctx_standard-Units"
    document = offers.offer(
        MARKETPLACE,
        [offers.marketplace(meter, "Claude Haiku 5.5", "0.55"), offers.marketplace(meter, "Claude Sonnet 4.5", "6.6")],
    )
    found = reading(tmp_path, document)
    assert prices(found) == {f"{HAIKU_5_5}/us-west-2/regional/long.input": "0.55"}
    assert whys(found) == {("Claude Sonnet 4.5", Why.NO_LIMIT)}


def test_of_several_terms_the_newest_that_has_begun_holds(tmp_path):
    document = offers.offer(BEDROCK, [offers.bedrock("USE1-NovaPro-input-tokens", "Nova Pro", "0.0008")])
    (sku,) = document["products"]
    (name,) = document["terms"]["OnDemand"][sku]
    term = document["terms"]["OnDemand"][sku][name]
    later = deepcopy(term) | {"effectiveDate": "2026-12-01T00:00:00Z"}
    later["priceDimensions"] = {
        "x": term["priceDimensions"][f"{name}.6YS6EN2CT7"] | {"pricePerUnit": {"USD": "0.0004"}}
    }
    document["terms"]["OnDemand"][sku]["later"] = later
    path = f"{NOVA_PRO}/us-east-1/regional/input"
    assert prices(reading(tmp_path, document)) == {path: "0.8"}
    assert prices(reading(tmp_path, document, today="2026-12-01")) == {path: "0.4"}
    assert whys(reading(tmp_path, document, today="2026-10-31")) == {("Nova Pro", Why.PRICE)}


@pytest.mark.promise(7)
def test_a_product_without_a_term_or_with_steps_by_volume_has_no_price(tmp_path):
    document = offers.offer(BEDROCK, [offers.bedrock("USE1-NovaPro-input-tokens", "Nova Pro", "0.0008")])
    (sku,) = document["products"]
    ((_, term),) = document["terms"]["OnDemand"][sku].items()
    ((rate, dimension),) = list(term["priceDimensions"].items())
    term["priceDimensions"] = {rate: dimension, "above": dimension | {"beginRange": "1000000"}}
    assert whys(reading(tmp_path, document)) == {("Nova Pro", Why.PRICE)}
    document["terms"]["OnDemand"] = {}
    assert whys(reading(tmp_path, document)) == {("Nova Pro", Why.PRICE)}


# ---------------------------------------------------------------------- files


def test_a_file_may_be_packed_and_its_terms_may_come_first(tmp_path):
    document = offers.offer(BEDROCK, offers.NOVA)
    turned = {name: document[name] for name in ("offerCode", "terms", "products", "publicationDate")}
    expected = prices(reading(tmp_path, document))
    packed = tmp_path / "index.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(turned).encode()))
    reader = OfferReader(TABLE, today="2026-11-25")
    assert offer_files.read(packed, reader) == BEDROCK
    assert prices(reader.done()) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"not json",
        b'{"offerCode": "AmazonEC2", "products": {}, "terms": {"OnDemand": {}}}',
        b'{"offerCode": "AmazonBedrock", "products": {}}',
        b'{"offerCode": "AmazonBedrock", "terms": {"OnDemand": {}}}',
        b"\x1f\x8b\x00broken",
        b"\xff\xfe",
    ],
)
def test_what_is_no_offer_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "index.json"
    path.write_bytes(content)
    with pytest.raises(Complaint, match=r"index\.json"):
        offer_files.read(path, OfferReader(TABLE, today="2026-11-25"))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path, share):
    path = offers.write(tmp_path / "index.json", offers.offer(BEDROCK, offers.NOVA))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Complaint, match="cut short"):
        offer_files.read(path, OfferReader(TABLE, today="2026-11-25"))


def test_a_large_offer_takes_little_memory(tmp_path):
    others = [offers.bedrock(f"USE1-Thing{n}-Customization-Training", "A thing", "0.1") for n in range(4_000)]
    path = offers.write(tmp_path / "index.json", offers.offer(BEDROCK, others + offers.NOVA))
    assert path.stat().st_size > 4_000_000
    del others
    reader = OfferReader(TABLE, today="2026-11-25")
    tracemalloc.start()
    offer_files.read(path, reader)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reader.done().quotes) == 9
    assert peak < 2_500_000
