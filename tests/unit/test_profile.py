"""Profiles: the shipped ones, what is refused at the door, and the routes that follow."""

import orjson
import pytest

from slackwater.model.errors import BadInput, ConfigurationError
from slackwater.model.job import Lane
from slackwater.model.profile import Mode, Profile, Profiles, load_profiles, shipped_profiles
from slackwater.policy.capability import geography, load_capability
from slackwater.policy.prices import load_price_book
from slackwater.policy.routes import batch_routes, batch_shares, flex_routes, resolve_routes, typical_price

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
OSS = "openai.gpt-oss-120b-1:0"


@pytest.fixture(scope="module")
def capability():
    return load_capability()


@pytest.fixture(scope="module")
def prices():
    return load_price_book()


def profile(**changes):
    return Profile.model_validate({"model": HAIKU, "home_region": "us-east-1", **changes})


def test_the_shipped_default_is_haiku_by_its_global_profile_over_three_regions(capability, prices):
    default = load_profiles().named("default")
    routes = resolve_routes(default, capability, prices)
    assert [(r.region, r.weight, r.model_id, r.kind) for r in routes] == [
        ("us-west-2", 5, f"global.{HAIKU}", "global"),
        ("us-east-1", 3, f"global.{HAIKU}", "global"),
        ("us-east-2", 2, f"global.{HAIKU}", "global"),
    ]
    assert default.mode is Mode.WEIGHTED
    assert default.home_region == "us-east-1"
    assert set(default.lanes) == {Lane.ON_DEMAND, Lane.BATCH}
    assert default.default_deadline_s == 24 * 3600
    batch = batch_routes(default, routes, capability, prices, deployed={"us-west-2", "us-east-1", "us-east-2"})
    assert [(r.region, r.weight) for r in batch] == [("us-west-2", 5), ("us-east-1", 3)]


def test_the_shipped_open_eu_stays_in_the_eu_and_has_all_three_lanes(capability, prices):
    open_eu = load_profiles().named("open-eu")
    routes = resolve_routes(open_eu, capability, prices)
    assert open_eu.home_region == "eu-west-2"
    assert open_eu.mode is Mode.CHEAPEST
    assert set(open_eu.lanes) == set(Lane)
    assert len(routes) >= 3
    assert {geography(r.region) for r in routes} == {"eu"}
    assert routes[0].region == "eu-north-1"  # the cheapest
    assert [r.tier for r in flex_routes(routes, capability)] == ["flex"] * len(routes)
    batch = batch_routes(open_eu, routes, capability, prices, deployed={"eu-north-1", "eu-west-2", "us-east-1"})
    assert {r.region for r in batch} == {"eu-north-1", "eu-west-2"}


def test_batch_regions_without_a_bucket_of_ours_are_left_out(capability, prices):
    default = load_profiles().named("default")
    routes = resolve_routes(default, capability, prices)
    assert batch_routes(default, routes, capability, prices, deployed=()) == ()
    assert [r.region for r in batch_routes(default, routes, capability, prices, deployed={"us-east-1"})] == [
        "us-east-1"
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "no.such-model"}, "model: 'no.such-model'"),
        (
            {"routes": [{"region": "us-east-1", "via": "eu"}]},
            "routes[0].via: 'eu' is not possible; allowed is one of us, global",
        ),
        ({"routes": [{"region": "xx-north-9"}]}, "routes[0].region: 'xx-north-9'"),
        (
            {"residency": "us", "routes": [{"region": "us-east-1", "via": "global"}]},
            "routes[0]: 'us-east-1 via global' is not possible; allowed is via us",
        ),
        ({"lanes": ["flex"], "routes": [{"region": "us-east-1", "via": "us"}]}, "lanes: 'flex'"),
    ],
)
def test_what_aws_does_not_offer_is_refused_with_field_value_and_remedy(changes, named, capability, prices):
    with pytest.raises(ConfigurationError) as refused:
        resolve_routes(profile(**changes), capability, prices, name="p")
    assert named in str(refused.value)
    assert str(refused.value).startswith("profile p: ")


def test_a_named_batch_region_without_batch_is_refused(capability, prices):
    wrong = profile(model=OSS, batch_regions=["us-east-1", "mx-central-1"])
    routes = resolve_routes(wrong, capability, prices)
    with pytest.raises(
        ConfigurationError, match=r"batch_regions: 'mx-central-1' is not possible; allowed is one of .*us-east-1"
    ):
        batch_routes(wrong, routes, capability, prices, deployed={"us-east-1", "mx-central-1"})


@pytest.mark.parametrize(
    "changes",
    [
        {"lanes": ["batch"]},
        {"lanes": []},
        {"lanes": ["on_demand", "on_demand"]},
        {"routes": []},
        {"routes": [{"region": "us-east-1", "weight": 0}]},
        {"home_region": "Virginia"},
        {"default_deadline": "soon"},
        {"default_deadline": "2030-01-01T00:00:00Z"},
        {"mode": "hashed"},
        {"wieghts": 1},
    ],
)
def test_a_malformed_profile_names_its_field(changes):
    document = orjson.dumps({"v": 1, "profiles": {"mine": {"model": HAIKU, "home_region": "us-east-1", **changes}}})
    with pytest.raises(ConfigurationError) as refused:
        Profiles.from_bytes(document)
    assert "profiles.mine" in str(refused.value)
    assert next(iter(changes)) in str(refused.value)


def test_an_unknown_version_or_a_name_unfit_for_keys_is_refused():
    with pytest.raises(ConfigurationError, match="version 9"):
        Profiles.from_bytes(b'{"v": 9, "profiles": {}}')
    with pytest.raises(ConfigurationError, match="a profile's name"):
        Profiles.from_bytes(orjson.dumps({"v": 1, "profiles": {"a/b": {"model": HAIKU, "home_region": "us-east-1"}}}))


def test_a_job_that_names_no_profile_of_ours_is_told_which_there_are():
    with pytest.raises(BadInput) as refused:
        load_profiles().named("nobody")
    assert refused.value.pointer == "/profile"
    assert "default, open-eu" in refused.value.message


def test_the_shipped_document_reads_back_as_itself():
    shipped = Profiles.from_bytes(shipped_profiles())
    assert Profiles.model_validate_json(shipped.model_dump_json()) == shipped


def test_shards_go_where_the_mode_says(capability, prices):
    routes = resolve_routes(profile(model=OSS, residency="eu", home_region="eu-west-2"), capability, prices)
    price = typical_price(prices, Lane.BATCH)
    assert batch_shares(Mode.WEIGHTED, routes, price) == routes
    assert [r.region for r in batch_shares(Mode.CHEAPEST, routes, price)] == ["eu-north-1"]
    assert batch_shares(Mode.PRIMARY, routes, price) == routes[:1]
    assert batch_shares(Mode.CHEAPEST, (), price) == ()


def test_a_budget_is_read_exactly_whether_text_or_number():
    text = profile(budget={"run_usd": "12.500000000001", "day_usd": "100"}).budget
    assert (text.run_pico, text.day_pico) == (12_500_000_000_001, 100 * 10**12)
    document = {"v": 1, "profiles": {"a": {"model": HAIKU, "home_region": "us-east-1", "budget": {"run_usd": 0.1}}}}
    read = Profiles.from_bytes(orjson.dumps(document)).named("a")
    assert (read.budget.run_pico, read.budget.day_pico) == (10**11, None)
    assert read.model_dump(mode="json")["budget"] == {"run_usd": "0.1", "day_usd": None}
    assert Profile.model_validate(read.model_dump(mode="json")) == read
    assert profile().budget.run_pico is None
