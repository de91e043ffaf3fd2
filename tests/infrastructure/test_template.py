"""The template after the SAM transform: what a reviewer would look for before he signs."""

import ast
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

from local.package import load_template
from slackwater.model.job import Lane
from tests.iam.unused import CONDITIONAL

ROOT = Path(__file__).parents[2]


class NoManagedPolicies(ManagedPolicyLoader):
    def __init__(self) -> None:
        self._policy_map = {}

    def load(self) -> dict[str, str]:
        return {}


@cache
def source() -> dict[str, Any]:
    return load_template(ROOT / "template.yaml")


@cache
def deployed() -> dict[str, Any]:
    template = load_template(ROOT / "template.yaml")
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if "CodeUri" in properties:
            properties["CodeUri"] = "s3://artifacts/code.zip"
        if "ContentUri" in properties:
            properties["ContentUri"] = "s3://artifacts/layer.zip"
        if "DefinitionUri" in properties:
            properties["DefinitionUri"] = {"Bucket": "artifacts", "Key": "run.asl.yaml"}
    with patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):  # the transform asks a session for it
        return transform(template, {"AWS::Region": "us-east-1", "AWS::Partition": "aws"}, NoManagedPolicies())


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r for name, r in deployed()["Resources"].items() if r["Type"] == kind}


