"""The walk: everything the product does on a usual day and on a few bad ones, in a cloud that enforces IAM."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from slackwater.model.names import PROFILES_KEY
from slackwater.model.profile import shipped_profiles
from tests.integration.driver import Driver, check, converse

WITHIN_S = 300.0


def questions(name: str, count: int) -> list[dict]:
    return [converse(f"{name}: question {n}", id=f"{name}-{n}") for n in range(count)]


def jobs(run_id: str, count: int, **more: object) -> list[dict]:
    return [
        {"v": 1, "run_id": run_id, "job_id": f"{run_id}-{n}", "request": converse(f"{run_id} {n}"), **more}
        for n in range(count)
    ]


def close(run_id: str, expected: int) -> dict:
    return {"v": 1, "close_run": run_id, "profile": "default", "expected": expected}


def walk(driver: Driver) -> None:
    """Starts everything, then waits for all of it: most of the waiting is shared."""
    own_profiles(driver)
    check(
        driver.settled(driver.drop("first", questions("first", 3), lane="on_demand"), WITHIN_S), 3
    )  # workers are warm
    unlucky = stuck(driver)
    dead_letters(driver)
    failed_workflow(driver)
    for wait in queues(driver):
        wait()
    for wait in (*files(driver), unversioned(driver), throttled(driver), unlucky):
        wait()


def own_profiles(driver: Driver) -> None:
    """A document of our own, in a versioned bucket: runs pin its version."""
    driver.s3.put_object(Bucket=driver.bucket, Key=PROFILES_KEY, Body=shipped_profiles())


def files(driver: Driver) -> list[Callable[[], None]]:
    kept = {
        driver.drop("urgent", questions("urgent", 60), lane="on_demand"): 60,
        driver.drop("patient", questions("patient", 400), deadline="24h"): 400,
        driver.drop(
            "crooked", [converse("fine", id="a"), "{not json", converse("more", colour="red")], lane="on_demand"
        ): 3,
        driver.drop("eu", questions("eu", 20), profile="open-eu", deadline="2h"): 20,
    }
    empty = driver.drop("empty", [""])

    def ended() -> None:
        run = driver.settled(empty, WITHIN_S)
        assert run.receipt["reason"] == "empty_input", run.receipt

    return [*(lambda key=key, n=n: check(driver.settled(key, WITHIN_S), n) for key, n in kept.items()), ended]


def unversioned(driver: Driver) -> Callable[[], None]:
    """An event that does not name the version of its object, as from a bucket whose versions were suspended."""
    key = driver.drop("twice-told", questions("twice-told", 2), lane="on_demand")
    event = {"detail": {"bucket": {"name": driver.bucket}, "object": {"key": key}}}
    driver.sqs.send_message(QueueUrl=url(driver, "IntakeQueue"), MessageBody=json.dumps(event))
    return lambda: check(driver.settled(key, WITHIN_S), 2)


def queues(driver: Driver) -> list[Callable[[], None]]:
    reply_to = driver.cloud.outputs["ReplyQueueArn"]
    sent = {"asked": 12, "pooled": 150, "few": 7}
    driver.send(*jobs("asked", 12, lane="on_demand", reply_to=reply_to), close("asked", 12))
    driver.send(*jobs("pooled", 150, deadline="14h", reply_to=reply_to), close("pooled", 150))
    driver.send(*jobs("few", 7, deadline="12h"), close("few", 7))
    return [
        *(lambda run=run, n=n: check(driver.settled(run, WITHIN_S), n) for run, n in sent.items()),
        lambda: _replied(driver, 162),
    ]


def _replied(driver: Driver, count: int) -> None:
    assert {reply["status"] for reply in driver.replies(count, WITHIN_S)} == {"succeeded"}


def stuck(driver: Driver) -> Callable[[], None]:
    """Batch jobs that never start, lose rows, lose their create's reply, are denied, or are not listed."""
    outcomes = [
        {"stuck": "Scheduled", "times": 1},
        {"status": "Completed", "missing_rows": 0.3, "times": 1},
        {"create": "lost_reply", "times": 1},
        {"create": "AccessDeniedException", "times": 1},
        {"list_lag_s": 36_000, "times": 1},  # the tick must ask for it
    ]
    names = [f"unlucky-{n}" for n in range(len(outcomes))]
    with driver.emulator(batch={"outcomes": outcomes}):
        keys = [driver.drop(name, questions(name, 120), deadline="15h") for name in names]
        _until(lambda: len(driver.control("jobs")["jobs"]) >= len(outcomes) - 1)  # all but the denied one

    def ended() -> None:
        for key in keys:
            check(driver.settled(key, WITHIN_S), 120)

    return ended


def throttled(driver: Driver) -> Callable[[], None]:
    """No room anywhere: packs and jobs go back to their queues, and come again."""
    with driver.emulator(faults={"*": {"*": {"errors": {"ThrottlingException": 1.0}}}}):
        key = driver.drop("full", questions("full", 5), lane="on_demand", deadline="48h")
        driver.send(*jobs("waits", 5, lane="on_demand", deadline="48h"), close("waits", 5))
        driver.run_of("waits")
        run = driver.run_of(key)
        _until(lambda: any(int(item.get("hop", {"N": "0"})["N"]) > 0 for item in driver.describe(run)))

    def ended() -> None:
        check(driver.settled(key, WITHIN_S), 5)
        check(driver.settled("waits", WITHIN_S), 5)

    return ended


def failed_workflow(driver: Driver) -> None:
    """Step Functions says that an execution failed: the run ends, and its event is sent."""
    sample = json.loads((Path(__file__).parents[2] / "events" / "work.sqs.workflow_failed.json").read_text())
    driver.sqs.send_message(QueueUrl=url(driver, "WorkQueue"), MessageBody=sample["Records"][0]["body"])


def url(driver: Driver, logical_id: str) -> str:
    """A queue of the stack."""
    listed = driver.cloud.client("cloudformation").describe_stack_resources(StackName=driver.cloud.stack)
    return next(str(r["PhysicalResourceId"]) for r in listed["StackResources"] if r["LogicalResourceId"] == logical_id)


def dead_letters(driver: Driver) -> None:
    """What lies in the dead-letter queues is failed by the tick."""
    for name, body in {
        "PackDeadLettersUrl": {
            "v": 1,
            "run_id": "r" + "a" * 20,
            "pack_id": "p" + "a" * 20,
            "block": "00000",
            "hop": 0,
            "first_sent_at": "2026-01-01T00:00:00Z",
            "deadline_at": "2026-01-02T00:00:00Z",
        },
        "WorkDeadLettersUrl": {"v": 1, "do": "collect", "shard": "s" + "a" * 20, "attempt": 1},
        "JobDeadLettersUrl": {"no": "job"},
    }.items():
        driver.sqs.send_message(QueueUrl=driver.cloud.outputs[name], MessageBody=json.dumps(body))


def _until(ask: Callable[[], bool], within_s: float = 120.0) -> None:
    end = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
