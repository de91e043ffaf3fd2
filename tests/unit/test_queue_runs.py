"""How queue runs close, settle and expire."""

import pytest

from slackwater.model import ids, result
from tests.unit.queue_rig import REPLY_ARN, QueueWorld, body, first, message, patient


@pytest.fixture
def world(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


def word(clock, **more):
    return message({"v": 1, "close_run": "triage", **more}, sent_at=clock.now())


def test_a_word_marks_the_open_run_and_the_tick_looks_at_once(world, clock):
    world.work(first(clock))
    clock.advance(5)
    outcome = world.work(word(clock, expected=3), worker="b")
    run = world.run()
    assert outcome.back == set() and run["state"] == "open" and run["expected"] == 3
    assert run["close_asked_at"] == run["next_check_at"] == "2026-11-25T12:00:05.000Z"
    assert world.asked_to_close == []


def test_when_the_last_expected_job_has_come_the_run_is_asked_to_close(world, clock):
    world.work(first(clock), word(clock, expected=2))
    world.work(message({**body("two"), "wrong": 1}, sent_at=clock.now()), worker="b")  # refused ones count
    assert world.asked_to_close == [world.run()["run_id"]]


def test_when_all_have_come_before_the_word_the_run_is_asked_to_close(world, clock):
    world.work(word(clock, expected=1), first(clock))  # in one batch jobs go first
    assert world.asked_to_close == [world.run()["run_id"]]


def test_a_word_that_comes_before_its_jobs_waits_for_them(world, clock):
    world.work(word(clock, expected=2))
    assert world.queue_runs.newest("default", "triage") is None
    clock.advance(600)
    world.work(first(clock), worker="b")
    assert world.run()["expected"] == 2
    world.work(first(clock, "two", "two"), worker="c")
    assert world.asked_to_close == [world.run()["run_id"]]


def test_a_word_that_waited_too_long_is_forgotten(world, clock):
    world.work(word(clock, expected=2))
    clock.advance(901)
    world.work(first(clock), worker="b")
    assert "expected" not in world.run()


def test_a_doubled_word_does_not_touch_the_next_generation(world, clock):
    world.work(first(clock))
    letter = word(clock, expected=1, profile="default")
    world.work(letter, worker="b")
    world.closing.close_queue_run(world.run()["run_id"])
    world.work(letter, worker="c")
    world.work(first(clock, "two", "two"), worker="d")
    assert world.run()["generation"] == 2 and "expected" not in world.run()


def test_without_a_profile_all_open_runs_of_the_name_are_closed(world, clock):
    world.work(first(clock), first(clock, profile="open-eu"), word(clock))
    assert "close_asked_at" in world.run() and "close_asked_at" in world.run(profile="open-eu")


def test_with_a_profile_only_its_run_is_closed(world, clock):
    world.work(first(clock), first(clock, profile="open-eu"), word(clock, profile="open-eu"))
    assert "close_asked_at" not in world.run() and "close_asked_at" in world.run(profile="open-eu")


def test_closing_starts_the_workflow_once(world, clock):
    world.work(first(clock))
    run = world.run()["run_id"]
    assert world.closing.close_queue_run(run) and world.closing.close_queue_run(run)
    assert world.workflow.started == {run: {"run_id": run, "kind": "queue"}}
    assert world.run()["state"] == "settling" and world.run()["next_check_at"] == "2026-11-25T12:25:00.000Z"


def test_the_last_settled_job_wakes_the_workflow(world, clock):
    world.work(patient(clock, "p"))
    run = world.run()["run_id"]
    world.closing.close_queue_run(run)
    world.runs.set_token(run, "token")
    (pool,) = _pools(world)
    world.keeper.release_pool(pool)
    assert world.workflow.answered == []
    world.work(*world.sent_on(), worker="b")
    assert world.workflow.answered == ["token"]


def test_a_batch_jobs_rows_end_their_jobs_once(world, clock):
    world.work(patient(clock, "p", reply_to=REPLY_ARN))
    run, rows = world.run()["run_id"], _rows(world, "p")
    part = world.parts.append(run, "00000", "shard-x", rows)
    assert world.results.settle_jobs(run, rows, part) == frozenset()
    assert world.results.settle_jobs(run, rows, part) == frozenset()
    assert world.run() | {"unsettled": 0, "succeeded": 1, "extras": 0} == world.run()
    assert world.replies.sent == rows


def test_a_late_result_is_discarded_and_counted(world, clock):
    world.work(patient(clock, "p", reply_to=REPLY_ARN))
    run, rows = world.run()["run_id"], _rows(world, "p")
    first_part = world.parts.append(run, "00000", "shard-x", rows)
    world.results.settle_jobs(run, rows, first_part)
    late = [{**rows[0], "status": "failed"}]
    world.results.settle_jobs(run, late, world.parts.append(run, "00000", "shard-y", late))
    assert world.run() | {"unsettled": 0, "succeeded": 1, "failed": 0, "extras": 1} == world.run()
    assert len(world.replies.sent) == 1


def test_rows_of_more_jobs_than_a_transaction_holds_are_all_settled(table, bucket, clock):
    world = QueueWorld(table, bucket, clock, full=1000)
    world.work(*(patient(clock, f"p{n}") for n in range(120)))
    run = world.run()["run_id"]
    rows = _rows(world, *(f"p{n}" for n in range(120)))
    world.results.settle_jobs(run, rows, world.parts.append(run, "00000", "shard-x", rows))
    assert world.run() | {"unsettled": 0, "succeeded": 120} == world.run()


@pytest.mark.promise(1)
def test_what_was_lost_fails_fifteen_minutes_after_its_own_deadline(world, clock):
    world.work(patient(clock, "early", deadline="12h", reply_to=REPLY_ARN), patient(clock, "late", deadline="2d"))
    run = world.run()["run_id"]
    clock.advance(12 * 3600 + 899)
    assert world.closing.expire(run) == 0
    clock.advance(1)
    assert world.closing.expire(run) == 1
    assert world.run() | {"failed": 1, "unsettled": 1, "next_check_at": "2026-11-27T12:15:00.000Z"} == world.run()
    (row,) = world.rows()
    assert row["id"] == "early" and row["error"]["code"] == "deadline_missed" and world.replies.sent == [row]
    clock.advance(2 * 86_400)
    assert world.closing.expire(run) == 1 and world.closing.expire(run) == 0
    assert world.run() | {"failed": 2, "unsettled": 0} == world.run()


def _rows(world, *caller_ids):
    claimed = world.queue_runs.claimed(world.run()["run_id"])
    entries = {e.id: e for e in world.jobs.get_many(job for _, _, job, _ in claimed).values()}
    at = world.clock.now()
    failed = [result.failed(entries[i].as_job(), code="x", message="x", finished_at=at) for i in caller_ids]
    return [row | {"status": "succeeded"} for row in failed]


def _pools(world):
    items = world.table._client.scan(TableName="ledger")["Items"]
    return [i["pool"]["S"] for i in items if i["pk"]["S"].startswith("POOL#") and i["sk"]["S"] == "META"]


@pytest.mark.parametrize("forgotten", ["name", "run"])
def test_a_name_of_which_the_table_has_forgotten_half_still_takes_jobs(world, clock, forgotten):
    """Time to live removes items one by one, in no order."""
    world.work(first(clock))
    old = world.run()["run_id"]
    world.closing.close_queue_run(old)
    pk = f"NAME#{ids.h('default|triage')}" if forgotten == "name" else f"RUN#{old}"
    world.table._client.delete_item(TableName="ledger", Key={"pk": {"S": pk}, "sk": {"S": "META"}})
    world.work(first(clock, "two", "two"), worker="b")
    assert world.run()["generation"] == 2 and world.run()["accepted"] == 1
