"""What a call of Bedrock's needs, as AWS's pages say it."""

import json

from local.gate import models, needs, service_role_needs

ACCOUNT = "123456789012"
JOB = {
    "modelId": "global.anthropic.claude-x",
    "roleArn": f"arn:aws:iam::{ACCOUNT}:role/r",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://b/v1/shards/s/in.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://b/v1/shards/s/out/"}},
}


def asked(method: str, path: str, body: object = None) -> set[tuple[str, str]]:
    return {(n.action, n.resource) for n in needs(method, path, json.dumps(body).encode(), "eu-west-1", ACCOUNT)}


def test_a_model_in_its_region_is_one_resource():
    assert models("openai.gpt-oss-120b-1:0", "eu-west-1", ACCOUNT) == [
        "arn:aws:bedrock:eu-west-1::foundation-model/openai.gpt-oss-120b-1:0"
    ]


def test_a_geographic_profile_needs_itself_and_its_model_in_other_regions_too():
    found = models("eu.anthropic.claude-x", "eu-west-1", ACCOUNT)
    assert found[0] == f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:inference-profile/eu.anthropic.claude-x"
    assert "arn:aws:bedrock:eu-north-1::foundation-model/anthropic.claude-x" in found
    assert not any(":::" in arn for arn in found)


def test_a_global_profile_needs_its_model_without_a_region():
    assert "arn:aws:bedrock:::foundation-model/anthropic.claude-x" in models(
        "global.anthropic.claude-x", "eu-west-1", ACCOUNT
    )


def test_converse_needs_invoke_model_even_with_a_quoted_id():
    path = "/model/openai.gpt-oss-120b-1%3A0/converse"
    assert asked("POST", path) == {
        ("bedrock:InvokeModel", "arn:aws:bedrock:eu-west-1::foundation-model/openai.gpt-oss-120b-1:0")
    }


def test_to_create_a_job_one_must_also_hand_over_its_role():
    found = asked("POST", "/model-invocation-job", JOB)
    assert ("iam:PassRole", JOB["roleArn"]) in found
    assert {action for action, _ in found} == {"bedrock:CreateModelInvocationJob", "iam:PassRole"}
    (passing,) = [
        n
        for n in needs("POST", "/model-invocation-job", json.dumps(JOB).encode(), "eu-west-1", ACCOUNT)
        if n.action == "iam:PassRole"
    ]
    assert passing.context == {"iam:passedtoservice": "bedrock.amazonaws.com"}


def test_the_jobs_role_reads_lists_writes_and_invokes():
    found = {(n.action, n.resource) for n in service_role_needs(JOB, "eu-west-1", ACCOUNT)}
    assert ("s3:GetObject", "arn:aws:s3:::b/v1/shards/s/in.jsonl") in found
    assert ("s3:ListBucket", "arn:aws:s3:::b") in found
    assert any(a == "s3:PutObject" and r.startswith("arn:aws:s3:::b/v1/shards/s/out/") for a, r in found)
    assert any(a == "bedrock:InvokeModel" for a, _ in found)


def test_what_is_not_known_needs_what_nobody_has():
    assert asked("DELETE", "/guardrails/x") == {("bedrock:UnknownDELETE", "*")}
