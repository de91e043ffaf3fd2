"""What one container learned of a route, all know soon; and while it rests, one of them asks."""

from datetime import timedelta
from random import Random

import pytest

from slackwater.adapters.ledger.health import FRESH_S, RouteHealth
from slackwater.model.clock import parse_iso
from slackwater.policy.classify import Fault
from slackwater.policy.health import PROBE_S, RAMP_MOST_S, faults_before_rest
from tests.unit.rig import StillClock

NAME = "us-west-2|some.model|default"
ROW = (f"ROUTE#{NAME}", "HEALTH")


class Counted:
    """A table whose reads are counted."""

    def __init__(self, table):
        self._table, self.reads = table, 0

    def get(self, key):
        self.reads += 1
        return self._table.get(key)

    def write(self, write, *, returns="NONE"):
        return self._table.write(write, returns=returns)


@pytest.fixture
def fleet(table, clock):
    return [RouteHealth(table, clock, Random(seed), owner=f"w{seed}") for seed in range(20)]


def rests(one: RouteHealth, clock: StillClock, fault=Fault.CAPACITY) -> None:
    """As many faults in a row as it takes, of calls that begin now; nobody of the fleet has an old copy after it."""
    for _ in range(faults_before_rest(fault)):
        one.report(NAME, fault, clock.now())
    clock.advance(0.001)


def rest_over(table, clock) -> None:
    clock.moment = max(clock.moment, parse_iso(table.get(ROW)["rest_until"])) + timedelta(seconds=FRESH_S)


def test_what_one_container_learned_all_know_after_their_copy_is_old_and_one_read(table, clock):
    ours, counted = RouteHealth(table, clock, Random(1)), Counted(table)
    theirs = RouteHealth(counted, clock, Random(2))
    assert theirs.gate(NAME) is None
    ours.report(NAME, Fault.QUOTA_DAILY, clock.now())
    clock.advance(FRESH_S / 2)
    assert theirs.gate(NAME) is None  # its copy is good for a second
    clock.advance(FRESH_S / 2)
    before = counted.reads
    assert theirs.gate(NAME) is not None
    assert counted.reads == before + 1
    for _ in range(50):
        theirs.gate(NAME)
    assert counted.reads == before + 1


def test_of_twenty_containers_exactly_one_probes(table, clock, fleet):
    rests(fleet[0], clock, Fault.QUOTA_DAILY)
    clock.advance(FRESH_S)
    assert all(one.gate(NAME) is not None for one in fleet)
    rest_over(table, clock)
    assert [one.resting([NAME]) for one in fleet] == [{}] * 20  # all have a good copy, of a route that may be probed
    assert len([one for one in fleet if one.gate(NAME) is None]) == 1
    for _ in range(3):  # while the probe is out
        clock.advance(FRESH_S)
        assert all(one.gate(NAME) is not None for one in fleet)
    clock.advance(PROBE_S)
    assert len([one for one in fleet if one.gate(NAME) is None]) == 1  # a probe that never came back is given up


def test_a_container_with_an_old_copy_makes_no_second_probe_of_a_route_that_rests_again(table, clock):
    ours, theirs = (RouteHealth(table, clock, Random(seed)) for seed in (1, 2))
    rests(ours, clock, Fault.QUOTA_DAILY)
    rest_over(table, clock)
    assert theirs.resting([NAME]) == {}  # its copy is of now: the rest is over
    assert ours.gate(NAME) is None
    ours.report(NAME, Fault.QUOTA_DAILY, clock.now())  # the probe fails at once
    assert theirs.gate(NAME) == parse_iso(table.get(ROW)["rest_until"])


def test_an_old_copy_does_not_close_a_route_that_is_open_again(table, clock):
    ours, theirs = (RouteHealth(table, clock, Random(seed)) for seed in (1, 2))
    rests(ours, clock, Fault.QUOTA_DAILY)
    rest_over(table, clock)
    assert theirs.resting([NAME]) == {}
    assert ours.gate(NAME) is None
    ours.report(NAME, None, clock.now())
    theirs.gate(NAME)
    assert "probe_until" not in table.get(ROW)


