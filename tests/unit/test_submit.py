"""Submit, adopt, stop: whatever gets lost on the way, a shard never becomes two jobs."""

from dataclasses import replace

import pytest

from slackwater.model.batch_job import BatchJob
from slackwater.model.native import RequestType
from slackwater.model.shard import ShardState
from slackwater.usecases.tick import RESCUE_LEAD_S
from tests.unit.batch_rig import PREFIX, BatchWorld, Fuse, Killed, all_answered
from tests.unit.rig import START


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def until(world: BatchWorld, shard: str, *states: ShardState, beats: int = 60) -> None:
    for _ in range(beats):
        world.beat()
        if world.shard(shard).state in states:
            return
        world.clock.advance(61)
    raise AssertionError(world.outcomes[-5:])


def test_a_staged_shard_gets_one_job_whose_name_is_its_token(world):
    shard = world.file_run()
    world.beat()
    assert world.bedrock.created == [
        {
            "region": "us-west-2",
            "name": f"{PREFIX}{shard}-a1",
            "model_id": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
            "request_type": RequestType.CONVERSE,
            "input_key": f"v1/shards/{shard}/in.jsonl",
            "output_prefix": f"v1/shards/{shard}/out/",
            "timeout_h": 24,
            "tags": {"slackwater:stack": "slackwater", "slackwater:profile": "default", "slackwater:run": "r1"},
        }
    ]
    assert world.shard(shard).state is ShardState.OPEN
    assert world.shard(shard).lease_until_s == 0


@pytest.mark.promise(2)
def test_a_create_whose_reply_is_lost_makes_no_second_job(world):
    shard = world.file_run()
    world.bedrock.after["create"] = ["ReadTimeoutError"]
    world.beat()
    assert world.shard(shard).state is ShardState.INTENT
    world.clock.advance(61)
    until(world, shard, ShardState.OPEN)
    assert len(world.bedrock.created) == 1
    assert [c[0] for c in world.bedrock.calls].count("create") == 1
    assert world.shard(shard).arn == next(iter(world.bedrock.jobs))


@pytest.mark.promise(2)
def test_a_job_that_the_list_shows_late_is_adopted_not_made_again(world):
    shard = world.file_run()
    world.bedrock.after["create"] = ["ReadTimeoutError"]
    world.bedrock.hidden.add(f"{PREFIX}{shard}-a1")
    world.beat()
    for _ in range(9):
        world.clock.advance(61)
        world.beat()
    world.bedrock.hidden.clear()
    until(world, shard, ShardState.OPEN)
    assert [c[0] for c in world.bedrock.calls].count("create") == 1


@pytest.mark.promise(2)
def test_a_create_that_never_arrived_is_sent_again_after_the_list_has_been_silent_for_ten_minutes(world):
    shard = world.file_run()
    world.bedrock.before["create"] = ["ReadTimeoutError"]
    world.beat()
    world.clock.advance(700)
    world.beat()
    assert [c[0] for c in world.bedrock.calls].count("create") == 1  # 120 s and 10 minutes are not over
    world.clock.advance(61)
    until(world, shard, ShardState.OPEN)
    assert world.shard(shard).region == "us-east-1"  # the other region may be in better health
    assert world.shard(shard).attempt == 2
    assert len(world.bedrock.created) == 1


@pytest.mark.promise(2)
def test_where_product_time_runs_fast_a_silent_region_is_left_after_as_much_of_it(table, clock, monkeypatch):
    monkeypatch.setattr(clock, "wall_s", lambda: START.timestamp() + (clock.now() - START).total_seconds() / 600)
    world = BatchWorld(table, clock)
    shard = world.file_run()
    world.bedrock.before["create"] = ["ServiceUnavailableException:503"]
    world.beat()
    world.clock.advance(761)  # hardly more than a real second
    until(world, shard, ShardState.OPEN)
    assert [c[1] for c in world.bedrock.calls if c[0] == "create"] == ["us-west-2", "us-east-1"]
    assert world.shard(shard).attempt == 2
    assert len(world.bedrock.created) == 1


