"""Pools: joined while open, then the next generation; left together, for a shard or for the on-demand lane."""

import orjson
import pytest

from slackwater.model.claim import JobState
from slackwater.policy.forecast import PRIOR
from slackwater.policy.pooling import PoolAction
from slackwater.usecases.pools import due
from tests.unit.queue_rig import FULL, Killed, QueueWorld, again, patient


@pytest.fixture
def world(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


def pools(world):
    items = world.table._client.scan(TableName="ledger")["Items"]
    found = [i["pool"]["S"] for i in items if i["pk"]["S"].startswith("POOL#") and i["sk"]["S"] == "META"]
    return sorted((world.pools.get(pool) for pool in found), key=lambda p: p.generation)


def test_a_full_pool_is_followed_by_its_next_generation(world, clock):
    world.work(*(patient(clock, f"p{n}") for n in range(2 * FULL + 2)))
    assert [(p.generation, p.count, p.state) for p in pools(world)] == [
        (1, FULL, "open"),
        (2, FULL, "open"),
        (3, 2, "open"),
    ]
    assert sum(p.bytes for p in pools(world)) == sum(len(b) for k, b in world.bucket.objects.items() if "/pools/" in k)
    assert pools(world)[0].next_check_at == clock.now()  # full: the tick looks at once
    assert pools(world)[2].next_check_at == clock.now().replace(minute=15)


def test_a_closed_pool_takes_no_more_jobs(world, clock):
    world.work(patient(clock, "a"))
    (pool,) = pools(world)
    assert world.keeper.close_pool(pool.pool)
    world.work(patient(clock, "b"), worker="b")
    assert [(p.count, p.state) for p in pools(world)] == [(1, "closed"), (1, "open")]


def test_a_pool_that_closes_between_look_and_join_hands_its_jobs_to_the_next(world, clock, monkeypatch):
    world.work(patient(clock, "a"))
    (pool,) = pools(world)
    current = world.pools.current

    def closes(*args, **kwargs):
        found = current(*args, **kwargs)
        world.keeper.close_pool(pool.pool)
        return found

    monkeypatch.setattr(world.pools, "current", closes)
    world.work(patient(clock, "b"), worker="b")
    assert [(p.count, p.state) for p in pools(world)] == [(1, "closed"), (1, "open")]


def test_the_earliest_deadline_counts_whoever_joins_last(world, clock):
    for caller_id, deadline in (("a", "3d"), ("b", "1d"), ("c", "2d")):
        world.work(patient(clock, caller_id, deadline=deadline), worker=caller_id)
    (pool,) = pools(world)
    assert (pool.deadline - clock.now()).total_seconds() == 86_400


def test_an_overtaken_join_does_not_put_the_deadline_back(world, clock, monkeypatch):
    world.work(patient(clock, "a", deadline="3d"))
    current = world.pools.current
    done = []

    def meanwhile(*args, **kwargs):
        seen = current(*args, **kwargs)
        if not done:
            done.append(True)
            world.work(patient(clock, "b", deadline="1d"), worker="b")
        return seen

    monkeypatch.setattr(world.pools, "current", meanwhile)
    world.work(patient(clock, "c", deadline="2d"), worker="c")
    (pool,) = pools(world)
    assert pool.count == 3 and (pool.deadline - clock.now()).total_seconds() == 86_400


def test_profiles_do_not_share_a_pool(world, clock):
    world.work(patient(clock, "a"))
    world.work(patient(clock, "b", profile="open-eu", lane="batch"), worker="b")
    assert len({p.key for p in pools(world)}) == len(pools(world))


def test_staging_again_gives_the_same_records_in_the_same_order(world, clock):
    world.work(*(patient(clock, f"p{n}", tags={"n": str(n)}) for n in range(FULL)))
    (pool,) = pools(world)
    records = list(world.keeper.stage_pool(pool.pool))
    assert records == list(world.keeper.stage_pool(pool.pool))
    assert {r.id for r in records} == {f"p{n}" for n in range(FULL)} and {r.first_line for r in records} == {0}
    assert all(r.request["messages"] and r.tags for r in records)
    world.keeper.staged(pool.pool)
    assert pools(world)[0].state == "staged" and pools(world)[0].next_check_at is None
    assert world.keeper.release_pool(pool.pool) == 0
    with pytest.raises(LookupError):
        list(world.keeper.stage_pool(pool.pool))


def test_a_released_pools_jobs_are_called_on_demand_once(world, clock):
    letters = [patient(clock, f"p{n}") for n in range(3)]
    world.work(*letters)
    (pool,) = pools(world)
    assert world.keeper.release_pool(pool.pool) == 3
    envelopes = world.sent_on()
    assert world.keeper.release_pool(pool.pool) == 0 and world.sent_on() == []
    outcome = world.work(*envelopes, *map(again, letters), worker="b")
    assert outcome.counts["repeated_messages"] == 3 and len(world.model.calls) == 3
    assert world.run() | {"succeeded": 3, "unsettled": 0, "repeats": 0} == world.run()
    assert {row["lane"] for row in world.rows()} == {"on_demand"}


def test_a_release_that_died_halfway_is_finished_and_answers_each_job_once(world, clock, monkeypatch):
    world.work(*(patient(clock, f"p{n}") for n in range(3)))
    (pool,) = pools(world)
    leave, left = world.jobs.leave_pool, []

    def dies(entry):
        if left:
            raise Killed
        left.append(entry)
        return leave(entry)

    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "leave_pool", dies)
        with pytest.raises(Killed):
            world.keeper.release_pool(pool.pool)
    assert world.keeper.release_pool(pool.pool) == 2
    envelopes = world.sent_on()
    assert len(envelopes) == 5
    world.work(*envelopes, worker="b")
    assert len(world.model.calls) == 3 and world.run() | {"succeeded": 3, "unsettled": 0} == world.run()


