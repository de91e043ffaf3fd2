"""A probe whose end says nothing of its route gives its lease back."""

from random import Random

import pytest

from slackwater.adapters.ledger.health import RouteHealth
from slackwater.policy.classify import Fault
from slackwater.policy.health import (
    Closed,
    MayProbe,
    RouteState,
    after_fault,
    after_nothing,
    faults_before_rest,
    gate,
    probing,
)
from tests.unit.rig import StillClock

SILENT = [fault for fault in Fault if faults_before_rest(fault) is None]


def resting_and_probed(prober="a"):
    rested = after_fault(RouteState(), Fault.CAPACITY, 100.0, 99.0, Random(1))
    now = rested.rest_until_s + 1
    assert isinstance(gate(rested, now, 0.0), MayProbe)
    return probing(rested, now, prober), now


def test_malformed_jobs_lost_replies_and_what_may_follow_a_job_say_nothing_of_a_route():
    assert set(SILENT) == {Fault.JOB, Fault.UNKNOWN, Fault.TIMEOUT, Fault.INTERNAL, Fault.MODEL_ERROR}


def test_a_malformed_job_that_was_the_probe_does_not_keep_the_route_closed():
    state, now = resting_and_probed()
    assert isinstance(gate(state, now + 1, 0.0), Closed)
    assert isinstance(gate(after_nothing(state, "a", now), now + 1, 0.0), MayProbe)


@pytest.mark.parametrize(("prober", "started_s"), [("b", 1000.0), ("a", 99.0)])
def test_calls_that_were_not_the_probe_leave_its_lease_alone(prober, started_s):
    state, _ = resting_and_probed()
    assert after_nothing(state, prober, started_s) == state


def test_an_open_route_is_left_as_it_is():
    assert after_nothing(RouteState(), "a", 5.0) == RouteState()


def test_the_fleet_asks_again_at_once_after_a_probe_that_said_nothing(table):
    clock = StillClock()
    ours, theirs = (RouteHealth(table, clock, Random(seed), owner=name) for seed, name in ((1, "a"), (2, "b")))
    ours.report("r", Fault.QUOTA_DAILY, clock.now())
    clock.advance(3600)
    assert ours.gate("r") is None  # the one probe
    clock.advance(5)
    assert theirs.gate("r") is not None
    ours.report("r", Fault.JOB, clock.now())
    clock.advance(5)
    assert theirs.gate("r") is None
    theirs.report("r", None, clock.now())
    assert table.get(("ROUTE#r", "HEALTH"))["strikes"] == 0
