"""The shards' ledger: every change names what it comes from."""

from datetime import timedelta

import pytest

from slackwater.adapters.ledger.due import DueItems
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.model.errors import Lost
from slackwater.model.shard import ShardState
from tests.unit.batch_rig import a_shard

SHARD = a_shard()


@pytest.fixture
def shards(table, clock):
    ledger = ShardLedger(table, clock)
    ledger.create(SHARD)
    return ledger


def test_a_shard_comes_back_as_it_was_stored(shards):
    assert shards.get(SHARD.id) == SHARD
    assert shards.get("s" + "z" * 20) is None


@pytest.mark.promise(2)
def test_a_shard_is_created_once(shards):
    shards.change(SHARD, state=ShardState.OPEN, arn="arn")
    assert shards.create(SHARD) is False
    assert shards.get(SHARD.id).state is ShardState.OPEN


@pytest.mark.promise(2)
def test_a_change_from_another_state_attempt_or_owner_is_lost(shards, clock):
    held = shards.lease(SHARD.id, "a", seconds=80)
    opened = shards.change(held, state=ShardState.OPEN, arn="arn", attempt=2)
    for stale in (held, SHARD):
        with pytest.raises(Lost):
            shards.change(stale, state=ShardState.STAGED)
    clock.advance(81)
    shards.lease(SHARD.id, "b", seconds=80)
    with pytest.raises(Lost):
        shards.change(opened, state=ShardState.STOPPING)
    assert shards.get(SHARD.id).arn == "arn"


def test_a_field_of_none_is_removed(shards):
    changed = shards.change(SHARD, job_name="sw-1", intent_wall_s=5)
    shards.change(changed, job_name=None, intent_wall_s=None)
    assert shards.get(SHARD.id) == SHARD


def test_a_lease_is_one_workers_until_it_is_over_or_given_back(shards, clock):
    assert shards.lease(SHARD.id, "a", seconds=80) is not None
    assert shards.lease(SHARD.id, "b", seconds=80) is None
    assert shards.lease(SHARD.id, "a", seconds=80) is not None
    shards.release(SHARD.id, "b")
    assert shards.lease(SHARD.id, "b", seconds=80) is None
    shards.release(SHARD.id, "a")
    assert shards.lease(SHARD.id, "b", seconds=80) is not None
    clock.advance(81)
    assert shards.lease(SHARD.id, "a", seconds=80) is not None
    with pytest.raises(Lost):
        shards.lease("s" + "z" * 20, "a", seconds=80)


def test_only_a_shard_with_business_is_due_and_a_newer_word_wins(shards, table, clock):
    items = DueItems(table)
    (due,) = items.due(clock.now(), limit=10)
    assert (due.kind, due.id) == ("SHARD", SHARD.id)
    later = clock.now() + timedelta(minutes=5)
    shards.look_again(SHARD.id, later)
    assert items.look_again(due, clock.now()) is False
    assert list(items.due(clock.now(), limit=10)) == []
    (due,) = items.due(later, limit=10)
    assert items.look_again(due, later + timedelta(minutes=1)) is True
    shards.settle(SHARD, {"succeeded": 100})
    assert shards.look_again(SHARD.id, clock.now()) is False
    assert list(items.due(later + timedelta(days=1), limit=10)) == []


@pytest.mark.promise(2)
def test_settling_again_is_no_error_and_from_another_state_it_is(shards):
    shards.settle(SHARD, {"succeeded": 100})
    assert shards.settle(SHARD, {"succeeded": 1}).state is ShardState.SETTLED
    assert shards._table.get((f"SHARD#{SHARD.id}", "META"))["counts"] == {"succeeded": 100}
    other = a_shard(id="s" + "b" * 20)
    shards.create(other)
    shards.change(other, state=ShardState.OPEN)
    with pytest.raises(Lost):
        shards.settle(other, {})


@pytest.mark.promise(2)
def test_repeats_are_counted_once_for_a_shard_however_many_runs_share_them(shards, table):
    by_run = {f"r{number:03d}": number for number in range(1, 200)}
    shards.count_repeats(SHARD, by_run)
    shards.count_repeats(SHARD, by_run)
    assert [table.get((f"RUN#{run}", "META"))["repeats"] for run in sorted(by_run)] == list(range(1, 200))
