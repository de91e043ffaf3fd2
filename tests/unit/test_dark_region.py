"""A whole region goes dark for hours: nothing there can be created, listed, asked for or stopped."""

import pytest

from slackwater.model.shard import Shard, ShardState
from tests.unit.batch_rig import BatchWorld, all_answered

WEST, EAST = "us-west-2", "us-east-1"
HOUR_S = 3600


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def passes(world, hours):
    for _ in range(round(hours * HOUR_S / 300)):
        world.clock.advance(300)
        world.beat()


def until_due(world, shard):
    """Until two minutes before a shard's deadline, with a tick a minute in the end."""
    left_s = (shard.deadline_at - world.clock.now()).total_seconds()
    passes(world, (left_s - 900) / HOUR_S)
    while (shard.deadline_at - world.clock.now()).total_seconds() > 120:
        world.clock.advance(60)
        world.beat()


def lines(world, run):
    """The lines that have their result, and those that calls still have to answer."""
    waiting = world.waiting(run)
    return {row["line"] for row in world.rows(run)}, set().union(*waiting.values()) if waiting else set()


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_what_a_dark_region_holds_is_called_if_it_is_due_and_kept_if_it_can_wait(world):
    patient: Shard = world.opened(world.file_run(120, run="patient"))
    due = world.opened(world.file_run(120, run="due", deadline_s=4 * HOUR_S))
    world.bedrock.after["create"] = ["ReadTimeoutError"]  # it was done, and nobody knows
    unknown = world.file_run(120, run="unknown", deadline_s=4 * HOUR_S)
    world.beat()
    assert (patient.region, due.region, world.shard(unknown).state) == (WEST, WEST, ShardState.INTENT)
    world.bedrock.down.add(WEST)
    world.bedrock.ends(output=all_answered, processed_records=120)  # in the dark, all three
    passes(world, 1)
    late = world.file_run(120, run="late")
    world.beat()
    assert (world.shard(late).region, world.shard(late).state) == (EAST, ShardState.OPEN)
    world.bedrock.ends()
    until_due(world, world.shard(unknown))
    for run in ("due", "unknown"):
        assert lines(world, run) == (set(), set(range(1, 121)))  # it is called, in time
        assert world.meta(run)["repeats"] == 120  # and named: their jobs may have done them all
    assert lines(world, "late") == (set(range(1, 121)), set())
    assert lines(world, "patient") == (set(), set())
    assert (world.meta("patient")["unsettled"], world.shard(patient.id).state) == (1, ShardState.OPEN)
    world.bedrock.down.clear()
    passes(world, 0.25)
    assert lines(world, "patient") == (set(range(1, 121)), set())
    assert [world.meta(run)["repeats"] for run in ("patient", "late")] == [0, 0]
    assert [world.meta(run)["unsettled"] for run in ("patient", "late")] == [0, 0]
    assert [job["region"] for job in world.bedrock.created] == [WEST, WEST, WEST, EAST]


@pytest.mark.promise(2)
def test_a_job_that_comes_out_of_the_dark_alive_after_its_rescue_is_stopped(world):
    shard = world.opened(world.file_run(120, run="due", deadline_s=4 * HOUR_S))
    world.bedrock.moves("InProgress")
    world.bedrock.down.add(WEST)
    until_due(world, shard)
    assert world.shard(shard.id).state is ShardState.SETTLED
    assert lines(world, "due") == (set(), set(range(1, 121)))
    world.bedrock.down.clear()
    passes(world, 0.25)
    (job,) = world.bedrock.jobs.values()
    assert job.status == "Stopping"
    assert world.meta("due")["repeats"] == 120


@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_a_region_that_goes_dark_while_shards_wait_for_a_slot_there_gets_none_of_them(world):
    world.bedrock.others |= {WEST: 100, EAST: 100}
    waiting = world.file_run(120, run="r2", deadline_s=12 * HOUR_S)
    world.beat()
    assert world.shard(waiting).state is ShardState.STAGED
    world.bedrock.down.add(WEST)
    world.bedrock.others.clear()
    passes(world, 0.5)
    assert (world.shard(waiting).region, world.shard(waiting).state) == (EAST, ShardState.OPEN)
    world.bedrock.ends()
    passes(world, 0.5)
    assert lines(world, "r2") == (set(range(1, 121)), set())
    assert world.meta("r2")["repeats"] == 0
