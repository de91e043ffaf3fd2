"""`slackwater prices …`: what the price table says, and what AWS's public price lists say about it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slackwater_cli import offer_files, prices_view, words
from slackwater_cli.errors import BROKEN, USAGE, Complaint
from slackwater_cli.options import Json
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slackwater.policy.price_diff import Change
    from slackwater.policy.price_offers import OfferReader, Reading

Table = Annotated[
    Path | None,
    typer.Option(
        "--table", metavar="FILE", exists=True, dir_okay=False, help="Another table than the shipped one.",
        show_default=False,
    ),
]  # fmt: skip
Regions = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="R", help="Only this region; may be repeated.", show_default=False),
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="Prices: what the table says a token costs, and what AWS's public price lists say.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    for command in (show, refresh):
        app.command(command.__name__)(command)
    return app


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its id, with or without `global.` or `eu.`.")],
    region: Regions = None,
    table: Table = None,
    json: Json = False,
) -> None:
    """Show what a model costs in each source region, in USD per million tokens; a dash is a price that nobody knows.

    `regional` is the price of the in-region id and of geographic profiles (`us.`, `eu.`), `global` that of the global
    profile. The price is always that of the region that is called.

    **Example**

    - `slackwater prices show openai.gpt-oss-120b-1:0`
    - `slackwater prices show anthropic.claude-haiku-4-5-20251001-v1:0 --json | jq '.rows[] | {region, kind, input}'`
    """
    screen = Screen(json)
    content = _table(table)
    about = _model(model, content)
    rows = [row for row in content["rows"] if row["model_id"] == about["model_id"]]
    if region:
        rows = [row for row in rows if row["region"] in region]
    if not rows:
        where = f" in {', '.join(region)}" if region else ""
        raise Complaint(f"no price of {about['model_id']}{where} is known", code="unknown_price")
    for part in prices_view.of_model(about, rows, content):
        screen.show(part)
    used = sorted({source for row in rows for source in row["source"].values()})
    screen.document(
        {
            "v": 1,
            "price_version": content["version"],
            "unit": content["unit"],
            "model": about,
            "rows": rows,
            "sources": {name: content["sources"][name] for name in used if name in content["sources"]},
        }
    )


def refresh(  # noqa: PLR0917  (Typer reads the signature)
    from_: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="An offer file that was downloaded already (JSON, or gzip of it); may be repeated.",
            show_default=False,
        ),
    ] = None,
    region: Regions = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="MODEL/…",
            help="Take a change that is refused: `MODEL/REGION/KIND/FIELD` with `*`, or its beginning.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write, and leave what is refused as it is.", show_default=False)
    ] = False,
    max_factor: Annotated[
        float, typer.Option("--max-factor", metavar="X", min=1.0, help="Refuse changes by more than this factor.")
    ] = 1.5,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="PATH", dir_okay=False, help="Where the new table goes.", show_default=False),
    ] = None,
    table: Table = None,
    base_url: Annotated[str, typer.Option("--base-url", metavar="URL", hidden=True)] = offer_files.BASE_URL,
    json: Json = False,
) -> None:
    """Compare the price table with AWS's public bulk offers, and write a new one. Needs no AWS account.

    Reads `AmazonBedrock` and `AmazonBedrockFoundationModels` for the regions of the table. Without `--write` it only
    shows. Products that cannot be mapped are listed and never guessed. A jump, a price of zero, a price that is gone
    or a discount that costs more is refused until `--accept` names it; then exit status 1 and nothing is written.

    **Example**

    - `slackwater prices refresh`
    - `slackwater prices refresh --accept 'amazon.nova-*/*/*/cache_write_5m' --write layers/slackwater/slackwater/data/prices.json`
    - `slackwater prices refresh --from AmazonBedrock.json.gz --json | jq '.changes[] | select(.refused)'`
    """  # noqa: E501
    from slackwater.policy.price_diff import changes, new_table  # noqa: PLC0415
    from slackwater.policy.price_offers import OfferReader  # noqa: PLC0415

    screen = Screen(json)
    content = _table(table)
    regions = region or list(dict.fromkeys(row["region"] for row in content["rows"]))
    reader = OfferReader(content, today=datetime.now(UTC).date().isoformat())
    if from_:
        for path in from_:
            offer_files.read(path, reader)
    else:
        _download(screen, reader, base_url.rstrip("/"), regions)
    reading = reader.done()
    if not reading.quotes:
        raise Complaint("not one price could be mapped to a model of the table: is it the right file?", code="offers")
    found = changes(content, reading, regions=regions, accept=accept or (), max_factor=Decimal(str(max_factor)))
    refused = [one for one in found if not one.stands]
    new = new_table(content, reading, found)
    for part in prices_view.of_refresh(found, reading):
        screen.show(part)
    _unused(screen, accept or (), found)
    written = write is not None and (keep or not refused)
    if write is not None and written:
        _write(write, new)
    _say(screen, found, reading, keep=keep)
    screen.note(_outcome(content, new, write if written else None, len(refused), keep=keep))
    screen.document(
        prices_view.refresh_document(
            content["version"], found, reading, written=write if written else None, version=new["version"]
        )
    )
    raise typer.Exit(BROKEN if refused and not keep else 0)


# ---------------------------------------------------------------------- behind them


def _table(path: Path | None) -> dict[str, Any]:
    from slackwater.policy import price_table  # noqa: PLC0415
    from slackwater.policy.prices import PriceTableError, read_table, shipped_table  # noqa: PLC0415

    try:
        table = read_table(shipped_table() if path is None else path.read_bytes())
    except PriceTableError as error:
        raise Complaint(f"{path}: {error}", code="price_table") from None
    problem = next(price_table.problems(table), None)
    if problem is not None:
        raise Complaint(f"{path or 'the shipped table'}: {problem}", code="price_table")
    return table


def _model(name: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The listed model of that id or name. Raises Complaint with what is spelled alike."""
    from difflib import get_close_matches  # noqa: PLC0415

    from slackwater.policy.capability import resolve_model  # noqa: PLC0415

    resolved = resolve_model(name)
    asked = {name.casefold(), resolved.model_id.casefold() if resolved else ""}
    called: dict[str, Mapping[str, Any]] = {}
    for model in table["models"]:
        called |= dict.fromkeys((model["model_id"].casefold(), model["name"].casefold()), model)
    for one in asked & called.keys():
        return called[one]
    wanted = resolved.model_id if resolved else name
    near = get_close_matches(wanted.casefold(), called, n=8, cutoff=0.5)
    near += [one for one in called if name.casefold() in one]
    ids = list(dict.fromkeys(called[one]["model_id"] for one in near))[:4]
    hint = f"did you mean {', '.join(ids)}?" if ids else f"the table has {words.counted(len(table['models']), 'model')}"
    raise Complaint(f"no model {name!r} in the price table; {hint}", code="unknown_model", status=USAGE)


