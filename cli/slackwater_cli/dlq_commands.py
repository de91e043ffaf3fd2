"""`slackwater dlq …`: what was given up, why, and sending it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from slackwater_cli.cloud_operator import CloudOperator

NAMES = ("intake", "jobs", "packs", "work")
WAIT_S = 30.0

Queue = Annotated[
    str | None,
    typer.Option("--queue", metavar="NAME", help=f"Only this one of {', '.join(NAMES)}.", show_default=False),
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Dead letters: messages that were received again and again, and never handled.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    app.command("list")(list_)
    app.command("show")(show)
    app.command("redrive")(redrive)
    return app


def list_(stack: Stack = None, json: Json = False) -> None:
    """Count the messages in each dead-letter queue.

    **Example**

    - `slackwater dlq list`
    - `slackwater dlq list --json | jq '.queues.jobs'`
    """
    screen = Screen(json)
    gauges = _operator(screen, stack).dead_gauges()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("queue")
    table.add_column("dead letters", justify="right")
    for gauge in gauges:
        table.add_row(gauge.name, Text(words.count(gauge.messages), style="red" if gauge.messages else ""))
    screen.show(table)
    screen.document({"v": 1, "queues": {gauge.name: gauge.messages for gauge in gauges}})


def show(
    queue: Queue = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most of each queue.")] = 20,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Say what each message is about, why it lies there as far as known, and what to do with it.

    The messages stay, hidden from others for ten seconds. Nothing of their words is shown: they may hold prompts.

    **Example**

    - `slackwater dlq show --queue jobs`
    - `slackwater dlq show --json | jq -r '.messages[] | select(.redrive) | .about'`
    """
    screen = Screen(json)
    operator = _operator(screen, stack)
    explain = operator.explain()
    found: list[dict[str, Any]] = []
    for name in _chosen(queue):
        for message in operator.dead_letters(name).look(limit):
            reason = explain(name, message)
            found.append({
                "queue": name, "message_id": message.message_id, "about": reason.about or None, "why": reason.why,
                "do": reason.do, "redrive": reason.useful, "receives": message.receives,
                "sent_at": None if message.sent_at is None else message.sent_at.isoformat(),
                "bytes": len(message.body.encode()),
            })  # fmt: skip
    for one in found:
        screen.show(Text.assemble((f"{one['queue']}  ", "bold"), one["about"] or f"message {one['message_id']}"))
        screen.show(Text(f"  why  {one['why']}"))
        screen.show(Text(f"  do   {one['do']}", style="yellow" if one["redrive"] else ""))
    if not found:
        screen.note("no dead letters")
    screen.document({"v": 1, "messages": found})


def redrive(queue: Queue = None, stack: Stack = None, json: Json = False) -> None:
    """Send all dead letters back to the queues they came from.

    Every step of the product may be done again, so this harms nothing; mend the cause first, or they come back.
    A relative deadline of a message that never became a job counts from now.

    **Example**

    - `slackwater dlq redrive --queue work`
    """
    screen = Screen(json)
    operator = _operator(screen, stack)
    counts = {gauge.name: gauge.messages for gauge in operator.dead_gauges()}
    moved: dict[str, int | None] = {}
    for name in _chosen(queue):
        if not counts.get(name):
            moved[name] = 0
            continue
        moved[name] = operator.dead_letters(name).redrive(WAIT_S)
        number = moved[name]
        screen.note(
            f"{name}: SQS is still moving them; `slackwater dlq list` says how many are left"
            if number is None
            else f"{name}: {words.count(number)} sent back"
        )
    if not any(number != 0 for number in moved.values()):
        screen.note("no dead letters")
    screen.document({"v": 1, "moved": moved})


def _chosen(queue: str | None) -> tuple[str, ...]:
    if queue is not None and queue not in NAMES:
        raise Complaint(f"no queue {queue}: there are {', '.join(NAMES)}")
    return NAMES if queue is None else (queue,)


def _operator(screen: Screen, stack: str | None) -> CloudOperator:
    from slackwater_cli.cloud_operator import CloudOperator  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater_cli.connection import connect  # noqa: PLC0415

    return CloudOperator(connect(screen, stack))