@pytest.mark.promise(2)
def test_silence_of_a_region_that_cannot_be_listed_means_nothing(world):
    shard = world.file_run()
    world.bedrock.after["create"] = ["ReadTimeoutError"]
    world.beat()
    world.bedrock.down.add("us-west-2")
    for _ in range(20):
        world.clock.advance(61)
        assert world.beat().unreadable_regions == ("us-west-2",)
    world.bedrock.down.clear()
    until(world, shard, ShardState.OPEN)
    assert len(world.bedrock.created) == 1
    assert [c[0] for c in world.bedrock.calls].count("create") == 1


@pytest.mark.promise(2)
def test_no_create_is_sent_later_than_two_minutes_after_its_intent(world):
    shard = world.file_run()
    world.bedrock.before["create"] = ["ReadTimeoutError"] * 2
    world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    (message,) = (m.body for m in world.sent.sent)
    world.sent.sent.clear()
    world.do(message)
    world.clock.advance(100)
    world.do(message)  # redelivered in time: the same name and token again
    assert [c[0] for c in world.bedrock.calls].count("create") == 2
    world.clock.advance(121)
    assert world.do(message).outcome == "waiting for the list"
    assert [c[0] for c in world.bedrock.calls].count("create") == 2
    assert world.shard(shard).job_name == f"{PREFIX}{shard}-a1"


@pytest.mark.promise(2)
def test_a_submit_that_dies_between_any_two_steps_ends_in_one_job(table, clock):
    at = 1
    while True:
        fuse = Fuse()
        world = BatchWorld(table, clock, fuse=fuse)
        shard = world.file_run(120, run=f"r{at}")
        world.tick(stop_at_wall_s=clock.wall_s() + 9)
        message = next(m.body for m in world.sent.sent if m.body["shard"] == shard)
        world.sent.sent.clear()
        fuse.burnt, fuse.at = 0, at
        try:
            world.do(message)
        except Killed:
            fuse.at = None
        else:
            break
        clock.advance(91)
        world.do(message)
        until(world, shard, ShardState.OPEN)
        assert len(world.bedrock.created) == 1
        at += 1
    assert at > 6


@pytest.mark.promise(2)
def test_of_two_workers_with_one_message_one_submits(world):
    shard = world.file_run()
    world.tick(stop_at_wall_s=world.clock.wall_s() + 9)
    (message,) = (m.body for m in world.sent.sent)
    world.shards.lease(shard, "another", seconds=80)
    assert world.do(message).outcome == "busy"
    assert world.bedrock.created == []


def test_a_name_that_is_taken_is_adopted(world):
    shard = world.file_run()
    name = f"{PREFIX}{shard}-a1"
    world.bedrock.jobs["arn:x/abc"] = BatchJob(name, "arn:x/abc", "InProgress", "us-west-2", world.clock.now())
    world.bedrock.before["create"] = ["ConflictException"]
    world.beat()
    assert world.shard(shard).arn == "arn:x/abc"


@pytest.mark.promise(4)
def test_a_region_without_a_free_slot_is_asked_again_under_the_same_name_and_left_after_three_tries(world):
    shard = world.file_run()
    world.bedrock.before["create"] = ["ServiceQuotaExceededException"] * 2
    world.beat()
    assert world.shard(shard).state is ShardState.STAGED
    until(world, shard, ShardState.OPEN)
    assert world.shard(shard).attempt == 1
    other = world.file_run(run="r2")
    world.bedrock.before["create"] = ["ThrottlingException"] * 3
    until(world, other, ShardState.OPEN)
    assert (world.shard(other).attempt, world.shard(other).region) == (2, "us-east-1")
    assert world.shard(other).refused_regions == ()


