"""What is refused before a document of profiles is put into force, what is only said, and the shipped schema."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.profile import Profile, Profiles, Tier, load_profiles, profiles_schema, shipped_profiles
from slackwater.model.profile_problems import BadProfiles
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.policy.profile_check import checked, differences, offer_of, problems, warnings
from slackwater.policy.routes import resolve_routes, typical_price

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
OSS = "openai.gpt-oss-120b-1:0"
CAPABILITY, PRICES = load_capability(), load_price_book()
SCHEMA = Path(__file__).parents[2] / "docs" / "profiles.schema.json"


def document(**changes):
    profile = {"model": HAIKU, "home_region": "us-east-1", **changes}
    return orjson.dumps({"v": 1, "profiles": {"mine": profile}})


def refused(body):
    with pytest.raises(BadProfiles) as found:
        checked(body, CAPABILITY, PRICES)
    return found.value.problems


def test_everything_that_is_shipped_passes_the_door():
    shipped = checked(shipped_profiles(), CAPABILITY, PRICES)
    assert set(shipped.profiles) == {"default", "open-eu", "cheapest-anywhere", "primary-fallback", "batch-first"}
    assert all(profile.description for profile in shipped.profiles.values())
    assert "cannot be batch only" in shipped.named("batch-first").description


@pytest.mark.parametrize(
    ("changes", "field", "value", "allowed"),
    [
        ({"model": "no.such"}, "model", "'no.such'", HAIKU),
        ({"residency": ["us-east-1"]}, "residency", "'us-east-1'", "one of any, us, eu"),
        ({"routes": [{"region": "us-east-1", "weight": 0}]}, "routes[0].weight", "0", "than or equal to 1"),
        ({"routes": [{"region": "us-east-1", "weight": -2}]}, "routes[0].weight", "-2", "than or equal to 1"),
        ({"wieghts": 1}, "wieghts", "1", "unknown field; allowed are description, model"),
        ({"routes": [{"region": "us-east-1", "wieght": 1}]}, "routes[0].wieght", "1", "are region, via, weight"),
        ({"routes": "all"}, "routes", '"all"', "'auto' or a list"),
        ({"batch_regions": ["us-gov-west-1"]}, "batch_regions", "'us-gov-west-1'", "us-west-2"),
        ({"lanes": ["on_demand", "flex"]}, "lanes", "'flex'", "no flex tier on these routes; allowed is on_demand"),
        ({"lanes": ["batch"]}, "lanes", '["batch"]', "add on_demand or flex"),
        ({"lanes": ["bach"]}, "lanes[0]", '"bach"', "'on_demand', 'flex' or 'batch'"),
        ({"model": "deepseek.r1-v1:0"}, "lanes", "'batch'", "has no batch in these regions; allowed is on_demand"),
        ({"tier": "priority"}, "tier", "'priority'", "no priority price"),
        ({"tier": "flex"}, "tier", '"flex"', "'default' or 'priority'"),
        ({"max_tokens_min": 9, "max_tokens_max": 3, "max_tokens": 1}, "max_tokens_min", "9", "above max_tokens_max"),
        ({"max_tokens_max": 100}, "max_tokens", None, "above max_tokens_max"),
        ({"batch_max_records": 10}, "batch_max_records", "10", "greater than or equal to 100"),
        ({"default_deadline": "soon"}, "default_deadline", '"soon"', "90m, 6h"),
        ({"home_region": "Virginia"}, "home_region", '"Virginia"', "us-east-1"),
        ({"budget": {"run_usd": 0}}, "budget.run_usd", "0", "more than 0 USD"),
        ({"budget": {"day_usd": "-3.5"}}, "budget.day_usd", '"-3.5"', "more than 0 USD"),
        ({"budget": {"day_usd": "a lot"}}, "budget.day_usd", '"a lot"', 'an amount in USD, such as "12.50"'),
        ({"budget": {"run_usd": True}}, "budget.run_usd", "true", "an amount in USD"),
        ({"budget": {"run_usd": "1e-13"}}, "budget.run_usd", '"1e-13"', "at most 12 decimals"),
        ({"budget": {"week_usd": 1}}, "budget.week_usd", "1", "unknown field; allowed are run_usd, day_usd"),
    ],
)  # fmt: skip
def test_each_fault_names_its_field_its_value_and_what_would_be_allowed(changes, field, value, allowed):
    (problem,) = refused(document(**changes))
    assert (problem.profile, problem.field, problem.value) == ("mine", field, value)
    assert allowed in problem.allowed


def test_all_faults_of_a_document_are_told_at_once():
    body = orjson.dumps({
        "v": 1,
        "profiles": {
            "a": {"model": "x", "home_region": "us-east-1"},
            "b": {"model": HAIKU, "home_region": "us-east-1", "lanes": ["flex", "on_demand"]},
        },
    })  # fmt: skip
    assert [(p.profile, p.field) for p in refused(body)] == [("a", "model"), ("b", "lanes")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "document"), (b"[]", "document"),
        (b'{"v": 9, "profiles": {}}', "v"), (b'{"v": 1, "profiles": {}}', "profiles"),
    ],
)  # fmt: skip
def test_a_document_that_is_none_is_refused(body, field):
    assert refused(body)[0].field == field


_FIELD = st.sampled_from(["v", "profiles", "model", "routes", "lanes", "region", "x"])
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELD, inner, max_size=3),
    max_leaves=12,
)


@given(_ANY_JSON)
def test_whatever_json_comes_it_is_taken_or_refused_in_words(value):
    try:
        checked(orjson.dumps({"v": 1, "profiles": value}), CAPABILITY, PRICES)
    except BadProfiles as exc:
        assert all(problem.field and problem.allowed for problem in exc.problems)
    except (orjson.JSONEncodeError, TypeError):
        return


def test_what_works_but_may_surprise_is_a_warning():
    shipped = load_profiles()
    assert warnings(shipped, CAPABILITY, PRICES, deployed=None) == []
    said = warnings(shipped, CAPABILITY, PRICES, deployed={"us-east-1"})
    assert any(text.startswith("default: batch_regions: us-west-2") for text in said)
    assert any(text.startswith("open-eu: this stack has no batch bucket") and "satellite.yaml" in text for text in said)
    other = Profiles.from_bytes(document())
    assert "no profile default" in warnings(other, CAPABILITY, PRICES, deployed=None)[0]


def test_differences_are_named_by_profile_and_field():
    old, new = Profiles.from_bytes(document()), Profiles.from_bytes(document(mode="primary", max_tokens=9))
    (changed,) = differences(old, new)
    assert changed.as_json() == {
        "profile": "mine", "kind": "changed",
        "fields": {"mode": {"old": "weighted", "new": "primary"}, "max_tokens": {"old": 1024, "new": 9}},
    }  # fmt: skip
    assert differences(old, old) == []
    kinds = {one.profile: one.kind for one in differences(load_profiles(), new)}
    assert (kinds["default"], kinds["mine"]) == ("removed", "added")


def test_the_shipped_schema_is_the_models_own():
    remedy = f"write it anew: slackwater profiles schema > {SCHEMA.name}"
    assert orjson.loads(SCHEMA.read_bytes()) == profiles_schema(), remedy


def test_the_schema_names_every_field_with_its_meaning():
    profile = profiles_schema()["$defs"]["Profile"]
    assert set(profile["properties"]) == set(Profile.model_fields)
    assert all(field.get("description") for field in profile["properties"].values())
    assert profile["additionalProperties"] is False


@pytest.mark.parametrize(
    ("bounds", "limit", "fine"),
    [
        ({}, None, True), ({}, 10**6, True),
        ({"max_tokens_max": 2000}, 2000, True), ({"max_tokens_max": 2000}, 2001, False),
        ({"max_tokens_max": 2000}, None, False),
        ({"max_tokens_min": 50}, 50, True), ({"max_tokens_min": 50}, 49, False), ({"max_tokens_min": 50}, None, True),
    ],
)  # fmt: skip
def test_a_profile_bounds_the_answers_that_may_be_asked_for(bounds, limit, fine):
    profile = Profile(model=HAIKU, home_region="us-east-1", **bounds)
    if fine:
        profile.check_output_limit(limit)
    else:
        with pytest.raises(BadInput, match="tokens"):
            profile.check_output_limit(limit)


def test_the_priority_tier_is_on_the_routes_of_calls_and_in_their_price_and_nowhere_else():
    profile = Profile(model=OSS, home_region="us-east-1", residency="us", lanes=tuple(Lane), tier="priority")
    assert list(problems("p", profile, CAPABILITY, PRICES)) == []
    offer = offer_of("p", profile, CAPABILITY, PRICES)
    assert {route.tier for route in offer.calling} == {"priority"}
    assert {route.tier for route in offer.flex} == {"flex"}
    assert {route.tier for route in offer.batch} == {"default"}
    usual = resolve_routes(profile.model_copy(update={"tier": Tier.DEFAULT}), CAPABILITY, PRICES)
    price = typical_price(PRICES)
    assert price(offer.calling[0]) * 4 == price(usual[0]) * 7  # 1.75 times


ARN = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123def456"


def test_a_route_may_be_called_by_an_application_inference_profile_and_stays_the_route_it_was():
    route = {"region": "us-west-2", "via": "global", "application_profile": ARN}
    profile = Profiles.from_bytes(document(routes=[route])).named("mine")
    (found,) = resolve_routes(profile, CAPABILITY, PRICES)
    assert found.called == ARN
    assert (found.model_id, found.kind) == (f"global.{HAIKU}", "global")  # quota, price and name are the model's own
    assert ARN not in found.name


@pytest.mark.parametrize("arn", [ARN.replace("us-west-2", "us-east-1"), "my-profile", ARN.replace("application-", "")])
def test_an_application_profile_is_an_arn_of_the_routes_own_region(arn):
    problems = refused(document(routes=[{"region": "us-west-2", "via": "global", "application_profile": arn}]))
    assert problems[0].field.startswith("routes[0]")
