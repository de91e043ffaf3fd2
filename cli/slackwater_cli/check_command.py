"""`slackwater check`: whether an account can do what the profiles ask of it, found out without spending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from slackwater_cli.errors import BROKEN, Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slackwater.model.profile import Profile, Profiles
    from slackwater.usecases.check_stack import Checked, Finding
    from slackwater_cli.connection import Connection

STYLES = {"ok": "green", "failed": "bold red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command("check")(check)


def check(
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Only this profile.", show_default=False),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every profile in force, the shipped examples too.", show_default=False)
    ] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Ask AWS whether the stack can do what its profiles want: models, quotas, rights, buckets, roles, satellites.

    Asked about are the profiles that you have applied; while none are applied, only the shipped `default`, since
    nobody need have access to the models of the examples. Nothing is called and nothing is changed. What cannot be
    asked is shown as unknown. Exit status 1 if something is wrong; it is said who must do what.

    **Example**

    - `slackwater check`
    - `slackwater check --profile default --json | jq '.findings[] | select(.state == "failed")'`
    """
    from slackwater.adapters.account import AwsAccount  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater.usecases.check_stack import CheckStack, State, next_steps, summary  # noqa: PLC0415
    from slackwater_cli.connection import connect  # noqa: PLC0415

    screen = Screen(json)
    connection = connect(screen, stack)
    account = AwsAccount(connection.client)
    checked, examples = _asked_about(connection, account, profile, every=every)
    findings = list(CheckStack(account, _model_name)(checked))
    screen.show(_table(findings))
    wrong = [finding for finding in findings if finding.state is State.FAILED]
    for finding in wrong:
        screen.show(Text(f"{finding.who} {finding.how}"))
    later = list(next_steps(checked))
    for step in later:
        screen.note(f"next: {step}")
    counts = summary(findings)
    screen.note(
        f"{', '.join(sorted(checked.offers))}: " + ", ".join(f"{number} {state}" for state, number in counts.items())
    )
    if examples:
        screen.note(f"not asked about the examples {', '.join(examples)} (--all)")
    screen.document({
        "v": 1, "ok": not wrong, "stack": connection.stack, "region": connection.region,
        "profiles": sorted(checked.offers), "counts": counts, "findings": [finding.as_json() for finding in findings],
        "next": later,
    })  # fmt: skip
    raise typer.Exit(BROKEN if wrong else 0)


def _asked_about(
    connection: Connection, account: Any, profile: str | None, *, every: bool
) -> tuple[Checked, list[str]]:
    """What is asked about, and the names of the examples that are left out."""
    from slackwater.adapters.profiles import ProfileStore  # noqa: PLC0415
    from slackwater.adapters.store import Store  # noqa: PLC0415
    from slackwater.model.errors import BadInput  # noqa: PLC0415
    from slackwater.policy.capability import load_capability  # noqa: PLC0415
    from slackwater.policy.prices import load_price_book  # noqa: PLC0415
    from slackwater.policy.profile_check import offer_of  # noqa: PLC0415
    from slackwater.usecases.check_stack import Checked  # noqa: PLC0415

    found = account.stack(connection.region, connection.stack)
    if found is None:
        raise Complaint(f"there is no stack {connection.stack} in {connection.region}", code="no_stack")
    store = Store(connection.client("s3", None), connection.output("BucketName"))
    profiles, version = ProfileStore(store).current()
    try:
        chosen = _chosen(profiles, version, profile, every=every)
    except BadInput as error:
        raise Complaint(error.message) from None
    capability, prices = load_capability(), load_price_book()
    offers = {name: offer_of(name, one, capability, prices) for name, one in chosen.items()}
    left_out = [] if profile is not None else sorted(set(profiles.profiles) - set(chosen))
    return Checked(connection.region, found, offers), left_out


def _chosen(profiles: Profiles, version: str, profile: str | None, *, every: bool) -> Mapping[str, Profile]:
    """The one that is named; else all of an applied document, and of the shipped one the default."""
    from slackwater.adapters.profiles import SHIPPED  # noqa: PLC0415
    from slackwater.model.profile import DEFAULT_PROFILE  # noqa: PLC0415

    if profile is None and version.startswith(SHIPPED) and not every:
        profile = DEFAULT_PROFILE
    return profiles.profiles if profile is None else {profile: profiles.named(profile)}


def _model_name(model_id: str) -> str | None:
    from slackwater.policy.capability import load_capability  # noqa: PLC0415

    about = load_capability().model(model_id)
    return None if about is None else str(about["name"])


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("asked", no_wrap=True)
    table.add_column("about", overflow="fold")
    table.add_column("answer", overflow="fold")
    for finding in findings:
        state = Text(finding.state.value, style=STYLES[finding.state.value])
        table.add_row(state, finding.what, Text(finding.subject), Text(finding.detail))
    return table
