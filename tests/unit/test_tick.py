"""Tick and work: what is due is looked at, in any order, twice or late, and nothing of it is believed."""

from datetime import timedelta

import orjson
import pytest

from slackwater.model import bits
from slackwater.model.batch_job import BatchJob
from slackwater.model.clock import iso
from slackwater.model.run import StrangeMessage, Unit
from slackwater.model.shard import ShardState
from tests.unit.batch_rig import PREFIX, BatchWorld, all_answered, record

DAY_S = 86_400


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def test_a_tick_lists_each_region_once_and_only_this_stacks_jobs(world):
    for number in range(5):
        world.file_run(120, run=f"r{number}")
    world.beat()
    world.clock.advance(61)
    world.bedrock.calls.clear()
    world.beat()
    assert [call for call in world.bedrock.calls if call[0] == "list"] == [("list", "us-west-2", PREFIX)]


@pytest.mark.promise(2)
def test_two_ticks_at_once_make_one_job(world):
    world.file_run()
    world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    world.deliver()
    assert len(world.bedrock.created) == 1


@pytest.mark.promise(2)
def test_doubled_and_reordered_messages_change_nothing(world):
    shard = world.file_run()
    messages = []
    for _ in range(3):
        world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
        messages += [m.body for m in world.sent.sent]
        world.deliver()
        world.clock.advance(61)
    world.bedrock.ends(output=all_answered)
    world.beat()
    assert world.shard(shard).state is ShardState.SETTLED
    before = world.rows(), world.meta()
    for message in reversed(messages * 2):
        world.do(message)
    assert (world.rows(), world.meta()) == before
    assert len(world.bedrock.created) == 1


def test_a_settled_shard_is_due_no_more(world):
    shard = world.file_run()
    world.opened(shard)
    world.bedrock.ends(output=all_answered)
    world.beat()
    world.clock.advance(3600)
    assert world.beat().due == 0
    hist = list(world.table.query("HIST#us-west-2|anthropic.claude-haiku-4-5-20251001-v1:0"))
    assert [(item["records"], item["status"]) for item in hist] == [(250, "Completed")]


def test_one_broken_item_does_not_stop_the_others(world):
    broken = world.file_run(120, run="r1")
    good = world.file_run(120, run="r2")
    world.shards.change(world.shard(broken), state=ShardState.INTENT)  # without intent_at: no code of ours writes that
    with pytest.raises(RuntimeError, match=f"SHARD {broken}: ValueError"):
        world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    world.deliver()
    assert world.shard(good).state is ShardState.OPEN


def test_what_the_time_does_not_suffice_for_stays_due(world):
    shard = world.file_run()
    ticked = world.tick(stop_at_wall_s=world.clock.wall_s())
    assert (ticked.left, ticked.sent) == (1, 0)
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN


def test_a_live_job_of_ours_that_serves_nobody_is_stopped_and_others_are_left_alone(world):
    world.file_run()
    now = world.clock.now()
    names = {
        "arn:1/stray": f"{PREFIX}s{'b' * 20}-a1",
        "arn:2/ended": f"{PREFIX}s{'c' * 20}-a1",
        "arn:3/other": f"sw-zzzzzz-s{'d' * 20}-a1",
        "arn:4/human": f"{PREFIX}of-a-colleague",
    }
    for arn, name in names.items():
        status = "Completed" if arn.endswith("ended") else "InProgress"
        world.bedrock.jobs[arn] = BatchJob(name, arn, status, "us-west-2", now)
    world.beat()
    world.clock.advance(61)
    world.beat()
    assert [call[2] for call in world.bedrock.calls if call[0] == "stop"] == ["arn:1/stray"]


def test_an_event_of_bedrock_only_makes_the_tick_look_now(world):
    shard = world.file_run()
    world.opened(shard)
    world.beat()
    world.bedrock.ends(output=all_answered)
    assert world.beat().due == 0
    event = {"source": "aws.bedrock", "detail-type": "Batch Inference Job State Change"}
    detail = {"batchJobName": f"{PREFIX}{shard}-a1", "status": "Failed"}  # it lies
    assert world.do({**event, "detail": detail}).outcome == "looked at next"
    world.beat()
    assert len(world.rows()) == 250
    assert world.do({**event, "detail": detail}).outcome == "settled"
    assert world.do({**event, "detail": {"batchJobName": "somebody-elses"}}).outcome == "another's job"


def test_the_token_is_answered_again_if_the_last_settler_died_before_it(world):
    world.runs.open(
        "r1",
        {"kind": "file", "profile": "default", "deadline_at": iso(world.clock.now())},
        next_check_at=world.clock.now(),
    )
    world.runs.set_token("r1", "token")
    world.beat()
    assert world.workflow.answered == ["token"]


