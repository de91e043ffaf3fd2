"""The command against a deployed stack, found as on AWS: by its name, credentials and endpoint variables alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.integration.test_cli_local import converse, exported, slackwater, write

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("aws")
    assert slackwater(folder, "local", "up", "--rate", "60").returncode == 0
    try:
        yield Stack(folder, exported(folder))
    finally:
        slackwater(folder, "local", "down")


class Stack:
    """A stack that the command knows by `AWS_ENDPOINT_URL`, `AWS_REGION` and its name, as any SDK does."""

    def __init__(self, folder: Path, shell: dict[str, str]) -> None:
        self.folder, self.shell = folder, shell
        self.session = boto3.session.Session("test", "test", region_name=shell["AWS_REGION"])

    def client(self, service: str) -> Any:
        own = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
        return self.session.client(service, endpoint_url=self.shell.get(own, self.shell["AWS_ENDPOINT_URL"]))

    def run(self, *arguments: str, status: int = 0, stdin: str | None = None) -> str:
        import subprocess

        from tests.integration.test_cli_local import COMMAND, environment

        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env={**environment(self.folder), **self.shell}, input=stdin,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json", status=status))
        return found

    def emulator(self, patch: dict[str, Any]) -> None:
        import urllib.request

        url = self.shell["SLACKWATER_CONTROL_URL"] + "/_control/config"
        request = urllib.request.Request(url, json.dumps(patch).encode(), method="PATCH")
        urllib.request.urlopen(request, timeout=30).read()

    def eventually(self, ask: Any, within_s: float = 60) -> Any:
        end = time.monotonic() + within_s
        while not (found := ask()):
            assert time.monotonic() < end, "not in time"
            time.sleep(0.5)
        return found


def jobs(name: str, count: int) -> str:
    return "".join(converse(hash(name) % 1000 * 1000 + n).replace("Question", name) + "\n" for n in range(count))


def test_lines_from_standard_input_become_a_run_that_is_watched_by_the_id_it_printed(stack):
    options = ["--name", "evening", "--deadline", "30m", "--result-dialect", "openai"]
    run = stack.run("submit", "-", *options, stdin=jobs("Piped", 7)).strip()
    receipt = stack.json("watch", run)
    assert (receipt["run_id"], receipt["status"], receipt["succeeded"]) == (run, "settled", 7)
    assert "results.openai.jsonl" in stack.json("results", "evening.jsonl")["files"]
    shown = stack.json("status", "evening.jsonl")
    assert (shown["state"], shown["done"], shown["workflow_failure"]) == ("settled", 7, None)


def test_a_files_job_and_a_queued_one_are_explained(stack):
    run = stack.run("submit", "-", "--name", "why", "--deadline", "30m", stdin=jobs("Why", 3) + "no job\n").strip()
    stack.run("watch", run)
    told = stack.json("explain", "2", "--run", "why.jsonl")
    assert (told["line"], told["state"], told["decided"]["from"], told["decided"]["lane"]) == (
        2,
        "done",
        "plan",
        "on_demand",
    )
    assert {way["lane"]: way["refused"] for way in told["ways"]}["flex"] == "the profile does not allow it"
    assert told["outcome"]["route"] in {way["route"] for way in told["ways"] if way["taken"]}
    assert told["money"]["counterfactuals"]["batch"] == pytest.approx(told["money"]["cost_usd"] / 2)
    assert "succeeded at" in stack.run("explain", told["job"], "--run", run)
    assert stack.json("explain", "4", "--run", run)["state"] == "refused"
    assert stack.json("explain", "nobody", "--run", run, status=2)["error"]["code"] == "unknown_job"
    job = {"v": 1, "job_id": "ask", "run_id": "asked", "deadline": "20m", "request": json.loads(converse(1))}
    job["request"].pop("id")
    stack.client("sqs").send_message(QueueUrl=stack.shell["SLACKWATER_JOB_QUEUE"], MessageBody=json.dumps(job))
    word = {"v": 1, "close_run": "asked", "expected": 1}
    stack.client("sqs").send_message(QueueUrl=stack.shell["SLACKWATER_JOB_QUEUE"], MessageBody=json.dumps(word))
    stack.run("watch", "asked")
    told = stack.json("explain", "ask", "--run", "asked")
    assert (told["kind"], told["state"], told["decided"]["from"]) == ("queue", "done", "ledger")
    assert told == stack.json("explain", told["job"])


def test_what_the_intake_would_refuse_is_not_even_uploaded(stack):
    write(stack.folder / "one.jsonl", [converse(1)])
    for wrong in (["--deadline", "soon"], ["--lane", "bus"], ["--profile", "nobody"], ["--result-dialect", "klingon"]):
        stack.run("submit", "one.jsonl", *wrong, status=2)
    stack.run("submit", "missing.jsonl", status=2)
    listed = stack.client("s3").list_objects_v2(Bucket=stack.shell["SLACKWATER_BUCKET"], Prefix="inbox/")
    assert "one" not in str([entry["Key"] for entry in listed.get("Contents", [])])


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_a_cancelled_file_keeps_what_its_batch_job_finished_and_pays_for_no_more(stack):
    stopped = {"match": "sw-", "times": None, "status": "Stopped", "fraction": 0.4, "base_s": 7200}
    stack.emulator({"batch": {"outcomes": [stopped]}})
    (stack.folder / "batch.jsonl").write_text(jobs("Patient", 240))
    run = stack.run("submit", "batch.jsonl", "--deadline", "24h", "--lane", "batch").strip()

    def running() -> bool:
        done = [shard["bedrock_status"] for shard in _status(stack, run)["shards"]]
        return bool(done) and all(status == "InProgress" for status in done)

    stack.eventually(running, within_s=180)
    overview = stack.json("status")
    assert [one["run_id"] for one in overview["runs"] if one["run_id"] == run] == [run]
    assert all(shard["age_s"] is not None for shard in overview["shards"])
    told = stack.json("cancel", run)
    stack.emulator({"batch": {"outcomes": None}})
    receipt = told["receipt"]
    assert (told["status"], receipt["status"]) == ("cancelled", "cancelled")
    assert receipt["accepted"] == 240 == receipt["succeeded"] + receipt["failed"]
    assert told["kept"]["succeeded"] + told["stopped"] == 240
    assert told["stopped"] > 0
    assert told["kept"]["succeeded"] > 0
    assert receipt["lanes"]["on_demand"]["jobs"] == 0
    assert receipt["repeats"] == 0
    listed = {one["run_id"]: one["state"] for one in stack.json("runs")["runs"]}
    assert listed[run] == "cancelled"
    assert stack.json("cancel", run, status=2)["error"]["code"] == "ended"


def _status(stack: Stack, run: str) -> dict[str, Any]:
    try:
        return stack.json("status", run)
    except AssertionError:  # it has not begun
        return {"shards": []}


def test_a_cancelled_queue_run_ends_and_its_waiting_jobs_are_told(stack):
    sqs, queue = stack.client("sqs"), stack.shell["SLACKWATER_JOB_QUEUE"]
    request = {"messages": [{"role": "user", "content": [{"text": "A job that can wait"}]}]}
    for number in range(3):
        job = {"v": 1, "job_id": f"j{number}", "run_id": "night", "deadline": "2d", "request": request}
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(job))
    stack.eventually(lambda: any(pool["jobs"] == 3 for pool in stack.json("status")["pools"]))
    told = stack.json("cancel", "night")
    assert (told["status"], told["stopped"], told["kept"]["succeeded"]) == ("cancelled", 3, 0)
    assert stack.json("status")["pools"] == []


def test_dead_letters_say_why_they_lie_there_and_go_back(stack):
    sqs = stack.client("sqs")
    url = sqs.get_queue_url(QueueName=_queue_name(stack, "WorkDeadLettersUrl"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"v": 1, "do": "close_run", "run": "r" + "a" * 20}))
    jobs_url = sqs.get_queue_url(QueueName=_queue_name(stack, "JobDeadLettersUrl"))["QueueUrl"]
    sqs.send_message(QueueUrl=jobs_url, MessageBody="a prompt that is no JSON")
    assert stack.json("dlq", "list")["queues"] == {"intake": 0, "jobs": 1, "packs": 0, "work": 1}
    text = stack.run("dlq", "show", "--json")
    found = {one["queue"]: one for one in json.loads(text)["messages"]}
    assert "no JSON object" in found["jobs"]["why"]
    assert found["work"]["redrive"] and "close_run" in found["work"]["about"]
    assert "prompt that is" not in text
    stack.eventually(lambda: stack.json("dlq", "redrive", "--queue", "work")["moved"]["work"] == 1, within_s=30)
    assert stack.json("dlq", "list")["queues"]["work"] == 0
    sqs.purge_queue(QueueUrl=jobs_url)


def _queue_name(stack: Stack, output: str) -> str:
    found = stack.client("cloudformation").describe_stacks(StackName=stack.shell["SLACKWATER_STACK"])["Stacks"][0]
    urls = {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}
    return urls[output].rpartition("/")[2]


def test_check_finds_all_in_order_and_names_who_acts_where_it_is_not(stack):
    fine = stack.json("check")
    assert fine["profiles"] == ["default"]  # none is applied yet, and the examples are nobody's wish
    assert fine["ok"] and fine["counts"]["failed"] == 0
    by_what = {(one["what"], one["state"]) for one in fine["findings"]}
    assert {("model access", "ok"), ("permissions", "ok"), ("batch bucket", "ok"), ("satellite", "ok")} <= by_what
    assert set(stack.json("check", "--all")["profiles"]) >= {"default", "open-eu"}
    assert ("quotas", "unknown") in by_what  # nobody answers for them here, and nothing is claimed
    stack.emulator({"models": {"access": {"us-west-2": {HAIKU: False}}}})
    try:
        out = stack.run("check", "--profile", "default", status=1)
    finally:
        stack.emulator({"models": {"access": {"us-west-2": None}}})
    flat = " ".join(out.split())
    assert f"the account's administrator requests access to {HAIKU} in us-west-2" in flat


def test_profiles_are_refused_at_the_door_applied_and_followed(stack):
    profiles = stack.json("profiles", "show")["profiles"]
    assert set(profiles) >= {"default", "open-eu"}
    wrong = {"v": 1, "profiles": {"default": {**profiles["default"], "residency": ["eu-west-1"], "modle": "x"}}}
    (stack.folder / "wrong.json").write_text(json.dumps(wrong))
    refused = stack.json("profiles", "apply", "wrong.json", status=2)
    assert [(p["profile"], p["field"]) for p in refused["problems"]] == [("default", "modle")]
    mine = {"v": 1, "profiles": {**profiles, "short": {**profiles["default"], "max_tokens": 30, "max_tokens_max": 30}}}
    (stack.folder / "mine.json").write_text(json.dumps(mine))
    changes = stack.json("profiles", "diff", "mine.json")["changes"]
    assert [(change["profile"], change["kind"]) for change in changes] == [("short", "added")]
    applied = stack.json("profiles", "apply", "mine.json")
    assert stack.json("profiles", "show", "short")["version"] == applied["version"]
    assert not stack.json("profiles", "apply", "mine.json")["applied"]  # nothing differs
    stack.run("profiles", "check")
    assert "short" in stack.json("check")["profiles"]  # whoever applies a document means all of it
    lines = [json.dumps({**json.loads(converse(n)), "inferenceConfig": {"maxTokens": 10 * n}}) for n in range(1, 5)]
    write(stack.folder / "short.jsonl", lines)
    receipt = stack.json("watch", stack.run("submit", "short.jsonl", "--profile", "short", "--deadline", "30m").strip())
    assert (receipt["succeeded"], receipt["refused_lines"]) == (3, 1)
