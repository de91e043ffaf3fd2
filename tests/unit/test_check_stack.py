"""What `check` finds in an account that is in order, in ones that are not, and in one that may not be asked."""

import re
from pathlib import Path

import pytest

from slackwater.model.profile import load_profiles
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.policy.profile_check import offer_of
from slackwater.policy.quota_names import Quota, batch_quotas, calling_quotas
from slackwater.usecases.check_stack import (
    SATELLITE_VERSION,
    Access,
    CannotAsk,
    Checked,
    CheckStack,
    StackInfo,
    State,
    needed,
    next_steps,
    summary,
)
from tests.unit.rig import HAIKU

ACCOUNT = "123456789012"
HOME = StackInfo(
    f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/mine/1", "mine", "CREATE_COMPLETE",
    {"SatelliteRegions": "us-west-2", "BatchBucketPrefix": "pre", "BatchEnabled": "true"}, {"BucketName": "home"},
)  # fmt: skip
SATELLITE = StackInfo(
    f"arn:aws:cloudformation:us-west-2:{ACCOUNT}:stack/mine-satellite/1", "mine-satellite", "UPDATE_COMPLETE",
    {}, {"BucketName": f"pre-{ACCOUNT}-us-west-2", "TemplateVersion": SATELLITE_VERSION},
)  # fmt: skip
GRANTED = Access("AVAILABLE", "AUTHORIZED", "AVAILABLE", "AVAILABLE")
QUOTAS = [  # as AWS spells them
    Quota("Global cross-region model inference tokens per day for Anthropic Claude Haiku 4.5", 7.2e9, "L-1", False),
    Quota("Global cross-region model inference tokens per minute for Anthropic Claude Haiku 4.5", 5_000_000.0, "L-2"),
    Quota("Cross-region model inference requests per minute for Anthropic Claude Haiku 4.5", 0.0, "L-3"),
    Quota("Model invocation max tokens per day for Anthropic Claude Haiku 4.5 (doubled for cross-region calls)", 9.0),
    Quota("Sum of in-progress and submitted batch inference jobs using a base model for Claude Haiku 4.5", 100.0),
]


class Fine:
    """An account in which everything is as it should be; what is changed is given by name."""

    def __init__(self, **changes):
        self.__dict__.update(changes)

    def stack(self, region, name):
        return SATELLITE if (region, name) == ("us-west-2", "mine-satellite") else None

    def role_of(self, region, stack, logical_id):
        return f"mine-{logical_id}"

    def model_access(self, region, model_id):
        return GRANTED

    def quotas(self, region):
        return QUOTAS

    def denied(self, role_arn, actions, resource, context):
        return []

    def bucket_region(self, region, bucket):
        return region

    def role_trusts(self, name):
        return ["bedrock.amazonaws.com"]


def checked(stack=HOME, *names) -> Checked:
    capability, prices = load_capability(), load_price_book()
    profiles = load_profiles()
    offers = {n: offer_of(n, profiles.named(n), capability, prices) for n in names or ("default",)}
    return Checked("us-east-1", stack, offers)


def findings(account, stack=HOME):
    return list(CheckStack(account, lambda model: "Claude Haiku 4.5")(checked(stack)))


def one(found, what, about=""):
    (match,) = [finding for finding in found if finding.what == what and about in finding.subject]
    return match


def refuses(*_):
    raise CannotAsk("AccessDenied")


def test_an_account_in_order_has_no_failure_and_nothing_unknown():
    found = findings(Fine())
    assert summary(found) == {"ok": len(found), "failed": 0, "unknown": 0}
    assert {finding.what for finding in found} == {
        "model access", "quotas", "permissions", "batch bucket", "batch role", "satellite",
    }  # fmt: skip
    calls = one(found, "quotas", f"global.{HAIKU} in us-west-2")
    assert calls.detail == "7,200,000,000 tokens per day, 5,000,000 tokens per minute"
    assert one(found, "quotas", f"batch of {HAIKU} in us-west-2").detail == "100 batch jobs at once"


@pytest.mark.promise(7)
def test_what_may_not_be_asked_is_unknown_and_never_claimed():
    names = ("stack", "role_of", "model_access", "quotas", "denied", "bucket_region", "role_trusts")
    found = findings(Fine(**{name: refuses for name in names}))
    assert {finding.state for finding in found} == {State.UNKNOWN}
    assert all("AccessDenied" in finding.detail and "it takes " in finding.detail for finding in found)


ADMINISTRATOR, DEPLOYER = "the account's administrator", "whoever deploys the stack"
NO_AGREEMENT = Access("NOT_AVAILABLE", "AUTHORIZED", "AVAILABLE", "AVAILABLE")
OLD_SATELLITE = StackInfo(SATELLITE.arn, "old", "CREATE_COMPLETE", {}, {"BucketName": f"pre-{ACCOUNT}-us-west-2"})
ROLE = f"arn:aws:iam::{ACCOUNT}:role/pre-us-west-2"


