"""Records that are too few for a batch job: they wait for others where that pays, else they are called; each once."""

from datetime import timedelta

import orjson
import pytest

from slackwater.model import names
from slackwater.model.claim import Inbound
from slackwater.model.job import Lane
from slackwater.model.native import RequestType
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.model.run import RunKind
from slackwater.model.shard import ShardState
from slackwater.policy.remainder import Company, Taken, remainder
from slackwater.usecases.pools import pool_key
from tests.unit.batch_rig import BatchWorld, all_answered, record
from tests.unit.queue_rig import QueueWorld, patient
from tests.unit.rig import START

PROFILE = Profiles.from_bytes(shipped_profiles()).named("default")
KEY = pool_key(PROFILE, RequestType.CONVERSE)


def ask(jobs=60, *, waiting=0, per_day=0.0, hours=12.0, calling=Lane.ON_DEMAND, saving_pico=10**12):
    return remainder(
        jobs,
        company=Company(waiting, per_day),
        now=START,
        latest=START + timedelta(hours=hours),
        calling=calling,
        saving_pico=saving_pico,
        min_records=100,
    )


@pytest.mark.parametrize(
    ("asked", "taken", "reason"),
    [
        ({}, Taken.ON_DEMAND, "nobody to wait for"),
        ({"calling": Lane.FLEX}, Taken.FLEX, "nobody to wait for"),
        ({"waiting": 40}, Taken.JOIN, "together enough"),
        ({"waiting": 40, "hours": 0}, Taken.ON_DEMAND, "to leave time for a rescue"),
        ({"waiting": 40, "saving_pico": 0}, Taken.ON_DEMAND, "costs no more than batch"),
        ({"waiting": 40, "saving_pico": 10**10 - 1}, Taken.ON_DEMAND, "too little to hold the run's results back"),
        ({"waiting": 40, "saving_pico": None}, Taken.ON_DEMAND, "is unknown"),
        ({"per_day": 100.0}, Taken.WAIT, "40 more are needed, about 100 a day come: within the 12.0 h"),
        ({"per_day": 60.0}, Taken.ON_DEMAND, "40 more are needed, about 60 a day come: more than the 12.0 h"),
        ({"per_day": 60.0, "waiting": 15}, Taken.WAIT, "25 more are needed"),
    ],
)
def test_a_remainder_is_a_question_of_money(asked, taken, reason):
    decided = ask(**asked)
    assert decided.taken is taken
    assert any(reason in why for why in decided.reasons), decided.reasons
    assert decided.as_json()["jobs"] == 60 and decided.reasons[0] == "60 records: a batch job needs 100"


def test_what_it_saves_is_among_the_reasons():
    assert "batch saves 1 USD against on_demand" in ask(waiting=40).reasons


# ---------------------------------------------------------------------- pools that file runs join


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def dropped(world, run, jobs, *, deadline_s=86_400):
    """A file run whose only unit is `jobs` records in a pool."""
    deadline = world.clock.now() + timedelta(seconds=deadline_s)
    world.runs.open(
        run,
        {"kind": RunKind.FILE.value, "profile": "default", "deadline_at": deadline.isoformat(), "accepted": jobs},
        next_check_at=deadline + timedelta(minutes=15),
    )
    world.runs.set_token(run, f"token of {run}")
    pools(world, run, jobs, deadline)


def pools(world, run, jobs, deadline):
    records = [with_deadline(record(line, run=run), deadline) for line in range(1, jobs + 1)]
    world.pool_remainder(records, run_id=run, profile="default", version="v1", lane=Lane.ON_DEMAND, generation=1)


def with_deadline(one, deadline):
    from dataclasses import replace

    return replace(one, deadline_at=deadline)


