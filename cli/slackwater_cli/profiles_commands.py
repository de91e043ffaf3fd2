"""`slackwater profiles …`: the routing profiles in force, and putting others into force."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import USAGE, Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from slackwater.model.profile import Profile, Profiles
    from slackwater.model.profile_problems import Problem
    from slackwater.policy.profile_check import Offer
    from slackwater_cli.connection import Connection

File = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The JSON document.")
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Routing profiles: which model, from which regions, in which lanes.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    for command in (apply, show, diff, check, schema):
        app.command(command.__name__)(command)
    return app


def apply(file: File, stack: Stack = None, json: Json = False) -> None:
    """Check a document and put it into force in the stack, as a whole.

    It becomes a new version of `config/profiles.json` in the bucket. Runs that are under way keep theirs.

    **Example**

    - `slackwater profiles diff profiles.json && slackwater profiles apply profiles.json`
    """
    from slackwater.model.errors import ConfigurationError  # noqa: PLC0415

    screen = Screen(json)
    body = file.read_bytes()
    new = _checked(screen, body)
    desk = Desk(screen, stack)
    warnings = desk.warnings(new)
    old: Profiles | None = None
    version = ""
    try:
        old, version = desk.in_force()
    except ConfigurationError:  # all the more reason
        warnings.append("the document that was in force could not be read")
    changes = [] if old is None else [change.as_json() for change in _differences(old, new)]
    applied = old is None or bool(changes) or version.startswith("shipped-")
    if applied:
        version = desk.store.put(body)
    for warning in warnings:
        screen.note(f"! {warning}", "yellow")
    removed = [change["profile"] for change in changes if change["kind"] == "removed"]
    if removed:
        screen.note(f"no longer there: {', '.join(removed)}; jobs and files that name them will be refused", "yellow")
    screen.note(
        f"version {version} is in force in stack {desk.connection.stack}"
        if applied
        else "nothing differs: nothing to do"
    )
    screen.document({"v": 1, "version": version, "applied": applied, "changes": changes, "warnings": warnings})


def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One profile.", show_default=False)] = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Show the profiles in force, or one with everything that follows from it.

    **Example**

    - `slackwater profiles show`
    - `slackwater profiles show default --json | jq '.routes'`
    """
    from slackwater.model.errors import BadInput  # noqa: PLC0415

    screen = Screen(json)
    desk = Desk(screen, stack)
    profiles, version = desk.in_force()
    if name is None:
        screen.show(_profiles_table(profiles))
        screen.note(f"version {version}")
        shown = {one: profile.model_dump(mode="json") for one, profile in profiles.profiles.items()}
        screen.document({"v": 1, "version": version, "profiles": shown})
        return
    try:
        profile = profiles.named(name)
    except BadInput as error:
        raise Complaint(error.message) from None
    offer = desk.offer(name, profile)
    deployed = desk.batch_regions()
    batch = [route for route in offer.batch if deployed is None or route.region in deployed]
    screen.show(_profile_table(name, profile, offer, [route.region for route in batch]))
    screen.note(f"version {version}")
    screen.document({
        "v": 1, "version": version, "name": name, "profile": profile.model_dump(mode="json"),
        "routes": [route.name for route in offer.calling], "flex_routes": [route.name for route in offer.flex],
        "batch_routes": [route.name for route in batch],
    })  # fmt: skip


def diff(file: File, stack: Stack = None, json: Json = False) -> None:
    """Show what `apply` would change.

    **Example**

    - `slackwater profiles diff profiles.json`
    - `slackwater profiles diff profiles.json --json | jq '.changes | length'`
    """
    screen = Screen(json)
    new = _checked(screen, file.read_bytes())
    old, version = Desk(screen, stack).in_force()
    changes = _differences(old, new)
    marks = {"added": "+", "removed": "-", "changed": "~"}
    for change in changes:
        screen.show(Text(f"{marks[change.kind]} {change.profile}", style="bold"))
        for field, (before, after) in change.fields.items():
            screen.show(Text(f"    {field}: {_text(before)} → {_text(after)}"))
    if not changes:
        screen.note("nothing differs")
    screen.document({"v": 1, "version": version, "changes": [change.as_json() for change in changes]})


