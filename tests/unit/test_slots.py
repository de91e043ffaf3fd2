"""Slots of batch jobs: no more open jobs than a region allows, other people's among them, and none lost for ever."""

import pytest

from slackwater.model.job import Route
from slackwater.model.shard import ShardState
from slackwater.policy.slots import MAX_OPEN, Place, Slots, placement
from tests.unit.batch_rig import EAST, WEST, BatchWorld
from tests.unit.rig import HAIKU

PRICES = {"us-west-2": 10, "us-east-1": 10, "eu-west-1": 12}


def order(*places, patience_s=3600.0):
    return [route.region for route in placement(places, price=lambda r: PRICES.get(r.region), patience_s=patience_s)]


def at(region, here=False, **slots):
    return Place(Route(region, HAIKU, HAIKU, "regional"), Slots(**slots), here)


def test_a_region_without_a_free_slot_is_no_place():
    assert order(at("us-west-2", taken=60, others=40), at("us-east-1", taken=99)) == ["us-east-1"]
    assert order(at("us-west-2", others=MAX_OPEN)) == []


def test_the_cheapest_region_first_and_an_unknown_price_last():
    assert order(at("mars"), at("eu-west-1"), at("us-east-1")) == ["us-east-1", "eu-west-1", "mars"]


def test_among_equals_the_region_that_holds_the_file_unless_its_queue_stands():
    assert order(at("us-west-2"), at("us-east-1", here=True)) == ["us-east-1", "us-west-2"]
    assert order(at("us-west-2", queued_s=60.0), at("us-east-1", here=True, queued_s=7200.0))[0] == "us-west-2"


def test_then_the_younger_queue_then_the_more_room():
    assert order(at("us-west-2", queued_s=600.0), at("us-east-1", queued_s=5.0))[0] == "us-east-1"
    assert order(at("us-west-2", taken=5), at("us-east-1", taken=4))[0] == "us-east-1"


# ---------------------------------------------------------------------- the ledger


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def slots(world, region="us-west-2"):
    return world.slot_ledger.get(region, HAIKU)[0]


def test_a_shard_holds_one_slot_however_often_it_asks_and_gives_it_back_once(world):
    ledger = world.slot_ledger
    assert ledger.take("us-west-2", HAIKU, "s1") and ledger.take("us-west-2", HAIKU, "s1")
    assert slots(world).taken == 1
    assert [ledger.give("us-west-2", HAIKU, "s1"), ledger.give("us-west-2", HAIKU, "s1")] == [True, False]
    assert slots(world).taken == 0
    assert ledger.take("us-west-2", HAIKU, "s1")  # again, by a later attempt
    assert slots(world).taken == 1 == len(list(ledger.holders("us-west-2", HAIKU)))


def test_twenty_workers_that_all_saw_seven_free_slots_get_seven(world, monkeypatch):
    world.slot_ledger.counted("us-west-2", HAIKU, others=MAX_OPEN - 7, queued_s=0)
    seen = world.slot_ledger.get("us-west-2", HAIKU)
    with monkeypatch.context() as patch:
        patch.setattr(world.slot_ledger, "get", lambda region, model: seen)  # as if all had looked at once
        got = [world.slot_ledger.take("us-west-2", HAIKU, f"s{n}") for n in range(20)]
    assert sum(got) == 7 == slots(world).taken == len(list(world.slot_ledger.holders("us-west-2", HAIKU)))
    assert slots(world).free == 0


# ---------------------------------------------------------------------- with shards


@pytest.mark.promise(2)
def test_a_slot_is_held_while_the_job_is_open_and_free_when_it_has_settled(world):
    shard = world.opened(world.file_run(120))
    assert list(world.slot_ledger.holders("us-west-2", HAIKU)) == [shard.id]
    world.bedrock.ends()
    for _ in range(3):
        world.beat()
        world.clock.advance(61)
    assert world.shard(shard.id).state is ShardState.SETTLED
    assert (slots(world).taken, list(world.slot_ledger.holders("us-west-2", HAIKU))) == (0, [])


@pytest.mark.promise(4)
def test_a_region_full_of_other_peoples_jobs_is_passed_by(world):
    world.bedrock.others["us-west-2"] = MAX_OPEN
    shard = world.opened(world.file_run(120))
    assert (shard.region, shard.attempt, shard.delays) == ("us-east-1", 2, 0)
    assert [created["region"] for created in world.bedrock.created] == ["us-east-1"]
    assert list(world.slot_ledger.holders("us-east-1", HAIKU)) == [shard.id]


@pytest.mark.promise(4)
def test_without_a_slot_anywhere_a_shard_waits_and_begins_when_one_is_free(world):
    world.bedrock.others |= {"us-west-2": MAX_OPEN, "us-east-1": MAX_OPEN}
    shard = world.file_run(120)
    world.beat()
    assert (world.shard(shard).state, world.shard(shard).delays) == (ShardState.STAGED, 1)
    assert not world.bedrock.created
    world.bedrock.others["us-west-2"] = 99
    world.clock.advance(301)
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN and world.shard(shard).region == "us-west-2"


def test_a_queue_that_stands_is_passed_by(world):
    stuck = world.opened(world.file_run(120))
    world.bedrock.moves("Scheduled")
    world.clock.advance(3 * 3600)
    second = world.opened(world.file_run(120, run="r2"))
    assert (stuck.region, second.region) == ("us-west-2", "us-east-1")


def test_a_slot_whose_worker_died_before_the_create_is_found_and_freed(world):
    shard = world.file_run(120, run="r1")
    world.slot_ledger.take("us-east-1", HAIKU, shard)  # it has gone to the west since
    world.slot_ledger.take("us-west-2", HAIKU, "sgone")
    other = world.shard(world.file_run(130, run="r2"))
    world.clock.advance(301)
    assert world.slots.take(other, [EAST, WEST]).region == "us-west-2"
    assert "sgone" not in set(world.slot_ledger.holders("us-west-2", HAIKU))
    world.slots._look("us-east-1", HAIKU)
    assert list(world.slot_ledger.holders("us-east-1", HAIKU)) == []


def test_a_limit_that_bedrock_shows_is_believed_for_an_hour(world):
    world.bedrock.before["create"] = ["ServiceQuotaExceededException"]
    world.bedrock.others["us-west-2"] = 20
    shard = world.file_run(120)
    world.beat()
    assert (slots(world).limit, slots(world).taken, slots(world).free) == (20, 0, 0)
    assert world.shard(shard).state is ShardState.STAGED
    world.clock.advance(301)
    world.beat()
    assert world.shard(shard).region == "us-east-1"
    world.clock.advance(3600)
    assert slots(world).limit == MAX_OPEN


def test_a_region_that_cannot_be_counted_leaves_the_old_count_in_force(world):
    shard = world.shard(world.file_run(120))
    world.bedrock.down.add("us-west-2")
    assert world.slots.take(shard, []).region == "us-west-2"


@pytest.mark.promise(3)
def test_a_region_that_cannot_be_counted_gets_no_new_job_while_another_has_room(world):
    world.bedrock.down.add("us-west-2")
    shard = world.opened(world.file_run(120))
    assert (shard.region, shard.delays) == ("us-east-1", 0)
    assert [created["region"] for created in world.bedrock.created] == ["us-east-1"]
    assert list(world.slot_ledger.holders("us-west-2", HAIKU)) == []
    world.bedrock.others["us-east-1"] = MAX_OPEN
    world.clock.advance(301)
    waiting = world.shard(world.file_run(120, run="r2"))
    assert world.slots.take(waiting, [EAST]).region == "us-west-2"  # the only one with room, as far as is known