def beats(world, number):
    for _ in range(number):
        world.beat()
        world.clock.advance(61)


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_two_runs_remainders_become_one_batch_job_and_each_run_gets_its_own_back(world):
    dropped(world, "r1", 60)
    dropped(world, "r2", 70)
    pool = world.pools.newest(KEY)
    assert (pool.count, pool.state) == (130, "open")
    beats(world, 18)
    (created,) = world.bedrock.created
    assert world.shard(created["name"].split("-")[2]).records == 130
    world.bedrock.ends(output=lambda records: all_answered(records[:120]), processed_records=125)
    beats(world, 20)
    lines = {run: {row["line"] for row in world.rows(run)} for run in ("r1", "r2")}
    missing = {run: set().union(*world.waiting(run).values()) if world.waiting(run) else set() for run in ("r1", "r2")}
    for run, jobs in (("r1", 60), ("r2", 70)):
        assert lines[run] | missing[run] == set(range(1, jobs + 1))
        assert not lines[run] & missing[run]
        assert world.covered(run) == lines[run]
    assert sum(map(len, missing.values())) == 10 == len(world.packs.sent[0].body and [1] * 10)
    assert sum(world.meta(run)["repeats"] for run in lines) == 5
    settled = [run for run in lines if not missing[run]]
    assert [world.meta(run)["unsettled"] for run in settled] == [0] * len(settled)


@pytest.mark.promise(3)
def test_a_remainder_that_nobody_joins_is_called_at_its_latest_safe_moment(world):
    dropped(world, "r1", 60, deadline_s=10 * 3600)
    beats(world, 80)
    assert not world.packs.sent
    beats(world, 15)
    assert world.pools.newest(KEY).state == "released"
    (pack,) = [unit for unit in world.runs.units("r1") if unit["state"] != "ended"]
    assert (pack["kind"], pack["jobs"], pack["lane"]) == ("pack", 60, "on_demand")
    assert {message.body["pack_id"] for message in world.packs.sent} == {pack["unit"]}
    assert world.meta()["unsettled"] == 1


@pytest.mark.promise(2)
def test_placing_a_remainder_again_joins_no_second_pool(world):
    dropped(world, "r1", 60)
    pools(world, "r1", 60, world.clock.now() + timedelta(days=1))
    assert world.pools.newest(KEY).count == 60
    assert world.meta()["unsettled"] == 1


@pytest.mark.promise(3)
def test_a_remainder_that_comes_too_late_is_called_and_drags_no_others_along(world):
    dropped(world, "r2", 70)
    dropped(world, "r1", 60, deadline_s=8 * 3600)
    assert (world.pools.newest(KEY).count, world.pools.newest(KEY).state) == (70, "open")
    assert [len(lines) for lines in world.waiting("r1").values()] == [60]
    assert len(world.packs.sent) == 1 and world.meta("r1")["unsettled"] == 1


def test_a_remainder_joins_the_next_pool_when_one_has_just_closed(world):
    dropped(world, "r1", 60)
    world.pools.shift(world.pools.newest(KEY).pool, "open", "closed", next_check_at=world.clock.now())
    dropped(world, "r2", 70)
    assert (world.pools.newest(KEY).generation, world.pools.newest(KEY).count) == (2, 70)


@pytest.mark.promise(1)
def test_a_cancelled_run_takes_its_remainder_out_of_an_open_pool(world):
    dropped(world, "r1", 60)
    dropped(world, "r2", 30)
    assert world.cancels("r1")
    beats(world, 2)
    assert world.pools.newest(KEY).count == 30
    assert {row["error"]["code"] for row in world.rows("r1")} == {"cancelled"} and len(world.rows("r1")) == 60
    assert (world.meta("r1")["unsettled"], world.meta("r2")["unsettled"]) == (0, 1)


def test_no_prompt_of_a_pooled_remainder_is_in_the_table(world):
    dropped(world, "r1", 60)
    items = world.table._client.scan(TableName="ledger")["Items"]
    assert "prompt" not in orjson.dumps(items, default=str).decode()
    (key,) = world.home.keys("v1/runs/r1/pooled/")
    assert len(world.home.rows(key)) == 60


# ---------------------------------------------------------------------- what a batch job left over


@pytest.mark.promise(2)
def test_what_a_batch_job_left_over_waits_with_others_instead_of_being_called(world):
    dropped(world, "r2", 70)
    shard = world.opened(world.file_run(150, deadline_s=2 * 86_400))
    world.bedrock.ends(output=lambda records: all_answered(records[:110]), processed_records=110)
    beats(world, 3)
    assert world.shard(shard.id).state is ShardState.SETTLED
    assert not world.packs.sent
    assert world.pools.newest(KEY).count == 110
    (noted,) = (value for name, value in world.meta().items() if name.startswith("remainder_"))
    assert (noted["jobs"], noted["taken"]) == (40, "join")
    assert world.meta()["unsettled"] == 1
    beats(world, 18)
    assert world.bedrock.created[-1]["name"] != world.bedrock.created[0]["name"]
    world.bedrock.ends()
    beats(world, 20)
    assert sorted(row["line"] for row in world.rows()) == list(range(1, 151))
    assert (world.meta()["unsettled"], world.meta("r2")["unsettled"]) == (0, 0)


