"""The command as people run it: a process of its own, an embedded cloud, files in and receipts out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.processes import process_table

COMMAND = [sys.executable, "-c", "from slackwater_cli.main import run; run()"]
START_S = 60.0


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SLACKWATER_"))}
    return {**kept, "SLACKWATER_LOCAL_DIR": str(folder / "cloud"), "TMPDIR": str(folder), "COLUMNS": "100"}


def slackwater(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in `folder`, where its temporary files lie too."""
    env = {**environment(folder), **more}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False
    )


def converse(number: int) -> str:
    return json.dumps(
        {"id": f"q-{number}", "messages": [{"role": "user", "content": [{"text": f"Question {number}?"}]}]}
    )


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def left_over(folder: Path) -> list[str]:
    """Processes that still name the folder, and clouds that still lie in it."""
    running = [row.command for row in process_table() if str(folder) in row.command and "pytest" not in row.command]
    return running + [path.name for path in folder.glob("slackwater-cloud-*")]


@pytest.mark.promise(1)
def test_a_patient_file_goes_by_batch_and_its_receipt_is_the_one_json_document(tmp_path):
    lines = [converse(number) for number in range(300)]
    write(tmp_path / "questions.jsonl", [*lines[:100], "{broken", *lines[100:], lines[7]])
    done = slackwater(tmp_path, "local", "run", "questions.jsonl", "--deadline", "24h", "--out", "answers", "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert (receipt["lines"], receipt["accepted"], receipt["succeeded"], receipt["refused_lines"]) == (302, 300, 300, 2)
    assert receipt["lanes"]["batch"]["jobs"] == 300
    assert set(receipt["regions"]) == {"us-west-2", "us-east-1"}
    found = rows(tmp_path / "answers" / "results.jsonl")
    assert [row["line"] for row in found] == list(range(1, 303))
    assert [row["error"]["code"] for row in rows(tmp_path / "answers" / "errors.jsonl")] == ["refused", "duplicate_id"]
    assert json.loads((tmp_path / "answers" / "receipt.json").read_text()) == receipt
    assert "one minute of this cloud's time passes in 1 s" in done.stderr
    assert left_over(tmp_path) == []


def test_an_urgent_file_of_openai_lines_goes_on_demand_and_comes_back_in_its_dialect(tmp_path):
    body = {"model": "default", "max_tokens": 50}
    lines = [
        json.dumps({
            "custom_id": f"c-{n}", "method": "POST", "url": "/v1/chat/completions",
            "body": {**body, "messages": [{"role": "user", "content": f"Urgent {n}?"}]},
        })
        for n in range(20)
    ]  # fmt: skip
    write(tmp_path / "urgent.jsonl", lines)
    options = ["--deadline", "20m", "--result-dialect", "openai", "--out", "o", "--rate", "5"]
    done = slackwater(tmp_path, "local", "run", "urgent.jsonl", *options)
    assert done.returncode == 0, done.stderr
    receipt = json.loads((tmp_path / "o" / "receipt.json").read_text())
    assert receipt["lanes"]["on_demand"]["jobs"] == 20
    assert {region: one["jobs"] for region, one in receipt["regions"].items()} == {
        "us-west-2": 10, "us-east-1": 6, "us-east-2": 4,
    }  # fmt: skip
    assert [row["custom_id"] for row in rows(tmp_path / "o" / "results.openai.jsonl")] == [f"c-{n}" for n in range(20)]
    assert "20 accepted = 20 succeeded" in done.stdout


@pytest.mark.parametrize(("text", "reason"), [("", "empty_input"), ("hello\nworld\n", "not_jsonl")])
def test_a_file_with_nothing_to_run_ends_with_2_and_a_receipt(tmp_path, text, reason):
    (tmp_path / "in.jsonl").write_text(text)
    done = slackwater(tmp_path, "local", "run", "in.jsonl", "--json", "--out", "o")
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["reason"] == reason
    assert (tmp_path / "o" / "receipt.json").exists()


def test_a_run_that_does_not_settle_in_time_ends_with_3_and_leaves_nothing_running(tmp_path):
    write(tmp_path / "q.jsonl", [converse(number) for number in range(150)])
    done = slackwater(tmp_path, "local", "run", "q.jsonl", "--timeout", "1", "--json", "--rate", "1")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "not_settled"
    assert [
        row.command for row in process_table() if str(tmp_path) in row.command and "pytest" not in row.command
    ] == []


def test_ctrl_c_stops_everything_and_ends_with_130(tmp_path):
    write(tmp_path / "q.jsonl", [converse(number) for number in range(150)])
    child = subprocess.Popen(
        [*COMMAND, "local", "run", "q.jsonl", "--rate", "20"],  # slow enough to be stopped before it has settled
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whoever runs the tests in the background may have interrupts ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - it takes no lock
    )
    assert child.stderr is not None
    started = time.monotonic()
    for line in child.stderr:
        if "waiting" in line or "q.jsonl:" in line:
            break
        assert time.monotonic() - started < START_S, line
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert "Traceback" not in child.stderr.read()
    assert left_over(tmp_path) == []


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which `local up` runs."""
    folder = tmp_path_factory.mktemp("up")
    started = slackwater(folder, "local", "up", "--rate", "60", "--json")
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["running"]
    yield folder
    assert slackwater(folder, "local", "down").returncode == 0
    assert json.loads(slackwater(folder, "local", "status", "--json").stdout)["running"] is False


def exported(folder: Path) -> dict[str, str]:
    """What `eval "$(slackwater local env)"` puts into a shell."""
    script = f'eval "$({" ".join(map(json.dumps, COMMAND))} local env)" && env -0'
    out = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True
    )
    pairs = (line.partition("=") for line in out.stdout.split("\0") if line)
    return {name: value for name, _, value in pairs if name.startswith(("AWS_", "SLACKWATER_"))}


def test_local_env_reaches_the_cloud_from_any_shell(up):
    import boto3

    shell = exported(up)
    session = boto3.session.Session("test", "test", region_name=shell["AWS_REGION"])
    sqs = session.client("sqs", endpoint_url=shell["AWS_ENDPOINT_URL"])
    arn = sqs.get_queue_attributes(QueueUrl=shell["SLACKWATER_REPLY_QUEUE"], AttributeNames=["QueueArn"])
    assert arn["Attributes"]["QueueArn"] == shell["SLACKWATER_REPLY_QUEUE_ARN"]
    assert shell["SLACKWATER_BUCKET"] and shell["SLACKWATER_JOB_QUEUE"] and shell["SLACKWATER_CONTROL_URL"]


def test_local_up_again_is_no_error_and_another_rate_is(up):
    assert slackwater(up, "local", "up").returncode == 0
    other = slackwater(up, "local", "up", "--rate", "7")
    assert other.returncode == 2
    assert "local down" in other.stderr


def test_a_dropped_file_and_a_queue_run_are_watched_listed_and_read_by_name(up):
    import boto3

    shell = exported(up)
    session = boto3.session.Session("test", "test", region_name=shell["AWS_REGION"])
    s3, sqs = (session.client(name, endpoint_url=shell["AWS_ENDPOINT_URL"]) for name in ("s3", "sqs"))
    lines = "".join(converse(1000 + number) + "\n" for number in range(12))
    s3.put_object(
        Bucket=shell["SLACKWATER_BUCKET"],
        Key="inbox/default/dozen.jsonl",
        Body=lines.encode(),
        Metadata={"deadline": "2h"},
    )
    request = {"messages": [{"role": "user", "content": [{"text": "One by the queue?"}]}]}
    for message in (
        {"v": 1, "job_id": "one", "run_id": "evening", "deadline": "2h", "request": request},
        {"v": 1, "close_run": "evening", "expected": 1},
    ):
        sqs.send_message(QueueUrl=shell["SLACKWATER_JOB_QUEUE"], MessageBody=json.dumps(message))
    for name, jobs in (("dozen.jsonl", 12), ("evening", 1)):
        watched = slackwater(up, "watch", name, "--json", "--timeout", "120")
        assert watched.returncode == 0, watched.stderr
        receipt = json.loads(watched.stdout)
        assert (receipt["status"], receipt["succeeded"]) == ("settled", jobs)
    listed = json.loads(slackwater(up, "runs", "--json").stdout)["runs"]
    assert {run["name"]: run["state"] for run in listed} == {"dozen.jsonl": "settled", "evening": "settled"}
    printed = slackwater(up, "results", "dozen.jsonl").stdout.splitlines()
    assert [json.loads(line)["id"] for line in printed] == [f"q-{1000 + number}" for number in range(12)]
    where = json.loads(slackwater(up, "results", "evening", "--json").stdout)
    assert (
        where["files"]["results.jsonl"] == f"s3://{shell['SLACKWATER_BUCKET']}/v1/runs/{where['run_id']}/results.jsonl"
    )
    by_variables = slackwater(up, "receipt", where["run_id"], "--json", **shell)  # as on AWS: through CloudFormation
    assert json.loads(by_variables.stdout)["run_id"] == where["run_id"]
    assert json.loads(slackwater(up, "local", "status", "--json").stdout)["workers"]


@pytest.mark.promise(2)
def test_the_demo_keeps_its_promises(tmp_path):
    done = slackwater(tmp_path, "demo", "--json")
    document = json.loads(done.stdout)
    assert [promise for promise in document["promises"] if not promise["kept"]] == []
    assert done.returncode == 0
    assert left_over(tmp_path) == []