def test_an_envelope_that_is_quicker_than_its_mark_wins(world, clock, monkeypatch):
    world.work(patient(clock, "p"))
    (pool,) = pools(world)
    leave = world.jobs.leave_pool

    def slow(entry):
        world.work(*world.sent_on(), worker="b")
        return leave(entry)

    monkeypatch.setattr(world.jobs, "leave_pool", slow)
    world.keeper.release_pool(pool.pool)
    assert world.run() | {"succeeded": 1, "unsettled": 0} == world.run() and len(world.model.calls) == 1


def test_what_a_shard_did_not_answer_goes_on_demand_and_only_that(world, clock):
    world.work(*(patient(clock, f"p{n}") for n in range(FULL)))
    (pool,) = pools(world)
    records = list(world.keeper.stage_pool(pool.pool))
    world.keeper.staged(pool.pool)
    rows = [{"job": r.job} for r in records[:2]]
    assert world.keeper.rescue_jobs(pool.pool, rows) == 2
    assert world.keeper.rescue_jobs(pool.pool, rows) == 0
    world.work(*world.sent_on(), worker="b")
    assert {row["id"] for row in world.rows()} == {r.id for r in records[:2]}
    states = world.jobs.get_many(r.job for r in records)
    assert sum(e.state is JobState.WAITING for e in states.values()) == FULL - 2


def test_a_pools_fate_is_the_policys(world, clock):
    world.work(patient(clock, "a"))
    (pool,) = pools(world)
    now = clock.now()
    assert due(pool, now, forecast=PRIOR, drain_jobs_per_s=20).action is PoolAction.KEEP
    clock.advance(2 * 86_400)
    assert due(pool, clock.now(), forecast=PRIOR, drain_jobs_per_s=20).action is PoolAction.RELEASE


def test_a_pooled_message_lies_in_s3_and_nowhere_else(world, clock):
    world.work(patient(clock, "a"))
    (key,) = [k for k in world.bucket.objects if k.startswith("v1/pools/")]
    assert orjson.loads(world.bucket.objects[key])["request"]["messages"]
    assert "text of a" not in str(world.table._client.scan(TableName="ledger")["Items"])
