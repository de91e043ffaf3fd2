"""A whole region goes dark for hours: nothing there can be called, created, listed or stopped, and its events are lost.

While it is dark other things happen in the same cloud, since they only wait: canaries that are refused, and the
remainder of a file that waits in a pool with jobs from the queue.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local import cloud as clouds
from tests.integration.driver import Driver, check, converse

RATE = 240.0  # an hour is fifteen real seconds
DRAIN = 0.1  # calls a second that are reckoned with: a rescue of 120 jobs begins six real seconds before their deadline
DARK_S = 3.5 * 3600
JOBS = 120
PATIENT = "30h"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
DARK = {
    "faults": {"us-west-2": {"*": {"down": True, "down_control": True}}},
    "events": {"lost": 1.0},
    "answers": {"rules": [{"match": "unbearable", "error": "ValidationException"}]},
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The product in a cloud of its own, which has seen that batch jobs take ten minutes."""
    with clouds.start(
        state_dir=tmp_path_factory.mktemp("dark"), clock_rate=RATE, parameters={"DrainJobsPerSecond": str(DRAIN)}
    ) as running:
        found = Driver(running)
        for region in ("us-west-2", "us-east-1"):
            remember(found, region, 20, took_s=600)
        yield found


@dataclass
class Dark:
    """What was under way when the region went dark, by name: the key of each file and its lines."""

    since_s: float
    keys: dict[str, str]
    lines: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", autouse=True)
def dark(driver: Driver) -> Dark:
    """`open`: its job is open there, and there is time. `due`: the same, but its deadline comes in the dark. `unknown`:
    whether its create was done nobody knows. `late`: dropped when it has been dark for a while."""
    driver.settled(driver.drop("warm", [converse("are the functions awake?", id="w")], lane="on_demand"))
    under_way = Dark(0.0, {}, {})
    with_time = {"region": "us-west-2", "base_s": 1800, "times": 2}
    driver.control("config", {"batch": {"outcomes": [with_time]}}, "PATCH")
    drop(driver, under_way, "open", deadline=PATIENT)
    drop(driver, under_way, "due", deadline="3h")
    until(lambda: len(driver.control("jobs")["jobs"]) == 2)
    assert {job["region"] for job in jobs_of(driver)} == {"us-west-2"}
    driver.control("config", {"batch": {"outcomes": [{"region": "us-west-2", "create": "lost_request"}]}}, "PATCH")
    drop(driver, under_way, "unknown", deadline="3h")
    until(lambda: "intent" in {shard["state"]["S"] for shard in shards(driver)})
    driver.control("config", DARK, "PATCH")
    under_way.since_s = now_s(driver)
    time.sleep(310 / RATE)  # by now the last count of the region's jobs is too old
    drop(driver, under_way, "late", jobs=300, deadline=PATIENT)
    return under_way


@pytest.mark.promise(2)
def test_what_a_model_refuses_is_called_and_makes_no_batch_job(driver: Driver):
    lines = [converse(f"unbearable {i}", id=f"{i}", inferenceConfig={"maxTokens": 9, "topP": 0.5}) for i in range(520)]
    run = driver.settled(driver.drop("bad-shape", lines, deadline=PATIENT))
    check(run, 520)
    assert run.receipt["errors"] == {"ValidationException": 520}
    owners = [shard["owner"]["S"] for shard in shards(driver) if "arn" in shard]
    assert owners and run.run_id not in owners
    unsent = [text for text in run.receipt["warnings"] if "went by no batch job" in text]
    assert sum(int(text.split()[0]) for text in unsent) == 517, run.receipt["warnings"]
    assert set(driver.paid(lines)) == {0}