def test_what_nobody_waits_with_is_called_and_the_receipt_learns_why(world):
    world.opened(world.file_run(150, deadline_s=2 * 86_400))
    world.bedrock.ends(output=lambda records: all_answered(records[:110]), processed_records=110)
    beats(world, 3)
    assert len(world.packs.sent) >= 1
    (noted,) = (value for name, value in world.meta().items() if name.startswith("remainder_"))
    assert noted["taken"] == "on_demand" and "nobody to wait for" in noted["reasons"][1]


@pytest.mark.promise(2)
@pytest.mark.parametrize("burn", (5, 12, 17, 22, 27, 32))
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(table, clock, burn):
    from tests.unit.batch_rig import Fuse, Killed

    world = BatchWorld(table, clock, fuse=Fuse())
    dropped(world, "r2", 70)
    shard = world.opened(world.file_run(150, deadline_s=2 * 86_400))
    world.bedrock.ends(output=lambda records: all_answered(records[:110]), processed_records=110)
    world.fuse.burnt, world.fuse.at = 0, burn
    try:
        beats(world, 3)
    except Killed:
        world.sent.sent.clear()
        clock.advance(200)
    world.fuse.at = None
    beats(world, 6)
    assert world.shard(shard.id).state is ShardState.SETTLED
    assert world.pools.newest(KEY).count == 110
    assert world.meta()["unsettled"] == 1


# ---------------------------------------------------------------------- who shares a pool


def test_profiles_of_the_same_terms_share_a_pool_whatever_they_are_called(table, bucket, clock):
    world = QueueWorld(table, bucket, clock)
    now, _ = world.applied.current()
    twin = now.profiles["default"].model_copy(update={"description": "another", "max_tokens": 77})
    world.applied.documents["v2"] = now.model_copy(update={"profiles": {**now.profiles, "twin": twin}})
    world.work(patient(clock, "a"), patient(clock, "b", profile="twin", run_id="theirs"))
    pool = world.pools.newest(KEY)
    assert pool.count == 2
    world.applied.apply(batch_max_records=500)
    world.work(patient(clock, "c", run_id="third"), worker="b")
    assert world.pools.newest(KEY).count == 2  # other terms: a pool of their own


def test_files_and_queue_jobs_meet_in_one_pool(table, bucket, clock):
    queue = QueueWorld(table, bucket, clock)
    queue.work(*(patient(clock, f"q{n}") for n in range(3)))
    batch = BatchWorld(table, clock)
    dropped(batch, "r1", 60)
    pool = batch.pools.newest(KEY)
    assert pool.count == 63
    assert [unit.unit[0] for unit in batch.pools.units(pool.pool)] == ["p"]
    assert names.pooled_key("r1", "u").endswith("/pooled/u.jsonl")
    assert isinstance(patient(clock, "x"), Inbound)


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_a_files_remainder_and_queue_jobs_become_one_batch_job_and_each_gets_its_own_back(table, clock):
    batch = BatchWorld(table, clock)
    queue = QueueWorld(table, batch.home, clock, full=1_000)
    queue.work(*(patient(clock, f"q{n}") for n in range(50)))
    dropped(batch, "r1", 60)
    beats(batch, 18)
    (created,) = batch.bedrock.created
    assert batch.shard(created["name"].split("-")[2]).records == 110
    batch.bedrock.ends(processed_records=110)
    beats(batch, 3)
    assert sorted(row["line"] for row in batch.rows("r1")) == list(range(1, 61))
    assert sorted(row["id"] for row in queue.rows()) == sorted(f"q{n}" for n in range(50))
    answers = [row["response"]["output"]["message"]["content"][0]["text"] for row in queue.rows()]
    assert sorted(answers) == sorted(f"echo of text of q{n}" for n in range(50))
    assert {row["lane"] for row in (*batch.rows("r1"), *queue.rows())} == {"batch"}
    assert queue.run() | {"succeeded": 50, "unsettled": 0, "repeats": 0} == queue.run()
    assert (batch.meta("r1")["unsettled"], batch.meta("r1")["repeats"]) == (0, 0)
    assert not queue.model.calls and not batch.packs.sent
