"""What the functions logged, which the emulator holds in memory, as one file that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local.client import Clients

_READ_TIMEOUT_S = 3.0


def read(clients: Clients, region: str) -> Iterator[tuple[int, str, str]]:
    """(epoch milliseconds, log stream, message) of every function, at most a page (1 MB) of each stream, its last."""
    logs = clients.get("logs", region, _READ_TIMEOUT_S)
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=name):
            for stream in page["logStreams"]:
                answer = logs.get_log_events(logGroupName=name, logStreamName=stream["logStreamName"])
                for event in answer["events"]:
                    yield event["timestamp"], stream["logStreamName"], event["message"]


def save(clients: Clients, region: str, file: Path) -> None:
    """Writes all of them to `file` in order of time; a line that says why where they cannot be had."""
    try:
        lines = [f"{at} {stream} {message.rstrip()}\n" for at, stream, message in sorted(read(clients, region))]
    except (BotoCoreError, ClientError) as error:
        lines = [f"the functions' logs could not be read: {error}\n"]
    file.write_text("".join(lines))
