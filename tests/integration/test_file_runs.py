"""Dropped files through the whole product: lanes, routes, refusals, and what the emulator bills."""

from collections import Counter

import pytest

from tests.integration.driver import Driver, check, converse


def questions(name: str, count: int) -> list[dict]:
    return [converse(f"{name}: question number {n}", id=f"{name}-{n}") for n in range(count)]


def test_patient_jobs_go_by_batch_over_two_regions(driver: Driver):
    lines = questions("patient", 400)
    run = driver.settled(driver.drop("patient", lines, deadline="24h"))
    check(run, 400)
    assert run.receipt["lanes"]["batch"]["jobs"] == 400
    # 5:3
    assert {name: r["jobs"] for name, r in run.receipt["regions"].items()} == {"us-west-2": 250, "us-east-1": 150}
    assert [row["id"] for row in run.rows] == [line["id"] for line in lines]
    assert run.receipt["repeats"] == 0
    assert set(driver.paid(lines)) == {1}
    assert run.receipt["saved_usd"] > run.receipt["list_usd"] / 2  # half price by batch, and the global profile


def test_urgent_jobs_are_called_over_three_regions_in_exact_shares(driver: Driver):
    lines = questions("urgent", 300)
    run = driver.settled(driver.drop("urgent", lines, lane="on_demand"))
    check(run, 300)
    assert run.receipt["lanes"]["on_demand"]["jobs"] == 300
    for start in range(0, 300, 10):
        ten = Counter(row["region"] for row in run.rows[start : start + 10])
        assert ten == {"us-west-2": 5, "us-east-1": 3, "us-east-2": 2}
    assert set(driver.paid(lines)) == {1}


@pytest.mark.promise(5)
def test_bad_lines_become_failed_rows_that_name_line_and_fault(driver: Driver):
    lines = [
        converse("fine", id="a"),
        "{not json",
        converse("again", id="a"),
        "",
        '{"messages": []}',
        converse("named by nothing"),
        converse("knows too much", unknown_field=1),
    ]
    run = driver.settled(driver.drop("crooked", lines, lane="on_demand"))
    check(run, 6)
    found = {row["line"]: (row["status"], (row["error"] or {}).get("code")) for row in run.rows}
    assert found == {
        1: ("succeeded", None),
        2: ("failed", "refused"),
        3: ("failed", "duplicate_id"),
        5: ("failed", "refused"),
        6: ("succeeded", None),
        7: ("failed", "refused"),
    }
    by_line = {row["line"]: row["error"] for row in run.errors}
    assert by_line[3]["first_line"] == 1
    assert by_line[5]["pointer"] == "/messages"
    assert by_line[7]["pointer"] == "/unknown_field"
    assert run.rows[4]["id"] == "line-6"


@pytest.mark.parametrize(("body", "reason"), [([], "empty_input"), (["hello", "[1]"], "not_jsonl")])
def test_a_file_with_nothing_to_run_ends_as_a_failed_run_with_a_receipt(driver: Driver, body, reason):
    run = driver.settled(driver.drop(reason, body))
    assert (run.receipt["status"], run.receipt["reason"], run.receipt["accepted"]) == ("failed", reason, 0)
    assert run.receipt["lines"] == len(body) == len(run.rows)


def test_an_unknown_profile_ends_as_a_failed_run_that_names_the_known_ones(driver: Driver):
    run = driver.settled(driver.drop("lost", questions("lost", 1), profile="nobody"))
    assert run.receipt["reason"] == "unknown_profile"
    assert "default, open-eu" in run.receipt["warnings"][0]


def test_openai_lines_in_openai_lines_out(driver: Driver):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 20}
    lines = [{"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(3)]
    run = driver.settled(driver.drop("openai", lines, lane="on_demand", result_dialect="openai"))
    check(run, 3)
    translated = driver.lines(f"v1/runs/{run.run_id}/results.openai.jsonl")
    assert [line["custom_id"] for line in translated] == ["c0", "c1", "c2"]
    assert translated[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert sum("model" in warning for warning in run.receipt["warnings"]) == 1  # said once, not per line


def test_a_profile_with_flex_takes_it_at_half_the_price(driver: Driver):
    lines = questions("flexible", 50)
    run = driver.settled(driver.drop("flexible", lines, profile="open-eu", deadline="48h"))
    check(run, 50)
    assert run.receipt["lanes"]["flex"]["jobs"] == 50
    assert set(run.receipt["regions"]) == {"eu-north-1"}  # the cheapest of the geography
    assert run.receipt["saved_usd"] > run.receipt["list_usd"] / 2


@pytest.mark.promise(2)
def test_the_same_event_twice_starts_one_run(driver: Driver):
    key = driver.drop("doubled-event", questions("doubled-event", 5), lane="on_demand")
    run_id = driver.run_of(key)
    execution = driver.cloud.client("stepfunctions").list_executions(
        stateMachineArn=driver.cloud.outputs["RunWorkflowArn"]
    )["executions"]
    assert [e["name"] for e in execution].count(run_id) == 1
    event = {
        "detail": {
            "bucket": {"name": driver.bucket},
            "object": {"key": key, "version-id": driver.meta(run_id)["version_id"]["S"]},
        }
    }
    lambdas = driver.cloud.client("lambda")
    admit = next(f["FunctionName"] for f in lambdas.list_functions()["Functions"] if "Admit" in f["FunctionName"])
    import json

    record = {
        "messageId": "1",
        "receiptHandle": "r",
        "body": json.dumps(event),
        "attributes": {},
        "eventSource": "aws:sqs",
    }
    answer = lambdas.invoke(FunctionName=admit, Payload=json.dumps({"Records": [record]}))
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    check(driver.settled(key), 5)
    assert sum(r["name"]["S"] == key for r in driver.runs()) == 1


@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_one_region_down_and_random_faults_lose_nothing(driver: Driver):
    batch, calls = questions("stormy-batch", 300), questions("stormy-calls", 300)
    faults = {
        "us-west-2": {"*": {"down": True}},
        "*": {
            "*": {"errors": {"ThrottlingException": 0.02, "InternalServerException": 0.02, "ModelErrorException": 0.01}}
        },
    }
    with driver.emulator(faults=faults):
        first = driver.drop("stormy-batch", batch, deadline="24h")
        second = driver.drop("stormy-calls", calls, lane="on_demand")
        runs = [driver.settled(second), driver.settled(first)]
    for run in runs:
        check(run, 300)
        assert run.receipt["succeeded"] == 300, run.receipt["errors"]
        assert "us-west-2" not in run.receipt["regions"]
    assert sum(count - 1 for count in driver.paid(batch + calls)) <= sum(run.receipt["repeats"] for run in runs)
    assert driver.dead_letters() == dict.fromkeys(driver.dead_letters(), 0)


@pytest.mark.promise(2)
def test_lost_replies_are_paid_again_at_most_as_often_as_the_receipt_says(driver: Driver):
    lines = questions("lossy", 200)
    with driver.emulator(faults={"*": {"*": {"reset_after": 0.05}}}):
        run = driver.settled(driver.drop("lossy", lines, lane="on_demand"))
    check(run, 200)
    again = sum(count - 1 for count in driver.paid(lines))
    assert 0 < again <= run.receipt["repeats"]
