"""Canaries: a few calls of a new shape before thousands of records fail alike; paid once, waited for not for long."""

from datetime import timedelta

import pytest

from slackwater.adapters.ledger.canaries import Canaries
from slackwater.model import result
from slackwater.model.job import Lane
from slackwater.model.shard import ShardState
from slackwater.policy.canary import CANARIES, PASSED_S, WAIT_S, Asked, Canary, judged, shape_key
from slackwater.usecases.canaries import CanaryWatch
from tests.unit.batch_rig import WEST, BatchWorld
from tests.unit.rig import HAIKU
from tests.unit.test_plan import Run, line

SHAPE = shape_key(HAIKU, ())
OK, BAD = ("succeeded", None), ("failed", "ValidationException")


@pytest.mark.parametrize(
    ("outcomes", "found"),
    [
        ([], Canary.ASKED),
        ([BAD, BAD], Canary.ASKED),
        ([BAD, BAD, OK], Canary.PASSED),
        ([OK], Canary.PASSED),
        ([BAD, BAD, BAD], Canary.REFUSED),
        ([BAD, ("failed", "access_denied"), BAD], Canary.REFUSED),
        ([BAD, BAD, ("failed", "deadline_missed")], Canary.UNKNOWN),
    ],
)
def test_one_answer_proves_a_shape_and_only_all_of_them_refuse_it(outcomes, found):
    assert judged(outcomes, 3) is found


def test_a_shape_is_named_by_model_and_traits_alone():
    assert shape_key("m", {"tools", "media"}) == "m|media,tools"
    assert f"{HAIKU}|plain" == SHAPE


# ---------------------------------------------------------------------- planned and placed


def unknown(shape):
    return Asked(Canary.UNKNOWN)


@pytest.mark.promise(1)
def test_the_first_jobs_of_a_new_shape_are_called_and_every_line_still_goes_one_way():
    run = Run([line(i) for i in range(1200)], canaries=unknown).place()
    went = run.lines()
    assert [number for number, _ in went] == list(range(1, 1201))
    assert [number for number, where in went if where == "on_demand"] == [1, 2, 3]
    assert [about["canaries"] for _, about in run.shards] == [[SHAPE]] * len(run.shards)
    (asked,) = run.asked
    assert (asked[0], asked[1]["lines"], asked[1]["unit"]) == (SHAPE, [1, 2, 3], run.units[0].id)


def test_placing_the_packs_again_asks_the_same_canaries():
    run = Run([line(i) for i in range(1200)], canaries=unknown).place()
    before = {unit.id for unit in run.units}
    run.place()
    assert {unit.id for unit in run.units} == before


def test_a_shape_that_has_passed_needs_no_canary():
    run = Run([line(i) for i in range(1200)], canaries=lambda shape: Asked(Canary.PASSED)).place()
    assert not run.units and [about["canaries"] for _, about in run.shards] == [[]] * len(run.shards)


def test_what_another_run_has_asked_is_waited_for_without_further_canaries():
    run = Run([line(i) for i in range(1200)], canaries=lambda shape: Asked(Canary.ASKED)).place()
    assert not run.units and run.shards[0][1]["canaries"] == [SHAPE]


def test_a_small_group_is_not_worth_a_canary():
    run = Run([line(i) for i in range(300)], canaries=unknown).place()
    assert not run.units and not run.asked


# ---------------------------------------------------------------------- waited for


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


@pytest.fixture
def ledger(table, clock):
    return Canaries(table, clock)


def held(world, ledger):
    """A shard of a shape that three jobs of its run are to prove."""
    shard = world.file_run(250)
    world.shards.change(world.shard(shard), canaries=(SHAPE,))
    ledger.ask(SHAPE, run="r1", block="00000", unit="pcanary", lines=[1, 2, 3])
    return shard


def rows(world, *outcomes):
    from tests.unit.batch_rig import record

    for number, (status, code) in enumerate(outcomes, start=1):
        job = with_deadline(record(number), world.clock.now())
        row = result.failed(job, code=code or "", message="", finished_at=world.clock.now(), lane=Lane.ON_DEMAND)
        if status == "succeeded":
            row |= {"status": status, "error": None}
        world.parts.append("r1", "00000", "pack-pcanary", [row])


def with_deadline(one, at):
    from slackwater.model.job import Job

    return Job(one.run, one.block, one.line, one.id, one.job, "default", at, {})


def test_shards_wait_for_their_canaries_and_begin_with_the_first_answer(world, ledger):
    shard = held(world, ledger)
    world.beat()
    assert world.shard(shard).state is ShardState.STAGED and not world.bedrock.created
    rows(world, BAD, OK)
    world.clock.advance(61)
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN
    assert ledger.get(SHAPE).state is Canary.PASSED
    world.clock.advance(PASSED_S + 1)
    assert ledger.get(SHAPE).state is Canary.UNKNOWN


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_no_batch_job_is_made_of_a_shape_that_was_refused_and_the_receipt_learns_why(world, ledger):
    shard = held(world, ledger)
    rows(world, BAD, BAD, BAD)
    for _ in range(4):
        world.beat()
        world.clock.advance(61)
    assert not world.bedrock.created and world.shard(shard).state is ShardState.SETTLED
    assert sum(map(len, world.waiting().values())) == 250  # each is called, and fails with a reason of its own
    assert world.meta()["repeats"] == 0
    assert world.meta()[f"canary_{shard}"] == 250


def test_what_one_run_was_refused_says_nothing_of_another(world, ledger):
    shard = held(world, ledger)
    ledger.note(SHAPE, Canary.REFUSED, "another")
    world.beat()
    assert world.shard(shard).state is ShardState.STAGED  # it waits for canaries of its own
    ledger.ask(SHAPE, run="r1", block="00000", unit="pcanary", lines=[1, 2, 3])
    rows(world, OK)
    world.clock.advance(61)
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN
    run = Run([line(i) for i in range(1200)], canaries=lambda shape: Asked(Canary.REFUSED, "another")).place()
    assert len(run.asked) == 1


def test_canaries_that_are_throttled_hold_nothing_back_for_long(world, ledger):
    shard = held(world, ledger)
    world.clock.advance(WAIT_S - 60)
    world.beat()
    assert world.shard(shard).state is ShardState.STAGED
    world.clock.advance(61)
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN


def test_what_a_batch_job_has_answered_is_proved_as_well(world, ledger, clock):
    shard = held(world, ledger)
    world.clock.advance(WAIT_S + 1)
    world.beat()
    world.bedrock.ends()
    for _ in range(3):
        clock.advance(61)
        world.beat()
    assert world.shard(shard).state is ShardState.SETTLED
    assert ledger.get(SHAPE).state is Canary.PASSED


def test_two_runs_that_ask_at_once_wait_for_the_same_canaries(ledger, clock):
    ledger.ask(SHAPE, run="r1", block="00000", unit="p1", lines=[1])
    ledger.ask(SHAPE, run="r2", block="00000", unit="p2", lines=[1])
    assert ledger.get(SHAPE).run == "r1"
    clock.advance(WAIT_S + 1)
    ledger.ask(SHAPE, run="r2", block="00000", unit="p2", lines=[1])
    assert ledger.get(SHAPE).run == "r2"
    assert CANARIES == 3 and WEST.base_model == HAIKU and timedelta(seconds=WAIT_S) < timedelta(hours=1)
    assert CanaryWatch
