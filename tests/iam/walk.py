"""The walk: everything the product does on a usual day and on a few bad ones, in a cloud that enforces IAM."""

import json
import time
from collections.abc import Callable

from slackwater.model.names import PROFILES_KEY
from slackwater.model.profile import shipped_profiles
from tests.integration.driver import Driver, check, converse

WITHIN_S = 300.0
FURTHER_REPLIES = "arn:aws:sqs:us-east-1:000000000000:further-replies"


def questions(name: str, count: int) -> list[dict]:
    return [converse(f"{name}: question {n}", id=f"{name}-{n}") for n in range(count)]


def jobs(run_id: str, count: int, **more: object) -> list[dict]:
    return [
        {"v": 1, "run_id": run_id, "job_id": f"{run_id}-{n}", "request": converse(f"{run_id} {n}"), **more}
        for n in range(count)
    ]


def close(run_id: str, expected: int, profile: str = "default") -> dict:
    return {"v": 1, "close_run": run_id, "profile": profile, "expected": expected}


def walk(driver: Driver) -> None:
    """Starts everything, then waits for all of it: most of the waiting is shared."""
    own_profiles(driver)
    check(
        driver.settled(driver.drop("first", questions("first", 3), lane="on_demand"), WITHIN_S), 3
    )  # workers are warm
    driver.sqs.create_queue(QueueName=FURTHER_REPLIES.rpartition(":")[2])
    synced(driver)
    cancelled = [called_off_file(driver), called_off_jobs(driver)]
    unlucky = stuck(driver)
    dead_letters(driver)
    for wait in queues(driver):
        wait()
    for wait in (*files(driver), unversioned(driver)):
        wait()
    for wait in (throttled(driver), unlucky, *cancelled):  # after throttling the fleet begins again one by one
        wait()


def own_profiles(driver: Driver) -> None:
    """A document of our own, in a versioned bucket: runs pin its version. `twin` is `default` with pools of its own."""
    document = json.loads(shipped_profiles())
    document["profiles"]["twin"] = document["profiles"]["default"]
    driver.s3.put_object(Bucket=driver.bucket, Key=PROFILES_KEY, Body=json.dumps(document).encode())


def synced(driver: Driver) -> None:
    """The tick's daily call: profiles are read; Service Quotas, which is not there, cannot be asked."""
    tick = driver.cloud.client("cloudformation").describe_stack_resource(
        StackName=driver.cloud.stack, LogicalResourceId="TickFunction"
    )["StackResourceDetail"]["PhysicalResourceId"]
    answer = driver.cloud.client("lambda").invoke(FunctionName=tick, Payload=b'{"sync": "quotas"}')
    assert json.loads(answer["Payload"].read()) == {"told": 0, "kept": 0, "missing": 0}


