"""What `check` finds in an account that is in order, in ones that are not, and in one that may not be asked."""

import re
from pathlib import Path

import pytest

from slackwater.model.profile import load_profiles
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.policy.profile_check import offer_of
from slackwater.usecases.check_stack import (
    SATELLITE_VERSION,
    Access,
    CannotAsk,
    Checked,
    CheckStack,
    StackInfo,
    State,
    matching_quotas,
    needed,
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
QUOTAS = [
    ("Global cross-region model inference requests per minute for Anthropic Claude Haiku 4.5", 10_000.0),
    ("Global cross-region model inference tokens per minute for Anthropic Claude Haiku 4.5", 5_000_000.0),
    ("Cross-region model inference requests per minute for Anthropic Claude Haiku 4.5", 0.0),
    ("Global cross-region model inference requests per minute for Anthropic Claude Haiku 4.5.1", 1.0),
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
    assert one(found, "quotas", "us-west-2").detail == "10,000 requests per minute, 5,000,000 tokens per minute"


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
            {"quotas": lambda region: [(QUOTAS[0][0], 0.0)]},
            ("quotas", "us-west-2"),
            "0 requests",
            ADMINISTRATOR,
            "asks Service Quotas for more than 0",
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


def test_quotas_are_matched_by_family_and_whole_name():
    assert matching_quotas(QUOTAS, "us", "Claude Haiku 4.5") == {"requests per minute": 0.0}
    assert matching_quotas(QUOTAS, "", "Claude Haiku 4.5") == {}
    assert matching_quotas(QUOTAS, "global", "Claude Haiku 4") == {}


def test_satellite_yaml_has_the_version_that_check_expects():
    text = (Path(__file__).parents[2] / "satellite.yaml").read_text()
    (version,) = re.findall(r'TemplateVersion: \{Value: "(\d+)"', text)
    assert version == SATELLITE_VERSION