def test_a_definite_refusal_moves_the_shard_to_the_next_region_with_its_file(world):
    shard = world.file_run()
    world.bedrock.before["create"] = ["AccessDeniedException"]
    until(world, shard, ShardState.OPEN)
    moved = world.shard(shard)
    assert (moved.region, moved.attempt, moved.refused_regions) == ("us-east-1", 2, ("us-west-2",))
    assert world.bedrock.created[0]["name"] == f"{PREFIX}{shard}-a2"
    key = f"v1/shards/{shard}/in.jsonl"
    assert world.home.get(key) == world.stores["us-west-2"].get(key)
    world.bedrock.ends(output=all_answered)
    world.clock.advance(61)
    until(world, shard, ShardState.SETTLED)
    assert {row["region"] for row in world.rows()} == {"us-east-1"}
    assert any(key.endswith(f"shard-{shard}.2.jsonl") for key in world.home.objects)


@pytest.mark.promise(3)
def test_a_shard_that_is_refused_everywhere_is_called_and_nothing_counts_as_repeated(world):
    shard = world.file_run()
    world.bedrock.before["create"] = ["ValidationException"] * 2
    until(world, shard, ShardState.SETTLED)
    assert world.bedrock.created == []
    assert sum(len(lines) for lines in world.waiting().values()) == 250
    assert world.meta()["repeats"] == 0


@pytest.mark.promise(3)
def test_a_late_job_is_stopped_and_only_what_is_missing_is_rescued(world):
    shard = world.file_run()
    world.opened(shard)
    world.bedrock.moves("InProgress")
    guard_s = (world.shard(shard).guard_at - world.clock.now()).total_seconds() - RESCUE_LEAD_S
    world.clock.advance(guard_s - 30)
    world.beat()
    assert not any(call[0] == "stop" for call in world.bedrock.calls)
    world.clock.advance(61)
    until(world, shard, ShardState.STOPPING)
    assert [call for call in world.bedrock.calls if call[0] == "stop"]
    world.clock.advance(120)
    world.bedrock.ends("Stopped", lambda records: all_answered(records[:200]), processed_records=200)
    until(world, shard, ShardState.SETTLED)
    assert {row["line"] for row in world.rows()} == set(range(1, 201))
    assert set().union(*world.waiting().values()) == set(range(201, 251))
    assert world.meta()["repeats"] == 0
    assert world.clock.now() < world.shard(shard).deadline_at


@pytest.mark.promise(3)
def test_a_job_that_hangs_in_stopping_is_rescued_at_the_last_moment_and_looked_after(world):
    shard = world.file_run()
    world.opened(shard)
    world.bedrock.moves("InProgress", processed_records=40)
    world.clock.advance((world.shard(shard).guard_at - world.clock.now()).total_seconds())
    until(world, shard, ShardState.SETTLED)
    assert world.clock.now() <= world.shard(shard).deadline_at
    assert sum(len(lines) for lines in world.waiting().values()) == 250
    assert world.meta()["repeats"] == 40
    (job,) = world.bedrock.jobs.values()
    world.bedrock.jobs[job.arn] = replace(job, status="InProgress")  # it never noticed
    stops = sum(call[0] == "stop" for call in world.bedrock.calls)
    for _ in range(12):
        world.clock.advance(61)
        world.beat()
    assert sum(call[0] == "stop" for call in world.bedrock.calls) == stops + 1
    world.bedrock.moves("Stopped")
    for _ in range(3):
        world.clock.advance(61)
        world.beat()
    assert world.shard(shard).next_check_at is None


@pytest.mark.promise(3)
def test_an_open_job_that_neither_list_nor_get_knows_is_collected(world):
    shard = world.file_run(deadline_s=18_000)
    world.opened(shard)
    world.bedrock.jobs.clear()
    until(world, shard, ShardState.SETTLED)
    assert sum(len(lines) for lines in world.waiting().values()) == 250


def test_an_open_job_that_the_list_does_not_show_is_asked_for_by_get(world):
    shard = world.file_run()
    world.opened(shard)
    world.bedrock.hidden.add(f"{PREFIX}{shard}-a1")
    world.bedrock.ends(output=all_answered)
    until(world, shard, ShardState.SETTLED)
    assert len(world.rows()) == 250
