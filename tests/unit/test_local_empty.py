"""What an embedded cloud does for a stack that somebody else deploys into it, and what its workers unpack."""

from __future__ import annotations

import threading
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from local import newcomer
from local.aws import keep_the_clock, read_yaml_workflows
from local.errors import CloudError
from local.newcomer import Newcomer
from local.unpacked import UnpackedOnce, unpack_once


class Account:
    """A client of every service: one account with the stacks that a test puts there."""

    def __init__(self) -> None:
        self.stacks: list[dict[str, Any]] = []
        self.disabled: list[str] = []

    def get(self, service: str, region: str, *_: Any) -> Account:
        return self

    def get_paginator(self, name: str) -> SimpleNamespace:
        pages = {
            "describe_stacks": {"Stacks": self.stacks},
            "list_rules": {"Rules": [{"Name": "minute", "ScheduleExpression": "rate(1 minute)"}, {"Name": "files"}]},
        }
        return SimpleNamespace(paginate=lambda: [pages[name]])

    def disable_rule(self, Name: str) -> None:
        self.disabled.append(Name)

    def describe_stack_resources(self, StackName: str) -> dict[str, Any]:
        tick = {"LogicalResourceId": "TickFunction", "PhysicalResourceId": f"{StackName}-tick"}
        return {"StackResources": [tick]}


def home(name: str, status: str = "CREATE_COMPLETE", at: int = 0) -> dict[str, Any]:
    outputs = [{"OutputKey": "JobQueueUrl", "OutputValue": f"http://q/{name}"}]
    updated = datetime.fromtimestamp(at, UTC)
    return {
        "StackName": name,
        "StackId": f"arn:{name}",
        "StackStatus": status,
        "Outputs": outputs,
        "LastUpdatedTime": updated,
    }


@pytest.fixture
def beaten(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, threading.Event]]:
    """The tickers that were started: function and what ends it."""
    started: list[tuple[str, threading.Event]] = []

    def ticker(_clients: Any, _region: str, function: str, _rate: float, stop: threading.Event) -> SimpleNamespace:
        started.append((function, stop))
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr(newcomer, "Ticker", ticker)
    return started


@pytest.fixture
def told() -> list[tuple[str | None, dict[str, str]]]:
    return []


@pytest.fixture
def watcher(told: list[Any]) -> tuple[Account, Newcomer]:
    account = Account()
    report = lambda name, outputs: told.append((name, dict(outputs)))  # noqa: E731
    return account, Newcomer(account, "us-east-1", 20.0, threading.Event(), report)


def test_a_deployed_stack_is_told_of_once_and_its_tick_is_beaten_instead_of_its_schedule(watcher, told, beaten):
    account, looking = watcher
    looking.look()
    assert (told, beaten) == ([], [])
    account.stacks = [{"StackName": "managed", "StackId": "m", "StackStatus": "CREATE_COMPLETE"}, home("mine")]
    looking.look()
    looking.look()
    assert told == [("mine", {"JobQueueUrl": "http://q/mine"})]
    assert [function for function, _ in beaten] == ["mine-tick"]
    assert account.disabled == ["minute"]


def test_a_stack_that_is_still_being_made_is_waited_for(watcher, told, beaten):
    account, looking = watcher
    account.stacks = [home("mine", "CREATE_IN_PROGRESS")]
    looking.look()
    assert (told, beaten) == ([], [])


def test_an_update_turns_the_schedule_off_again_and_goes_on_with_the_same_tick(watcher, told, beaten):
    account, looking = watcher
    for at in (0, 60):
        account.stacks = [home("mine", "UPDATE_COMPLETE" if at else "CREATE_COMPLETE", at)]
        looking.look()
    assert account.disabled == ["minute", "minute"]
    assert [function for function, _ in beaten] == ["mine-tick"]


def test_a_stack_that_is_gone_is_ticked_no_more(watcher, told, beaten):
    account, looking = watcher
    account.stacks = [home("mine")]
    looking.look()
    account.stacks = []
    looking.look()
    assert told[-1] == (None, {})
    assert beaten[0][1].is_set()


def test_an_archive_is_unpacked_once_and_every_worker_gets_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    archive = tmp_path / "layer.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("python/a/b.py", "x = 1")
    for worker in ("one", "two"):
        (tmp_path / worker).mkdir()
        with UnpackedOnce(archive) as opened:
            opened.extractall(tmp_path / worker)
        assert (tmp_path / worker / "python" / "a" / "b.py").read_text() == "x = 1"
    files = [tmp_path / worker / "python" / "a" / "b.py" for worker in ("one", "two")]
    assert files[0].samefile(files[1])
    (tmp_path / "one" / "python" / "a" / "new.pyc").write_text("of one worker")
    assert not (tmp_path / "two" / "python" / "a" / "new.pyc").exists()


def test_another_archive_of_the_same_name_is_unpacked_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    archive = tmp_path / "code.zip"
    for text in ("x = 1", "x = 2"):
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr("app.py", text)
        with UnpackedOnce(archive) as opened:
            opened.extractall(tmp_path / text[-1])
        assert (tmp_path / text[-1] / "app.py").read_text() == text


def test_workers_keep_the_rest_of_the_zip_library():
    runtime: Any = ModuleType("lambda_runtime")
    runtime.zipfile = zipfile
    unpack_once(runtime)
    assert runtime.zipfile.ZipFile is UnpackedOnce
    assert runtime.zipfile.BadZipFile is zipfile.BadZipFile


def test_a_functions_own_clock_variables_do_not_reach_its_workers():
    runtime: Any = ModuleType("lambda_runtime")
    runtime._RESERVED_RUNTIME_ENV_VARS = {"AWS_REGION"}
    keep_the_clock(runtime)
    assert {"AWS_REGION", "SLACKWATER_CLOCK_RATE", "SLACKWATER_CLOCK_ORIGIN"} == runtime._RESERVED_RUNTIME_ENV_VARS
    with pytest.raises(CloudError, match="pinned in pyproject"):
        keep_the_clock(ModuleType("another"))


def test_a_workflow_in_yaml_is_read_and_one_in_json_is_left_alone():
    provisioners: Any = ModuleType("provisioners")
    provisioners._sfn_definition = lambda properties: properties["text"]
    read_yaml_workflows(provisioners)
    assert provisioners._sfn_definition({"text": "StartAt: A\n"}) == '{"StartAt": "A"}'
    assert provisioners._sfn_definition({"text": '{"StartAt":"A"}'}) == '{"StartAt":"A"}'


def test_a_built_template_says_what_it_was_built_for(tmp_path):
    import subprocess

    tool = Path(__file__).parents[2] / "tools" / "built_for"
    template = tmp_path / "template.yaml"
    template.write_text(
        "Parameters:\n  Architecture:\n    Type: String\n    Default: arm64\n  Other:\n    Default: arm64\n"
        "Resources:\n  Architecture:\n    Default: arm64\n"
    )
    subprocess.run(["sh", tool, template, "Architecture=x86_64"], check=True)
    assert template.read_text().count("x86_64") == 1
    assert "  Architecture:\n    Type: String\n    Default: x86_64\n" in template.read_text()
    unknown = subprocess.run(["sh", tool, template, "Nothing=1"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 1
    assert "no parameter Nothing" in unknown.stderr
