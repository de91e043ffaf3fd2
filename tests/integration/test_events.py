"""Every sample event through the real handler it is meant for, deployed in the embedded cloud and called by Lambda's
API.

The samples name runs, shards and objects that this cloud does not know: a handler must say so in its own way, not
break.
"""

import json
from pathlib import Path

import pytest

from tests.integration.driver import Driver

ROOT = Path(__file__).parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))

GOES_BACK = {
    "admit.sqs.no_event",  # no S3 event: the rule let it through, so it belongs to the dead letters
    "dispatch.sqs.malformed",
    "route.sqs.one_good_one_malformed",
    "work.sqs.malformed",
}
"""Events of which a message is reported as failed, to be received again and in the end to lie in the dead-letter
queue.
"""

UNKNOWN = {
    "plan.workflow.run",
    "place.workflow.packs",
    "place.workflow.shard",
    "wait.workflow.token",
    "aggregate.workflow.run",
    "announce.workflow.settled",
}
"""Steps of a run that is not in the ledger fail and say so, and the workflow gives up."""


@pytest.mark.parametrize("path", EVENTS, ids=[path.stem for path in EVENTS])
def test_a_sample_event_is_understood(driver: Driver, path: Path):
    function = path.stem.partition(".")[0]
    lambdas = driver.cloud.client("lambda")
    name = next(
        f["FunctionName"]
        for f in lambdas.list_functions()["Functions"]
        if f"-{function.capitalize()}Function-" in f["FunctionName"]
    )
    answer = lambdas.invoke(FunctionName=name, Payload=path.read_bytes())
    body = json.loads(answer["Payload"].read())
    if path.stem in UNKNOWN:
        assert "no run raaaaaaaaaaaaaaaaaaaa" in body["errorMessage"], body
    elif ".sqs." in path.stem:
        failed = {item["itemIdentifier"] for item in body["batchItemFailures"]}
        messages = {record["messageId"] for record in json.loads(path.read_text())["Records"]}
        assert failed <= messages
        assert bool(failed) == (path.stem in GOES_BACK), body
    else:
        assert "errorMessage" not in (body or {}), body


def test_every_function_has_a_sample_event():
    assert {path.stem.partition(".")[0] for path in EVENTS} == {
        path.parent.name for path in (ROOT / "functions").glob("*/app.py")
    }
