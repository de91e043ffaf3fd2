"""Watching runs until they have ended, with news on standard error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.live import Live

from slackwater_cli import progress
from slackwater_cli.cloud_reader import CloudReader, Snapshot
from slackwater_cli.errors import BROKEN, UNSETTLED, Complaint
from slackwater_cli.screen import Screen, console, is_live

LOOK_S: Final = 1.0  # real seconds between two looks: each asks the ledger for every run under watch
LINE_S: Final = 3.0  # real seconds between two lines in a log
WORKFLOW_S: Final = 5.0  # real seconds between two looks at the workflow of a run
RECEIPT_S: Final = 15.0  # real seconds that an ended run may take to show its receipt


@dataclass
class _Watched:
    """One run under watch."""

    run_id: str
    snapshot: Snapshot | None = None
    receipt: dict[str, Any] | None = None
    ended_at: float | None = None
    told: str = ""


def follow(
    reader: CloudReader, runs: Mapping[str, str], screen: Screen, *, timeout_s: float, title: str = "runs"
) -> dict[str, dict[str, Any]]:
    """The receipts of `runs` (name → run id) by name, when all have ended.

    Raises Complaint with status 3 after `timeout_s` real seconds (0: never), with status 1 where a workflow broke.
    """
    watched = {name: _Watched(run_id) for name, run_id in runs.items()}
    started = time.monotonic()
    if is_live():
        with Live(console=console(stderr=True), refresh_per_second=4, transient=True) as live:

            def draw() -> None:
                shown = {name: one.snapshot for name, one in watched.items()}
                live.update(progress.board(shown, reader.clock.now(), time.monotonic() - started, title))

            _watch(reader, watched, timeout_s, LOOK_S, draw)
    else:
        last = [0.0]

        def tell() -> None:
            due = time.monotonic() - last[0] >= LINE_S
            for name, one in watched.items():
                text = progress.line(name, one.snapshot)
                ended = one.snapshot is not None and one.snapshot.progress.ended
                if text != one.told and (due or ended):
                    screen.note(f"{time.monotonic() - started:5.0f} s  {text}")
                    one.told = text
                    last[0] = time.monotonic()

        _watch(reader, watched, timeout_s, LOOK_S, tell)
    return {name: one.receipt for name, one in watched.items() if one.receipt is not None}


def _watch(reader: CloudReader, watched: Mapping[str, _Watched], timeout_s: float, pause_s: float, news: Any) -> None:
    started = time.monotonic()
    asked = started
    while True:
        for one in watched.values():
            _look(reader, one)
        news()
        missing = [name for name, one in watched.items() if one.receipt is None]
        if not missing:
            return
        now = time.monotonic()
        if timeout_s and now - started > timeout_s:
            raise Complaint(
                f"{', '.join(missing)} had not settled after {timeout_s:g} s: give it longer with --timeout",
                status=UNSETTLED,
                code="not_settled",
            )
        if now - asked > WORKFLOW_S:
            asked = now
            _complain_of_broken(reader, watched)
        time.sleep(pause_s)


def _look(reader: CloudReader, one: _Watched) -> None:
    if one.receipt is not None:
        return
    one.snapshot = reader.snapshot(one.run_id)
    if one.snapshot is not None and one.snapshot.progress.ended:
        one.receipt = reader.receipt(one.run_id)
        one.ended_at = one.ended_at or time.monotonic()


def _complain_of_broken(reader: CloudReader, watched: Mapping[str, _Watched]) -> None:
    for name, one in watched.items():
        if one.receipt is not None:
            continue
        late = one.ended_at is not None and time.monotonic() - one.ended_at > RECEIPT_S
        failure = reader.workflow_failure(one.run_id)
        if failure is not None or late:
            raise Complaint(
                f"{name} ({one.run_id}) ended without a receipt: its workflow is "
                f"{failure or 'done'}; an operator must look at the logs of its functions",
                status=BROKEN,
                code="broken_run",
            )
