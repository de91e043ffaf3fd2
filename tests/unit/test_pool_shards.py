"""Queued jobs by batch: from a pool into a shard, and back, each once."""

import pytest

from slackwater.model.claim import Asked, Entry, JobState, Pooled, Room
from slackwater.model.clock import later
from slackwater.model.job import Lane
from slackwater.model.shard import ShardState
from tests.unit.batch_rig import BatchWorld, all_answered
from tests.unit.rig import HAIKU

JOBS = 120
KEY = f"{HAIKU}|converse|any|terms"


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def placed(world, run, ordinal):
    from slackwater.model.claim import Inbound, Placed

    now = world.clock.now()
    request = {"messages": [{"role": "user", "content": [{"text": f"prompt {ordinal}"}]}]}
    asked = Asked(
        message=Inbound(f"m{ordinal}", f"receipt{ordinal}", "", now),
        profile="default",
        name="triage",
        id=f"id-{ordinal}",
        job=f"job{ordinal:04d}",
        sha="sha",
        deadline=later(now, 86_400),
        first_sent_at=now,
        request=request,
        body={"v": 1, "request": request},
    )
    return Placed(asked, ordinal)


def pooled(world: BatchWorld) -> tuple[str, str]:
    """A run of 120 queued jobs, all of which wait in a closed pool."""
    now = world.clock.now()
    run = world.queue_runs.current("default", "triage", profiles_version="v1")
    pool = world.pools.current(KEY, "default", deadline=later(now, 86_400), next_check_at=now, profiles_version="v1")
    for start in range(0, JOBS, 40):
        places = [placed(world, run, ordinal) for ordinal in range(start, start + 40)]
        world.queue_runs.ordinals(run.run_id, 40)
        entries = world.jobs.claim(run, places, "worker")
        members = []
        for place, entry in zip(places, entries, strict=True):
            key = f"v1/pools/{pool.pool}/{entry.job}.json"
            world.home.put_json(key, place.asked.body)
            members.append((entry, as_pooled(entry, key, now)))
        pool = world.pools.get(pool.pool)
        room = Room(1000, 10**9)
        assert world.pools.join(pool, members, deadline=later(now, 86_400), next_check_at=now, room=room)
    return run.run_id, pool.pool


def as_pooled(entry: Entry, key: str, now) -> Pooled:
    return Pooled(
        entry.job, entry.run_id, entry.block, entry.ordinal, entry.id, key, entry.deadline, 100, now, entry.hop
    )


def beats(world: BatchWorld, number: int) -> None:
    for _ in range(number):
        world.beat()
        world.clock.advance(61)


@pytest.mark.promise(2)
def test_a_pool_that_has_waited_becomes_one_shard_whose_answers_end_its_jobs_and_the_rest_are_called(world):
    run, pool = pooled(world)
    beats(world, 18)
    assert world.pools.get(pool).state == "staged"
    (created,) = world.bedrock.created
    shard = world.shards.get(created["name"].split("-")[2])
    assert (shard.owner, shard.records, shard.region) == (pool, JOBS, "us-west-2")
    assert created["input_key"] == shard.input_key
    world.bedrock.ends(output=lambda records: all_answered(records[:110]), processed_records=115)
    beats(world, 20)
    assert world.shard(shard.id).state is ShardState.SETTLED
    entries = world.jobs.get_many(f"job{ordinal:04d}" for ordinal in range(JOBS))
    done = {entry.ordinal for entry in entries.values() if entry.state is JobState.DONE}
    assert done == {row["line"] for row in world.rows(run)}
    assert len(done) == 110
    assert {parcel.entry.ordinal for parcel in world.queue.sent} == set(range(JOBS)) - done
    meta = world.runs.get(run)
    assert (meta["succeeded"], meta["unsettled"], meta["repeats"]) == (110, 10, 5)
    row = next(row for row in world.rows(run) if row["line"] == 7)
    assert row["response"]["output"]["message"]["content"][0]["text"] == "echo of prompt 7"


@pytest.mark.promise(2)
def test_staging_a_pool_twice_makes_one_shard(world):
    _, pool = pooled(world)
    message = {"v": 1, "do": "stage_pool", "pool": pool}
    assert world.do(message).outcome.startswith("staged as s")
    assert world.do(message).outcome == "stale"
    beats(world, 3)
    assert len(world.bedrock.created) == 1


def test_a_pool_is_staged_by_the_profiles_of_its_jobs_runs(world):
    _, pool = pooled(world)
    world.applied.apply(lanes=(Lane.ON_DEMAND,))
    assert world.do({"v": 1, "do": "stage_pool", "pool": pool}).outcome.startswith("staged as s")


def test_a_pool_whose_profile_has_no_batch_region_any_more_is_called(world):
    _, pool = pooled(world)
    del world.stores["us-west-2"], world.stores["us-east-1"]
    done = world.do({"v": 1, "do": "stage_pool", "pool": pool})
    assert done.outcome == f"no batch region is left: {JOBS} jobs are called"
    assert len(world.queue.sent) == JOBS
    assert world.pools.get(pool).state == "staged"
