"""The roles, proven in an embedded AWS that enforces IAM: enough for the whole walk, and no more than it needs.

`make test-iam` runs this. Enforced: every call of a function's code (SQS, S3, DynamoDB, Step Functions, EventBridge) by
the emulated AWS, and its calls to Bedrock by a gate of ours that asks the same policies. Not enforced here: what AWS's
services do for us inside (a mapping's receives, a rule's target's role, the workflow's invocations), logs, X-Ray, KMS.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local import cloud as clouds
from tests.iam import policies
from tests.iam.unused import REASONS, SOMETIMES
from tests.iam.walk import questions, walk
from tests.integration.driver import Driver

pytestmark = pytest.mark.skipif(
    "SLACKWATER_TEST_IAM" not in os.environ, reason="takes some minutes: `make test-iam` runs it"
)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A cloud with IAM in which the walk has been walked."""
    with clouds.start(state_dir=tmp_path_factory.mktemp("iam"), clock_rate=300, iam=True) as running:
        driver = Driver(running)
        walk(driver)
        yield driver


def test_the_walk_needs_nothing_that_is_not_allowed(walked: Driver):
    made = policies.decisions(walked.cloud)
    assert {d.action.partition(":")[0] for d in made} >= {"s3", "sqs", "dynamodb", "states", "events", "bedrock", "iam"}
    assert [d for d in made if not d.allowed] == []


def test_nothing_is_allowed_that_the_walk_does_not_need_but_for_written_reasons(walked: Driver):
    made = policies.decisions(walked.cloud)
    written = [s for s in policies.statements(walked.cloud) if " in " not in s.role or s.role in {d.role for d in made}]
    assert any(s.role == "BatchRole in us-west-2" for s in written)  # satellites in which no job ran are left out
    unused = set(policies.unused(written, made))
    assert unused - REASONS.keys() - SOMETIMES.keys() == set()
    assert REASONS.keys() - unused == set(), "used after all: strike these from the list"


def test_a_global_profile_needs_its_model_without_a_region(walked: Driver):
    asked = {d.resource for d in policies.decisions(walked.cloud) if d.action == "bedrock:InvokeModel"}
    assert any(resource.startswith("arn:aws:bedrock:::foundation-model/") for resource in asked)
    assert any(":inference-profile/global." in resource for resource in asked)


def by_calling(driver: Driver, name: str) -> None:
    run = driver.settled(driver.drop(name, questions(name, 3), lane="on_demand", deadline="48h"), within_s=15)
    assert run.receipt["succeeded"] == 3


def by_batch(driver: Driver, name: str) -> None:
    run = driver.settled(driver.drop(name, questions(name, 120), deadline="24h"), within_s=40)
    assert run.receipt["lanes"]["batch"]["jobs"] == 120


TAKEN = {
    "states:StartExecution": ("AdmitFunctionRole", by_calling),
    "bedrock:InvokeModel": ("DispatchFunctionRole", by_calling),
    "iam:PassRole": ("WorkFunctionRole", by_batch),
}


@pytest.mark.parametrize("action", TAKEN)
def test_without_a_permission_that_is_used_the_walk_fails(walked: Driver, action: str):
    role, way = TAKEN[action]
    before = len(policies.decisions(walked.cloud))
    with taken_away(walked, role, action), pytest.raises(AssertionError):
        way(walked, f"without-{action.replace(':', '-')}")
    since = policies.decisions(walked.cloud)[before:]
    assert {(d.role, d.action) for d in since if not d.allowed} == {(role, action)}


def test_with_all_of_them_back_it_passes_again(walked: Driver):
    by_calling(walked, "all-back")


@contextmanager
def taken_away(driver: Driver, role: str, action: str) -> Iterator[None]:
    """The role without one action, in the embedded IAM, for a while."""
    iam, name = driver.cloud.client("iam"), policies.roles(driver.cloud)[role]
    before = policies.inline(driver.cloud, name)
    policies.write(iam, name, policies.without(before, action))
    try:
        yield
    finally:
        policies.write(iam, name, before)
