"""The real handlers of work and tick over the sample events: what is unknown is dropped, a bad message is not."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import boto3
import orjson
import pytest
from botocore.config import Config

EVENTS = Path(__file__).parents[2] / "events"
WORK = sorted(EVENTS.glob("work.*.json"))


@pytest.fixture
def deployed(table, monkeypatch):
    """Queues and bucket in moto's memory; Bedrock at a port on which nobody listens."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:9")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Slackwater")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "slackwater")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="home")
    sqs = boto3.client("sqs", region_name="us-east-1")
    names = ("job_queue", "pack_queue", "work_queue", "job_dead_letters", "pack_dead_letters", "work_dead_letters")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in names}
    settings = {f"{name}_url": url for name, url in urls.items()} | {
        "table": "ledger",
        "bucket": "home",
        "stack_arn": "arn:stack",
        "state_machine_arn": "arn:aws:states:us-east-1:000000000000:stateMachine:run",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"SLACKWATER_{name.upper()}", value)
    return SimpleNamespace(sqs=sqs, urls=urls)


def context():
    return SimpleNamespace(
        aws_request_id="request",
        function_name="f",
        memory_limit_in_mb=1769,
        invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:f",
        get_remaining_time_in_millis=lambda: 100_000,
    )


def handler(name):
    app = importlib.import_module(f"functions.{name}.app")
    app.parts.cache_clear()
    return app.lambda_handler


@pytest.mark.parametrize("path", WORK, ids=[path.name for path in WORK])
def test_each_work_event_passes_the_handler(deployed, path):
    event = orjson.loads(path.read_bytes())
    queue = deployed.urls["work_queue"]
    deployed.sqs.send_message(QueueUrl=queue, MessageBody=event["Records"][0]["body"])
    (message,) = deployed.sqs.receive_message(QueueUrl=queue)["Messages"]
    event["Records"][0]["receiptHandle"] = message["ReceiptHandle"]
    back = [{"itemIdentifier": event["Records"][0]["messageId"]}] if "malformed" in path.name else []
    assert handler("work")(event, context()) == {"batchItemFailures": back}


def test_a_tick_over_an_empty_ledger_does_nothing(deployed):
    event = orjson.loads((EVENTS / "tick.schedule.minute.json").read_bytes())
    assert handler("tick")(event, context()) == {"due": 0, "sent": 0, "left": 0}


def test_without_service_quotas_the_daily_sync_leaves_all_limits_and_says_so_in_one_line(deployed, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", "http://127.0.0.1:9")
    monkeypatch.setattr("slackwater.bootstrap.kit.CONTROL", Config(retries={"total_max_attempts": 1}))
    event = orjson.loads((EVENTS / "tick.schedule.quotas.json").read_bytes())
    assert handler("tick")(event, context()) == {"told": 0, "kept": 0, "missing": 0}
    assert len([record for record in caplog.records if "Service Quotas" in record.getMessage()]) == 1
    rows = boto3.client("dynamodb", region_name="us-east-1").scan(TableName="ledger")["Items"]
    assert rows == []