def functions() -> dict[str, dict[str, Any]]:
    return {n: r["Properties"] for n, r in resources("AWS::Lambda::Function").items()}


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in resources("AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement.get("Fn::If", [None, statement])[1]


def conditional() -> set[tuple[str, str]]:
    """Role or policy, and statement, of both templates, of what is deployed under a condition only."""
    found = set()
    for resources_of in (deployed()["Resources"], load_template(ROOT / "satellite.yaml")["Resources"]):
        for name, resource in resources_of.items():
            properties = resource["Properties"]
            match resource["Type"]:
                case "AWS::IAM::Role":
                    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
                case "AWS::IAM::Policy":
                    documents = [properties["PolicyDocument"]]
                case _:
                    continue
            for number, statement in enumerate(s for document in documents for s in document["Statement"]):
                if "Fn::If" in statement or "Condition" in resource:
                    sid = statement.get("Fn::If", [None, statement])[1].get("Sid", f"#{number}")
                    found.add((name, sid))
    return found


def referenced(value: Any) -> str:
    return value["Fn::GetAtt"][0] if "Fn::GetAtt" in value else value["Ref"]


def default(value: Any) -> int:
    return int(source()["Parameters"][value["Ref"]]["Default"]) if isinstance(value, dict) else int(value)


def test_every_function_has_a_folder_of_its_verb():
    folders = {path.name for path in (ROOT / "functions").iterdir() if (path / "app.py").exists()}
    assert {f"{folder.capitalize()}Function" for folder in folders} == set(functions())


def test_a_queue_outlives_six_times_its_functions_timeout():
    mappings = resources("AWS::Lambda::EventSourceMapping")
    assert len(mappings) == 4  # a mapping takes at least two workers, a new account has ten
    for mapping in mappings.values():
        properties = mapping["Properties"]
        queue = deployed()["Resources"][referenced(properties["EventSourceArn"])]["Properties"]
        function = functions()[referenced(properties["FunctionName"])]
        assert default(queue["VisibilityTimeout"]) >= 6 * function["Timeout"]
        assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_workers_of_all_queues_fit_into_a_new_account():
    mappings = resources("AWS::Lambda::EventSourceMapping").values()
    assert sum(default(m["Properties"]["ScalingConfig"]["MaximumConcurrency"]) for m in mappings) <= 8
    assert not any("ReservedConcurrentExecutions" in f for f in functions().values())


def test_every_worked_queue_has_dead_letters_and_an_alarm_that_tells_the_first_step():
    queues = resources("AWS::SQS::Queue")
    dead = {
        referenced(q["Properties"]["RedrivePolicy"]["deadLetterTargetArn"])
        for q in queues.values()
        if "RedrivePolicy" in q["Properties"]
    }
    assert len(dead) == 4
    watched = set()
    for alarm in resources("AWS::CloudWatch::Alarm").values():
        assert len(alarm["Properties"]["AlarmDescription"].split()) > 12
        for dimension in alarm["Properties"]["Dimensions"]:
            if (
                "Fn::GetAtt" in dimension["Value"]
                and alarm["Properties"]["MetricName"] != "ApproximateAgeOfOldestMessage"
            ):
                watched.add(referenced(dimension["Value"]))
    assert dead <= watched
    for name in dead:
        assert queues[name]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400


def test_queues_buckets_and_the_table_are_encrypted():
    ours, theirs = {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}
    for queue in resources("AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] == {"Fn::If": ["HasKey", theirs, True]}
        assert queue["Properties"]["KmsMasterKeyId"] == {"Fn::If": ["HasKey", ours, theirs]}
    for bucket in resources("AWS::S3::Bucket").values():
        (rule,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        condition, own, default_of = rule["Fn::If"]
        assert condition == "HasKey"
        assert own["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": ours}
        assert default_of["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    for table in resources("AWS::DynamoDB::Table").values():
        condition, own, default_of = table["Properties"]["SSESpecification"]["Fn::If"]
        assert (condition, own["KMSMasterKeyId"], default_of) == ("HasKey", ours, {"SSEEnabled": False})
    for group in resources("AWS::Logs::LogGroup").values():
        assert group["Properties"]["KmsKeyId"] == {"Fn::If": ["HasKey", ours, theirs]}


def test_sqs_own_aws_key_is_refused_because_eventbridge_may_not_use_it():
    pattern = source()["Parameters"]["KmsKeyArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, "")
    assert re.fullmatch(pattern, "arn:aws:kms:eu-west-1:123456789012:key/0f1e2d3c-0000-0000-0000-000000000000")
    assert not re.fullmatch(pattern, "alias/aws/sqs")
    assert not re.fullmatch(pattern, "arn:aws:kms:eu-west-1:123456789012:alias/aws/sqs")


def test_a_key_of_yours_may_be_used_by_every_function_and_by_bedrock():
    using = source()["Resources"]["UseOfKeys"]["Properties"]
    assert {role["Ref"] for role in using["Roles"]} == {f"{name}Role" for name in functions()} | {"BatchRole"}


def test_the_bucket_is_private_versioned_tls_only_and_cleans_up():
    (bucket,) = resources("AWS::S3::Bucket").values()
    properties = bucket["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert {"DaysAfterInitiation": 1} in [r.get("AbortIncompleteMultipartUpload") for r in rules]
    (policy,) = resources("AWS::S3::BucketPolicy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_what_holds_data_is_kept_when_the_stack_goes():
    for kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"):
        for resource in resources(kind).values():
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_every_function_logs_json_to_a_group_that_forgets_and_is_traced():
    for function in functions().values():
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert deployed()["Resources"][function["LoggingConfig"]["LogGroup"]["Ref"]]["Properties"]["RetentionInDays"]
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["Runtime"] == {"Ref": "Runtime"}
    assert source()["Parameters"]["Runtime"]["Default"] == "python3.13"


def test_no_statement_allows_all_actions_and_a_star_resource_is_one_that_aws_demands():
    starred = []
    for role, statement in statements():
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any(a == "*" or a.endswith(":*") for a in actions), (role, actions)
        wanted = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if "*" in wanted:
            starred += actions
    assert set(starred) <= {
        "bedrock:ListModelInvocationJobs",
        "servicequotas:ListServiceQuotas",
        "servicequotas:ListAWSDefaultServiceQuotas",
    }


@pytest.mark.parametrize("name", ["template.yaml", "satellite.yaml"])
def test_beside_every_star_that_is_no_prefix_of_ours_stands_its_reason(name):
    """A key's `/*` and a job's made-up name are no wildcards that a reader wonders about; regions, models, `*` are."""
    lines, bare = (ROOT / name).read_text().splitlines(), []
    for number, line in enumerate(lines):
        if not re.search(r'Resource: "\*"|:\*:|-\*["/]', line.partition(" # ")[0]):
            continue
        above = number
        while lines[above].lstrip().startswith("- !Sub"):  # an item of a list: the reason is at its head
            above -= 1
        if not any("#" in one for one in (line, lines[above], lines[above - 1])):
            bare.append((number + 1, line.strip()))
    assert bare == []


def test_what_is_deployed_under_a_condition_is_proven_or_has_its_reason():
    assert conditional() == set(CONDITIONAL)


def test_queues_take_events_from_the_rules_that_target_them_and_from_nobody_else():
    (policy,) = resources("AWS::SQS::QueuePolicy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    rules = {n: r for n, r in resources("AWS::Events::Rule").items() if "EventPattern" in r["Properties"]}
    wanted = set()
    for rule in rules.values():
        for target in rule["Properties"]["Targets"]:
            wanted |= {referenced(arn) for arn in (target["Arn"], target.get("DeadLetterConfig", {}).get("Arn")) if arn}
    assert {referenced(arn) for arn in statement["Resource"]} == wanted
    assert {referenced(url) for url in policy["Properties"]["Queues"]} == wanted
    assert {referenced(arn) for arn in statement["Condition"]["ArnEquals"]["aws:SourceArn"]} == set(rules)
    assert (statement["Principal"], statement["Action"]) == ({"Service": "events.amazonaws.com"}, "sqs:SendMessage")


def test_bedrock_may_take_only_our_role_and_only_for_our_jobs():
    passing = [s for _, s in statements() if s["Action"] == "iam:PassRole"]
    assert [s["Condition"] for s in passing] == [{"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}]
    trust = deployed()["Resources"]["BatchRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert set(trust["Condition"]) == {"StringEquals", "ArnLike"}


@pytest.mark.parametrize("name", ["template.yaml", "satellite.yaml"])
def test_nothing_has_a_fixed_name_but_what_another_stack_or_function_must_derive(name):
    named = {}
    for logical, resource in load_template(ROOT / name)["Resources"].items():
        for key in ("BucketName", "QueueName", "TableName", "FunctionName", "RoleName", "Name"):
            if key in resource.get("Properties", {}):
                named[logical] = key
    assert named == (
        {"RunWorkflow": "Name"} if name == "template.yaml" else {"BatchBucket": "BucketName", "BatchRole": "RoleName"}
    )


def alarms() -> dict[str, dict[str, Any]]:
    return {name: alarm["Properties"] for name, alarm in resources("AWS::CloudWatch::Alarm").items()}


def test_every_alarm_has_a_runbook_and_every_runbook_an_alarm():
    headings = re.findall(r"^## (.*)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    written = {name for heading in headings for name in re.findall(r"\w+Alarm\b", heading)}
    assert written == set(alarms())


def test_every_alarm_tells_the_topic_if_there_is_one():
    wanted = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    for name, alarm in alarms().items():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == (wanted, wanted), name


def test_only_the_missing_tick_is_an_alarm_where_there_is_no_data():
    assert [n for n, a in alarms().items() if a["TreatMissingData"] != "notBreaching"] == ["TickMissingAlarm"]


def test_a_queues_age_is_an_alarm_only_after_longer_than_any_delay():
    for name, alarm in alarms().items():
        if alarm["MetricName"] == "ApproximateAgeOfOldestMessage":
            assert alarm["Threshold"] > 900 + 900, name  # the longest delay, and a worker's longest time


@cache
def emitted() -> dict[str, set[frozenset[str]]]:
    """The metrics that the handlers' code writes: by name, the sets of dimensions it has."""
    found: dict[str, set[frozenset[str]]] = {}
    for path in (ROOT / "functions").glob("*/app.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="add_metric"), args=[ast.Constant(value=str(name)), *_]):
                    found.setdefault(name, set()).add(frozenset({"service"}))
                case ast.Call(
                    func=ast.Name(id="emit"), args=[_, ast.Constant(value=str(name)), _, ast.Constant(value=by), *_]
                ):
                    found.setdefault(name, set()).add(frozenset({"service", str(by)}))
                case ast.Assign(targets=[ast.Name(id="METRICS")], value=ast.Dict(values=values)):  # RouteFunction's
                    for value in values:
                        found.setdefault(ast.literal_eval(value), set()).add(frozenset({"service"}))
    return found


# Of AWS's own metrics, what we use: by namespace, the dimension and the names.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/aws-services-cloudwatch-metrics.html
AWS_METRICS = {
    "AWS/SQS": ("QueueName", {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}),
    "AWS/Lambda": ("FunctionName", {"Errors", "Invocations"}),
    "AWS/States": ("StateMachineArn", {"ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed"}),
    "AWS/DynamoDB": ("TableName", {"ReadThrottleEvents", "WriteThrottleEvents"}),
}


def shown() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of each metric of the dashboard; a search's dimension has the value `*`."""
    for widget in dashboard()["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], dict):
                (found,) = re.findall(
                    r"SEARCH\('\{(\w+),([\w,]+)\} MetricName=\"(\w+)\" service=\"(.+?)\"'", metric[0]["expression"]
                )
                yield found[0], found[2], {**dict.fromkeys(found[1].split(","), "*"), "service": found[3]}
            else:
                names = [part for part in metric[2:] if isinstance(part, str)]
                yield metric[0], metric[1], dict(zip(names[::2], names[1::2], strict=True))


def dashboard() -> dict[str, Any]:
    (board,) = resources("AWS::CloudWatch::Dashboard").values()
    body = re.sub(r"\$\{!", "{", board["Properties"]["DashboardBody"]["Fn::Sub"])
    return dict(json.loads(body))


def test_the_dashboard_and_the_alarms_name_metrics_that_are_written_with_those_dimensions():
    service = {"service": "${AWS::StackName}"}
    environment = source()["Globals"]["Function"]["Environment"]["Variables"]
    assert environment["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}
    watched = [
        (a["Namespace"], a["MetricName"], {d["Name"]: f"${{{d['Value'].get('Ref')}}}" for d in a["Dimensions"]})
        for a in alarms().values()
    ]
    for namespace, name, dimensions in [*shown(), *watched]:
        if namespace in AWS_METRICS:
            dimension, names = AWS_METRICS[namespace]
            assert (set(dimensions), name in names) == ({dimension}, True), (namespace, name)
            continue
        assert namespace == environment["POWERTOOLS_METRICS_NAMESPACE"]
        assert frozenset(dimensions) in emitted().get(name, set()), (name, dimensions)
        assert dimensions.items() >= service.items(), name
        assert dimensions.get("lane", "batch") in set(Lane)


def test_the_dashboard_tells_what_an_operator_asks():
    names = {(name, frozenset(dimensions) - {"service"}) for _, name, dimensions in shown()}
    by_lane, by_region, whole = frozenset({"lane"}), frozenset({"region"}), frozenset[str]()
    queue = frozenset({"QueueName"})
    assert names >= {
        ("ApproximateNumberOfMessagesVisible", queue), ("ApproximateAgeOfOldestMessage", queue),
        ("Jobs", by_lane), ("CostUsd", by_lane), ("ListUsd", whole), ("Throttles", by_region),
        ("RecordsFailed", whole), ("OpenShards", whole), ("OldestShardSeconds", whole),
        ("BatchTurnaroundSeconds", whole), ("BatchForecastSeconds", whole),
    }  # fmt: skip
    lanes = {dimensions["lane"] for _, name, dimensions in shown() if name in ("Jobs", "CostUsd")}
    assert lanes == set(Lane)


def test_every_metric_that_is_written_is_explained():
    text = (ROOT / "docs/operations.md").read_text().partition("## Metrics and dashboard")[2]
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([A-Z]\w+)`", table)) == set(emitted())


def test_the_dashboard_shows_every_alarm():
    (widget,) = [w for w in dashboard()["widgets"] if w["type"] == "alarm"]
    assert {arn.removeprefix("${").removesuffix(".Arn}") for arn in widget["properties"]["alarms"]} == set(alarms())


def test_everything_that_takes_tags_is_tagged():
    untaggable = {
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Permission",
        "AWS::Lambda::EventSourceMapping",
        "AWS::SQS::QueuePolicy",
        "AWS::S3::BucketPolicy",
        "AWS::CloudWatch::Dashboard",
        "AWS::IAM::Policy",
    }
    for name, resource in deployed()["Resources"].items():
        if resource["Type"] in untaggable or name in (
            "TickFunctionMinute",
            "TickFunctionDay",
        ):  # SAM makes it: the stack's own tags reach it
            continue
        tags = resource["Properties"]["Tags"]
        assert {"Project", "Stage"} <= {tag["Key"] for tag in tags}, name
