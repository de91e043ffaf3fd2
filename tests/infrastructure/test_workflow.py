"""The run workflow, read as Step Functions would: nothing dangles, every task has an end and a way out."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "statemachines/run.asl.yaml").read_text()
WORKFLOW: dict[str, Any] = yaml.safe_load(TEXT)


def states(machine: dict[str, Any] = WORKFLOW) -> dict[str, dict[str, Any]]:
    found = dict(machine["States"])
    for state in machine["States"].values():
        if state["Type"] == "Map":
            found |= states(state["ItemProcessor"])
    return found


def test_every_transition_leads_to_a_state():
    names = states().keys()
    for name, state in states().items():
        targets = [state.get("Next"), state.get("Default"), *(c["Next"] for c in state.get("Choices", []))]
        targets += [c["Next"] for c in state.get("Catch", [])]
        assert all(t in names for t in targets if t), name
        assert any(targets) or state.get("End") or state["Type"] in ("Fail", "Succeed"), name


def test_every_task_is_bounded_and_names_what_it_retries():
    for name, state in states().items():
        if state["Type"] != "Task":
            continue
        assert state["TimeoutSeconds"], name
        for retry in state["Retry"]:
            assert "States.ALL" not in retry["ErrorEquals"], name
            assert retry["MaxAttempts"] <= 8, name


def test_a_step_that_fails_for_good_fails_the_execution_there_so_that_a_redrive_goes_on_with_it():
    caught = {error for state in states().values() for c in state.get("Catch", []) for error in c["ErrorEquals"]}
    assert caught == {"States.Timeout"}
    assert not [name for name, state in states().items() if state["Type"] == "Fail"]


def test_the_definition_holds_no_yaml_alias():
    assert not re.search(r"(^|[\s:])[&*][A-Za-z]", TEXT)  # nobody documents that Step Functions resolves them


def test_every_substitution_is_given_by_the_template():
    from local.package import load_template

    given = load_template(ROOT / "template.yaml")["Resources"]["RunWorkflow"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == set(given)


def test_the_definition_is_inside_step_functions_limit():
    assert len(json.dumps(WORKFLOW)) < 1_000_000
