"""How a run ends in the ledger and on the event bus, and how it goes on after its workflow failed."""

import pytest

from slackwater.model import names
from slackwater.model.run import RunState
from slackwater.usecases.announce import Announce
from slackwater.usecases.settle import Settle
from slackwater.usecases.wait import Wait
from tests.unit.rig import Executions, Outbox


class Bus:
    def __init__(self):
        self.said = []

    def announce(self, detail_type, detail):
        self.said.append((detail_type, detail))


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def announce(runs, bucket, bus, clock):
    runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
    return Announce(runs=runs, documents=bucket, events=bus, clock=clock)


def test_a_settled_run_is_said_with_its_counts_and_where_its_receipt_lies(announce, bucket, bus, runs):
    bucket.put_json(names.run_key("r1", "receipt.json"), {"lines": 3, "accepted": 3, "succeeded": 2, "cost_usd": 0.5})
    announce("r1", "settled")
    ((said, detail),) = bus.said
    assert said == "Run Completed"
    assert (detail["counts"]["succeeded"], detail["receipt_s3"]) == (2, "s3://home/v1/runs/r1/receipt.json")
    assert runs.get("r1")["state"] == "settled"


def test_a_failed_workflow_is_said_even_for_a_run_that_never_reached_the_ledger(announce, bus):
    announce("r2", "failed", "workflow_failed")
    assert [(said, detail["reason"]) for said, detail in bus.said] == [("Run Failed", "workflow_failed")]


def test_without_a_failure_an_unknown_run_is_an_error(announce):
    with pytest.raises(LookupError):
        announce("r2", "settled")


def test_after_a_redrive_the_run_waits_and_settles_as_if_nothing_had_been(announce, runs):
    announce("r1", "failed", "workflow_failed")
    workflow = Executions()
    settle = Settle(runs=runs, packs=Outbox(), workflow=workflow)
    Wait(runs=runs, settle=settle)("r1", "token-2")
    assert workflow.answered == ["token-2"]
    runs.finish("r1", RunState.SETTLED)
    assert runs.get("r1")["state"] == "settled"
