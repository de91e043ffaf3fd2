"""Commands about runs, on AWS and on the embedded cloud alike: `results`, `receipt`, `report`, `watch`, `runs`."""

from __future__ import annotations

import re
import sys
import webbrowser
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import UNSETTLED, Complaint
from slackwater_cli.options import Json, Out, Run, Stack, Timeout
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from slackwater_cli.cloud_reader import CloudReader


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    for command in (results, receipt, report, watch, runs):
        app.command(command.__name__)(command)


def results(run: Run, out: Out = None, stack: Stack = None, json: Json = False) -> None:
    """Print the result rows of a run, or write its files into a folder.

    **Example**

    - `slackwater results evening | jq -r 'select(.status == "succeeded") | .id'`
    - `slackwater results evening --out answers`
    - `slackwater results evening --json`  only where the files lie
    """
    screen = Screen(json)
    reader = _reader(screen, stack)
    run_id = reader.run_of(run)
    document = _settled_receipt(reader, run, run_id)
    written = [] if out is None else reader.download(run_id, out)
    if written:
        screen.note("wrote " + ", ".join(str(path) for path in written))
    elif not json:
        for piece in reader.rows(run_id):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    screen.document(
        {
            "v": 1,
            "run_id": run_id,
            "status": document["status"],
            "files": reader.uris(run_id),
            **({"written": [str(path.resolve()) for path in written]} if written else {}),
        }
    )


def receipt(run: Run, stack: Stack = None, json: Json = False) -> None:
    """Show what a run cost, what it saved, and which way its jobs went.

    **Example**

    - `slackwater receipt evening`
    - `slackwater receipt evening --json | jq '{cost_usd, saved_usd, repeats}'`
    """
    from slackwater_cli.receipts import receipt_view  # noqa: PLC0415

    screen = Screen(json)
    reader = _reader(screen, stack)
    document = _settled_receipt(reader, run, reader.run_of(run))
    if not json:
        screen.show(receipt_view(document))
    screen.document(document)


def report(  # noqa: PLR0917 - typer reads them by name
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            dir_okay=False,
            help="Where to write the page. Default: `<run>-report.html` here.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make it anew from the run's files, even where the run has made one.")
    ] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Write the report of a run: one HTML page of what it cost, when it happened, and what failed.

    The page needs nothing else and holds no prompt and no answer, so it can be sent on.

    **Example**

    - `slackwater report evening --open`
    - `slackwater report questions.jsonl --out report.html`
    """
    screen = Screen(json)
    reader = _reader(screen, stack)
    run_id = reader.run_of(run)
    _settled_receipt(reader, run, run_id)
    page, made = reader.report(run_id, rebuild=rebuild)
    path = out or Path(f"{_file_name(run)}-report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)
    screen.note(f"wrote {path}" + (", made from the run's files" if made else ""))
    screen.document({"v": 1, "run_id": run_id, "written": str(path.resolve()), "rebuilt": made})
    if show and not webbrowser.open(path.resolve().as_uri()):
        screen.note("no browser could be opened here", "yellow")


def watch(run: Run, timeout: Timeout = 900, stack: Stack = None, json: Json = False) -> None:
    """Follow a run until it has settled, then show its receipt.

    To stop watching stops nothing else.

    **Example**

    - `slackwater watch evening`
    - `slackwater watch evening --timeout 0`  as long as it takes
    """
    from slackwater_cli.follow import follow  # noqa: PLC0415
    from slackwater_cli.local_run import exit_status  # noqa: PLC0415
    from slackwater_cli.receipts import receipt_view  # noqa: PLC0415

    screen = Screen(json)
    reader = _reader(screen, stack)
    run_id = reader.awaited(run, screen)
    document = follow(reader, {run: run_id}, screen, timeout_s=timeout, title=f"stack {reader.connection.stack}")[run]
    screen.show(receipt_view(document))
    screen.document(document)
    raise typer.Exit(exit_status(document))


def runs(
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="How far to look back.")] = 7,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, newest first.")] = 50,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """List the runs of the last days, newest first.

    **Example**

    - `slackwater runs --days 30`
    - `slackwater runs --json | jq -r '.runs[] | select(.state == "open") | .run_id'`
    """
    screen = Screen(json)
    reader = _reader(screen, stack)
    found = list(islice(reader.inspect.runs(reader.clock.now(), days), limit))
    if found:
        screen.show(_runs_table(found))
    else:
        screen.note(f"no runs in the last {days} days in stack {reader.connection.stack}")
    screen.document({"v": 1, "runs": [_public(meta) for meta in found]})


def _reader(screen: Screen, stack: str | None) -> CloudReader:
    from slackwater_cli.cloud_reader import CloudReader  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater_cli.connection import connect  # noqa: PLC0415

    return CloudReader(connect(screen, stack))


def _settled_receipt(reader: CloudReader, name: str, run_id: str) -> dict[str, Any]:
    """The receipt. Raises Complaint with status 3 while the run is under way."""
    document = reader.receipt(run_id)
    if document is not None:
        return document
    progress = reader.inspect.progress(run_id)
    done = "" if progress is None else f": {words.of(progress.done, progress.accepted)} jobs are done"
    raise Complaint(
        f"{name} has not settled yet{done}; follow it with `slackwater watch {name}`",
        status=UNSETTLED,
        code="not_settled",
    )


def _file_name(run: str) -> str:
    """A run's name as the beginning of a file's."""
    last = run.rstrip("/").rpartition("/")[2].removesuffix(".jsonl")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "run"


def _runs_table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("run", "name", "profile", "state"):
        table.add_column(column, no_wrap=column != "name", overflow="fold")
    table.add_column("accepted", justify="right")
    table.add_column("started (UTC)", no_wrap=True)
    for meta in found:
        state = meta["state"] + (f" ({meta['reason']})" if meta.get("reason") else "")
        table.add_row(
            meta["run_id"], Text(_shown(meta)), meta.get("profile") or words.DASH, state,
            words.count(meta.get("accepted")), words.moment(meta["started_at"]),
        )  # fmt: skip
    return table


def _shown(meta: dict[str, Any]) -> str:
    name = str(meta.get("shown") or meta.get("name") or meta.get("key") or words.DASH)
    return name.rpartition("/")[2] if meta["kind"] == "file" else name


def _public(meta: dict[str, Any]) -> dict[str, Any]:
    """What programs may rely on; the ledger's own fields stay inside."""
    shown = (
        "run_id",
        "kind",
        "state",
        "reason",
        "profile",
        "accepted",
        "refused",
        "repeats",
        "started_at",
        "deadline_at",
    )
    return {"name": _shown(meta), **{field: meta.get(field) for field in shown}}