def files(driver: Driver) -> list[Callable[[], None]]:
    kept = {
        driver.drop("urgent", questions("urgent", 60), lane="on_demand"): 60,
        driver.drop("patient", questions("patient", 400), deadline="24h"): 400,
        driver.drop("remainder", questions("remainder", 60), deadline="24h"): 60,
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
    driver.send(*jobs("refused", 1, temperature=1))
    sent = {"asked": 9, "pooled": 150, "few": 7}
    driver.send(*replied(driver, jobs("asked", 9, lane="on_demand")), close("asked", 9))
    driver.send(*replied(driver, jobs("pooled", 150, deadline="20h")), close("pooled", 150))
    driver.send(*jobs("few", 7, deadline="12h", profile="twin"), close("few", 7, "twin"))
    return [
        *(lambda run=run, n=n: _answered(driver, run, n) for run, n in sent.items()),
        lambda: _replied(driver, 80),
    ]


def replied(driver: Driver, asked: list[dict]) -> list[dict]:
    """Every other one is answered on the stack's reply queue, the others on the further one."""
    queues_of = (driver.cloud.outputs["ReplyQueueArn"], FURTHER_REPLIES)
    return [{**job, "reply_to": queues_of[number % 2]} for number, job in enumerate(asked)]


def _answered(driver: Driver, name: str, count: int) -> None:
    """All jobs of a name have succeeded, in however many generations: seconds are minutes here, and a run that waits
    so long for its next message closes."""

    def ended() -> bool:
        runs = [item for item in driver.runs() if item["name"]["S"] == name]
        assert not any(item["state"]["S"] == "failed" for item in runs)
        return all(r["state"]["S"] == "settled" for r in runs) and sum(int(r["succeeded"]["N"]) for r in runs) == count

    _until(ended, WITHIN_S)


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
    names, before = [f"unlucky-{n}" for n in range(len(outcomes))], len(driver.control("jobs")["jobs"])
    with driver.emulator(batch={"outcomes": outcomes}):
        keys = [driver.drop(name, questions(name, 120), deadline="15h") for name in names]
        _until(lambda: len(driver.control("jobs")["jobs"]) >= before + len(outcomes) - 1)  # all but the denied one

    def ended() -> None:
        for key in keys:
            check(driver.settled(key, WITHIN_S), 120)

    return ended


def throttled(driver: Driver) -> Callable[[], None]:
    """No room anywhere: packs and jobs go back to their queues, and come again."""
    with driver.emulator(faults={"*": {"*": {"errors": {"ThrottlingException": 1.0}}}}):
        failed_workflow(driver)
        key = driver.drop("full", questions("full", 5), lane="on_demand", deadline="48h")
        driver.send(*jobs("waits", 5, lane="on_demand", deadline="48h"), close("waits", 5))
        _run_of(driver, "waits")
        run = _run_of(driver, key)
        _until(lambda: any(int(item.get("hop", {"N": "0"})["N"]) > 0 for item in driver.describe(run)))

    def ended() -> None:
        check(driver.settled(key, WITHIN_S), 5)
        _answered(driver, "waits", 5)

    return ended


def failed_workflow(driver: Driver) -> None:
    """An execution fails: Step Functions says so, the rule sends that on, the run ends and its event is sent."""
    run = _run_of(driver, driver.drop("aborted", questions("aborted", 3), lane="on_demand", deadline="48h"))
    machine = driver.cloud.outputs["RunWorkflowArn"]
    workflow = driver.cloud.client("stepfunctions")
    workflow.stop_execution(executionArn=f"{machine.replace(':stateMachine:', ':execution:')}:{run}")
    _until(lambda: _state(driver, run) == "failed")


def called_off_file(driver: Driver) -> Callable[[], None]:
    """A run is cancelled whose batch job waits to begin: the job is stopped."""
    with driver.emulator(batch={"outcomes": [{"stuck": "Scheduled", "times": 1}]}):
        run = _run_of(driver, driver.drop("called-off", questions("called-off", 120), deadline="24h"))
        _until(lambda: len(driver.control("jobs")["jobs"]) == 1)
    return _cancel(driver, run)


def called_off_jobs(driver: Driver) -> Callable[[], None]:
    """The same for queued jobs that wait in an open pool."""
    driver.send(*jobs("called-off-jobs", 3, deadline="14h", profile="twin"))
    run = _run_of(driver, "called-off-jobs")
    _until(lambda: int(driver.meta(run)["accepted"]["N"]) > 0)
    return _cancel(driver, run)


def _cancel(driver: Driver, run: str) -> Callable[[], None]:
    """What `slackwater cancel` sends; the worker then marks the run by itself."""
    body = json.dumps({"v": 1, "do": "cancel_run", "run": run})
    driver.sqs.send_message(QueueUrl=driver.cloud.outputs["WorkQueueUrl"], MessageBody=body)
    return lambda: _until(lambda: _state(driver, run) == "cancelled", WITHIN_S)


def _run_of(driver: Driver, name: str) -> str:
    return driver.run_of(name, WITHIN_S)


def _state(driver: Driver, run: str) -> str:
    return str(driver.meta(run).get("state", {}).get("S"))


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


def _until(ask: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    end = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
