"""The roles, proven in an embedded AWS that enforces IAM: enough for the whole walk, and no more than it needs.

`make test-iam` runs this; a sample of it is in `make test` (test_sample.py). Enforced: every call of a function's code
(SQS, S3, DynamoDB, Step Functions, EventBridge) by the emulated AWS, and its calls to Bedrock by a gate of ours that
asks the same policies. Not enforced here: what AWS's services do for us inside (a mapping's receives, a rule's target's
role, the workflow's invocations), logs, X-Ray, KMS.
"""

import json
import os
from collections.abc import Iterator

import pytest

from local import cloud as clouds
from tests.iam import policies
from tests.iam.unused import CONDITIONAL, MANAGED, ON_THE_WALK, REASONS, REDUNDANT, SOMETIMES
from tests.iam.walk import FURTHER_REPLIES, WITHIN_S, questions, walk
from tests.infrastructure.test_template import shown
from tests.integration.driver import Driver

pytestmark = pytest.mark.skipif(
    "SLACKWATER_TEST_IAM" not in os.environ, reason="takes some minutes: `make test-iam` runs it"
)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A cloud with IAM in which the walk has been walked."""
    state_dir, parameters = tmp_path_factory.mktemp("iam"), {"ReplyQueueArns": FURTHER_REPLIES}
    with clouds.start(state_dir=state_dir, clock_rate=250, iam=True, parameters=parameters) as running:
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


def test_every_statement_under_a_condition_that_the_walk_can_meet_was_met(walked: Driver):
    written = {(s.role, s.sid) for s in policies.statements(walked.cloud)}
    assert {key for key, reason in CONDITIONAL.items() if reason == ON_THE_WALK} <= written
    assert policies.managed(walked.cloud) == set(MANAGED)


def test_whatever_is_taken_away_a_call_of_the_walk_would_have_been_denied(walked: Driver):
    """Every action and every resource of every statement, one at a time, asked of the IAM that enforced the walk."""
    made = policies.decisions(walked.cloud)
    judge, spared = policies.Judge(walked.cloud, made), set(policies.unused(policies.statements(walked.cloud), made))
    needless, asked = set(), 0
    for statement in policies.statements(walked.cloud):
        for key, value in policies.grants(statement):
            name = (statement.role, statement.sid, value if key == "Action" else policies.short(value))
            if name not in spared:
                asked += 1
                needless |= set() if judge.needs(statement, key, value) else {name}
    assert asked > 150
    assert needless == set(REDUNDANT)


def test_the_walk_writes_every_metric_of_the_dashboard(walked: Driver):
    written = set()
    for line in walked.cloud.function_logs():
        if '"_aws"' in line:
            for metrics in json.loads(line)["_aws"]["CloudWatchMetrics"]:
                written |= {
                    (metrics["Namespace"], metric["Name"], frozenset(metrics["Dimensions"][0]))
                    for metric in metrics["Metrics"]
                }
    wanted = {(space, name, frozenset(by)) for space, name, by in shown() if space == "Slackwater"}
    assert wanted - written == set()


def test_a_global_profile_needs_its_model_without_a_region(walked: Driver):
    asked = {d.resource for d in policies.decisions(walked.cloud) if d.action == "bedrock:InvokeModel"}
    assert any(resource.startswith("arn:aws:bedrock:::foundation-model/") for resource in asked)
    assert any(":inference-profile/global." in resource for resource in asked)


TAKEN = {  # whose, how many lines show it, and how they go
    "states:StartExecution": ("AdmitFunctionRole", 3, {"lane": "on_demand", "deadline": "48h"}),
    "bedrock:InvokeModel": ("DispatchFunctionRole", 3, {"lane": "on_demand", "deadline": "48h"}),
    "iam:PassRole": ("WorkFunctionRole", 120, {"deadline": "24h"}),
}


@pytest.mark.parametrize("action", TAKEN)
def test_without_a_permission_that_is_used_the_walk_fails(walked: Driver, action: str):
    role, lines, options = TAKEN[action]
    name, before = f"without-{action.replace(':', '-')}", len(policies.decisions(walked.cloud))
    with policies.taken_away(walked.cloud, role, action):
        walked.drop(name, questions(name, lines), **options)
        denied = policies.denials(walked.cloud, since=before)
    assert denied == {(role, action)}


def test_with_all_of_them_back_it_passes_again(walked: Driver):
    run = walked.settled(walked.drop("all-back", questions("all-back", 3), lane="on_demand", deadline="48h"), WITHIN_S)
    assert run.receipt["succeeded"] == 3
