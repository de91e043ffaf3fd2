"""The demo: makes its inputs, runs them in an embedded cloud with one region throttled, and checks the promises."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from rich.text import Text

from local.cloud import Cloud
from slackwater.model import ids
from slackwater_cli import embedded, files, words
from slackwater_cli.bedrock_control import Control
from slackwater_cli.cloud_reader import CloudReader
from slackwater_cli.connection import of_cloud
from slackwater_cli.demo_inputs import QUEUE_RUN, URGENT, DemoFile, demo_files, demo_messages
from slackwater_cli.demo_promises import Evidence, Promise, promises
from slackwater_cli.errors import BROKEN, SETTLED
from slackwater_cli.follow import follow
from slackwater_cli.receipts import comparison, regions_table
from slackwater_cli.screen import Screen

RATE: Final = 60.0  # a batch job of twelve minutes takes twelve seconds
TIMEOUT_S: Final = 300.0
THROTTLED: Final = "us-west-2"
CALLS_A_MINUTE: Final = 4  # what is left of the throttled region's quota
REPLIES_S: Final = 10.0  # real seconds in which the last replies must come


@dataclass(frozen=True)
class Finished:
    """What the demo ended with."""

    receipts: Mapping[str, Mapping[str, Any]]
    promises: list[Promise]
    throttles: int


def show(screen: Screen, folder: Path) -> int:
    """Runs the demo and gives the exit status. Raises Complaint, CloudError."""
    started = time.monotonic()
    given = demo_files()
    for file in given:
        file.write(folder / "inputs")
    lines = words.counted(sum(len(file.lines) for file in given), "line")
    screen.note(f"made {lines} in {words.counted(len(given), 'file')} in {folder / 'inputs'}")
    with embedded.short_lived(screen, RATE) as cloud:
        screen.note(f"the embedded cloud is up; {embedded.pace(cloud.clock_rate)}")
        finished = _run(screen, cloud, folder, given)
    _print(screen, folder, finished, time.monotonic() - started)
    screen.document(
        {
            "v": 1,
            "kept": all(promise.kept for promise in finished.promises),
            "promises": [promise.as_json() for promise in finished.promises],
            "receipts": finished.receipts,
            "folder": str(folder.resolve()),
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    return SETTLED if all(promise.kept for promise in finished.promises) else BROKEN


def _run(screen: Screen, cloud: Cloud, folder: Path, given: list[DemoFile]) -> Finished:
    control = Control(cloud.control_url)
    control.configure({"quotas": {THROTTLED: {"*": {"*": {"rpm": CALLS_A_MINUTE}}}}})
    screen.note(f"throttled {THROTTLED} to {CALLS_A_MINUTE} calls a minute")
    reader = CloudReader(of_cloud(cloud))
    runs = {}
    for file in given:
        dropped = files.drop_path(reader.store, file.profile, folder / "inputs" / file.name, file.options)
        runs[file.name] = dropped.run_id
        screen.note(f"dropped {file.name}: profile {file.profile}, due in {file.options['deadline']}")
    sent = demo_messages(cloud.outputs["ReplyQueueArn"])
    _send(cloud, sent)
    queue_run = f"queue run {QUEUE_RUN}"
    runs[queue_run] = ids.run_of_name("default", QUEUE_RUN, 1)
    jobs = words.counted(len(sent) - 1, "job")
    screen.note(f"sent {jobs} to the queue, due in {URGENT}, and the word that closes their run")
    receipts = follow(reader, runs, screen, timeout_s=TIMEOUT_S, title="slackwater demo")
    for name, run_id in runs.items():
        reader.download(run_id, _folder_of(folder, name))
    bill = control.bill()
    evidence = Evidence(
        receipts=receipts,
        rows={name: _rows(_folder_of(folder, name) / "results.jsonl") for name in runs},
        lines={file.name: len(file.lines) for file in given} | {queue_run: len(sent) - 1},
        replies=_replies(cloud, len(sent) - 1),
        expected_replies={str(message["job_id"]) for message in sent if "job_id" in message},
        bill=bill,
    )
    throttles = bill.get("stats", {}).get(THROTTLED, {}).get("ThrottlingException", 0)
    return Finished(receipts, promises(evidence), throttles)


def _print(screen: Screen, folder: Path, finished: Finished, seconds: float) -> None:
    screen.show(comparison(finished.receipts))
    screen.show(Text())
    screen.show(regions_table(list(finished.receipts.values())))
    calls = words.counted(finished.throttles, "call")
    screen.show(Text(f"{THROTTLED} refused {calls} for its quota; what was refused went elsewhere or waited"))
    screen.show(Text())
    for promise in finished.promises:
        mark, style = ("✓", "green") if promise.kept else ("✗", "bold red")
        screen.show(Text.assemble((f"{mark} ", style), f"{promise.text:34}", (promise.detail, "dim")))
    screen.show(Text())
    for name in finished.receipts:
        screen.show(Text.assemble((f"{name:16} ", "dim"), f"{_folder_of(folder, name)}/"))
    reports = [path for name in finished.receipts if (path := _folder_of(folder, name) / "report.html").exists()]
    if reports:
        screen.show(Text.assemble(("\nthe reports, to look at in a browser\n", "dim"), "\n".join(map(str, reports))))
    screen.note(f"done in {seconds:.0f} s; nothing is left running")


def _folder_of(folder: Path, name: str) -> Path:
    return folder / name.removeprefix("queue run ").removesuffix(".jsonl")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _send(cloud: Cloud, messages: list[dict[str, Any]]) -> None:
    sqs = cloud.client("sqs")
    for start in range(0, len(messages), 10):
        entries = [
            {"Id": str(n), "MessageBody": orjson.dumps(message).decode(), "MessageGroupId": QUEUE_RUN}
            for n, message in enumerate(messages[start : start + 10])
        ]
        sqs.send_message_batch(QueueUrl=cloud.outputs["JobQueueUrl"], Entries=entries)


def _replies(cloud: Cloud, expected: int) -> list[dict[str, Any]]:
    """All replies that are there, waiting a little for the last ones, and a second longer for one too many."""
    sqs, queue = cloud.client("sqs"), cloud.outputs["ReplyQueueUrl"]
    found: list[dict[str, Any]] = []
    until = time.monotonic() + REPLIES_S
    while time.monotonic() < until:
        got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in got:
            found.append(orjson.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        if not got and len(found) >= expected:
            break
    return found
