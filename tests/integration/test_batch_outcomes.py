"""Batch jobs that end in every unkind way: each id accounted for, nothing paid twice beyond what the receipt says."""

import time
from collections.abc import Iterator

import pytest

from local import cloud as clouds
from local.bedrock.config import Outcome
from tests.integration.driver import Driver, check, converse

RATE = 300.0  # half an hour of margin before a deadline is six real seconds
JOBS = 120
PATIENT = "30h"

STUCK = (
    {"stuck": "Submitted"},
    {"stuck": "Validating"},
    {"stuck": "Scheduled"},
    {"stuck": "InProgress", "fraction": 0.5},
)
HANGING = {"stuck": "Stopping", "per_record_s": 3600}
"""Runs for days, and never hears that it was asked to stop."""
DEADLINES = ("12h", "12h20m", "12h40m", "13h", "13h20m")
"""Each has its own seconds in which a real machine rescues."""

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
    "create's outcome unknown": {"create": "InternalServerException"},
    "completed with rows that the model refuses": {"status": "Completed", "error_rows": 0.2, "error_code": 400},
    "completed with rows that batch would fail again": {"status": "Completed", "error_rows": 0.2, "error_code": 424},
    "completed without a manifest": {"status": "Completed", "doubled_rows": 0.1, "manifest": "none"},
    "its list lags": {"status": "Completed", "list_lag_s": 1200},
    "one region full": {"create": "ServiceQuotaExceededException", "region": "us-west-2", "times": 3},
}
REFUSED = "completed with rows that the model refuses"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The product in a cloud of its own, with a clock that leaves a real machine time to keep deadlines."""
    with clouds.start(state_dir=tmp_path_factory.mktemp("outcomes"), clock_rate=RATE) as running:
        yield Driver(running)


@pytest.fixture(scope="module", autouse=True)
def stuck(driver: Driver) -> dict[str, list[dict]]:
    """Files whose batch jobs get no further than one status, by key; their deadlines come while the other tests run."""
    files = {}
    driver.settled(driver.drop("warm", [converse("are the functions awake?", id="w")], lane="on_demand"))
    with driver.emulator(batch={"outcomes": [{**outcome, "times": 1} for outcome in (*STUCK, HANGING)]}):
        for n, deadline in enumerate(DEADLINES):
            lines = [converse(f"stuck {n} question {i}", id=f"{i}") for i in range(JOBS)]
            files[driver.drop(f"stuck-{n}", lines, deadline=deadline)] = lines
        end = time.monotonic() + 60
        while len(driver.control("jobs")["jobs"]) < len(files):
            assert time.monotonic() < end, "a batch job was not made"
            time.sleep(0.2)
    return files


EXACT = (
    "completed with rows in error",
    "completed with rows doubled and a wrong manifest",
    "completed with rows that batch would fail again",
    "completed without a manifest",
    "expired",
    "create's reply lost",
    "its list lags",
)
"""After these nothing is unknown: each prompt is on the bill once, and the receipt says so."""


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_whatever_batch_jobs_do_every_id_is_accounted_for(driver: Driver):
    """All outcomes at once, each taken by whichever job is created next: they share the waiting."""
    outcomes = [{"times": 1, **outcome} for outcome in OUTCOMES.values()]
    lines = {n: [converse(f"outcome {n} question {i}", id=f"{i}") for i in range(JOBS)] for n in range(len(OUTCOMES))}
    with driver.emulator(events={"lost": 0.3, "doubled": 0.3}, batch={"outcomes": outcomes}):
        keys = {n: driver.drop(f"outcome-{n}", lines[n], deadline=PATIENT) for n in lines}
        runs = {n: driver.settled(key, within_s=300) for n, key in keys.items()}
        jobs = driver.control("jobs")["jobs"]
    taken = outcomes_by_run(driver, jobs)
    for n, run in runs.items():
        met = taken.get(run.run_id, set())
        check(run, JOBS)
        refused = JOBS // 5 if REFUSED in met else 0
        assert run.receipt["errors"] == ({"batch_400": refused} if refused else {}), (met, run.receipt)
        again = sum(max(0, count - 1) for count in driver.paid(lines[n]))
        assert again <= run.receipt["repeats"] <= JOBS, (met, again, run.receipt)
        if met <= set(EXACT):
            assert (again, run.receipt["repeats"]) == (0, 0), met
    made = {name for name, outcome in OUTCOMES.items() if outcome.get("create", "lost_reply") == "lost_reply"}
    assert made <= set().union(*taken.values())
    assert driver.dead_letters() == dict.fromkeys(driver.dead_letters(), 0)


@pytest.mark.promise(2)
def test_a_job_whose_create_reply_was_lost_is_adopted_and_no_second_one_is_made(driver: Driver):
    lines = [converse(f"adopt me {i}", id=f"{i}") for i in range(JOBS)]
    with driver.emulator(batch={"outcomes": [{"create": "lost_reply", "times": 1}]}):
        before = len(driver.control("jobs")["jobs"])
        run = driver.settled(driver.drop("adopted", lines, deadline="24h"))
        made = len(driver.control("jobs")["jobs"]) - before
    check(run, JOBS)
    assert made == 1
    assert run.receipt["repeats"] == 0
    assert set(driver.paid(lines)) == {1}


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_jobs_that_get_no_further_are_stopped_and_only_what_is_missing_is_rescued(driver: Driver, stuck):
    runs = {key: driver.settled(key, within_s=240) for key in stuck}
    met = {shard_owner(driver, job): job for job in driver.control("jobs")["jobs"] if job["outcome"].get("stuck")}
    assert {job["outcome"]["stuck"] for job in met.values()} >= {outcome["stuck"] for outcome in (*STUCK, HANGING)}
    for key, run in runs.items():
        check(run, JOBS)
        job, receipt = met[run.run_id], run.receipt
        again = sum(max(0, count - 1) for count in driver.paid(stuck[key]))
        assert again <= receipt["repeats"] <= JOBS, (job["outcome"], again, receipt)
        if job["outcome"]["stuck"] == "Stopping":  # it is waited for until the last moment, here of a second
            assert set(receipt["errors"]) <= {"deadline_missed"}, receipt
            continue
        assert receipt["succeeded"] == JOBS, (job["outcome"], receipt["errors"])
        assert max(row["finished_at"] for row in run.rows) < receipt["deadline"]
        assert (again, job["status"]) == (0, "Stopped"), (job["outcome"], receipt)
        if "totalRecordCount" in job:  # else Bedrock does not tell that it processed none
            assert receipt["repeats"] == 0, (job["outcome"], receipt)
        kept = JOBS // 2 if job["outcome"]["stuck"] == "InProgress" else 0
        assert receipt["lanes"]["batch"]["jobs"] == kept, (job["outcome"], receipt["lanes"])


def outcomes_by_run(driver: Driver, jobs: list[dict]) -> dict[str, set[str]]:
    """Which outcomes the jobs of each run met, from the emulator's own list and the ledger's shards."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        met = {k: v for k, v in job["outcome"].items() if k != "times"}
        name = next((n for n, outcome in OUTCOMES.items() if shown(outcome) == met), None)
        if name:
            found.setdefault(shard_owner(driver, job), set()).add(name)
    return found


def shown(outcome: dict) -> dict:
    """An outcome as the emulator's list shows it."""
    return Outcome(**{k: v for k, v in outcome.items() if k != "times"}).model_dump(exclude_defaults=True)


def shard_owner(driver: Driver, job: dict) -> str:
    """The run (or pool) whose shard a batch job is."""
    shard = job["jobName"].split("-")[2]
    item = driver.cloud.client("dynamodb").get_item(
        TableName=driver.table, Key={"pk": {"S": f"SHARD#{shard}"}, "sk": {"S": "META"}}
    )["Item"]
    return str(item["owner"]["S"])
