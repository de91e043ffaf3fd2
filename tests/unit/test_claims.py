"""Ordinals, generations and races of claims."""

import pytest

from slackwater.adapters.ledger.table import Write
from slackwater.model.claim import AlreadyClaimed, JobState, Placed, RunClosed
from tests.unit.queue_rig import QueueWorld, first, message, patient
from tests.unit.rig import answer


@pytest.fixture
def world(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


def test_ordinals_go_on_over_batches_and_blocks_list_who_has_them(world, clock):
    world.work(*(first(clock, f"a{n}", f"q{n}") for n in range(3)))
    world.work(*(first(clock, f"b{n}", f"r{n}") for n in range(3)), worker="b")
    listed = list(world.queue_runs.claimed(world.run()["run_id"]))
    assert [(block, ordinal, caller) for block, ordinal, _, caller in listed] == [
        ("00000", n, name) for n, name in enumerate(("a0", "a1", "a2", "b0", "b1", "b2"))
    ]
    assert sorted(row["line"] for row in world.rows()) == list(range(6))


def test_ordinals_over_a_thousand_lie_in_the_next_block(world, clock):
    world.work(first(clock))
    run = world.run()["run_id"]
    world.table.write(Write((f"RUN#{run}", "META"), set_={"next_ordinal": 999}))
    world.work(first(clock, "x", "x"), first(clock, "y", "y"), worker="b")
    assert [(b, o) for b, o, _, _ in world.queue_runs.claimed(run)] == [("00000", 0), ("00000", 999), ("00001", 1000)]
    assert len({key.split("/")[4] for key in world.bucket.keys("v1/runs/")}) == 2


def test_a_batch_larger_than_a_transaction_is_claimed_in_pieces(world, clock):
    world.work(*(first(clock, f"j{n}", f"q{n}") for n in range(130)))
    assert world.run() | {"accepted": 130, "succeeded": 130, "unsettled": 0, "next_ordinal": 130} == world.run()


def test_very_long_ids_fit_into_a_block(world, clock):
    world.work(*(first(clock, f"{n}" + "ü" * 500, f"q{n}") for n in range(20)))
    item = world.table.get((f"RUN#{world.run()['run_id']}", "BLOCK#00000#0000000"))
    assert max(len(value.encode()) for name, value in item.items() if name.startswith("j_")) <= 21 + 200
    assert {len(row["id"]) for row in world.rows()} >= {501}


def test_jobs_that_come_after_the_run_closed_open_its_next_generation(world, clock):
    world.work(first(clock))
    old = world.run()["run_id"]
    assert world.closing.close_queue_run(old)
    world.work(first(clock, "two", "two"), worker="b")
    run = world.run()
    assert run["run_id"] != old and run["generation"] == 2 and run["shown"] == "triage.2" and run["accepted"] == 1
    assert world.runs.get(old)["accepted"] == 1


def test_what_was_done_in_one_generation_is_not_done_again_in_the_next(world, clock):
    world.work(first(clock))
    world.closing.close_queue_run(world.run()["run_id"])
    outcome = world.work(first(clock), worker="b")
    assert outcome.counts == {"repeated_messages": 1} and world.run()["generation"] == 1


def test_a_run_that_closes_between_look_and_claim_hands_the_claim_on(world, clock, monkeypatch):
    world.work(first(clock))
    old, current = world.run()["run_id"], world.queue_runs.current

    def closes(*args, **kwargs):
        run = current(*args, **kwargs)
        if run.run_id == old:
            world.queue_runs.to_settling(old)
        return run

    monkeypatch.setattr(world.queue_runs, "current", closes)
    world.work(first(clock, "two", "two"), worker="b")
    assert world.run()["generation"] == 2 and world.run()["succeeded"] == 1


def test_a_run_that_closes_between_slice_and_claim_counts_nothing(world, clock):
    world.work(first(clock))
    ordinal, run = world.queue_runs.ordinals(world.run()["run_id"], 1)
    world.queue_runs.to_settling(run.run_id)
    late = world.router._read(first(clock, "late", "late"))
    with pytest.raises(RunClosed):
        world.jobs.claim(run, [Placed(late, ordinal)], "b")
    assert world.jobs.get(late.job) is None and world.runs.get(run.run_id)["accepted"] == 1


def test_two_workers_with_the_same_job_get_one_claim(world, clock, monkeypatch):
    """The other worker claims between our look and our claim."""
    mine, other = first(clock), first(clock)
    ordinals = world.queue_runs.ordinals
    done = []

    def meanwhile(*args):
        if not done:
            done.append(True)
            world.work(other, worker="b")
        return ordinals(*args)

    monkeypatch.setattr(world.queue_runs, "ordinals", meanwhile)
    outcome = world.work(mine, first(clock, "new", "new"), worker="a")
    assert world.run() | {"accepted": 2, "succeeded": 2} == world.run()
    assert outcome.counts["repeated_messages"] == 1 and len(world.model.calls) == 2


def test_a_claim_of_known_jobs_names_them_and_claims_none(world, clock):
    world.work(first(clock))
    ordinal, run = world.queue_runs.ordinals(world.run()["run_id"], 2)
    read = world.router._read
    known, new = read(first(clock)), read(first(clock, "new", "new"))
    with pytest.raises(AlreadyClaimed) as caught:
        world.jobs.claim(run, [Placed(known, ordinal), Placed(new, ordinal + 1)], "b")
    assert caught.value.jobs == {known.job} and world.jobs.get(new.job) is None


def test_of_two_heirs_one_wins(world, clock):
    world.work(patient(clock, "p"))
    (entry,) = world.jobs.get_many([world.router._read(patient(clock, "p")).job]).values()
    assert entry.state is JobState.WAITING
    take = {"message_id": "m", "hop": 1, "repeat": False}
    assert world.jobs.take(entry, owner="b", **take).owners == ("a", "b")
    assert world.jobs.take(entry, owner="c", **take) is None


def test_the_runs_deadline_is_the_latest_of_its_jobs(world, clock):
    world.work(first(clock, "a", "a", deadline="6h"))
    world.work(first(clock, "b", "b", deadline="10m"), worker="b")
    assert world.run()["deadline_at"] == "2026-11-25T18:00:00.000Z"


def test_profiles_of_one_name_are_runs_of_their_own(world, clock):
    world.work(first(clock), first(clock, profile="open-eu"))
    assert world.run()["accepted"] == world.run(profile="open-eu")["accepted"] == 1
    assert {row["region"] for row in world.rows()} != {None} and len(world.model.calls) == 2


def test_an_envelope_keeps_what_its_job_was_first(world, clock):
    from slackwater.policy.classify import Fault
    from tests.unit.rig import fails

    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    letter = {k: v for k, v in first_body(clock).items() if k != "run_id"}
    world.work(message(letter, sent_at=clock.now()))
    clock.advance(3_700)  # the next hour, and the deadline stays where it was
    world.model.script = lambda route, request: answer()
    world.work(*world.sent_on(), worker="b")
    run = world.run("2026-11-25T12")
    assert run["accepted"] == 1 and run["deadline_at"] == "2026-11-25T18:00:00.000Z" and run["succeeded"] == 1
    assert world.queue_runs.newest("default", "2026-11-25T13") is None


def first_body(clock):
    from tests.unit.queue_rig import body

    return body(deadline="6h", lane="on_demand")
