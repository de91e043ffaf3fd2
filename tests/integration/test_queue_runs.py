"""Jobs from the queue: claimed once, called or pooled, replied to, aggregated when their run closes."""

import json
from collections.abc import Iterator

import pytest

from local import cloud as clouds
from tests.integration.driver import Driver, check, converse

RATE = 100.0  # a quarter of an hour without a job, which closes a run, is nine real seconds


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The product in a cloud of its own: its clock is slow enough for jobs to come one after the other."""
    with clouds.start(state_dir=tmp_path_factory.mktemp("queue"), clock_rate=RATE) as running:
        yield Driver(running)


def job(run_id: str, job_id: str | None, text: str, **more) -> dict:
    named = {} if job_id is None else {"job_id": job_id}
    return {
        "v": 1,
        "profile": "default",
        "run_id": run_id,
        "request": converse(text),
        "lane": "on_demand",
        **named,
        **more,
    }


def closing(run_id: str, expected: int | None = None) -> dict:
    return {"v": 1, "close_run": run_id, "profile": "default", **({} if expected is None else {"expected": expected})}


def test_jobs_are_answered_replied_to_and_aggregated(driver: Driver):
    reply_to = driver.cloud.outputs["ReplyQueueArn"]
    jobs = [job("plain", f"j{n}", f"plain question {n}", reply_to=reply_to, tags={"team": "a"}) for n in range(25)]
    driver.send(*jobs, closing("plain", 25))
    replies = driver.replies(25)
    assert {r["id"] for r in replies} == {f"j{n}" for n in range(25)}
    assert {r["status"] for r in replies} == {"succeeded"}
    run = driver.settled("plain")
    check(run, 25)
    assert {row["id"] for row in run.rows} == {f"j{n}" for n in range(25)}
    assert run.receipt["lanes"]["on_demand"]["jobs"] == 25
    assert set(driver.paid([j["request"] for j in jobs])) == {1}


@pytest.mark.promise(2)
def test_the_same_job_again_does_nothing_and_the_same_id_with_other_words_is_a_conflict(driver: Driver):
    reply_to = driver.cloud.outputs["ReplyQueueArn"]
    first = job("twice", "one", "the first words", reply_to=reply_to)
    other = job("twice", "one", "other words", reply_to=reply_to)
    driver.send(first)
    assert driver.replies(1)[0]["status"] == "succeeded"
    driver.send(first, other)
    conflict = driver.replies(1)[0]
    assert conflict["error"]["code"] == "id_conflict"
    driver.send(closing("twice", 2))  # one accepted, one refused
    run = driver.settled("twice")
    check(run, 2)
    assert (run.receipt["accepted"], run.receipt["refused_lines"]) == (1, 1)
    assert driver.paid([first["request"], other["request"]]) == [1, 0]


@pytest.mark.promise(5)
def test_bad_messages_harm_only_themselves(driver: Driver):
    reply_to = driver.cloud.outputs["ReplyQueueArn"]
    good = [job("mixed", f"g{n}", f"good question {n}", reply_to=reply_to) for n in range(5)]
    bad = job("mixed", "b", "never asked", reply_to=reply_to, colour="red")
    before = driver.dead_letters()["JobDeadLettersUrl"]
    driver.sqs.send_message(QueueUrl=driver.cloud.outputs["JobQueueUrl"], MessageBody="this is no JSON")
    driver.send(*good, bad, closing("mixed", 6))
    replies = {r["id"]: r for r in driver.replies(6)}
    assert sum(r["status"] == "succeeded" for r in replies.values()) == 5
    refused = next(r for r in replies.values() if r["status"] == "failed")
    assert (refused["error"]["code"], refused["error"]["pointer"]) == ("refused", "/colour")
    run = driver.settled("mixed")
    check(run, 6)
    assert driver.dead_letters()["JobDeadLettersUrl"] >= before  # it goes there after ten receives


def test_patient_jobs_are_pooled_into_a_batch_job(driver: Driver):
    jobs = [
        {
            "v": 1,
            "profile": "default",
            "run_id": "pooled",
            "job_id": f"p{n}",
            "deadline": "630m",
            "request": converse(f"pool {n}"),
        }
        for n in range(250)
    ]
    driver.send(*jobs, closing("pooled", 250))
    run = driver.settled("pooled", within_s=300)
    check(run, 250)
    assert run.receipt["succeeded"] == 250
    assert run.receipt["lanes"]["batch"]["jobs"] >= 100  # what came after a pool closed may be too few for the next
    assert set(driver.paid([j["request"] for j in jobs])) == {1}


@pytest.mark.promise(3)
def test_a_pool_below_the_minimum_is_called_before_its_deadline(driver: Driver):
    jobs = [
        {
            "v": 1,
            "profile": "default",
            "run_id": "small-pool",
            "job_id": f"s{n}",
            "deadline": "570m",
            "request": converse(f"few {n}"),
        }
        for n in range(7)
    ]
    driver.send(*jobs, closing("small-pool", 7))
    run = driver.settled("small-pool", within_s=300)
    check(run, 7)
    assert run.receipt["succeeded"] == 7
    assert run.receipt["lanes"]["on_demand"]["jobs"] == 7
    assert set(driver.paid([j["request"] for j in jobs])) == {1}


@pytest.mark.promise(4)
def test_jobs_that_find_every_route_full_wait_and_are_answered_once(driver: Driver):
    jobs = [job("full", f"f{n}", f"patience {n}", deadline="48h") for n in range(10)]
    faults = {"*": {"*": {"errors": {"ThrottlingException": 1.0}}}}
    with driver.emulator(faults=faults):
        driver.send(*jobs, closing("full", 10))
        run_id = driver.run_of("full")
        import time

        time.sleep(8)
        meta = driver.meta(run_id)
        assert meta["state"]["S"] in ("open", "settling")  # it closes as soon as all have come, and waits for them
        assert meta["unsettled"]["N"] == "10"
    run = driver.settled("full", within_s=120)
    check(run, 10)
    assert run.receipt["succeeded"] == 10
    assert run.receipt["repeats"] == 0
    assert set(driver.paid([j["request"] for j in jobs])) == {1}


@pytest.mark.promise(6)
def test_prompts_and_answers_stay_out_of_tables_and_logs(driver: Driver):
    secret = "xyzzy-canary-93"
    driver.send(job("quiet", "q1", f"{secret} please"), closing("quiet", 1))
    driver.settled("quiet")
    with driver.emulator(
        answers={"rules": [{"match": secret, "error": "ValidationException"}], "errors_quote_prompt": True}
    ):
        driver.send(job("quiet-error", "q1", f"{secret} again"), closing("quiet-error", 1))
        run = driver.settled("quiet-error")
        assert run.errors[0]["error"]["code"] == "ValidationException"
        lines = [converse(f"{secret} in a file", id="f1"), '{"messages": "' + secret + '"}', f"{secret} no json"]
        check(driver.settled(driver.drop("quiet-file", lines, lane="on_demand")), 3)
    table = driver.cloud.client("dynamodb")
    for page in table.get_paginator("scan").paginate(TableName=driver.table):
        assert secret not in json.dumps(page["Items"], default=str)
    logs = driver.cloud.client("logs")
    seen = 0
    for group in logs.describe_log_groups()["logGroups"]:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            for event in page["events"]:
                seen += 1
                assert secret not in event["message"]
    for path in driver.cloud.logs().rglob("*"):
        if path.is_file():
            seen += 1
            assert secret not in path.read_text(errors="replace")
    assert seen > 0
