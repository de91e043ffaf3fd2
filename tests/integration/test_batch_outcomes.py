"""Batch jobs that end in every unkind way: each id accounted for, nothing paid twice beyond what the receipt says."""

import pytest

from tests.integration.driver import Driver, check, converse

OUTCOMES = {
    "completed with rows missing": {"status": "Completed", "missing_rows": 0.2},
    "completed with missing rows on the bill": {"status": "Completed", "missing_rows": 0.2, "missing_billed": True},
    "completed with rows in error": {"status": "Completed", "error_rows": 0.2, "error_code": 500},
    "completed with rows doubled and a wrong manifest": {"status": "Completed", "doubled_rows": 0.3, "manifest": "wrong"},
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


EXACT = ("completed with rows in error", "completed with rows doubled and a wrong manifest", "failed", "create's reply lost")
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
        name = taken.get(run.run_id, "?")
        check(run, 120)
        assert run.receipt["succeeded"] == 120, (name, run.receipt)
        again = sum(count - 1 for count in driver.paid(lines[n]))
        assert 0 <= again <= run.receipt["repeats"], (name, again, run.receipt)
        if name in EXACT:
            assert (again, run.receipt["repeats"]) == (0, 0), name
    assert set(EXACT) - {"create's reply lost"} <= set(taken.values())
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
def test_a_job_that_never_starts_is_stopped_and_rescued_before_the_deadline(driver: Driver):
    lines = [converse(f"stuck {i}", id=f"{i}") for i in range(120)]
    with driver.emulator(batch={"outcomes": [{"stuck": "Scheduled", "times": 1}]}):
        run = driver.settled(driver.drop("stuck", lines, deadline="12h"), within_s=180)
        jobs = driver.control("jobs")["jobs"]
    check(run, 120)
    assert run.receipt["succeeded"] == 120
    assert run.receipt["finished_at"] < run.receipt["deadline"]
    assert run.receipt["lanes"]["on_demand"]["jobs"] == 120
    assert "Stopped" in {job["status"] for job in jobs}
    assert set(driver.paid(lines)) == {1}


def outcomes_by_run(driver: Driver, jobs: list[dict]) -> dict[str, str]:
    """Which outcome met the (first) job of each run, from the emulator's own list and the ledger's shards."""
    names = {tuple(sorted(outcome.items())): name for name, outcome in OUTCOMES.items()}
    found = {}
    for job in sorted(jobs, key=lambda job: job["submitTime"], reverse=True):
        set_ = {k: v for k, v in (job.get("outcome") or {}).items() if k not in ("times", "match")}
        name = next((n for key, n in names.items() if all(set_.get(k) == v for k, v in key)), None)
        shard = job["jobName"].split("-")[2]
        item = driver.cloud.client("dynamodb").get_item(
            TableName=driver.table, Key={"pk": {"S": f"SHARD#{shard}"}, "sk": {"S": "META"}}
        ).get("Item")
        if item and name:
            found[item["owner"]["S"]] = name
    return found
