"""The Bedrock emulator as a process of its own, spoken to by boto3, with S3 from an emulated AWS."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

REPO = Path(__file__).resolve().parents[2]
RATE = 1200.0  # a job of 100 records lives about 10 virtual minutes: half a real second
ROLE = "arn:aws:iam::123456789012:role/batch"
MODEL = "openai.gpt-oss-120b-1:0"
ONE_TRY = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=64, s3={"addressing_style": "path"}
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            assert process.poll() is None, f"{url}: the server ended"
            time.sleep(0.05)
    raise AssertionError(f"{url} did not come up")


class Emulator:
    """The running server, its control endpoint and boto3 clients of any region."""

    def __init__(self, url: str, aws: str) -> None:
        self.url, self.aws = url, aws

    def control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control/{path}", data=data, method=method)
        return json.loads(urllib.request.urlopen(request, timeout=10).read())

    def client(self, service: str, region: str = "us-east-1", config: Config = ONE_TRY) -> Any:
        url = self.aws if service in ("s3", "events", "sqs") else self.url
        session: Any = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
        return session.client(service, endpoint_url=url, config=config)

    def totals(self) -> dict[str, Any]:
        return dict(self.control("GET", "bill?totals=1")["totals"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("bedrock")
    aws_port, port = free_port(), free_port()
    aws, url = f"http://127.0.0.1:{aws_port}", f"http://127.0.0.1:{port}"
    quiet = {"LOG_LEVEL": "WARNING", "TMPDIR": str(folder), "STATE_DIR": str(folder / "state")}
    env = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(aws_port), **quiet}
    command = [sys.executable, "-m", "local.bedrock", "--port", str(port), "--s3-endpoint", aws]
    command += ["--events-endpoint", aws, "--clock-rate", str(RATE), "--clock-origin", str(time.time())]
    with (folder / "aws.log").open("wb") as aws_log, (folder / "bedrock.log").open("wb") as log:
        cloud = subprocess.Popen([sys.executable, "-m", "ministack"], env=env, stdout=aws_log, stderr=aws_log)
        bedrock = subprocess.Popen(command, cwd=REPO, env={**os.environ, "TMPDIR": str(folder)}, stdout=log, stderr=log)
        try:
            wait_for(f"{aws}/_ministack/health", cloud)
            wait_for(f"{url}/_control/health", bedrock)
            yield Emulator(url, aws)
        finally:
            for process in (bedrock, cloud):
                process.terminate()
            for process in (bedrock, cloud):
                process.wait(10)
    sys.stderr.write((folder / "bedrock.log").read_text())


@pytest.fixture
def emulator(servers: Emulator) -> Emulator:
    servers.control("POST", "reset", {"config": True})
    servers.control("PATCH", "config", {"events": {"enabled": False}})
    return servers


@pytest.fixture
def bucket(emulator: Emulator, request: pytest.FixtureRequest) -> str:
    name = "b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    emulator.client("s3").create_bucket(Bucket=name)
    return name


def ask(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 50}}


def sha(text: str) -> str:
    key = {"messages": ask(text)["messages"], "system": []}
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def put_shard(emulator: Emulator, bucket: str, rows: int, key: str = "in/in.jsonl") -> None:
    lines = (json.dumps({"recordId": f"R{n:010d}", "modelInput": ask(f"row {n}")}) for n in range(rows))
    emulator.client("s3").put_object(Bucket=bucket, Key=key, Body="\n".join(lines).encode())


def job(bucket: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "jobName": name,
        "clientRequestToken": name,
        "roleArn": ROLE,
        "modelId": MODEL,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{bucket}/in/in.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{bucket}/out/"}},
        **more,
    }


def until(client: Any, arn: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(300):
        seen: dict[str, Any] = client.get_model_invocation_job(jobIdentifier=arn)
        if wanted(seen):
            return seen
        time.sleep(0.03)
    raise AssertionError(f"the job stayed {seen['status']}: {seen.get('message')}")


def ended(client: Any, arn: str) -> dict[str, Any]:
    over = {"Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"}
    return until(client, arn, lambda seen: seen["status"] in over)


def output_lines(emulator: Emulator, bucket: str, arn: str) -> list[dict[str, Any]]:
    body = emulator.client("s3").get_object(Bucket=bucket, Key=f"out/{arn[-12:]}/in.jsonl.out")["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def test_converse_answers_in_the_shape_that_boto3_reads_and_bills_by_prompt(emulator: Emulator) -> None:
    runtime = emulator.client("bedrock-runtime", "eu-west-1")
    reply = runtime.converse(modelId=MODEL, serviceTier={"type": "flex"}, **ask("hello"))
    assert reply["output"]["message"] == {"role": "assistant", "content": [{"text": "echo: hello"}]}
    assert (reply["stopReason"], reply["serviceTier"]) == ("end_turn", {"type": "flex"})
    usage = reply["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0
    bill = emulator.control("GET", "bill")
    assert bill["prompts"][sha("hello")]["count"] == bill["prompts"][sha("hello")]["flex"] == 1
    assert list(bill["totals"]["by_region"]) == ["eu-west-1"]


def test_a_lost_reply_is_billed_and_a_lost_request_is_not(emulator: Emulator) -> None:
    runtime = emulator.client("bedrock-runtime")
    for kind, count in (("reset_before", 0), ("reset_after", 1)):
        emulator.control("PATCH", "config", {"faults": None})
        emulator.control("PATCH", "config", {"faults": {"us-east-1": {"*": {kind: 1.0}}}})
        with pytest.raises(ConnectionClosedError):
            runtime.converse(modelId=MODEL, **ask(kind))
        assert emulator.control("GET", "bill")["prompts"].get(sha(kind), {}).get("count", 0) == count


def test_quotas_throttle_by_region_and_say_which_limit_is_short(emulator: Emulator) -> None:
    emulator.control("POST", "clock", {"rate": 0.001})
    try:
        limit = {"us-east-1": {"*": {"*": {"rpm": 2}}}, "us-west-2": {"*": {"*": {"tpm": 60}}}}
        emulator.control("PATCH", "config", {"quotas": limit, "faults": {"*": {"*": {"latency_ms": [0, 0]}}}})
        for region, word in (("us-east-1", "requests"), ("us-west-2", "tokens")):
            runtime = emulator.client("bedrock-runtime", region)
            with pytest.raises(ClientError) as refused:
                for _ in range(6):
                    runtime.converse(modelId=MODEL, **ask("x" * 40))
            assert refused.value.response["Error"]["Code"] == "ThrottlingException"
            assert f"Too many {word}," in refused.value.response["Error"]["Message"]
        emulator.client("bedrock-runtime", "eu-west-1").converse(modelId=MODEL, **ask("another region"))
    finally:
        emulator.control("POST", "clock", {"rate": RATE})


def test_the_sdk_sees_modelled_errors_and_a_bad_request_is_refused(emulator: Emulator) -> None:
    runtime = emulator.client("bedrock-runtime")
    rules = [{"match": "boom", "error": "ModelErrorException", "original_status": 424}]
    emulator.control("PATCH", "config", {"answers": {"rules": rules}, "faults": {"eu-west-2": {"*": {"down": True}}}})
    with pytest.raises(runtime.exceptions.ModelErrorException) as failed:
        runtime.converse(modelId=MODEL, **ask("boom"))
    assert failed.value.response["originalStatusCode"] == 424
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse(modelId=MODEL, messages=[{"role": "assistant", "content": [{"text": "I begin"}]}])
    elsewhere = emulator.client("bedrock-runtime", "eu-west-2")
    with pytest.raises(elsewhere.exceptions.ServiceUnavailableException):
        elsewhere.converse(modelId=MODEL, **ask("hello"))
    assert emulator.totals()["calls"] == 0


def test_hundreds_of_calls_wait_at_once(emulator: Emulator) -> None:
    emulator.control("PATCH", "config", {"faults": {"*": {"*": {"latency_ms": [1_200_000] * 2}}}})  # one real second
    runtime = emulator.client("bedrock-runtime")
    begun = time.monotonic()
    with ThreadPoolExecutor(60) as pool:
        list(pool.map(lambda n: runtime.converse(modelId=MODEL, **ask(f"call {n}")), range(60)))
    assert time.monotonic() - begun < 5
    assert emulator.control("GET", "stats")["peak_in_flight"] > 30


def test_invoke_takes_claudes_native_body(emulator: Emulator) -> None:
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": "hi"}],
    }
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    reply = emulator.client("bedrock-runtime").invoke_model(modelId=model, body=json.dumps(body))
    assert json.loads(reply["body"].read())["content"] == [{"type": "text", "text": "echo: hi"}]


def test_a_batch_job_runs_to_completed_with_unordered_output_and_a_manifest(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 120)
    bedrock = emulator.client("bedrock")
    arn = bedrock.create_model_invocation_job(**job(bucket, "whole"))["jobArn"]
    assert bedrock.create_model_invocation_job(**job(bucket, "whole"))["jobArn"] == arn  # the same token
    with pytest.raises(bedrock.exceptions.ConflictException):
        bedrock.create_model_invocation_job(**job(bucket, "whole", clientRequestToken="another"))
    seen = ended(bedrock, arn)
    assert (seen["status"], seen["totalRecordCount"], seen["successRecordCount"]) == ("Completed", 120, 120)
    lines = output_lines(emulator, bucket, arn)
    ids = [line["recordId"] for line in lines]
    assert ids != sorted(ids)
    assert sorted(ids) == [f"R{n:010d}" for n in range(120)]
    assert all(line["modelOutput"]["output"]["message"]["content"][0]["text"].startswith("echo: row") for line in lines)
    manifest = json.loads(
        emulator.client("s3").get_object(Bucket=bucket, Key=f"out/{arn[-12:]}/manifest.json.out")["Body"].read()
    )
    assert manifest["totalRecordCount"] == manifest["successRecordCount"] == 120
    prompts = emulator.control("GET", "bill")["prompts"]
    assert {row["count"] for row in prompts.values()} == {1}
    assert prompts[sha("row 7")]["batch"] == 1
    states = [step["status"] for step in emulator.control("GET", "jobs")["jobs"][0]["history"]]
    assert states == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]


def test_too_few_records_fail_in_validating(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 99)
    bedrock = emulator.client("bedrock")
    seen = ended(bedrock, bedrock.create_model_invocation_job(**job(bucket, "few"))["jobArn"])
    assert seen["status"] == "Failed"
    assert "required minimum of: 100" in seen["message"]


def test_outcomes_can_be_ordered(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 100)
    outcomes = [
        {"match": "^part", "status": "PartiallyCompleted", "fraction": 0.3},
        {"match": "^expired", "status": "Expired", "after_s": 60},
        {"match": "^rows", "error_rows": 0.1, "missing_rows": 0.2, "doubled_rows": 0.05, "error_code": 429},
    ]
    emulator.control("PATCH", "config", {"batch": {"outcomes": outcomes}})
    bedrock = emulator.client("bedrock")
    arns = {n: bedrock.create_model_invocation_job(**job(bucket, n))["jobArn"] for n in ("part", "expired", "rows")}
    assert ended(bedrock, arns["part"])["status"] == "PartiallyCompleted"
    assert len(output_lines(emulator, bucket, arns["part"])) == 30
    assert ended(bedrock, arns["expired"])["status"] == "Expired"
    with pytest.raises(ClientError):
        output_lines(emulator, bucket, arns["expired"])
    seen = ended(bedrock, arns["rows"])
    assert (seen["status"], seen["processedRecordCount"], seen["errorRecordCount"]) == ("Completed", 100, 10)
    lines = output_lines(emulator, bucket, arns["rows"])
    assert (len(lines), len({line["recordId"] for line in lines})) == (85, 80)
    assert sum(line.get("error", {}).get("errorCode") == 429 for line in lines) == 10
    assert emulator.totals()["rows"] == 30 + 70


def test_a_stopped_job_keeps_what_was_processed_and_bills_only_that(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 1000)
    emulator.control("PATCH", "config", {"batch": {"per_record_s": 3}})
    bedrock = emulator.client("bedrock")
    arn = bedrock.create_model_invocation_job(**job(bucket, "long"))["jobArn"]
    until(bedrock, arn, lambda seen: seen["status"] == "InProgress" and seen.get("processedRecordCount", 0) > 50)
    bedrock.stop_model_invocation_job(jobIdentifier=arn[-12:])
    with pytest.raises(bedrock.exceptions.ConflictException):
        bedrock.stop_model_invocation_job(jobIdentifier=arn)
    seen = ended(bedrock, arn)
    assert seen["status"] == "Stopped"
    lines = output_lines(emulator, bucket, arn)
    assert 50 < len(lines) == seen["processedRecordCount"] == emulator.totals()["rows"] < 1000


def test_a_job_stopped_in_the_queue_has_no_output_and_one_may_hang_in_stopping(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 100)
    outcomes = [{"match": "queued", "stuck": "Scheduled"}, {"match": "hanging", "stuck": "Stopping"}]
    emulator.control("PATCH", "config", {"batch": {"outcomes": outcomes}})
    bedrock = emulator.client("bedrock")
    arns = [bedrock.create_model_invocation_job(**job(bucket, name))["jobArn"] for name in ("queued", "hanging")]
    until(bedrock, arns[0], lambda seen: seen["status"] == "Scheduled")
    for arn in arns:
        bedrock.stop_model_invocation_job(jobIdentifier=arn)
    assert ended(bedrock, arns[0])["status"] == "Stopped"
    with pytest.raises(ClientError):
        output_lines(emulator, bucket, arns[0])
    assert bedrock.get_model_invocation_job(jobIdentifier=arns[1])["status"] == "Stopping"
    assert emulator.totals()["rows"] == 0


def test_a_job_reads_every_jsonl_file_of_a_folder(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 60, "in/a.jsonl")
    put_shard(emulator, bucket, 60, "in/b.jsonl")
    emulator.client("s3").put_object(Bucket=bucket, Key="in/readme.txt", Body=b"not a record")
    folder = {"s3InputDataConfig": {"s3Uri": f"s3://{bucket}/in/"}}
    bedrock = emulator.client("bedrock")
    arn = bedrock.create_model_invocation_job(**job(bucket, "folder", inputDataConfig=folder))["jobArn"]
    assert ended(bedrock, arn)["totalRecordCount"] == 120
    listed = emulator.client("s3").list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
    names = [item["Key"].removeprefix(f"out/{arn[-12:]}/") for item in listed]
    assert names == ["a.jsonl.out", "b.jsonl.out", "manifest.json.out"]


def test_a_region_that_is_down_makes_no_batch_job(emulator: Emulator, bucket: str) -> None:
    emulator.control("PATCH", "config", {"faults": {"us-east-1": {"*": {"down": True}}}})
    with pytest.raises(ClientError) as refused:
        emulator.client("bedrock").create_model_invocation_job(**job(bucket, "down"))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert emulator.control("GET", "jobs")["jobs"] == []


def test_a_create_whose_reply_is_lost_has_made_the_job(emulator: Emulator, bucket: str) -> None:
    put_shard(emulator, bucket, 100)
    emulator.control("PATCH", "config", {"batch": {"outcomes": [{"create": "lost_reply", "list_lag_s": 10_000}]}})
    bedrock = emulator.client("bedrock")
    with pytest.raises(ConnectionClosedError):
        bedrock.create_model_invocation_job(**job(bucket, "lost"))
    assert bedrock.list_model_invocation_jobs(nameContains="lost")["invocationJobSummaries"] == []
    arn = bedrock.create_model_invocation_job(**job(bucket, "lost"))["jobArn"]
    assert len(emulator.control("GET", "jobs")["jobs"]) == 1
    assert bedrock.get_model_invocation_job(jobIdentifier=arn)["jobName"] == "lost"


@pytest.mark.parametrize(
    "change",
    [
        {"jobName": "under_score"},
        {"jobName": "a" * 64},
        {"clientRequestToken": "a_b"},
        {"timeoutDurationInHours": 169},
        {"modelInvocationType": "Other"},
        {"roleArn": "arn:aws:iam::12:user/me"},
        {"modelId": "no such model"},
        {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/dt=2026-11-23/in.jsonl"}}},
        {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/with space/"}}},
        {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://elsewhere/out/"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_create_refuses_what_the_sdk_lets_through(emulator: Emulator, change: dict[str, Any]) -> None:
    emulator.control("PATCH", "config", {"buckets": {"elsewhere": "eu-west-1"}})
    bedrock = emulator.client("bedrock")
    with pytest.raises(bedrock.exceptions.ValidationException):
        bedrock.create_model_invocation_job(**job("bucket", "name", **change))


def test_list_filters_sorts_and_pages_within_one_region(emulator: Emulator, bucket: str) -> None:
    bedrock = emulator.client("bedrock")
    for number in range(5):
        bedrock.create_model_invocation_job(**job(bucket, f"page-{number}"))
    emulator.client("bedrock", "us-west-2").create_model_invocation_job(**job(bucket, "page-0"))
    pages = bedrock.get_paginator("list_model_invocation_jobs").paginate(
        nameContains="page", sortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[summary["jobName"] for summary in page["invocationJobSummaries"]] for page in pages]
    assert names == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]]
    assert bedrock.list_model_invocation_jobs(statusEquals="Completed")["invocationJobSummaries"] == []


def test_open_jobs_are_limited_per_model_and_region(emulator: Emulator, bucket: str) -> None:
    emulator.control("PATCH", "config", {"batch": {"open_jobs": 1, "default": {"stuck": "Scheduled"}}})
    bedrock = emulator.client("bedrock")
    bedrock.create_model_invocation_job(**job(bucket, "one"))
    with pytest.raises(bedrock.exceptions.ServiceQuotaExceededException):
        bedrock.create_model_invocation_job(**job(bucket, "two"))
    bedrock.create_model_invocation_job(**job(bucket, "three", modelId="qwen.qwen3-32b-v1:0"))


def test_a_status_change_reaches_event_bridge(emulator: Emulator, bucket: str) -> None:
    sqs, events = emulator.client("sqs"), emulator.client("events")
    queue = sqs.create_queue(QueueName="hints")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="hints", EventPattern=json.dumps({"source": ["local.bedrock"]}))
    events.put_targets(Rule="hints", Targets=[{"Id": "q", "Arn": arn}])
    emulator.control("PATCH", "config", {"events": {"enabled": True, "source": "local.bedrock", "doubled": 1.0}})
    put_shard(emulator, bucket, 100)
    bedrock = emulator.client("bedrock")
    job_arn = bedrock.create_model_invocation_job(**job(bucket, "told"))["jobArn"]
    ended(bedrock, job_arn)
    seen: list[str] = []
    for _ in range(20):
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            event = json.loads(message["Body"])
            assert event["detail-type"] == "Batch Inference Job State Change"
            assert event["detail"]["batchJobArn"] == job_arn
            seen.append(event["detail"]["status"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        if seen.count("Completed") == 2:
            break
        time.sleep(0.1)
    assert (seen.count("Submitted"), seen.count("Completed")) == (2, 2)


def test_an_unknown_setting_is_refused_by_name(emulator: Emulator) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        emulator.control("PATCH", "config", {"batch": {"minimum_recrods": 5}})
    assert refused.value.code == 400
    assert "batch.minimum_recrods" in json.loads(refused.value.read())["message"]