@pytest.mark.parametrize(
    ("changes", "asked", "detail", "who", "how"),
    [
        (
            {"model_access": lambda region, model: NO_AGREEMENT if region == "us-west-2" else GRANTED},
            ("model access", "us-west-2"),
            "agreement NOT_AVAILABLE",
            ADMINISTRATOR,
            f"requests access to {HAIKU} in us-west-2",
        ),
        (
            {"quotas": lambda region: [Quota(QUOTAS[1].name, 0.0, "L-2")]},
            ("quotas", f"global.{HAIKU} in us-west-2"),
            "0 tokens per minute",
            ADMINISTRATOR,
            "aws service-quotas request-service-quota-increase --region us-west-2 --service-code bedrock "
            "--quota-code L-2 --desired-value N",
        ),
        (
            {"quotas": lambda region: [Quota(QUOTAS[0].name, 0.0, "L-1", adjustable=False)]},
            ("quotas", f"global.{HAIKU} in us-west-2"),
            "0 tokens per day",
            ADMINISTRATOR,
            f'opens a support case in us-west-2 for "{QUOTAS[0].name}"',
        ),
        (
            {"quotas": lambda region: [Quota(QUOTAS[4].name, 0.0, "L-5")]},
            ("quotas", f"batch of {HAIKU} in us-west-2"),
            "0 batch jobs at once",
            ADMINISTRATOR,
            "--quota-code L-5",
        ),
        (
            {"denied": lambda role, actions, on, context: list(actions) if "PassRole" in actions[0] else []},
            ("permissions", "WorkFunction"),
            f"denied: iam:PassRole on {ROLE}",
            DEPLOYER,
            "deploys the template again",
        ),
        (
            {"bucket_region": lambda region, bucket: None if region == "us-west-2" else region},
            ("batch bucket", "us-west-2"),
            "there is none",
            DEPLOYER,
            "deploys satellite.yaml in us-west-2",
        ),
        (
            {"bucket_region": lambda region, bucket: "us-east-1"},
            ("batch bucket", "in us-west-2"),
            "it lies in us-east-1",
            DEPLOYER,
            "another BatchBucketPrefix",
        ),
        (
            {"role_trusts": lambda name: None},
            ("batch role", "us-west-2"),
            "there is none",
            DEPLOYER,
            "deploys satellite.yaml in us-west-2",
        ),
        (
            {"role_trusts": lambda name: ["lambda.amazonaws.com"]},
            ("batch role", "us-west-2"),
            "does not trust bedrock.amazonaws.com",
            DEPLOYER,
            "deploys satellite.yaml in us-west-2",
        ),
        (
            {"stack": lambda region, name: OLD_SATELLITE},
            ("satellite", "us-west-2"),
            "is of version none",
            DEPLOYER,
            "deploys satellite.yaml in us-west-2",
        ),
    ],
)
def test_each_fault_names_who_acts_and_how(changes, asked, detail, who, how):
    finding = one(findings(Fine(**changes)), *asked)
    assert finding.state is State.FAILED
    assert detail in finding.detail
    assert (finding.who, how in finding.how) == (who, True)


def test_a_satellite_of_another_name_is_unknown_since_its_bucket_is_there():
    found = findings(Fine(stack=lambda region, name: None))
    assert one(found, "satellite").state is State.UNKNOWN
    assert one(found, "batch bucket", "us-west-2").state is State.OK


def test_a_region_that_a_profile_would_use_for_batch_is_named_until_it_has_a_satellite():
    def only(**parameters):
        return checked(StackInfo(HOME.arn, HOME.name, HOME.status, {**HOME.parameters, **parameters}, HOME.outputs))

    (step,) = next_steps(only(SatelliteRegions=""))
    assert step.startswith("profile default runs batch jobs in us-east-1; for us-west-2 too, deploy satellite.yaml")
    assert list(next_steps(only(SatelliteRegions="us-west-2"))) == []
    assert list(next_steps(only(BatchEnabled="false"))) == []
    (many,) = next_steps(checked(HOME, "open-eu"))
    assert "runs batch jobs in no region yet; for " in many


def test_without_the_batch_lane_nothing_of_it_is_asked():
    off = StackInfo(HOME.arn, HOME.name, HOME.status, {**HOME.parameters, "BatchEnabled": "false"}, HOME.outputs)
    assert {f.what for f in findings(Fine(), off)} == {"model access", "quotas", "permissions"}
    assert set(needed(checked(off))) == {"RouteFunction", "DispatchFunction"}


def test_a_global_profile_needs_its_own_arn_the_models_and_the_one_without_a_region():
    calls = {right.resource for right in needed(checked())["RouteFunction"]}
    assert {
        f"arn:aws:bedrock:us-west-2::foundation-model/{HAIKU}",
        f"arn:aws:bedrock:us-west-2:{ACCOUNT}:inference-profile/global.{HAIKU}",
        f"arn:aws:bedrock:::foundation-model/{HAIKU}",
    } <= calls


