"""`slackwater explain`: why a job went the way it went, and what it cost against the other ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from slackwater.usecases.explain import Explain
    from slackwater_cli.connection import Connection

Job = Annotated[
    str,
    typer.Argument(metavar="JOB", help="A job id; with --run also a line, or your id (`id:17` where it is a number)."),
]
InRun = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="The run it is in. A file's job needs it.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command("explain")(explain)


def explain(job: Job, run: InRun = None, stack: Stack = None, json: Json = False) -> None:
    """Say why a job went the way it went: every way considered, what was refused, what happened, what it cost.

    **Example**

    - `slackwater explain --run questions.jsonl 17`
    - `slackwater explain hello --run evening --json | jq '.ways[] | select(.refused) | {lane, refused}'`
    """
    from slackwater_cli.cloud_reader import CloudReader  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater_cli.connection import connect  # noqa: PLC0415

    screen = Screen(json)
    connection = connect(screen, stack)
    run_id = None if run is None else CloudReader(connection).run_of(run)
    found = _explain(connection)(job, run_id)
    if found is None:
        where = "; a file's job is named with its run: --run RUN" if run is None else f" in run {run}"
        raise Complaint(f"no job is called {job}{where}", code="unknown_job")
    if not json:
        screen.show(explanation_view(found))
    screen.document(found)


def _explain(connection: Connection) -> Explain:
    from slackwater.adapters.ledger.runs import Runs  # noqa: PLC0415
    from slackwater.adapters.ledger.table import Table as Items  # noqa: PLC0415
    from slackwater.adapters.profiles import ProfileStore  # noqa: PLC0415
    from slackwater.adapters.store import Store  # noqa: PLC0415
    from slackwater.policy.capability import load_capability  # noqa: PLC0415
    from slackwater.policy.prices import load_price_book  # noqa: PLC0415
    from slackwater.usecases.explain import Explain  # noqa: PLC0415

    items = Items(connection.client("dynamodb", None), connection.output("TableName"))
    store = Store(connection.client("s3", None), connection.output("BucketName"))
    return Explain(
        documents=store,
        runs=Runs(items, connection.clock, retain_days=1),
        items=items,
        profiles=ProfileStore(store),
        prices=load_price_book(),
        capability=load_capability(),
    )


def explanation_view(found: Mapping[str, Any]) -> RenderableType:
    """An explanation as people read it."""
    parts: list[RenderableType] = [_head(found)]
    if found["decided"] is not None:
        parts += [Text(), _decided(found["decided"])]
    if found["ways"]:
        parts += [Text(), _ways(found["ways"])]
    parts += [Text(), _outcome(found)]
    if found["money"] is not None:
        parts += [Text(), _money(found["money"])]
    return Group(*parts)


def _head(found: Mapping[str, Any]) -> Text:
    line = "place" if found["kind"] == "queue" else "line"
    return Text.assemble(
        ("job ", "dim"), found["job"] or words.DASH, ("  id ", "dim"), str(found["id"]),
        (f"  {line} {found['line']} of run {found['run_id']}", "dim"),
        (f"  profile {found['profile']}" if found["profile"] else "", "dim"), f"\n{found['state']}",
    )  # fmt: skip


def _decided(decided: Mapping[str, Any]) -> Text:
    alike = decided.get("jobs_alike", 1)
    together = f" together with {words.counted(alike - 1, 'like job')}" if alike > 1 else ""
    where = "the run's plan" if decided["from"] == "plan" else "the job's ledger item"
    lines = [
        f"decided {words.moment(decided['at'])}{together}, due {words.moment(decided['deadline'])} ({where}, prices of "
        f"{decided['price_version']})",
        *(f"  {reason}" for reason in decided.get("reasons", ())),
    ]
    if decided.get("refused"):
        lines.append(f"  refused: {decided['refused']}")
    return Text("\n".join(lines))


def _ways(ways: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "lane", "route"):
        table.add_column(title, overflow="fold")
    table.add_column("expected cost", justify="right", no_wrap=True)
    table.add_column("expected finish", no_wrap=True)
    table.add_column("why not", overflow="fold")
    for way in ways:
        why = way["refused"] or ("" if way["in_time"] else "after the deadline")
        table.add_row(
            "→" if way["taken"] else "",
            way["lane"],
            way["route"] or words.DASH,
            words.usd(way["expected_cost_usd"]),
            words.moment(way["expected_finish"]),
            why,
            style="" if way["taken"] else "dim",
        )
    return table


def _outcome(found: Mapping[str, Any]) -> Text:
    outcome = found["outcome"]
    if outcome is None:
        return Text("no result yet")
    text = f"{outcome['status']} at {words.moment(outcome['finished_at'])}"
    if outcome["lane"]:
        text += (
            f" on the lane {outcome['lane']}, {words.counted(outcome['attempts'], 'attempt')}, by {outcome['route']}"
        )
    if outcome["rescued"]:
        text += "\nrescued: a batch job had left it over"
    if outcome["rerouted"]:
        text += f"\nrerouted: its profile's mode prefers {outcome['preferred_route']}, which was full or resting"
    if outcome["error"]:
        text += f"\n{outcome['error']['code']}: {outcome['error']['message']}"
    if found["other_results"]:
        text += f"\n{words.counted(found['other_results'], 'other result')} of it set aside"
    for job in (found["batch"] or {}).get("jobs", ()):
        text += f"\nbatch job {job['job_name'] or job['shard']} in {job['region']}: attempt {job['attempt']}"
    return Text(text)


def _money(money: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text("cost", style="dim"), words.usd(money["cost_usd"]))
    grid.add_row(Text("list", style="dim"), words.usd(money["list_usd"]))
    for name, cost in money["counterfactuals"].items():
        grid.add_row(Text(name.replace("_", " "), style="dim"), words.usd(cost))
    return grid
