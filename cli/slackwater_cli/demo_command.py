"""`slackwater demo`: the whole product, in front of your eyes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slackwater_cli.options import Json
from slackwater_cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command("demo")(demo)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where inputs and results go.")
    ] = Path("slackwater-demo"),
    json: Json = False,
) -> None:
    """Show the whole product on this machine in under a minute.

    Makes files and messages, throttles a region, runs everything, and checks the product's promises on the result.

    Exit status 1 if a promise of the product did not hold.

    **Example**

    - `slackwater demo --out /tmp/demo`
    """
    from slackwater_cli.demo import show  # noqa: PLC0415  (boto3 takes a third of a second)

    raise typer.Exit(show(Screen(json), out))