@pytest.mark.promise(2)
def test_the_remainder_of_a_file_and_queued_jobs_become_one_batch_job(driver: Driver):
    """Either would be too few alone, and together they save more than a cent."""
    jobs = [
        {
            "v": 1,
            "profile": "default",
            "run_id": "company",
            "job_id": f"c{n}",
            "deadline": "24h",
            "request": converse(f"company {n}", max_tokens=400),
        }
        for n in range(70)
    ]
    lines = [converse(f"remainder {n}", max_tokens=400, id=f"{n}") for n in range(60)]
    driver.send(*jobs, {"v": 1, "profile": "default", "close_run": "company", "expected": 70})
    until(lambda: waiting_in_pools(driver) == 70)
    file_run = driver.settled(driver.drop("remainder", lines, deadline="24h"))
    queue_run = driver.settled("company")
    check(file_run, 60)
    check(queue_run, 70)
    (remainder,) = file_run.receipt["remainders"]
    assert (remainder["jobs"], remainder["taken"]) == (60, "join")
    assert [run.receipt["lanes"]["batch"]["jobs"] for run in (file_run, queue_run)] == [60, 70]
    assert [job["totalRecordCount"] for job in jobs_of(driver) if job.get("totalRecordCount") == 130] == [130]
    assert set(driver.paid(lines + [job["request"] for job in jobs])) == {1}


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_what_a_dark_region_holds_is_rescued_if_it_is_due_and_kept_if_it_can_wait(driver: Driver, dark: Dark):
    runs = {name: driver.settled(dark.keys[name], within_s=180) for name in ("late", "due", "unknown")}
    assert set(runs["late"].receipt["regions"]) == {"us-east-1"}
    assert (runs["late"].receipt["lanes"]["batch"]["jobs"], runs["late"].receipt["repeats"]) == (300, 0)
    for name in ("due", "unknown"):
        assert runs[name].receipt["lanes"]["on_demand"]["jobs"] == JOBS
        assert max(row["finished_at"] for row in runs[name].rows) < runs[name].receipt["deadline"]
    until(lambda: now_s(driver) >= dark.since_s + DARK_S, within_s=DARK_S / RATE)
    assert driver.meta(driver.run_of(dark.keys["open"]))["state"]["S"] not in ("settled", "failed")
    driver.control("config", {"faults": None, "events": None}, "PATCH")
    runs["open"] = driver.settled(dark.keys["open"])
    assert (runs["open"].receipt["lanes"]["batch"]["jobs"], runs["open"].receipt["repeats"]) == (JOBS, 0)
    for name, run in runs.items():
        check(run, len(dark.lines[name]))
        assert run.receipt["succeeded"] == len(dark.lines[name]), (name, run.receipt["errors"])
        again = sum(count - 1 for count in driver.paid(dark.lines[name]))
        assert again <= run.receipt["repeats"] <= JOBS, (name, again, run.receipt)
        assert again == 0 or name == "due", name  # that one's job goes on in the dark
    assert driver.dead_letters() == dict.fromkeys(driver.dead_letters(), 0)


def remember(driver: Driver, region: str, jobs: int, *, took_s: int) -> None:
    """Our own ended batch jobs of the last hours, as the ledger keeps them."""
    table, now = driver.cloud.client("dynamodb"), datetime.now(UTC)
    for number in range(jobs):
        ended = now - timedelta(minutes=10 * number)
        item = {
            "pk": {"S": f"HIST#{region}|{HAIKU}"},
            "sk": {"S": f"{stamp(ended)}#earlier{number}"},
            "records": {"N": "200"},
            "status": {"S": "Completed"},
            "took_s": {"N": str(took_s)},
            "took_whole": {"BOOL": True},
            "submitted_at": {"S": stamp(ended - timedelta(seconds=took_s))},
            "ended_at": {"S": stamp(ended)},
        }
        table.put_item(TableName=driver.table, Item=item)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def drop(driver: Driver, under_way: Dark, name: str, *, jobs: int = JOBS, deadline: str) -> None:
    under_way.lines[name] = [converse(f"dark {name} question {i}", id=f"{i}") for i in range(jobs)]
    under_way.keys[name] = driver.drop(f"dark-{name}", under_way.lines[name], deadline=deadline)


def until(ask: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.1)


def now_s(driver: Driver) -> float:
    return float(driver.control("clock")["now_epoch_s"])


def jobs_of(driver: Driver) -> list[dict[str, Any]]:
    """All batch jobs, each with its region."""
    return [{**job, "region": job["jobArn"].split(":")[3]} for job in driver.control("jobs")["jobs"]]


def items(driver: Driver, kind: str) -> list[dict[str, Any]]:
    found = driver.cloud.client("dynamodb").scan(
        TableName=driver.table,
        FilterExpression="begins_with(pk, :p) AND sk = :m",
        ExpressionAttributeValues={":p": {"S": f"{kind}#"}, ":m": {"S": "META"}},
    )
    return list(found["Items"])


def shards(driver: Driver) -> list[dict[str, Any]]:
    return items(driver, "SHARD")


def waiting_in_pools(driver: Driver) -> int:
    """Jobs in open pools."""
    return sum(int(item["count"]["N"]) for item in items(driver, "POOL") if item["state"]["S"] == "open")
