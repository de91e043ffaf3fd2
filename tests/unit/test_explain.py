"""`explain`: what the plan or the ledger says of one job, what happened to it, and its money; no prompt in it."""

import orjson
import pytest

from slackwater.model import names
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.usecases.explain import Explain
from slackwater_cli.explain_command import explanation_view
from slackwater_cli.screen import Screen
from tests.unit.queue_rig import QueueWorld, first, patient
from tests.unit.rig import ShippedProfiles
from tests.unit.test_counterfactuals import row
from tests.unit.test_plan import RUN, Run, line, request

SECRET = "the prompt that nobody may see"


class Items:
    def __init__(self, items=None):
        self.items = items or {}

    def get(self, key):
        return self.items.get(key)


class Runs:
    def __init__(self, meta):
        self.meta = meta

    def get(self, run_id):
        return self.meta if run_id == self.meta["run_id"] else None

    def blocks(self, run_id):
        return iter(())


def explaining(documents, runs, items=None):
    return Explain(
        documents=documents,
        runs=runs,
        items=items or Items(),
        profiles=ShippedProfiles(),
        prices=load_price_book(),
        capability=load_capability(),
    )


@pytest.fixture
def planned():
    """120 like jobs of a file, planned for batch; line 7 was left over by its batch job and answered by a call."""
    run = Run([line(n) for n in range(1, 121)])
    answered = row(7, rescued=True) | {"run_id": RUN, "attempts": 2}
    run.bucket.put(names.part_key(RUN, "00000", "pack-p1", 0), orjson.dumps(answered) + b"\n")
    return explaining(run.bucket, Runs(run.meta | {"kind": "file"})), RUN


def test_a_files_job_is_explained_from_the_plan_as_it_was_made(planned):
    explain, run = planned
    found = explain("7", run)
    assert (found["line"], found["state"], found["decided"]["from"]) == (7, "done", "plan")
    assert (found["decided"]["lane"], found["decided"]["jobs_alike"]) == ("batch", 120)
    ways = {(way["lane"], way["route"] and way["route"].partition("|")[0]): way for way in found["ways"]}
    taken = {lane for (lane, _), way in ways.items() if way["taken"]}
    assert taken == {"batch"}
    assert ways["flex", None]["refused"] == "the profile does not allow it"
    call = ways["on_demand", "us-west-2"]
    assert 0 < ways["batch", "us-west-2"]["expected_cost_usd"] < call["expected_cost_usd"]
    assert call["expected_finish"] < ways["batch", "us-west-2"]["expected_finish"]


def test_it_says_what_happened_and_what_it_cost_against_the_other_ways(planned):
    explain, run = planned
    found = explain("7", run)
    outcome = found["outcome"]
    assert (outcome["lane"], outcome["attempts"], outcome["rescued"]) == ("on_demand", 2, True)
    assert outcome["rerouted"] is (outcome["route"] != outcome["preferred_route"])
    assert found["batch"]["planned"]["record"] >= 0
    assert found["money"]["cost_usd"] == 0.0015
    assert found["money"]["counterfactuals"]["batch"] == 0.00075
    assert found["money"]["counterfactuals"]["flex"] is None


def test_a_job_is_found_by_its_line_its_own_id_and_the_callers(planned):
    explain, run = planned
    by_line = explain("9", run)
    assert by_line["outcome"] is None
    assert by_line["state"] == "under way"
    assert explain(by_line["job"], run) == by_line
    assert explain("id:" + by_line["id"], run) == by_line
    assert explain("nobody", run) is None
    assert explain("7", "another run") is None


def test_no_prompt_and_no_answer_is_in_it():
    run = Run([{"request": request(SECRET)}, *(line(n) for n in range(2, 130))])
    answered = row(1) | {"response": {"output": {"message": {"content": [{"text": SECRET}]}}}}
    run.bucket.put(names.part_key(RUN, "00000", "pack-p1", 0), orjson.dumps(answered) + b"\n")
    found = explaining(run.bucket, Runs(run.meta | {"kind": "file"}))("1", RUN)
    assert found["outcome"]["status"] == "succeeded"
    assert SECRET.encode() not in orjson.dumps(found)


def test_people_can_read_it(planned, capsys):
    explain, run = planned
    Screen().show(explanation_view(explain("7", run)))
    shown = capsys.readouterr().out + capsys.readouterr().err
    assert "rescued: a batch job had left it over" in shown
    assert "the profile does not allow it" in shown


# ---------------------------------------------------------------------- jobs of the queue


@pytest.fixture
def world(table, bucket, clock):
    return QueueWorld(table, bucket, clock)


def of_queue(world):
    return explaining(world.bucket, world.runs, world.table)


def test_a_queued_job_is_explained_from_what_its_last_step_noted(world, clock):
    world.work(first(clock, "one", SECRET))
    entry = world.jobs.get(world.rows()[0]["job"])
    found = of_queue(world)(entry.job)
    assert found == of_queue(world)("one", entry.run_id) == of_queue(world)(str(entry.ordinal), entry.run_id)
    assert (found["kind"], found["state"], found["decided"]["from"]) == ("queue", "done", "ledger")
    assert found["decided"]["lane"] == "on_demand"
    refused = {way["lane"]: way["refused"] for way in found["ways"]}
    assert "had to begin by" in refused["batch"]
    assert refused["flex"] == "the profile does not allow it"
    taken = [way for way in found["ways"] if way["taken"]]
    assert {way["route"] for way in taken} == {"us-west-2", "us-east-1", "us-east-2"}
    assert all(way["expected_cost_usd"] > 0 and way["in_time"] for way in taken)
    assert found["outcome"]["status"] == "succeeded"
    assert SECRET.encode() not in orjson.dumps(found)


def test_a_pooled_job_says_why_it_waits(world, clock):
    world.work(patient(clock, "later"))
    found = of_queue(world)("later", world.run()["run_id"])
    assert (found["state"], found["decided"]["lane"], found["outcome"]) == ("waiting", "batch", None)
    assert found["queue"]["pool"] is not None
    costs = {way["lane"]: way["lane_cost_usd"] for way in found["ways"] if way["lane_cost_usd"]}
    assert costs["batch"] < costs["on_demand"]
