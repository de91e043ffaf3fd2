"""How prices and their changes look: on a screen, and as a document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from slackwater_cli import words

if TYPE_CHECKING:
    from slackwater.policy.price_diff import Change
    from slackwater.policy.price_offers import Reading

_COLUMNS = {
    "on demand": ("input", "output"),
    "cache read/5m/1h": ("cache_read", "cache_write_5m", "cache_write_1h"),
    "batch": ("batch_input", "batch_output"),
    "flex": ("flex_input", "flex_output"),
    "priority": ("priority_input", "priority_output"),
}
_TIER_CACHE = {
    "cache read/5m/1h, flex": ("flex_cache_read", "flex_cache_write_5m", "flex_cache_write_1h"),
    "cache read/5m/1h, priority": ("priority_cache_read", "priority_cache_write_5m", "priority_cache_write_1h"),
}
DERIVED = "~"


def of_model(
    model: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], table: Mapping[str, Any]
) -> Iterator[RenderableType]:
    """A table a kind of route, then what holds for long prompts, and the sources."""
    yield Text.assemble(
        (model["name"], "bold"), f"  {model['model_id']}  {model['lifecycle'].lower()}  table {table['version']}"
    )
    yield Text("USD per million tokens, input/output", style="dim")
    for kind in ("regional", "global"):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            yield _kind_table(kind, chosen, table["sources"])
    for tier in model["long_context"]:
        factor = "prices of their own" if tier["multiplier"] is None else f"{tier['multiplier']} times every price"
        yield Text(f"prompts above {tier['above_input_tokens']:,} tokens: {factor} ({tier['source']})")
    if any(row["derived"] for row in rows):
        yield Text(f"{DERIVED} from a ratio seen in other regions, not from a list", style="dim")
    for name in dict.fromkeys(source for row in rows for source in row["source"].values()):
        about = table["sources"].get(name)
        if about is not None:
            yield Text(f"{name} of {about['as_of']}: {about['what']}", style="dim")


def _kind_table(kind: str, rows: Sequence[Mapping[str, Any]], sources: Mapping[str, Any]) -> Table:
    columns = _COLUMNS | {n: fs for n, fs in _TIER_CACHE.items() if any(row.get(f) for row in rows for f in fs)}
    long = any(row.get("long") for row in rows)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", title=kind, title_justify="left")
    grid.add_column("region", no_wrap=True)
    for name in (*columns, *(["long prompts"] if long else [])):
        grid.add_column(name, justify="right", overflow="fold")
    grid.add_column("source", overflow="fold")
    grid.add_column("since", no_wrap=True)
    for row in rows:
        cells = [_prices(row, fields, row["derived"]) for fields in columns.values()]
        if long:
            cells.append(_prices(row.get("long", {}), ("input", "output"), ()))
        grid.add_row(row["region"], *cells, _source(row, sources), _since(row, sources))
    return grid


def _prices(row: Mapping[str, Any], fields: Sequence[str], derived: Iterable[str]) -> str:
    if all(row.get(name) is None for name in fields):
        return words.DASH
    marks = [DERIVED if name in derived else "" for name in fields]
    if all(marks):
        marks = [*([""] * (len(fields) - 1)), DERIVED]  # one mark for all
    return "/".join(
        words.DASH if row.get(name) is None else f"{row[name]}{mark}" for name, mark in zip(fields, marks, strict=True)
    )


def _source(row: Mapping[str, Any], sources: Mapping[str, Any]) -> str:
    return " ".join(dict.fromkeys(name for name in row["source"].values() if name in sources))


def _since(row: Mapping[str, Any], sources: Mapping[str, Any]) -> str:
    """From when on the on-demand price holds; `≤` and the day on which it was seen, where that is not known."""
    effective: str | None = row.get("effective", {}).get("standard")
    if effective:
        return effective
    seen = sources.get(row["source"].get("standard", ""), {}).get("as_of")
    return words.DASH if seen is None else f"≤ {seen}"


def of_refresh(found: Sequence[Change], reading: Reading) -> Iterator[RenderableType]:
    """What differs, a table a model, the refused last; then what could not be mapped."""
    if not found:
        yield Text("every price that was mapped is as in the table")
    models: dict[str, list[Change]] = defaultdict(list)
    for one in sorted(found, key=lambda one: not one.stands):
        models[one.slot.model_id].append(one)
    for model, several in models.items():
        yield _changes_table(model, several)
    if reading.unmapped:
        yield _unmapped_table(reading)


def _changes_table(model: str, found: Sequence[Change]) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title=model, title_justify="left")
    grid.add_column("kind", no_wrap=True)
    for name in ("price", "regions"):
        grid.add_column(name, overflow="fold")
    for name in ("table", "offer"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for (kind, fields, old, new, verdict, style), regions in _alike(found).items():
        grid.add_row(kind, fields, ", ".join(regions), old, new, Text(verdict, style=style))
    return grid


def _alike(found: Sequence[Change]) -> dict[tuple[str, ...], list[str]]:
    """Regions with the same change share a line, and so do prices of a region that are all gone."""
    gone: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in found:
        style = "" if not one.refused else "yellow" if one.accepted else "red"
        verdict = one.what.value if not one.refused else f"{'accepted' if one.accepted else 'refused'}: {one.refused}"
        if one.what.value == "gone":
            gone[one.slot.kind, one.slot.region, verdict, style].append(one.slot.field)
            continue
        old, new = one.old or words.DASH, one.new or words.DASH
        lines[one.slot.kind, one.slot.field, old, new, verdict, style].append(one.slot.region)
    for (kind, region, verdict, style), fields in gone.items():
        lines[kind, ", ".join(fields), "", words.DASH, verdict, style].append(region)
    return lines


def _unmapped_table(reading: Reading) -> Table:
    grid = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title="not mapped", title_justify="left"
    )
    for name in ("name", "why", "for example"):
        grid.add_column(name, overflow="fold")
    grid.add_column("products", justify="right")
    for one, number in sorted(reading.unmapped.items()):
        grid.add_row(Text(one.name), one.why.value, Text(one.example), words.count(number))
    return grid


def refresh_document(
    old_version: str, found: Sequence[Change], reading: Reading, *, written: Path | None, version: str
) -> dict[str, Any]:
    """The command's one document."""
    return {
        "v": 1,
        "price_version": old_version,
        "new_version": version,
        "written": None if written is None else str(written),
        "refused": sum(not one.stands for one in found),
        "offers": [
            {
                "offer": name,
                "published": published,
                "products": reading.products[name],
                "regions": sorted(reading.regions.get(name, ())),
            }
            for name, published in sorted(reading.published.items())
        ],
        "mapped": len(reading.quotes),
        "other_products": reading.others,
        "changes": [
            {
                "path": one.slot.path,
                "change": one.what.value,
                "old": one.old,
                "new": one.new,
                "effective": None if one.quote is None else one.quote.effective,
                "refused": one.refused or None,
                "accepted": one.accepted,
            }
            for one in found
        ],
        "unmapped": [
            {"offer": one.offer, "name": one.name, "why": one.why.value, "example": one.example, "products": number}
            for one, number in sorted(reading.unmapped.items())
        ],
    }