@pytest.mark.promise(3)
def test_units_that_nobody_has_ended_15_minutes_after_the_deadline_fail_and_what_was_stored_stays(world):
    shard = world.file_run(150)
    lines = [{"line": n, "id": f"id-{n}", "request": {"messages": []}} for n in range(151, 161)]
    world.home.put("v1/runs/r1/input/00001.jsonl", b"\n".join(orjson.dumps(line) for line in lines))
    unit = Unit("p1", "pack", "00001", "on_demand", bits.pack(range(50, 60)), first_line=101, jobs=10)
    world.runs.register("r1", [unit])
    world.parts.append("r1", "00001", "pack-p1", [{"line": 151, "status": "succeeded"}])
    world.bedrock.down.update(("us-west-2", "us-east-1"))
    held = world.shards.lease(shard, "alive", seconds=2 * DAY_S)
    world.clock.advance(DAY_S + 14 * 60)
    world.beat()
    assert world.meta()["unsettled"] == 2
    world.clock.advance(61)
    world.beat()
    assert world.meta()["unsettled"] == 1  # its worker lives
    assert held is not None
    world.shards.release(shard, "alive")
    for _ in range(3):
        world.clock.advance(61)
        world.beat()
    assert world.meta()["unsettled"] == 0
    rows = {row["line"]: row for row in world.rows()}
    assert sorted(rows) == list(range(1, 161))
    assert rows[151]["status"] == "succeeded"
    assert {rows[n]["error"]["code"] for n in rows if n != 151} == {"deadline_missed"}
    assert world.workflow.answered[0] == "token of r1"


def test_a_pack_whose_message_is_a_dead_letter_fails_with_that_reason_once(world):
    world.file_run(120)
    lines = [{"line": n, "id": f"id-{n}", "request": {"messages": []}} for n in range(121, 131)]
    world.home.put("v1/runs/r1/input/00001.jsonl", b"\n".join(orjson.dumps(line) for line in lines))
    unit = Unit("p1", "pack", "00001", "on_demand", bits.pack(range(20, 30)), first_line=101, jobs=10)
    world.runs.register("r1", [unit])
    body = {"v": 1, "run_id": "r1", "pack_id": "p1", "block": "00001", "hop": 0}
    world.dead["packs"].bodies += ["no json", "[]", orjson.dumps(body).decode()]
    for _ in range(3):
        world.beat()
        world.clock.advance(61)
    rows = [row for row in world.rows() if row["status"] == "failed"]
    assert sorted(row["line"] for row in rows) == list(range(121, 131))
    assert {row["error"]["code"] for row in rows} == {"undeliverable"}
    assert world.dead["packs"].bodies[2] == orjson.dumps(body).decode()


def test_a_region_that_cannot_be_asked_costs_the_message_nothing(world):
    shard = world.file_run()
    world.bedrock.after["create"] = ["ReadTimeoutError"]
    world.beat()
    world.bedrock.down.add("us-west-2")
    done = world.do({"v": 1, "do": "adopt", "shard": shard, "attempt": 1})
    assert done.outcome == "asked in vain: ServiceUnavailableException"


def test_what_is_no_work_message_is_raised_and_goes_to_the_dead_letters(world):
    with pytest.raises(StrangeMessage, match="verb"):
        world.do({"v": 1})
    with pytest.raises(StrangeMessage, match="no verb"):
        world.do({"v": 1, "do": "dance"})


@pytest.mark.promise(2)
def test_staging_the_same_jobs_again_gives_the_same_shard_and_the_same_bytes(world):
    records = [record(line) for line in range(1, 121)]
    deadline = world.clock.now() + timedelta(days=1)
    first = world.staged(records, run="r1", deadline=deadline)
    bytes_ = dict(world.stores["us-west-2"].objects), dict(world.home.objects)
    assert world.staged(records, run="r1", deadline=deadline) == first
    assert (world.stores["us-west-2"].objects, world.home.objects) == bytes_
    assert world.staged(records, run="r1", deadline=deadline, generation=2) != first
    lines = world.stores["us-west-2"].rows(f"v1/shards/{first}/in.jsonl")
    assert lines[0] == {"recordId": "R0000000000", "modelInput": records[0].request}
    assert b"id-1" not in world.stores["us-west-2"].get(f"v1/shards/{first}/in.jsonl")
    assert world.home.rows(f"v1/runs/r1/index/{first}.jsonl")[119] == {
        "r": 119, "run": "r1", "block": "00001", "line": 120, "first": 101, "id": "id-120", "job": "job-r1-120",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("records", "limits", "why"),
    [
        (99, {}, "99 records"),
        (120, {"max_records": 119}, "120 records"),
        (120, {"max_bytes": 1000}, "bytes"),
    ],
)
def test_a_shard_that_breaks_a_limit_of_bedrock_is_not_staged(world, records, limits, why):
    deadline = world.clock.now() + timedelta(days=1)
    with pytest.raises(ValueError, match=why):
        world.staged([record(line) for line in range(1, records + 1)], run="r1", deadline=deadline, **limits)
    assert world.stores["us-west-2"].objects == {}


def test_a_job_twice_in_one_shard_is_a_bug(world):
    deadline = world.clock.now() + timedelta(days=1)
    with pytest.raises(ValueError, match="twice"):
        world.staged([record(1 + line % 110) for line in range(120)], run="r1", deadline=deadline)


def test_a_tick_tells_how_old_open_shards_are_and_how_long_ended_ones_took(world):
    shard = world.file_run()
    world.opened(shard)
    world.clock.advance(600)
    seen = world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    assert (seen.open_shards, seen.turnarounds_s) == (1, ())
    assert 600 <= seen.oldest_s <= 1200
    world.clock.advance(600)
    world.bedrock.ends(output=all_answered)
    seen = world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    assert (seen.open_shards, seen.oldest_s) == (0, None)
    (took_s,) = seen.turnarounds_s
    assert 1200 <= took_s <= 1800
