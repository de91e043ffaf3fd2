"""Runs and units in the ledger: what may be done twice, by whom, and who loses."""

import pytest

from slackwater.model import bits
from slackwater.model.errors import Lost, NotYet
from slackwater.model.run import RunState, Unit, throttles_of


def pack(number: int) -> Unit:
    return Unit(f"p{number}", "pack", "00000", "on_demand", bits.pack([0, 1, 2]), first_line=1, jobs=3)


@pytest.fixture
def opened(runs, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
    runs.register("r1", [pack(1), pack(2)])
    return runs


def test_opening_a_run_again_keeps_what_is_known(opened, clock):
    clock.advance(5)
    again = opened.open("r1", {"kind": "file"}, next_check_at=clock.now())
    assert again["unsettled"] == 2
    assert again["started_at"] == "2026-11-25T12:00:00.000Z"


@pytest.mark.promise(2)
def test_units_registered_again_are_counted_once(opened):
    opened.register("r1", [pack(2), pack(3)])
    assert opened.get("r1")["unsettled"] == 3
    assert sorted(u["unit"] for u in opened.units("r1")) == ["p1", "p2", "p3"]


def test_more_units_than_a_transaction_holds(opened):
    opened.register("r1", [pack(number) for number in range(10, 260)])
    assert opened.get("r1")["unsettled"] == 252


def test_a_unit_ends_once(opened):
    opened.end_unit("r1", "p1")
    opened.end_unit("r1", "p1")
    assert opened.get("r1")["unsettled"] == 1


@pytest.mark.promise(2)
def test_a_second_worker_waits_while_the_first_lives_and_takes_over_when_its_lease_is_over(opened, clock):
    opened.claim("r1", "p1", hop=0, owner="a", lease_s=85)
    with pytest.raises(NotYet):
        opened.claim("r1", "p1", hop=0, owner="b", lease_s=85)
    clock.advance(90)
    assert opened.claim("r1", "p1", hop=0, owner="b", lease_s=85)["attempt"] == 2
    with pytest.raises(Lost):
        opened.start("r1", "p1", owner="a", started=b"\1", lease_s=85)


def test_a_message_with_a_lower_hop_is_void_and_one_of_an_ended_pack_too(opened):
    opened.claim("r1", "p1", hop=0, owner="a", lease_s=85)
    opened.hand_back("r1", "p1", owner="a", hop=1, started=b"\0", faults={})
    with pytest.raises(Lost):
        opened.claim("r1", "p1", hop=0, owner="b", lease_s=85)
    opened.claim("r1", "p1", hop=1, owner="b", lease_s=85)
    opened.end_unit("r1", "p1")
    with pytest.raises(Lost):
        opened.claim("r1", "p1", hop=1, owner="c", lease_s=85)


@pytest.mark.promise(2)
def test_lost_calls_are_counted_once_and_only_by_the_owner(opened):
    opened.claim("r1", "p1", hop=0, owner="a", lease_s=85)
    opened.start("r1", "p1", owner="a", started=bits.pack([0, 1]), lease_s=85)
    opened.count_lost_calls("r1", "p1", owner="a", stored=bits.pack([0]), lost=1)
    assert opened.get("r1")["repeats"] == 1
    assert list(bits.unpack(opened.unit("r1", "p1")["started"])) == [0]
    with pytest.raises(Lost):
        opened.count_lost_calls("r1", "p1", owner="b", stored=b"\0", lost=1)
    assert opened.get("r1")["repeats"] == 1


def test_coverage_unites_sources(opened):
    opened.cover("r1", "00000", "pack-p1", bits.pack([0, 1]))
    opened.cover("r1", "00000", "shard-s1", bits.pack([1, 2, 999]))
    opened.cover("r1", "00000", "shard-s1", bits.pack([1, 2, 999]))
    assert opened.covered("r1") == 4


def test_a_finished_run_is_no_longer_due(opened, table):
    due = lambda: [i["run_id"] for p in range(8) for i in table.due(p, "2027-01-01T00:00:00.000Z")]  # noqa: E731
    assert due() == ["r1"]
    opened.finish("r1", RunState.SETTLED)
    assert due() == []


def test_a_run_whose_workflow_failed_can_be_reopened_and_its_reason_is_forgotten(opened, table):
    opened.finish("r1", RunState.FAILED, reason="workflow_failed")
    assert opened.get("r1")["reason"] == "workflow_failed"
    again = opened.reopen("r1")
    assert again["state"] == "open"
    assert "reason" not in again
    opened.finish("r1", RunState.SETTLED)
    assert "reason" not in opened.get("r1")


def test_refusals_are_counted_by_region_on_their_run(runs, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
    assert throttles_of(runs.get("r1")) == {}
    runs.add_throttles("r1", {"us-west-2": 3, "ap-northeast-1": 1})
    runs.add_throttles("r1", {"us-west-2": 2})
    assert throttles_of(runs.get("r1")) == {"ap-northeast-1": 1, "us-west-2": 5}
