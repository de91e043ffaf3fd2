"""What can be called how: only what is documented is offered, and residency is kept strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.capability import (
    MAX_SHARD_BYTES,
    PROFILE_PREFIXES,
    allowed_by_residency,
    geography,
    load_capability,
    quota_family,
    resolve_model,
)
from slackwater.policy.prices import load_price_book, read_table, shipped_table

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET_4_6 = "anthropic.claude-sonnet-4-6"
GPT_OSS = "openai.gpt-oss-120b-1:0"
MISTRAL = "mistral.mistral-large-3-675b-instruct"

TABLE = read_table(shipped_table())
CAPABILITY = load_capability()
BOOK = load_price_book()
REGIONS = sorted({row["region"] for row in TABLE["rows"]})
WAYS = [way for model in CAPABILITY.models() for region in REGIONS for way in CAPABILITY.ways(model, region)]


def lanes(model, region):
    """Which lanes each way has, by the id to call."""
    return {
        way.call_id: {lane for lane in ("on_demand", "flex", "batch") if getattr(way, lane)}
        for way in CAPABILITY.ways(model, region)
    }


def test_claude_goes_through_profiles_and_has_no_flex():
    assert lanes(HAIKU, "us-west-2") == {
        f"us.{HAIKU}": {"on_demand", "batch"},
        f"global.{HAIKU}": {"on_demand", "batch"},
    }


def test_gpt_oss_is_in_region_with_all_three_lanes_in_the_eu():
    for region in ("eu-west-2", "eu-north-1"):
        assert lanes(GPT_OSS, region) == {GPT_OSS: {"on_demand", "flex", "batch"}}


def test_opus_4_8_has_no_batch_anywhere():
    assert CAPABILITY.regions("anthropic.claude-opus-4-8")
    assert not any(way.batch for way in WAYS if way.model_id == "anthropic.claude-opus-4-8")


def test_sonnet_4_6_batches_in_region_in_london_and_by_profile_elsewhere():
    assert CAPABILITY.way(SONNET_4_6, "eu-west-2", "").batch
    assert [way.prefix for way in CAPABILITY.ways(SONNET_4_6, "eu-central-1") if way.batch] == ["eu", "global"]


def test_an_in_region_id_does_not_batch_where_only_profiles_are_documented():
    opus = CAPABILITY.way("anthropic.claude-opus-5", "us-east-1", "")
    assert opus.on_demand
    assert not opus.batch


def test_a_batch_price_without_a_place_on_the_list_is_no_batch():
    assert BOOK.rates(MISTRAL, "eu-north-1", "regional", "batch") is not None
    assert lanes(MISTRAL, "eu-north-1") == {MISTRAL: {"on_demand", "flex"}}


def test_a_price_without_access_is_no_way():
    assert BOOK.rates("qwen.qwen3-235b-a22b-2507-v1:0", "us-east-1", "regional", "on_demand") is not None
    assert CAPABILITY.ways("qwen.qwen3-235b-a22b-2507-v1:0", "us-east-1") == ()


def test_nothing_is_known_of_unknown_models_and_regions():
    assert CAPABILITY.ways("nobody.model", "us-east-1") == ()
    assert CAPABILITY.ways(HAIKU, "me-central-1") == ()
    assert CAPABILITY.model("nobody.model") is None
    assert CAPABILITY.batch_request_types(HAIKU, "me-central-1", "global") == frozenset()


def test_every_lane_that_is_offered_has_a_price():
    assert WAYS
    for way in WAYS:
        for lane in ("on_demand", "flex", "batch"):
            if getattr(way, lane):
                assert BOOK.rates(way.model_id, way.region, way.price_kind, lane, input_tokens=0) is not None
        assert way.on_demand or not way.flex


def test_every_way_resolves_to_itself_and_its_quota_family():
    for way in WAYS:
        found = resolve_model(way.call_id)
        assert (found.model_id, found.prefix, found.call_id) == (way.model_id, way.prefix, way.call_id)
        assert found.quota_family == way.quota_family
        assert found.price_kind == way.price_kind


@pytest.mark.parametrize(
    ("prefix", "family"),
    [("", "on_demand"), ("us", "cross_region"), ("apac", "cross_region"), ("global", "global_cross_region")],
)
def test_each_kind_of_profile_has_quotas_of_its_own(prefix, family):
    assert quota_family(prefix) == family


def test_batch_takes_converse_records_and_no_tools():
    assert CAPABILITY.batch_request_types(HAIKU, "us-west-2", "global") == {"Converse", "InvokeModel"}
    assert CAPABILITY.batch_request_types(MISTRAL, "eu-north-1", "") == frozenset()
    assert CAPABILITY.supports_tools(HAIKU, "batch") is False


@pytest.mark.promise(7)
def test_what_no_source_tells_is_none():
    assert CAPABILITY.supports_tools(HAIKU, "on_demand") is None
    assert CAPABILITY.way(GPT_OSS, "us-east-1", "").cache is None
    assert CAPABILITY.way(HAIKU, "us-east-1", "global").cache is True


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("anthropic.claude-opus-4-8", 15),
        ("anthropic.claude-opus-5", 10),
        ("anthropic.claude-opus-5-5", 10),
        ("anthropic.claude-sonnet-5", 10),
        (HAIKU, 5),
        (SONNET_4_6, 5),
        ("anthropic.claude-opus-4-6-v1", 5),
        ("anthropic.claude-sonnet-4-20250514-v1:0", 5),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
        ("anthropic.claude-saga-7", 15),  # unnamed: the most careful factor
        (GPT_OSS, 1),
        ("nobody.model", 1),
    ],
)
def test_output_burns_quota_by_the_documented_factor(model, factor):
    assert CAPABILITY.burn_down(model) == factor


def test_the_table_and_the_rule_agree_on_burn_down():
    assert all(CAPABILITY.burn_down(model["model_id"]) == model["burn_down"] for model in TABLE["models"])
    assumed = {model["name"] for model in TABLE["models"] if model["burn_down_assumed"]}
    assert assumed == {"Claude Haiku 5.5", "Claude Sonnet 5.5"}


def test_batch_limits_are_those_of_the_quota_table():
    for model in (*CAPABILITY.models(), "nobody.model"):
        assert CAPABILITY.min_records(model) == 100
        assert CAPABILITY.max_records(model) == 100_000
        assert CAPABILITY.max_shard_bytes(model) == MAX_SHARD_BYTES == 950_000_000


@pytest.mark.parametrize(
    ("name", "model", "prefix"),
    [
        (HAIKU, HAIKU, ""),
        (f"global.{HAIKU}", HAIKU, "global"),
        (f"us-gov.{HAIKU}", HAIKU, "us-gov"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{GPT_OSS}", GPT_OSS, ""),
        (f"arn:aws:bedrock:::foundation-model/{HAIKU}", HAIKU, ""),
        (f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{HAIKU}", HAIKU, "eu"),
        (f"arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.{HAIKU}", HAIKU, "us-gov"),
        ("deepseek.v3.2", "deepseek.v3.2", ""),
        ("nobody.model-v1:0", "nobody.model-v1:0", ""),
    ],
)
def test_a_model_is_known_by_its_id_its_profile_and_its_arn(name, model, prefix):
    found = resolve_model(name)
    assert (found.model_id, found.prefix) == (model, prefix)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "global.",
        "us.eu",
        "support-triage",
        "gpt 4.o",
        "a.b/c",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123",
        "arn:aws:s3:::bucket/anthropic.claude",
    ],
)
def test_a_name_that_does_not_tell_its_model_is_not_guessed(name):
    assert resolve_model(name) is None


@given(st.text())
def test_no_name_breaks_the_resolver(name):
    found = resolve_model(name)
    assert found is None or found.call_id == name or name.startswith("arn:")


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("us-east-1", "us"),
        ("us-gov-west-1", "us-gov"),
        ("eu-west-2", "eu"),
        ("eu-central-2", "eu"),
        ("ca-central-1", "ca"),
        ("ap-northeast-1", "jp"),
        ("ap-northeast-2", "apac"),
        ("ap-southeast-2", "au"),
        ("ap-south-1", "in"),
        ("sa-east-1", "sa"),
        ("eusc-de-east-1", "eusc"),
    ],
)
def test_each_region_lies_in_its_smallest_geography(region, expected):
    assert geography(region) == expected


@pytest.mark.parametrize("region", ["", "europe", "eu", "eu-west", "EU-WEST-1", "us-east-1a", "eu-west-1\n"])
def test_what_is_no_region_has_no_geography(region):
    with pytest.raises(ValueError, match="not the name of a region"):
        geography(region)


@pytest.mark.parametrize(
    ("residency", "region", "prefix", "allowed"),
    [
        ("any", "us-east-1", "global", True),
        ("us", "us-east-1", "us", True),
        ("us", "us-east-1", "", True),
        ("us", "us-east-1", "global", False),
        ("us", "ca-central-1", "us", False),
        ("us", "ca-central-1", "", False),
        ("us", "us-gov-west-1", "", False),
        ("eu", "eu-west-2", "", True),
        ("eu", "eu-west-2", "eu", True),
        ("eu", "eu-north-1", "global", False),
        ("eu", "us-east-1", "", False),
        (["eu-north-1"], "eu-north-1", "", True),
        (["eu-north-1"], "eu-west-1", "", False),
        (["eu-north-1", "eu-west-1"], "eu-north-1", "eu", False),
        (["us-east-1"], "us-east-1", "global", False),
        ([], "us-east-1", "", False),
    ],
)
def test_residency_is_kept_strictly(residency, region, prefix, allowed):
    assert allowed_by_residency(residency, region, prefix) is allowed


@given(st.sampled_from(["us", "eu"]), st.sampled_from(REGIONS), st.sampled_from(["", *PROFILE_PREFIXES]))
def test_a_narrow_residency_never_lets_a_prompt_leave_its_geography(residency, region, prefix):
    if allowed_by_residency(residency, region, prefix):
        assert region.startswith(f"{residency}-")
        assert prefix in ("", residency)


def test_a_residency_of_another_word_is_refused():
    with pytest.raises(ValueError, match="any, us, eu or a list"):
        allowed_by_residency("mars", "us-east-1", "")
