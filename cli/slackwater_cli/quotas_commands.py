"""`slackwater quotas …`: what each region still allows, and telling the fleet what it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import BROKEN, USAGE, Complaint
from slackwater_cli.options import Json, Stack
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slackwater.adapters.ledger.quota import QuotaLedger
    from slackwater.policy.quota_limits import Reading, Told
    from slackwater.usecases.quotas import InForce, Shown, Synced
    from slackwater_cli.connection import Connection

FAMILIES = ("on_demand", "cross_region", "global")

Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Only the pools of this profile.", show_default=False),
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Quotas: the limits of each region, where they come from, and what is in use.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    for command in (show, sync):
        app.command(command.__name__)(command)
    app.command("set")(set_)
    return app


def show(profile: Profile = None, stack: Stack = None, json: Json = False) -> None:
    """Show the limits of each pool that the profiles in force draw on. A pool is region, quota family and model.

    A limit is `told` (by Service Quotas or by hand), `learned` from throttles, `searching` until the first one, or
    `none seen`. In use is what has not flowed back yet. Calibration is what calls came to, against their estimate.

    **Example**

    - `slackwater quotas show`
    - `slackwater quotas show --profile default --json | jq '.pools[] | {pool, rpm: .requests.per_minute}'`
    """
    screen = Screen(json)
    desk = Desk(screen, stack)
    shown = desk.show(desk.pools(profile))
    models = dict.fromkeys(one.pool.name.split("|")[2] for one in shown)
    for model in models:
        screen.show(_table(model, [one for one in shown if one.pool.name.endswith(f"|{model}")]))
    for one in shown:
        if one.told is not None:
            screen.note(f"{one.pool.name}: {_limits(one.told)}, {words.moment(one.told.at)}", "dim")
        for route, until in one.resting.items():
            screen.note(f"{route} rests until {words.moment(until)}", "yellow")
    screen.document({"v": 1, "pools": [one.as_json() for one in shown]})


def sync(
    profile: Profile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace limits that were set by hand, too.", show_default=False)
    ] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Read the limits of all regions from Service Quotas and tell the fleet. The stack does it once a day by itself.

    What is not listed is said, and left as it is. Exit status 1 if a region could not be asked.

    **Example**

    - `slackwater quotas sync`
    """
    screen = Screen(json)
    desk = Desk(screen, stack)
    synced = desk.sync(desk.pools(profile), force=force)
    _say(screen, synced)
    screen.document({"v": 1, "ok": not synced.unreadable, **synced.as_json()})
    raise typer.Exit(BROKEN if synced.unreadable else 0)