# Of https://docs.aws.amazon.com/general/latest/gr/bedrock.html, autumn 2026: how one model is called in calling and in
# batch quotas.
SPELLINGS = [
    ("Claude Haiku 4.5", "Anthropic Claude Haiku 4.5", "Claude Haiku 4.5"),
    ("Claude Sonnet 4.5", "Anthropic Claude Sonnet 4.5 V1", "Claude Sonnet 4.5"),
    ("Claude Opus 4.6", "Anthropic Claude Opus 4.6 V1", "Claude Opus 4.6"),
    ("Nova Micro", "Amazon Nova Micro", "Nova Micro V1"),
    ("Nova 2.0 Lite", "Amazon Nova 2 Lite", "Nova 2 Lite"),
    ("Llama 3.1 8B", "Meta Llama 3.1 8B Instruct", "Llama 3.1 8B Instruct"),
    ("Llama 4 Scout 17B", "Meta Llama 4 Scout 17B Instruct", "Llama 4 Scout"),
    ("Ministral 8B 3.0", "Ministral 8B 3.0", "Ministral 3 8B"),
    ("Mistral Large 3", "Mistral Large 3", "Mistral Large 3"),
    ("DeepSeek V3.1", "DeepSeek V3 V1", "DeepSeek v3"),
    ("DeepSeek v3.2", "DeepSeek V3.2", "DeepSeek V3.2"),
    ("gpt-oss-120b", "OpenAI GPT OSS 120B", "OpenAI GPT OSS 120b"),
    ("Qwen3 235B A22B 2507", "Qwen3 235B a22b 2507 V1", "Qwen3 235B"),
    ("Qwen3 Coder 480B A35B", "Qwen3 Coder 480B a35b V1", "Qwen3 Coder 480B"),
    ("Kimi K2.5", "Moonshot AI Kimi K2.5", "Kimi K2.5"),
]
OTHERS = (
    "Anthropic Claude Sonnet 4.5 V1 1M Context Length", "Anthropic Claude Haiku 4.5.1", "Qwen3 VL 235B A22B",
    "OpenAI GPT OSS Safeguard 120b", "Qwen3 Coder Next", "Mistral Large 2407", "Mistral AI Mistral Large",
)  # fmt: skip


def _everything(family: str) -> list[Quota]:
    names = [*OTHERS, *(calling for _, calling, _ in SPELLINGS)]
    batch = [*OTHERS, *(batch for _, _, batch in SPELLINGS)]
    return [
        *(Quota(f"{family} tokens per minute for {name}", number) for number, name in enumerate(names)),
        *(
            Quota(f"Sum of in-progress and submitted batch inference jobs using a base model for {name}", number)
            for number, name in enumerate(batch)
        ),
    ]


@pytest.mark.parametrize(
    ("prefix", "family"),
    [
        ("", "On-demand model inference"), ("us", "Cross-region model inference"),
        ("eu", "Cross-Region model inference"), ("global", "Global cross-region model inference"),
        ("global", "Global Cross-Region InvokeModel"), ("", "On-demand InvokeModel"),
    ],
)  # fmt: skip
def test_each_model_has_its_own_quotas_however_aws_spells_it(prefix, family):
    listed = _everything(family)
    for number, (name, _, _) in enumerate(SPELLINGS, start=len(OTHERS)):
        found = calling_quotas(listed, prefix, name)
        assert {unit: quota.value for unit, quota in found.items()} == {"tokens per minute": number}, name
        assert {unit: quota.value for unit, quota in batch_quotas(listed, name).items()} == {
            "batch jobs at once": number
        }
    other = "" if prefix else "global"
    assert calling_quotas(listed, other, "Claude Haiku 4.5") == {}


def test_every_model_of_the_table_has_a_name_of_its_own_among_quotas():
    capability = load_capability()
    names = [capability.model(model)["name"] for model in capability.models()]
    listed = [Quota(f"On-demand model inference tokens per minute for {name}", 1.0) for name in names]
    found = [calling_quotas(listed, "", name)["tokens per minute"].name for name in names]
    assert [name.rpartition(" for ")[2] for name in found] == names


def test_the_day_is_shared_by_in_region_and_geographic_calls_and_not_by_global_ones():
    for prefix, day in (("", 9.0), ("us", 9.0), ("global", 7.2e9)):
        assert calling_quotas(QUOTAS, prefix, "Claude Haiku 4.5")["tokens per day"].value == day


def test_satellite_yaml_has_the_version_that_check_expects():
    text = (Path(__file__).parents[2] / "satellite.yaml").read_text()
    (version,) = re.findall(r'TemplateVersion: \{Value: "(\d+)"', text)
    assert version == SATELLITE_VERSION