def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", exists=True, dir_okay=False, readable=True, show_default=False,
                       help="A document; without it the one in force in the stack."),
    ] = None,
    stack: Stack = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Say what is wrong with a document, field by field. A file needs no stack, unless you name one.

    Exit status 2 if it would be refused.

    **Example**

    - `slackwater profiles check profiles.json`
    """
    screen = Screen(json)
    desk = Desk(screen, stack) if file is None or stack is not None else None
    body = _document_in_force(desk) if file is None and desk is not None else Path(str(file)).read_bytes()
    profiles = _checked(screen, body)
    warnings = desk.warnings(profiles) if desk is not None else _warnings(profiles, None)
    for warning in warnings:
        screen.note(f"! {warning}", "yellow")
    fine = words.counted(len(profiles.profiles), "profile is", "profiles are")
    screen.note(f"{fine} fine: {', '.join(sorted(profiles.profiles))}")
    screen.document({"v": 1, "ok": True, "profiles": sorted(profiles.profiles), "problems": [], "warnings": warnings})


def schema() -> None:
    """Print the JSON Schema of the document, for editors. It is `docs/profiles.schema.json`, too.

    **Example**

    - `slackwater profiles schema > profiles.schema.json`
    """
    from slackwater.model.profile import profiles_schema  # noqa: PLC0415

    sys.stdout.write(orjson.dumps(profiles_schema(), option=orjson.OPT_INDENT_2).decode() + "\n")


# ---------------------------------------------------------------------- behind them


class Desk:
    """The profiles of one stack."""

    def __init__(self, screen: Screen, stack: str | None) -> None:
        from slackwater.adapters.profiles import ProfileStore  # noqa: PLC0415  (boto3 takes a third of a second)
        from slackwater.adapters.store import Store  # noqa: PLC0415
        from slackwater_cli.connection import connect  # noqa: PLC0415

        self.connection: Connection = connect(screen, stack)
        self.bucket = Store(self.connection.client("s3", None), self.connection.output("BucketName"))
        self.store = ProfileStore(self.bucket)

    def in_force(self) -> tuple[Profiles, str]:
        """The profiles and their version. Raises ConfigurationError for a document that cannot be read."""
        return self.store.current()

    def batch_regions(self) -> set[str] | None:
        """Regions with a batch bucket of this stack; None where the stack does not tell."""
        named = self.connection.outputs.get("SatelliteRegions")
        if named is None:
            return None
        return {self.connection.region, *(region.strip() for region in named.split(",") if region.strip())}

    def warnings(self, profiles: Profiles) -> list[str]:
        return _warnings(profiles, self.batch_regions())

    def offer(self, name: str, profile: Profile) -> Offer:
        from slackwater.policy.profile_check import offer_of  # noqa: PLC0415

        return offer_of(name, profile, *_tables())


def _document_in_force(desk: Desk) -> bytes:
    from slackwater.model.errors import Missing  # noqa: PLC0415
    from slackwater.model.names import PROFILES_KEY  # noqa: PLC0415
    from slackwater.model.profile import shipped_profiles  # noqa: PLC0415

    try:
        return desk.bucket.get(PROFILES_KEY)
    except Missing:
        return shipped_profiles()


def _tables() -> tuple[Any, Any]:
    from slackwater.policy.capability import load_capability  # noqa: PLC0415
    from slackwater.policy.prices import load_price_book  # noqa: PLC0415

    return load_capability(), load_price_book()


def _warnings(profiles: Profiles, deployed: set[str] | None) -> list[str]:
    from slackwater.policy.profile_check import warnings  # noqa: PLC0415

    return warnings(profiles, *_tables(), deployed=deployed)


def _differences(old: Profiles, new: Profiles) -> Sequence[Any]:
    from slackwater.policy.profile_check import differences  # noqa: PLC0415

    return differences(old, new)


def _checked(screen: Screen, body: bytes) -> Profiles:
    """The document's profiles; ends the command with status 2 and every problem."""
    from slackwater.model.profile_problems import BadProfiles  # noqa: PLC0415
    from slackwater.policy.profile_check import checked  # noqa: PLC0415

    try:
        return checked(body, *_tables())
    except BadProfiles as error:
        _refuse(screen, error.problems)
        raise typer.Exit(USAGE) from None


def _refuse(screen: Screen, problems: Sequence[Problem]) -> None:
    for problem in problems:
        screen.note(str(problem), "red")
    screen.note(f"refused: {len(problems)} to mend; nothing was changed")
    screen.document({"v": 1, "ok": False, "problems": [problem.as_json() for problem in problems], "warnings": []})


def _profiles_table(profiles: Profiles) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("profile", "model", "residency", "lanes", "mode", "deadline"):
        table.add_column(column, no_wrap=column == "profile", overflow="fold")
    for name, one in profiles.profiles.items():
        table.add_row(Text(name), one.model, _text(one.residency), ", ".join(one.lanes), one.mode, one.default_deadline)
    return table


def _profile_table(name: str, profile: Profile, offer: Offer, batch: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("profile", Text(name))
    for field, value in profile.model_dump(mode="json").items():
        unset = value in (None, "") or (isinstance(value, dict) and not any(value.values()))  # no budget
        if field not in ("routes", "batch_regions") and not unset:
            grid.add_row(field, Text(_text(value)))
    weights = profile.mode == "weighted"
    grid.add_row(
        "calls go by", "\n".join(f"{r.name}{f'  weight {r.weight}' if weights else ''}" for r in offer.calling)
    )
    if offer.flex:
        grid.add_row("flex by", "\n".join(route.name for route in offer.flex))
    grid.add_row("batch jobs in", ", ".join(batch) or words.DASH)
    return grid


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return orjson.dumps(value).decode()