def _download(screen: Screen, reader: OfferReader, base_url: str, regions: Sequence[str]) -> None:
    """Reads both offers of every region, one file at a time."""
    from slackwater.policy.price_offers import OFFERS  # noqa: PLC0415

    if not base_url.startswith(("https://", "http://")):
        raise Complaint(f"{base_url} is no address of the price lists", status=USAGE)
    with TemporaryDirectory(prefix="slackwater-offers-") as folder:
        for region in regions:
            for offer in OFFERS:
                screen.note(f"reading {offer} of {region}", "dim")
                path = offer_files.download(base_url, offer, region, Path(folder))
                if path is None:
                    screen.note(f"! {offer} has no file for {region}: its prices stay as they are", "yellow")
                    continue
                offer_files.read(path, reader)
                path.unlink()


def _unused(screen: Screen, patterns: Sequence[str], found: Sequence[Change]) -> None:
    from slackwater.policy.price_diff import named  # noqa: PLC0415

    for pattern in patterns:
        if not any(one.refused and named(one.slot, (pattern,)) for one in found):
            screen.note(f"! --accept {pattern} names nothing that is refused", "yellow")


def _say(screen: Screen, found: Sequence[Change], reading: Reading, *, keep: bool) -> None:
    products = words.counted(sum(reading.products.values()), "product")
    same = len(reading.quotes) - sum(one.quote is not None for one in found)
    screen.note(
        f"{products}: {words.counted(len(reading.quotes), 'price')} mapped, {same} as in the table or of other "
        f"regions, {words.counted(reading.others, 'product')} of other kinds, "
        f"{words.counted(sum(reading.unmapped.values()), 'product')} not mapped"
    )
    refused = sum(not one.stands for one in found)
    if refused:
        what = "stay as they are" if keep else "must be accepted by name (--accept), or kept (--keep)"
        screen.note(f"! {words.counted(refused, 'change')} refused: {what}", "yellow" if keep else "red")


def _outcome(
    old: Mapping[str, Any], new: Mapping[str, Any], written: Path | None, refused: int, *, keep: bool
) -> str:  # fmt: skip
    if written is not None:
        return f"wrote {written}: version {new['version']} (was {old['version']})"
    if refused and not keep:
        return "nothing was written"
    return f"nothing was written: --write PATH writes version {new['version']}"


def _write(path: Path, table: Mapping[str, Any]) -> None:
    """As a whole or not at all. Raises Complaint for a table that could not be used."""
    from slackwater.policy import price_table  # noqa: PLC0415

    problem = next(price_table.problems(table), None)
    if problem is not None:
        raise Complaint(f"the new table would be unusable: {problem}", code="price_table", status=BROKEN)
    half = path.with_name(path.name + ".part")
    half.write_text(price_table.render(table), encoding="utf-8")
    half.replace(path)
