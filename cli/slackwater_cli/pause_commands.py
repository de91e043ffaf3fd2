"""`slackwater pause` and `resume`: the kill switch; and what `status` shows of it and of the day's budgets."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slackwater.policy.pause import Pause
    from slackwater_cli.cloud_reader import CloudReader
    from slackwater_cli.connection import Connection

One = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Only this profile's jobs. Default: all.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    for command in (pause, resume):
        app.command(command.__name__)(command)


def pause(
    profile: One = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="For whoever looks at `status`.", show_default=False)
    ] = "",
    stop_batch: Annotated[
        bool,
        typer.Option("--stop-batch", help="Stop running batch jobs, too: what they finished is kept, the rest goes "
                     "again after the pause.", show_default=False),
    ] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Stop spending now: within seconds no call is begun and no batch job is created. Nothing is lost.

    Jobs are still taken, and wait in their queues until `resume`. Calls that are under way end. Batch jobs that run go
    on, unless `--stop-batch` is given. Deadlines go on too: a job that passes its own fails as `deadline_missed`.

    **Example**

    - `slackwater pause --reason "the bill looks wrong"`
    - `slackwater pause --profile nightly-eu`
    """
    from slackwater.policy.pause import ALL  # noqa: PLC0415

    screen, reader = _at(stack, json=json)
    if profile is not None and profile not in reader.profiles().profiles:
        known = ", ".join(sorted(reader.profiles().profiles))
        raise Complaint(
            f"no profile {profile} is in force; there are {known}; without a name all are paused",
            code="unknown_profile",
        )
    marks = _switch(reader.connection).pause(profile or ALL, reason)
    stopped = _stop_batch(screen, reader.connection, profile or ALL) if stop_batch else None
    _tell(screen, reader, marks, **({} if stopped is None else {"stopped_batch_jobs": stopped}))


def resume(profile: One = None, stack: Stack = None, json: Json = False) -> None:
    """Take a pause away; without `--profile` all of them. What waited is taken up again within about five minutes,
    sooner after a short pause.

    **Example**

    - `slackwater resume`
    """
    screen, reader = _at(stack, json=json)
    _tell(screen, reader, _switch(reader.connection).resume(profile))


def _at(stack: str | None, *, json: bool) -> tuple[Screen, CloudReader]:
    from slackwater_cli.cloud_reader import CloudReader  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater_cli.connection import connect  # noqa: PLC0415

    screen = Screen(json)
    return screen, CloudReader(connect(screen, stack))


def _switch(connection: Connection) -> Any:
    from slackwater.adapters.ledger.pauses import Pauses  # noqa: PLC0415
    from slackwater.adapters.ledger.table import Table as Ledger  # noqa: PLC0415
    from slackwater.usecases.paused import Switch  # noqa: PLC0415

    table = Ledger(connection.client("dynamodb", None), connection.output("TableName"))
    return Switch(Pauses(table), connection.clock)


def _stop_batch(screen: Screen, connection: Connection, profile: str) -> int:
    from slackwater_cli.cloud_operator import CloudOperator  # noqa: PLC0415

    stopped, complete = CloudOperator(connection).stop_batch(profile)
    screen.note(f"{words.counted(stopped, 'batch job')} will be stopped within a minute or two")
    if not complete:
        screen.note("there may be more than were seen: run it again", "yellow")
    return stopped


def _tell(screen: Screen, reader: CloudReader, marks: Mapping[str, Pause], **more: Any) -> None:
    now = reader.clock.now()
    for mark in marks.values():
        screen.show(Text(_pause_words(mark, now), style="yellow"))
    if not marks:
        screen.show(Text("nothing is paused"))
    screen.document(
        {"v": 1, "stack": reader.connection.stack, "paused": [_document(mark) for mark in marks.values()], **more}
    )


def _pause_words(mark: Pause, now: datetime) -> str:
    from slackwater.policy.pause import ALL  # noqa: PLC0415

    what = "everything is paused" if mark.profile == ALL else f"profile {mark.profile} is paused"
    since = words.span((now - mark.paused_at).total_seconds())
    return f"{what} since {since}" + (f": {mark.reason}" if mark.reason else "")


def _document(mark: Pause) -> dict[str, str]:
    from slackwater.model.clock import iso  # noqa: PLC0415

    return mark.as_json(iso(mark.paused_at))


# ---------------------------------------------------------------------- for `status`


@dataclass(frozen=True, slots=True)
class DayBudget:
    """A profile's budget of the day. Money in pico-dollars."""

    profile: str
    limit_pico: int
    spent_pico: int
    held_pico: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What stands in the way of spending now."""

    paused: tuple[Pause, ...]
    budgets: tuple[DayBudget, ...]

    def document(self) -> dict[str, Any]:
        """For programs."""
        from slackwater.model.money import usd_float  # noqa: PLC0415

        return {
            "paused": [_document(mark) for mark in self.paused],
            "budgets": [
                {
                    "profile": one.profile,
                    "day_usd": usd_float(one.limit_pico),
                    "spent_usd": usd_float(one.spent_pico),
                    "held_usd": usd_float(one.held_pico),
                }
                for one in self.budgets
            ],
        }

    def shown(self, now: datetime) -> list[RenderableType]:
        """For people."""
        from slackwater.model.money import usd_float  # noqa: PLC0415

        parts: list[RenderableType] = [
            Text(f"{_pause_words(mark, now)}; `slackwater resume` ends it", style="yellow") for mark in self.paused
        ]
        if self.budgets:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            table.add_column("budget of today (UTC)", no_wrap=True)
            for column in ("limit", "spent", "held"):
                table.add_column(column, justify="right", no_wrap=True)
            for one in self.budgets:
                amounts = (one.limit_pico, one.spent_pico, one.held_pico)
                table.add_row(one.profile, *(words.usd(usd_float(pico)) for pico in amounts))
            parts += [Text(), table]
        return parts


def spending(reader: CloudReader) -> Spending:
    """The marks, and the day's budgets of the profiles in force."""
    from slackwater.adapters.ledger.budgets import Budgets  # noqa: PLC0415
    from slackwater.adapters.ledger.pauses import Pauses  # noqa: PLC0415
    from slackwater.adapters.ledger.table import Table as Ledger  # noqa: PLC0415
    from slackwater.policy.budget import Cap, limits_of  # noqa: PLC0415

    table = Ledger(reader.connection.client("dynamodb", None), reader.connection.output("TableName"))
    accounts = Budgets(table, reader.clock, random.Random(), retain_days=1)  # noqa: S311  (reads only)
    budgets = []
    for name, profile in sorted(reader.profiles().profiles.items()):
        limits = limits_of(name, profile.budget, run_id="", max_cost_pico=None, now=reader.clock.now())
        for limit in limits:
            if limit.cap is Cap.DAY:
                account = accounts.get(limit.account)
                budgets.append(DayBudget(name, limit.limit_pico, account.spent_pico, account.held_pico))
    return Spending(tuple(Pauses(table).marks().values()), tuple(budgets))
