"""The route function as Lambda calls it, up to the model's door: moto stands for the rest of AWS."""

import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from slackwater.adapters.ledger.table import Table

EVENTS = Path(__file__).parents[2] / "events"
CONTEXT = SimpleNamespace(
    function_name="route",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:route",
    aws_request_id="request",
    get_remaining_time_in_millis=lambda: 900_000,
)


@pytest.fixture
def app(table: Table, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="home")
    sqs = boto3.client("sqs", region_name="us-east-1")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("jobs", "packs", "work")}
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_TRACE_DISABLED": "1",
        "POWERTOOLS_SERVICE_NAME": "route",
        "POWERTOOLS_METRICS_NAMESPACE": "Slackwater",
        "SLACKWATER_TABLE": "ledger",
        "SLACKWATER_BUCKET": "home",
        "SLACKWATER_STACK_ARN": "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1",
        "SLACKWATER_JOB_QUEUE_URL": urls["jobs"],
        "SLACKWATER_PACK_QUEUE_URL": urls["packs"],
        "SLACKWATER_WORK_QUEUE_URL": urls["work"],
        "SLACKWATER_STATE_MACHINE_ARN": "arn:aws:states:us-east-1:000000000000:stateMachine:run",
        "SLACKWATER_BATCH_BUCKETS": "us-east-1=home,us-west-2=west",
    }.items():
        monkeypatch.setenv(name, value)
    from functions.route import app as module

    module.parts.cache_clear()
    yield module
    module.parts.cache_clear()


@pytest.fixture
def log(app: Any) -> StringIO:
    """What the function logs."""
    written = StringIO()
    for handler in app.logger.handlers:
        handler.setStream(written)
    return written


def event(name: str, **changes: Any) -> dict[str, Any]:
    """A sample event; `sent_s` puts its messages at another real moment."""
    found: dict[str, Any] = json.loads((EVENTS / f"route.sqs.{name}.json").read_text())
    for record in found["Records"]:
        record["attributes"]["SentTimestamp"] = str(int(changes["sent_s"] * 1000))
    return found


def runs(table: Table) -> list[dict[str, Any]]:
    items = table._client.scan(TableName="ledger")["Items"]
    return [
        table.get((i["pk"]["S"], "META")) or {}
        for i in items
        if i["pk"]["S"].startswith("RUN#r") and i["sk"]["S"] == "META"
    ]


@pytest.mark.promise(5)
def test_only_the_message_that_is_no_json_goes_back(app, table, log):

    refused = event("one_refused", sent_s=time.time())
    junk = event("one_good_one_malformed", sent_s=time.time())["Records"][1]
    refused["Records"].append(junk)
    answer = app.lambda_handler(refused, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": junk["messageId"]}]}
    (run,) = runs(table)
    assert run | {"refused": 1, "accepted": 0, "unsettled": 0} == run
    assert "not_a_json_object" in log.getvalue() and "parcel" not in log.getvalue()


def test_a_patient_job_is_pooled_and_a_late_one_fails_without_a_call(app, table):

    assert app.lambda_handler(event("patient_job", sent_s=time.time()), CONTEXT) == {"batchItemFailures": []}
    assert app.lambda_handler(event("one_job", sent_s=time.time() - 7200), CONTEXT) == {"batchItemFailures": []}
    (run,) = runs(table)
    assert run | {"accepted": 2, "unsettled": 1, "failed": 1} == run


def test_a_closing_word_is_heard(app, table):

    app.lambda_handler(event("one_job", sent_s=time.time() - 7200), CONTEXT)
    assert app.lambda_handler(event("close_run", sent_s=time.time()), CONTEXT) == {"batchItemFailures": []}
    (run,) = runs(table)
    assert run["expected"] == 1


@pytest.mark.promise(6)
def test_a_batch_that_breaks_goes_back_without_its_words_and_is_done_the_next_time(app, table, log, monkeypatch):
    batch = event("patient_job", sent_s=time.time())
    routing = app.parts()

    def breaks(*args: Any, **more: Any) -> None:
        raise RuntimeError(batch["Records"][0]["body"])

    with monkeypatch.context() as patch:
        patch.setattr(routing.router._pools, "join", breaks)
        answer = app.lambda_handler(batch, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": batch["Records"][0]["messageId"]}]}
    assert "RuntimeError" in log.getvalue() and "parcel" not in log.getvalue()
    assert app.lambda_handler(batch, CONTEXT) == {"batchItemFailures": []}  # at once: its lease was given up
    (run,) = runs(table)
    assert run | {"accepted": 1, "unsettled": 1, "repeats": 0} == run
