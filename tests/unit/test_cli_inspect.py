"""What `slackwater.usecases.inspect` answers: which run a name means, how far a run is, where its files lie."""

from datetime import timedelta

import pytest

from slackwater.adapters.ledger.queue_runs import QueueRuns
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.model import bits, ids, names
from slackwater.model.run import RunState, Unit
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.usecases.inspect import Inspect
from tests.unit.rig import HAIKU, START

RUN = ids.run_of_object("home", "inbox/default/questions.jsonl", "v1")


@pytest.fixture
def shards(table, clock):
    return ShardLedger(table, clock)


@pytest.fixture
def inspect(table, runs, shards, bucket):
    return Inspect(runs=runs, shards=shards, items=table, documents=bucket)


@pytest.fixture
def file_run(runs, clock):
    """A run that was listed as the survey lists it."""

    def open_(run_id=RUN, key="inbox/default/questions.jsonl"):
        about = {"kind": "file", "profile": "default", "name": key, "bucket": "home", "key": key}
        meta = runs.open(run_id, about, next_check_at=clock.now())
        runs.list_under(run_id, meta["started_at"], {"profile": "default", "name": key})
        return run_id

    return open_


def shard(id_, records, state=ShardState.OPEN):
    later = START + timedelta(hours=20)
    return Shard(
        id=id_, state=state, region="us-west-2", model_id=f"global.{HAIKU}", base_model=HAIKU, kind="global", attempt=1,
        records=records, bytes=1, owner_kind=OwnerKind.RUN, owner=RUN, profile="default", home_region="us-east-1",
        deadline_at=later, guard_at=later,
    )  # fmt: skip


def test_a_run_under_survey_does_not_know_its_number_of_jobs(inspect, file_run):
    progress = inspect.progress(file_run())
    assert (progress.accepted, progress.done, progress.ended) == (None, 0, False)


def test_a_run_that_nobody_opened_has_no_progress(inspect):
    assert inspect.progress(RUN) is None


def test_jobs_are_counted_by_lane_once_however_many_sources_answered_them(inspect, file_run, runs, shards):
    run_id = file_run()
    runs.update(run_id, accepted=10, refused=1)
    pack = Unit("pa", "pack", "00000", "on_demand", bits.pack([0, 1, 2, 3]), first_line=1, jobs=4)
    runs.register(run_id, [pack, Unit("sb", "shard", None, "batch", None, jobs=6)])
    shards.create(shard("sb", 6))
    runs.cover(run_id, "00000", "refused", bits.pack([10]))
    runs.cover(run_id, "00000", "pack-pa", bits.pack([0, 1]))
    runs.cover(run_id, "00000", "shard-sb", bits.pack([1, 4, 5]))  # 1 came twice
    progress = inspect.progress(run_id)
    assert progress.done == 4
    assert {lane.lane: (lane.jobs, lane.done) for lane in progress.lanes} == {"on_demand": (4, 2), "batch": (6, 3)}
    assert [one.id for one in progress.shards] == ["sb"]


def test_what_an_ended_unit_left_undone_counts_where_it_went(inspect, file_run, runs):
    run_id = file_run()
    runs.register(run_id, [Unit("sb", "shard", None, "batch", None, jobs=6)])
    runs.cover(run_id, "00000", "shard-sb", bits.pack([0, 1, 2, 3]))
    runs.register(run_id, [Unit("pr", "pack", "00000", "on_demand", bits.pack([4, 5]), generation=2, jobs=2)])
    runs.end_unit(run_id, "sb")
    lanes = {lane.lane: (lane.jobs, lane.done) for lane in inspect.progress(run_id).lanes}
    assert lanes == {"batch": (4, 4), "on_demand": (2, 0)}


def test_a_run_of_messages_counts_what_its_item_says(inspect, table, clock, runs):
    run = QueueRuns(table, clock).current("default", "chat", profiles_version="v1")
    runs.update(run.run_id, accepted=5, succeeded=2, failed=1)
    progress = inspect.progress(run.run_id)
    assert (progress.accepted, progress.done, progress.name) == (5, 3, "chat")


def test_a_run_is_found_by_its_id_its_files_name_key_and_address(inspect, file_run):
    file_run()
    key = "inbox/default/questions.jsonl"
    for name in (RUN, "questions.jsonl", "default/questions.jsonl", key, f"s3://home/{key}"):
        assert inspect.run_of(name, ["default"], START) == RUN, name


def test_a_piece_of_a_file_name_is_no_name(inspect, file_run):
    file_run()
    for name in ("tions.jsonl", "questions", "", "inbox"):
        assert inspect.run_of(name, ["default"], START) is None, name


def test_of_two_files_of_one_name_the_later_run_is_meant(inspect, file_run, clock):
    file_run()
    clock.advance(60)
    newer = file_run(ids.run_of_object("home", "inbox/open-eu/questions.jsonl", "v1"), "inbox/open-eu/questions.jsonl")
    assert inspect.run_of("questions.jsonl", ["default"], clock.now()) == newer


def test_a_callers_run_id_means_its_newest_generation_in_whatever_profile(inspect, table, clock, runs):
    queue_runs = QueueRuns(table, clock)
    first = queue_runs.current("open-eu", "evening", profiles_version="v1")
    runs.finish(first.run_id, RunState.SETTLED)
    second = queue_runs.current("open-eu", "evening", profiles_version="v1")
    assert first.run_id != second.run_id
    assert inspect.run_of("evening", ["default", "open-eu"], clock.now()) == second.run_id
    assert inspect.run_of("evening.2", ["default", "open-eu"], clock.now()) == second.run_id


def test_an_unknown_name_means_no_run(inspect, file_run):
    file_run()
    assert inspect.run_of("r" + "a" * 20, ["default"], START) is None


def test_runs_come_newest_first_and_no_older_than_asked(inspect, file_run, clock):
    old = file_run(ids.run_of_object("home", "a", "1"), "inbox/default/a.jsonl")
    clock.advance(3 * 86_400)
    new = [
        file_run(ids.run_of_object("home", "a", str(n)), "inbox/default/a.jsonl")
        for n in (2, 3)
        if not clock.advance(1)
    ]
    assert [meta["run_id"] for meta in inspect.runs(clock.now(), days=1)] == new[::-1]
    assert [meta["run_id"] for meta in inspect.runs(clock.now(), days=3)] == [*new[::-1], old]


def test_the_finished_files_are_listed_without_input_and_parts(inspect, bucket):
    for name in (
        "results.jsonl",
        "errors.jsonl",
        "receipt.json",
        "results.openai.jsonl",
        "plan.json",
        "input/00000.jsonl",
    ):
        bucket.put(names.run_key(RUN, name), b"{}")
    assert sorted(inspect.outputs(RUN)) == ["errors.jsonl", "receipt.json", "results.jsonl", "results.openai.jsonl"]


def test_there_is_no_receipt_before_the_end(inspect, bucket):
    assert inspect.receipt(RUN) is None
    bucket.put(names.run_key(RUN, "receipt.json"), b'{"v": 1}')
    assert inspect.receipt(RUN) == {"v": 1}
