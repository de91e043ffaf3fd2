"""Cancelling: nothing new begins, what was begun is kept and paid for, and the run ends like any other."""

import random
from collections import Counter
from contextlib import nullcontext

import pytest

from slackwater.adapters.ledger.table import Write
from slackwater.model import ids
from slackwater.model.clock import later
from slackwater.model.errors import CallFailed
from slackwater.model.run import RunState, Unit
from slackwater.model.shard import ShardState
from slackwater.policy.prices import load_price_book
from slackwater.usecases.announce import Announce
from slackwater.usecases.cancelled import KNOWN_FOR_S, CancelledRuns
from slackwater.usecases.dispatch import Dispatch
from slackwater.usecases.engine import Engine
from slackwater.usecases.parts import Parts
from tests.unit.batch_rig import BatchWorld, answered
from tests.unit.queue_rig import QueueWorld, first, patient
from tests.unit.rig import Doors, Rested, aggregator, answer
from tests.unit.test_dispatch import MESSAGE, World, _calls
from tests.unit.test_pool_shards import JOBS, pooled


@pytest.fixture
def batch(table, clock) -> BatchWorld:
    return BatchWorld(table, clock)


@pytest.fixture
def queue(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


def codes(rows):
    return Counter((row["error"] or {"code": "succeeded"})["code"] for row in rows)


# ---------------------------------------------------------------------- the mark


def test_only_a_run_that_is_under_way_can_be_cancelled_and_the_first_mark_stands(runs, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=later(clock.now(), 900))
    marked = runs.cancel("r1")
    clock.advance(60)
    assert runs.cancel("r1")["cancelled_at"] == marked["cancelled_at"]
    assert runs.get("r1")["state"] == "open"
    runs.finish("r1", RunState.SETTLED)
    assert runs.cancel("r1") is None
    assert runs.cancel("nobody") is None
    assert runs.get("nobody") is None


def test_the_mark_is_seen_within_two_seconds_and_asked_for_no_more_often(runs, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
    asked = []
    reader = type("Reader", (), {"get": lambda self, run: asked.append(run) or runs.get(run)})()
    cancelled = CancelledRuns(reader, clock)
    assert not any(cancelled("r1") for _ in range(50))
    runs.cancel("r1")
    assert not cancelled("r1")
    clock.advance(KNOWN_FOR_S)
    assert all(cancelled("r1") for _ in range(50))
    assert len(asked) == 2


# ---------------------------------------------------------------------- packs


class Packs(World):
    """The one pack of `test_dispatch`, whose run may be cancelled while it is being called."""

    def dispatch_until(self, calls: int):
        def script(route, request):
            if len(self.model.calls) == calls:
                self.runs.cancel("r1")
                self.clock.advance(KNOWN_FOR_S)
            return answer()

        self.model.script = script
        engine = Engine(
            caller=self.model, admission=Doors(Rested(self.clock)), prices=load_price_book(), clock=self.clock,
            rng=random.Random(1), concurrency=1, cancelled=CancelledRuns(self.runs, self.clock),
        )  # fmt: skip
        use_case = Dispatch(
            packs=self.runs, parts=Parts(self.bucket), documents=self.bucket, engine=engine, calls_of=_calls,
            queue=self.queue, settle=self.settle, clock=self.clock, rng=random.Random(1),
        )  # fmt: skip
        stop = self.clock.wall_s() + 800
        return use_case(MESSAGE, owner="a", stop_at_wall_s=stop, alive=lambda renew: nullcontext())


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_a_pack_that_is_being_called_keeps_its_answers_and_begins_no_further_call(runs, bucket, clock):
    world = Packs(runs, bucket, clock)
    world.dispatch_until(10)
    assert len(world.model.calls) == 10
    assert codes(world.stored()) == {"succeeded": 10, "cancelled": 90}
    assert sorted(row["line"] for row in world.stored()) == list(range(1, 101))
    assert world.runs.get("r1")["unsettled"] == 0


def test_a_pack_whose_message_comes_after_the_mark_calls_nothing(runs, bucket, clock):
    world = Packs(runs, bucket, clock)
    world.runs.cancel("r1")
    world.dispatch_until(10**6)
    assert world.model.calls == []
    assert codes(world.stored()) == {"cancelled": 100}


# ---------------------------------------------------------------------- shards of a file


@pytest.mark.promise(1)
def test_a_staged_shard_is_never_submitted(batch):
    batch.file_run(250)
    assert batch.cancels("r1")
    batch.deliver()
    for _ in range(3):
        batch.beat()
        batch.clock.advance(61)
    assert batch.bedrock.created == []
    assert codes(batch.rows()) == {"cancelled": 250}
    assert batch.meta()["unsettled"] == 0
    assert batch.workflow.answered


def test_a_submit_that_lies_in_the_queue_already_makes_no_job(batch):
    shard = batch.file_run(250)
    batch.runs.cancel("r1")
    done = batch.do({"v": 1, "do": "submit", "shard": shard, "attempt": 1, "may_move": True})
    assert (done.outcome, batch.bedrock.created) == ("too late", [])


@pytest.mark.promise(2)
def test_a_running_batch_job_is_stopped_and_what_it_finished_is_kept(batch):
    shard = batch.opened(batch.file_run(250))
    batch.bedrock.moves("InProgress")
    batch.cancels("r1")
    batch.deliver()
    batch.beat()
    assert [operation for operation, *_ in batch.bedrock.calls if operation == "stop"] == ["stop"]
    batch.clock.advance(61)
    batch.bedrock.ends("Stopped", lambda records: [answered(record) for record in records[:80]])
    for _ in range(3):
        batch.beat()
        batch.clock.advance(61)
    assert batch.shard(shard.id).state is ShardState.SETTLED
    assert codes(batch.rows()) == {"succeeded": 80, "cancelled": 170}
    assert batch.covered() == set(range(1, 251))
    assert batch.packs.sent == []  # nothing is called in its place
    assert (batch.meta()["unsettled"], batch.meta()["repeats"]) == (0, 0)


def test_a_shard_that_a_lost_pass_did_not_stop_is_stopped_by_the_tick(batch):
    batch.opened(batch.file_run(250))
    batch.runs.cancel("r1")  # and the message to the worker is lost
    batch.beat()
    batch.clock.advance(61)
    batch.beat()
    assert any(operation == "stop" for operation, *_ in batch.bedrock.calls)


def test_a_shard_that_was_cut_short_stays_so(batch, clock):
    shard = batch.file_run(250)
    assert batch.shards.cut_short(shard, clock.now())
    clock.advance(60)
    assert not batch.shards.cut_short(shard, clock.now())
    assert not batch.shards.cut_short("s" + "b" * 20, clock.now())


# ---------------------------------------------------------------------- queue runs


def run_id(world: QueueWorld) -> str:
    return world.run()["run_id"]


def cancelled(world: QueueWorld) -> str:
    found = run_id(world)
    world.cancel_run(found)
    return found


@pytest.mark.promise(1)
def test_jobs_that_wait_fail_and_their_messages_are_dropped(queue, clock):
    queue.model.script = lambda route, request: _throttled()
    queue.work(first(clock, "a"), first(clock, "b"))
    found = cancelled(queue)
    assert codes(queue.rows()) == {"cancelled": 2}
    assert queue.runs.get(found)["unsettled"] == 0
    queue.model.script = lambda route, request: answer()
    calls = len(queue.model.calls)
    queue.work(*queue.sent_on(), worker="b")
    assert len(queue.model.calls) == calls
    assert found in queue.workflow.started


def test_a_job_that_is_taken_after_the_mark_is_not_called_and_gets_its_reply(queue, clock, monkeypatch):
    job = first(clock, "a", reply_to="arn:aws:sqs:us-east-1:000000000000:replies")
    monkeypatch.setattr(queue.router, "_cancelled", lambda run: True)
    queue.work(job)
    assert queue.model.calls == []
    assert [reply["error"]["code"] for reply in queue.replies.sent] == ["cancelled"]


def test_later_jobs_of_the_name_open_its_next_generation(queue, clock):
    queue.work(first(clock, "a"))
    found = cancelled(queue)
    queue.work(first(clock, "b"), worker="b")
    assert run_id(queue) != found
    assert codes(queue.rows()) == {"succeeded": 1}


@pytest.mark.promise(2)
def test_pooled_jobs_leave_an_open_pool_and_no_batch_job_can_hold_them(table, bucket, clock):
    queue = QueueWorld(table, bucket, clock, full=100)
    queue.work(*(patient(clock, f"mine-{n}") for n in range(5)))
    queue.work(*(patient(clock, f"theirs-{n}", run_id="theirs") for n in range(3)), worker="b")
    entry = queue.jobs.get(_job("mine-0"))
    pool = entry.pool
    assert queue.pools.get(pool).count == 8
    found = cancelled(queue)
    assert codes(queue.rows()) == {"cancelled": 5}
    assert queue.runs.get(found)["unsettled"] == 0
    assert queue.pools.get(pool).count == 3
    assert {member.run_id for member in queue.pools.members(pool)} == {queue.run("theirs")["run_id"]}
    assert queue.cancel_run(found)  # again: nothing more, and nothing counted twice
    assert queue.pools.get(pool).count == 3
    assert queue.runs.get(found)["failed"] == 5


def test_jobs_in_a_closed_pool_stay_since_its_shard_is_named_by_them(table, bucket, clock):
    queue = QueueWorld(table, bucket, clock, full=100)
    queue.work(*(patient(clock, f"mine-{n}") for n in range(5)))
    pool = queue.jobs.get(_job("mine-0")).pool
    queue.keeper.close_pool(pool)
    found = cancelled(queue)
    assert queue.runs.get(found)["unsettled"] == 5
    assert len(list(queue.pools.members(pool))) == 5
    assert not queue.pools.leave(pool, [_job("mine-0")])


def running_pool_shard(batch: BatchWorld) -> tuple[str, str, str]:
    """A queue run, its pool, and the pool's shard, whose batch job runs."""
    run, pool = pooled(batch)
    batch.do({"do": "stage_pool", "pool": pool})
    shard = ids.shard_id(pool, [member.job for member in batch.pools.members(pool)], 1)
    batch.opened(shard)
    batch.bedrock.moves("InProgress")
    return run, pool, shard


def stops(batch: BatchWorld) -> int:
    return sum(operation == "stop" for operation, *_ in batch.bedrock.calls)


@pytest.mark.promise(2)
def test_a_batch_job_that_holds_only_cancelled_jobs_is_stopped(batch):
    run, _, shard = running_pool_shard(batch)
    batch.cancels(run)
    batch.deliver()
    batch.beat()
    assert stops(batch) == 1
    batch.clock.advance(61)
    batch.bedrock.ends("Stopped", lambda records: [answered(record) for record in records[:30]])
    for _ in range(3):
        batch.beat()
        batch.clock.advance(61)
    assert batch.shard(shard).state is ShardState.SETTLED
    assert codes(batch.rows(run)) == {"succeeded": 30, "cancelled": JOBS - 30}
    assert (batch.meta(run)["unsettled"], batch.queue.sent) == (0, [])


def test_a_batch_job_that_holds_others_jobs_too_goes_on_and_the_cancelled_run_waits_for_it(batch):
    run, pool, _ = running_pool_shard(batch)
    batch.queue_runs.current("default", "theirs", profiles_version="v1")
    theirs = batch.queue_runs.newest("default", "theirs").run_id
    one = next(iter(batch.table.query(f"POOL#{pool}", prefix="JOB#")))
    batch.table.write(Write((one["pk"], one["sk"]), set_={"run": theirs}))
    batch.cancels(run)
    batch.deliver()
    batch.beat()
    assert stops(batch) == 0
    assert batch.meta(run)["unsettled"] == JOBS


def test_a_pool_in_which_too_few_have_stayed_is_called_and_makes_no_shard(batch):
    _, pool = pooled(batch)
    batch.table.write(Write((f"POOL#{pool}", "META"), set_={"state": "open"}))
    members = [member.job for member in batch.pools.members(pool)]
    assert batch.pools.leave(pool, members[:50]) == frozenset(members[:50])
    done = batch.do({"do": "stage_pool", "pool": pool})
    assert done.outcome == "too few jobs have stayed: 70 jobs are called"
    assert len(batch.queue.sent) == JOBS - 50


def _job(caller_id: str) -> str:
    return ids.job_of_message("default", "triage", caller_id, "")


def _throttled():
    raise CallFailed("ThrottlingException", "quota")


# ---------------------------------------------------------------------- the end


def test_the_receipt_the_state_and_the_event_say_cancelled(runs, bucket, clock):
    runs.open("r1", {"kind": "file", "deadline_at": "2026-12-01T00:00:00.000Z"}, next_check_at=clock.now())
    runs.cancel("r1")
    bucket.put_json("v1/runs/r1/survey.json", {"blocks": []})
    receipt = aggregator(bucket, runs, clock)("r1")
    assert receipt["status"] == "cancelled"
    told = []
    events = type("Events", (), {"announce": lambda self, kind, detail: told.append((kind, detail["run_id"]))})()
    Announce(runs=runs, documents=bucket, events=events, clock=clock)("r1", receipt["status"])
    assert runs.get("r1")["state"] == "cancelled"
    assert told == [("Run Cancelled", "r1")]


def test_a_workflow_that_broke_is_a_failure_all_the_same(runs, bucket, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
    told = []
    events = type("Events", (), {"announce": lambda self, kind, detail: told.append(kind)})()
    Announce(runs=runs, documents=bucket, events=events, clock=clock)("r1", "cancelled", "States.Timeout")
    assert (runs.get("r1")["state"], told) == ("failed", ["Run Failed"])


def test_units_that_are_entered_after_the_mark_end_too(batch):
    about = {"kind": "file", "profile": "default", "deadline_at": "2026-12-01T00:00:00.000Z"}
    batch.runs.open("r1", about, next_check_at=batch.clock.now())
    batch.cancels("r1")
    batch.deliver()
    row = b'{"line":1,"id":"a","request":{"messages":[{"role":"user","content":[{"text":"x"}]}]}}'
    batch.home.put("v1/runs/r1/input/00000.jsonl", row)
    batch.runs.register("r1", [Unit("p1", "pack", "00000", "on_demand", b"\x01", first_line=1, jobs=1)])
    batch.clock.advance(61)
    batch.beat()
    assert codes(batch.rows()) == {"cancelled": 1}
    assert batch.meta()["unsettled"] == 0
