"""Pools are joined, waited in and left by what our own ended batch jobs have taught, as the tick reckons."""

from datetime import timedelta

import pytest

from slackwater.model.job import Lane
from slackwater.model.native import RequestType
from slackwater.policy.remainder import Taken
from slackwater.usecases.pooled import Latest
from slackwater.usecases.pools import due, pool_key
from tests.unit.batch_rig import DRAIN, EAST, WEST, BatchWorld
from tests.unit.queue_rig import QueueWorld, patient
from tests.unit.rig import HAIKU
from tests.unit.test_forecasts import remembered
from tests.unit.test_remainders import KEY, PROFILE, beats, dropped

REGIONS = (WEST.region, EAST.region)
HOUR_S = 3600


def taught(table, clock, took_s, *, regions=REGIONS, jobs=20):
    """Our jobs of some regions have taken so long."""
    for region in regions:
        remembered(table, clock, jobs, took_s=took_s, region=region)


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def asked(world, *, deadline_s):
    """What becomes of 60 records, where 40 others wait."""
    dropped(world, "r2", 40, deadline_s=2 * 86_400)
    return world.remainders(
        60,
        6_000,
        profile=PROFILE,
        kind=RequestType.CONVERSE,
        deadline=world.clock.now() + timedelta(seconds=deadline_s),
        calling=Lane.ON_DEMAND,
        saving_pico=10**12,
        min_records=100,
    )


@pytest.mark.parametrize(
    ("took_s", "regions", "taken"),
    [
        (600, REGIONS, Taken.JOIN),
        (600, (WEST.region,), Taken.ON_DEMAND),  # it may go to the other one, of which nothing is known
        (4 * HOUR_S, REGIONS, Taken.ON_DEMAND),
    ],
)
def test_a_remainder_due_in_three_hours_joins_where_batch_jobs_are_known_to_be_quick(world, took_s, regions, taken):
    taught(world.table, world.clock, took_s, regions=regions)
    assert asked(world, deadline_s=3 * HOUR_S).taken is taken


@pytest.mark.promise(3)
def test_a_remainder_due_in_twelve_hours_is_called_where_batch_jobs_are_known_to_take_as_long(world):
    assert asked(world, deadline_s=12 * HOUR_S).taken is Taken.JOIN
    taught(world.table, world.clock, 12 * HOUR_S)
    world.clock.advance(61)
    decided = world.remainders(
        60, 6_000, profile=PROFILE, kind=RequestType.CONVERSE, deadline=world.clock.now() + timedelta(hours=12),
        calling=Lane.ON_DEMAND, saving_pico=10**12, min_records=100,
    )  # fmt: skip
    assert decided.taken is Taken.ON_DEMAND and "to leave time for a rescue" in decided.reasons[1]


@pytest.mark.promise(3)
def test_a_remainder_waits_until_its_latest_safe_moment_by_history_and_no_longer(world):
    taught(world.table, world.clock, 600)
    dropped(world, "r1", 60, deadline_s=HOUR_S + 600)  # ten minutes for a job, thirty for the rest
    beats(world, 28)
    assert not world.packs.sent and world.pools.newest(KEY).state == "open"
    beats(world, 4)
    assert world.pools.newest(KEY).state == "released"
    assert [unit["jobs"] for unit in world.runs.units("r1") if unit["state"] != "ended"] == [60]


@pytest.mark.promise(3)
def test_a_remainder_for_which_the_learned_forecast_leaves_no_time_drags_no_others_along(world):
    taught(world.table, world.clock, 12 * HOUR_S)
    dropped(world, "r2", 70)
    dropped(world, "r1", 60, deadline_s=12 * HOUR_S)  # by the prior there would be hours left
    assert (world.pools.newest(KEY).count, world.pools.newest(KEY).state) == (70, "open")
    assert [len(lines) for lines in world.waiting("r1").values()] == [60]


def test_those_who_wait_count_for_the_size_of_the_job(world):
    taught(world.table, world.clock, 600)
    latest = Latest(forecasts=world.forecasts, regions=REGIONS, drain_jobs_per_s=DRAIN)
    deadline = world.clock.now() + timedelta(days=1)
    assert deadline - latest(deadline, HAIKU, 900) == timedelta(seconds=600 + 900 / DRAIN + 1800)
    assert deadline - latest(deadline, HAIKU, 1_000) == timedelta(hours=8, seconds=1_000 / DRAIN + 1800)  # never seen


@pytest.mark.promise(3)
def test_a_queue_jobs_pool_is_looked_at_when_its_learned_forecast_says(table, bucket, clock):
    world = QueueWorld(table, bucket, clock)
    taught(table, clock, 20 * HOUR_S)
    world.work(patient(clock, "a", deadline=f"{20 * 60 + 40}m"))
    pool = world.pools.newest(pool_key(PROFILE, RequestType.CONVERSE))
    looked_s = (pool.next_check_at - clock.now()).total_seconds()
    assert looked_s == pytest.approx(600, abs=1)  # by the prior: a quarter of an hour, as for any pool
    decide = {"forecast": world.forecasts.over(HAIKU, REGIONS, pool.count), "drain_jobs_per_s": 20.0}
    assert due(pool, pool.next_check_at, **decide).action == "release"
    assert due(pool, pool.next_check_at - timedelta(seconds=1), **decide).action == "keep"