def test_a_probe_that_fails_doubles_the_rest(table, clock):
    total, rounds = [0.0] * 4, 40
    for seed in range(rounds):
        name = f"{NAME}{seed}"
        one = RouteHealth(table, clock, Random(seed))
        one.report(name, Fault.QUOTA_DAILY, clock.now())
        one.report(name, Fault.US, clock.now())  # of a call that could not know of it: says nothing new
        for strikes in range(3):
            item = table.get((f"ROUTE#{name}", "HEALTH"))
            assert item["strikes"] == strikes + 1
            total[strikes] += (parse_iso(item["rest_until"]) - parse_iso(item["rested_at"])).total_seconds()
            clock.moment = parse_iso(item["rest_until"])
            assert one.gate(name) is None
            one.report(name, Fault.US, clock.now())
    assert total[2] > 1.4 * total[1]  # each is drawn below twice the bound of the one before


def test_the_calls_of_those_who_did_not_know_neither_lengthen_a_rest_nor_open_the_route(table, clock, fleet):
    began = clock.now()
    clock.advance(5)
    rests(fleet[0], clock)
    before = table.get(ROW)
    for one in fleet[1:10]:
        one.report(NAME, Fault.CAPACITY, began)
        one.report(NAME, Fault.CAPACITY, clock.now())  # begun within the second in which nobody else could know
    for one in fleet[10:]:
        one.report(NAME, None, began)
    assert table.get(ROW) == before


def test_an_answer_to_a_call_from_before_the_newest_rest_opens_nothing_however_old_the_copy(table, clock):
    ours, theirs = (RouteHealth(table, clock, Random(seed)) for seed in (1, 2))
    rests(ours, clock, Fault.QUOTA_DAILY)
    rest_over(table, clock)
    began = clock.now()
    assert theirs.resting([NAME]) == {}
    assert ours.gate(NAME) is None
    clock.advance(0.1)
    ours.report(NAME, Fault.QUOTA_DAILY, clock.now())
    clock.advance(0.1)
    theirs.report(NAME, None, began)  # after the first rest began, before the second did
    assert table.get(ROW)["strikes"] == 2


def test_twenty_containers_that_meet_the_same_outage_count_one_rest(table, clock, fleet):
    began = clock.now()
    clock.advance(1)
    for one in fleet:
        for _ in range(faults_before_rest(Fault.CAPACITY)):
            one.report(NAME, Fault.CAPACITY, began)
    assert table.get(ROW)["strikes"] == 1


def test_calls_come_back_by_and_by(table, clock, fleet):
    rests(fleet[0], clock)
    rest_over(table, clock)
    assert fleet[0].gate(NAME) is None
    began = clock.now()
    clock.advance(RAMP_MOST_S)  # a slow probe: the longest ramp
    fleet[0].report(NAME, None, began)
    clock.advance(FRESH_S)

    def share() -> float:
        asked = [RouteHealth(table, clock, Random(seed)) for seed in range(200)]
        return sum(one.gate(NAME) is None for one in asked) / 200

    early = share()
    clock.advance(RAMP_MOST_S / 2)
    middle = share()
    clock.advance(RAMP_MOST_S)
    assert 0.1 < early < 0.3 < middle < 0.8 < share() == 1


def test_who_was_not_let_in_by_the_dice_is_not_by_asking_again_at_once(table, clock, fleet):
    rests(fleet[0], clock)
    rest_over(table, clock)
    assert fleet[0].gate(NAME) is None
    began = clock.now()
    clock.advance(RAMP_MOST_S)
    fleet[0].report(NAME, None, began)
    clock.advance(FRESH_S)
    before = [one.gate(NAME) for one in fleet]
    refused = [one for one, until in zip(fleet, before, strict=True) if until is not None]
    assert len(refused) > 10
    assert all(one.gate(NAME) is not None for one in refused for _ in range(50))
    clock.advance(2 * RAMP_MOST_S)
    assert all(one.gate(NAME) is None for one in refused)


def test_a_few_faults_that_are_not_in_a_row_let_nothing_rest(table, clock):
    one = RouteHealth(table, clock, Random(1))
    for _ in range(5):
        one.report(NAME, Fault.CAPACITY, clock.now())
        one.report(NAME, None, clock.now())
    assert one.gate(NAME) is None
    assert table.get(ROW) is None