def set_(  # noqa: PLR0917  (Typer reads the signature)
    pool: Annotated[
        str | None,
        typer.Argument(metavar="[POOL]", help="`region|family|model`, as `show` names it.", show_default=False),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="R", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Its id, without `global.` or `eu.`.", show_default=False)
    ] = None,
    family: Annotated[str | None, typer.Option("--family", metavar="|".join(FAMILIES), show_default=False)] = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", metavar="N", min=1, help="Requests a minute.", show_default=False)
    ] = None,
    tpm: Annotated[
        int | None, typer.Option("--tpm", metavar="N", min=1, help="Tokens a minute.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the told limits back.", show_default=False)] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Set the limits of one pool by hand; one that is not given stays. The fleet goes by them within a second or two.

    They are kept when limits are synced, until `--clear` or `sync --force`.

    **Example**

    - `slackwater quotas set 'us-west-2|global|anthropic.claude-haiku-4-5-20251001-v1:0' --rpm 1000 --tpm 4000000`
    - `slackwater quotas set --region eu-west-2 --family on_demand --model openai.gpt-oss-120b-1:0 --clear`
    """
    screen = Screen(json)
    if clear == (rpm is not None or tpm is not None):
        raise Complaint("give --rpm, --tpm or both, or --clear", code="usage", status=USAGE)
    name = _pool_named(pool, region, model, family)
    desk = Desk(screen, stack)
    told = desk.set(name, rpm, tpm, clear=clear)
    if name not in {one.name for one in desk.pools(None)}:
        screen.note(f"! no profile in force draws on {name}", "yellow")
    screen.note(f"{name}: " + ("nothing is told any more" if told is None else _limits(told)))
    document = None if told is None else {"rpm": told.rpm, "tpm": told.tpm, "by": told.by, "at": told.at}
    screen.document({"v": 1, "pool": name, "told": document})


# ---------------------------------------------------------------------- behind them


class Desk:
    """The quotas of one stack."""

    def __init__(self, screen: Screen, stack: str | None) -> None:
        from slackwater.adapters.ledger.quota import QuotaLedger  # noqa: PLC0415  (boto3 takes a third of a second)
        from slackwater.adapters.ledger.table import Table as LedgerTable  # noqa: PLC0415
        from slackwater_cli.connection import connect  # noqa: PLC0415

        self.connection: Connection = connect(screen, stack)
        self._table = LedgerTable(self.connection.client("dynamodb", None), self.connection.output("TableName"))
        self.ledger: QuotaLedger = QuotaLedger(self._table)

    def pools(self, profile: str | None) -> list[InForce]:
        """The pools of one profile in force, or of all. Raises Complaint for an unknown one."""
        from slackwater.adapters.profiles import ProfileStore  # noqa: PLC0415
        from slackwater.adapters.store import Store  # noqa: PLC0415
        from slackwater.model.errors import BadInput  # noqa: PLC0415
        from slackwater.policy.capability import load_capability  # noqa: PLC0415
        from slackwater.policy.prices import load_price_book  # noqa: PLC0415
        from slackwater.policy.profile_check import offer_of  # noqa: PLC0415
        from slackwater.usecases.quotas import pools_in_force  # noqa: PLC0415

        store = Store(self.connection.client("s3", None), self.connection.output("BucketName"))
        profiles, _ = ProfileStore(store).current()
        try:
            chosen = profiles.profiles if profile is None else {profile: profiles.named(profile)}
        except BadInput as error:
            raise Complaint(error.message) from None
        capability, prices = load_capability(), load_price_book()
        return pools_in_force({name: offer_of(name, one, capability, prices) for name, one in chosen.items()})

    def show(self, pools: Iterable[InForce]) -> list[Shown]:
        import random  # noqa: PLC0415

        from slackwater.adapters.ledger.health import RouteHealth  # noqa: PLC0415
        from slackwater.usecases.quotas import ShowQuotas  # noqa: PLC0415

        clock = self.connection.clock
        health = RouteHealth(self._table, clock, random.Random(0))  # noqa: S311  (reads only: nothing is drawn)
        return ShowQuotas(ledger=self.ledger, health=health, clock=clock)(pools)

    def sync(self, pools: list[InForce], *, force: bool) -> Synced:
        from slackwater.adapters.account import AwsAccount  # noqa: PLC0415
        from slackwater.policy.capability import load_capability  # noqa: PLC0415
        from slackwater.usecases.quotas import SyncQuotas  # noqa: PLC0415

        use_case = SyncQuotas(
            account=AwsAccount(self.connection.client),
            ledger=self.ledger,
            about=load_capability().model,
            clock=self.connection.clock,
        )
        return use_case(pools, force=force)

    def set(self, pool: str, rpm: int | None, tpm: int | None, *, clear: bool) -> Told | None:
        from slackwater.usecases.quotas import SetQuota  # noqa: PLC0415

        use_case = SetQuota(ledger=self.ledger, clock=self.connection.clock)
        if clear:
            use_case.clear(pool)
            return None
        return use_case.set(pool, rpm=rpm, tpm=tpm)


def _pool_named(pool: str | None, region: str | None, model: str | None, family: str | None) -> str:
    """The pool's name. Raises Complaint for one that cannot be."""
    from slackwater.policy.capability import load_capability  # noqa: PLC0415

    given = (region, family, model)
    if pool is not None and not any(given):
        region, family, model = (*pool.split("|"), "", "", "")[:3]
    elif pool is not None or not all(given):
        raise Complaint("name the pool, or give --region, --family and --model", code="usage", status=USAGE)
    if family not in FAMILIES:
        raise Complaint(f"no quota family {family!r}: one of {', '.join(FAMILIES)}", code="usage", status=USAGE)
    capability = load_capability()
    if region not in capability.regions(str(model)):
        known = ", ".join(sorted(capability.regions(str(model)))) or "no region: is it a model's id without a prefix?"
        raise Complaint(f"{model} is not in {region}; it is in {known}", code="usage", status=USAGE)
    return f"{region}|{family}|{model}"


def _say(screen: Screen, synced: Synced) -> None:
    for pool, told in synced.told.items():
        screen.show(Text(f"{pool}  {_limits(told)}"))
    for pool in synced.kept:
        screen.note(f"{pool}: set by hand, kept (--force replaces it)")
    for pool, what in synced.missing.items():
        screen.note(f"! {pool}: {what}", "yellow")
    for region, why in synced.unreadable.items():
        screen.note(f"! {region}: Service Quotas could not be asked ({why}); its limits stay as they are", "yellow")
    screen.note(f"told the limits of {words.counted(len(synced.told), 'pool')}")


def _limits(told: Told) -> str:
    return f"{words.count(told.rpm)} requests and {words.count(told.tpm)} tokens a minute ({told.by})"


def _table(model: str, shown: list[Shown]) -> Table:
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title=model, title_justify="left"
    )
    for column in ("region", "family"):
        table.add_column(column, no_wrap=True)
    for column in ("requests/min in use", "tokens/min in use", "throttles", "in × out"):
        table.add_column(column, justify="right")
    for one in shown:
        region, family, _ = one.pool.name.split("|")
        calibration = words.DASH if not one.answers else f"{one.input_ratio:.2f} × {one.output_ratio:.2f}"
        throttles = words.count(one.requests.throttles + one.tokens.throttles)
        table.add_row(region, family, _limit(one.requests), _limit(one.tokens), throttles, calibration)
    return table


def _limit(limit: Reading) -> Text:
    if limit.per_minute is None:
        return Text(words.DASH)
    return Text.assemble(f"{limit.in_use:,.0f} of {limit.per_minute:,.0f}", (f" {limit.known.value}", "dim"))
