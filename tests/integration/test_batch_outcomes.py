"""Batch jobs that end in every unkind way: each id accounted for, nothing paid twice beyond what the receipt says."""

import time
from collections.abc import Iterator

import pytest

from local import cloud as clouds
from local.bedrock.config import Outcome
from tests.integration.driver import Driver, check, converse

RATE = 300.0  # half an hour of margin before a deadline is six real seconds
STUCK = [converse(f"stuck {i}", id=f"{i}") for i in range(120)]

OUTCOMES = {
    "completed with rows missing": {"status": "Completed", "missing_rows": 0.2},
    "completed with missing rows on the bill": {"status": "Completed", "missing_rows": 0.2, "missing_billed": True},
    "completed with rows in error": {"status": "Completed", "error_rows": 0.2, "error_code": 500},
    "completed with rows doubled and a wrong manifest": {
        "status": "Completed",
        "doubled_rows": 0.3,
        "manifest": "wrong",
    },
    "partially completed": {"status": "PartiallyCompleted", "fraction": 0.5},
    "failed": {"status": "Failed"},
    "expired": {"status": "Expired", "after_s": 900},
    "stopped by somebody, with output": {"status": "Stopped", "fraction": 0.5},
    "stopped by somebody, without output": {"status": "Stopped", "fraction": 0.5, "write_output": False},
    "create's reply lost": {"create": "lost_reply"},
    "create's request lost": {"create": "lost_request"},
    "create throttled": {"create": "ThrottlingException"},
    "create over the quota": {"create": "ServiceQuotaExceededException"},
    "create denied": {"create": "AccessDeniedException"},
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The product in a cloud of its own, with a clock that leaves a real machine time to keep deadlines."""
    with clouds.start(state_dir=tmp_path_factory.mktemp("outcomes"), clock_rate=RATE) as running:
        yield Driver(running)


@pytest.fixture(scope="module", autouse=True)
def stuck(driver: Driver) -> str:
    """A file whose batch job never starts; its deadline comes while the other tests run."""
    with driver.emulator(batch={"outcomes": [{"stuck": "Scheduled", "times": 1}]}):
        key = driver.drop("stuck", STUCK, deadline="10h")
        end = time.monotonic() + 60
        while not driver.control("jobs")["jobs"]:
            assert time.monotonic() < end, "no batch job was made"
            time.sleep(0.2)
    return key


EXACT = (
    "completed with rows in error",
    "completed with rows doubled and a wrong manifest",
    "expired",
    "create's reply lost",
)
"""After these nothing is unknown: each prompt is on the bill once, and the receipt says so."""


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_whatever_batch_jobs_do_every_id_is_accounted_for(driver: Driver):
    """All outcomes at once, each taken by whichever job is created next: they share the waiting."""
    outcomes = [{**outcome, "times": 1} for outcome in OUTCOMES.values()]
    lines = {n: [converse(f"outcome {n} question {i}", id=f"{i}") for i in range(120)] for n in range(len(OUTCOMES))}
    with driver.emulator(events={"lost": 0.3, "doubled": 0.3}, batch={"outcomes": outcomes}):
        keys = {n: driver.drop(f"outcome-{n}", lines[n], deadline="30h") for n in lines}
        runs = {n: driver.settled(key, within_s=300) for n, key in keys.items()}
        jobs = driver.control("jobs")["jobs"]
    taken = outcomes_by_run(driver, jobs)
    for n, run in runs.items():
        met = taken.get(run.run_id, set())
        check(run, 120)
        assert run.receipt["succeeded"] == 120, (met, run.receipt)
        again = sum(count - 1 for count in driver.paid(lines[n]))
        assert 0 <= again <= run.receipt["repeats"], (met, again, run.receipt)
        if met <= set(EXACT):
            assert (again, run.receipt["repeats"]) == (0, 0), met
    made = {name for name, outcome in OUTCOMES.items() if outcome.get("create", "lost_reply") == "lost_reply"}
    assert made <= set().union(*taken.values())
    assert driver.dead_letters() == dict.fromkeys(driver.dead_letters(), 0)


@pytest.mark.promise(2)
def test_a_job_whose_create_reply_was_lost_is_adopted_and_no_second_one_is_made(driver: Driver):
    lines = [converse(f"adopt me {i}", id=f"{i}") for i in range(120)]
    with driver.emulator(batch={"outcomes": [{"create": "lost_reply", "times": 1}]}):
        before = len(driver.control("jobs")["jobs"])
        run = driver.settled(driver.drop("adopted", lines, deadline="24h"))
        made = len(driver.control("jobs")["jobs"]) - before
    check(run, 120)
    assert made == 1
    assert run.receipt["repeats"] == 0
    assert set(driver.paid(lines)) == {1}


@pytest.mark.promise(3)
def test_a_job_that_never_starts_is_stopped_and_rescued_before_the_deadline(driver: Driver, stuck: str):
    run = driver.settled(stuck, within_s=240)
    check(run, 120)
    assert run.receipt["succeeded"] == 120, run.receipt["errors"]
    assert max(row["finished_at"] for row in run.rows) < run.receipt["deadline"]
    assert run.receipt["lanes"]["on_demand"]["jobs"] == 120
    assert "Stopped" in {job["status"] for job in driver.control("jobs")["jobs"]}
    assert set(driver.paid(STUCK)) == {1}


def outcomes_by_run(driver: Driver, jobs: list[dict]) -> dict[str, set[str]]:
    """Which outcomes the jobs of each run met, from the emulator's own list and the ledger's shards."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        met = {k: v for k, v in job["outcome"].items() if k != "times"}
        name = next((n for n, o in OUTCOMES.items() if Outcome(**o).model_dump(exclude_defaults=True) == met), None)
        shard = job["jobName"].split("-")[2]
        item = driver.cloud.client("dynamodb").get_item(
            TableName=driver.table, Key={"pk": {"S": f"SHARD#{shard}"}, "sk": {"S": "META"}}
        )["Item"]
        if name:
            found.setdefault(item["owner"]["S"], set()).add(name)
    return found
