"""Receipts as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slackwater.model.money import pico_from_usd_float, usd_float
from slackwater_cli import words

LANES = ("on_demand", "flex", "batch")
REASONS = {
    "empty_input": "the file has no line, so there was nothing to run",
    "not_jsonl": "no line of the file is a JSON object: send JSON Lines, one object a line",
}
WAYS = {"on_demand": "on demand", "home_only": "at home only", "best_possible": "at best"}
MONEY = ("cost_usd", "list_usd", "saved_usd")


def receipt_view(receipt: Mapping[str, Any]) -> RenderableType:
    """The whole receipt of one run."""
    parts: list[RenderableType] = [_head(receipt), Text(), _ways(receipt), Text(), _money(receipt)]
    if receipt.get("errors"):
        parts += [Text(), _errors(receipt["errors"])]
    parts += [Text(f"! {warning}", style="yellow") for warning in receipt.get("warnings", ())]
    return Group(*parts)


def comparison(receipts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Several receipts side by side: what went where, and what it cost against list."""
    table = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", footer_style="bold", show_footer=True
    )
    table.add_column("run", no_wrap=True, footer="all")
    total = _total(receipts.values())
    for title, key in (("jobs", "accepted"), ("failed", "failed"), ("refused", "refused_lines")):
        table.add_column(title, justify="right", footer=words.count(total[key]))
    for lane in LANES:
        table.add_column(lane.replace("_", "\n"), justify="right", footer=words.count(total[lane]))
    for title, key in (("cost", "cost_usd"), ("list", "list_usd")):
        table.add_column(title, justify="right", no_wrap=True, footer=words.usd_short(total[key]))
    table.add_column("saved", justify="right", footer=words.share(total["saved_usd"], total["list_usd"]))
    table.add_column("repeats", justify="right", footer=words.count(total["repeats"]))
    for name, one in receipts.items():
        table.add_row(
            Text(name),
            *(words.count(one[key]) for key in ("accepted", "failed", "refused_lines")),
            *(words.count(one["lanes"][lane]["jobs"]) for lane in LANES),
            *(words.usd_short(one[key]) for key in ("cost_usd", "list_usd")),
            words.share(one["saved_usd"], one["list_usd"]),
            words.count(one["repeats"]),
        )
    return table


def regions_table(receipts: Sequence[Mapping[str, Any]]) -> Table:
    """Jobs and cost by region over all these receipts."""
    jobs: dict[str, int] = {}
    cost_pico: dict[str, int] = {}
    for receipt in receipts:
        for region, part in receipt["regions"].items():
            jobs[region] = jobs.get(region, 0) + part["jobs"]
            cost_pico[region] = cost_pico.get(region, 0) + (pico_from_usd_float(part["cost_usd"]) or 0)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("region")
    table.add_column("jobs", justify="right")
    table.add_column("cost", justify="right")
    for region in sorted(jobs, key=lambda name: (-jobs[name], name)):
        table.add_row(region, words.count(jobs[region]), words.usd_short(usd_float(cost_pico[region])))
    return table


def _head(receipt: Mapping[str, Any]) -> Text:
    style = "bold green" if receipt["status"] == "settled" else "bold red"
    reason = f" ({receipt['reason']})" if receipt.get("reason") else ""
    why = f"\n{REASONS[receipt['reason']]}" if receipt.get("reason") in REASONS else ""
    name = f"  {receipt['name']}" if receipt.get("name") else ""
    profile = f"  profile {receipt['profile']}" if receipt.get("profile") else ""
    return Text.assemble(
        ("run ", "dim"), receipt["run_id"], (f"{name}{profile}\n", "dim"), (receipt["status"] + reason, style),
        f": {words.count(receipt['accepted'])} accepted = {words.count(receipt['succeeded'])} succeeded + "
        f"{words.count(receipt['failed'])} failed; {words.counted(receipt['refused_lines'], 'line')} refused",
        (why, "yellow"),
    )  # fmt: skip


def _ways(receipt: Mapping[str, Any]) -> RenderableType:
    both = Table.grid(padding=(0, 6))
    both.add_row(
        _shares("lane", {lane: receipt["lanes"][lane] for lane in LANES}), _shares("region", receipt["regions"] or {})
    )
    return both


def _shares(title: str, shares: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title)
    table.add_column("jobs", justify="right")
    table.add_column("cost", justify="right")
    for name, one in shares.items():
        style = "dim" if not one["jobs"] else ""
        table.add_row(name, words.count(one["jobs"]), words.usd(one["cost_usd"]), style=style)
    return table


def _money(receipt: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    saved = f"{words.usd(receipt['saved_usd'])} ({words.share(receipt['saved_usd'], receipt['list_usd'])})"
    unknown = receipt.get("unknown_price_jobs")
    known = f"  without {words.counted(unknown, 'job')} of unknown price" if unknown else ""
    tokens = f"{words.count(receipt['input_tokens'])} in, {words.count(receipt['output_tokens'])} out"
    rows: dict[str, str | Text] = {
        "tokens": tokens,
        "cost": words.usd(receipt["cost_usd"]) + known,
        "list": f"{words.usd(receipt['list_usd'])}  (on demand in the home region)",
        "saved": Text(saved, style="bold"),
        **_otherwise(receipt),
        "repeats": words.count(receipt["repeats"]),
        "deadline": f"{words.moment(receipt.get('deadline'))}, finished {words.moment(receipt['finished_at'])}",
        "prices": str(receipt["price_version"]),
    }
    for name, value in rows.items():
        grid.add_row(Text(name, style="dim"), value)
    return grid


def _otherwise(receipt: Mapping[str, Any]) -> dict[str, str | Text]:
    """What the same answers would have cost another way, what rescue cost, and whether Bedrock's counts agree; as far
    as the receipt says so, and there is something to say."""
    rows: dict[str, str | Text] = {}
    told = []
    for name, one in receipt.get("counterfactuals", {}).items():
        if one["jobs"]:
            some = "" if not one["unknown_jobs"] else f" (for {words.count(one['jobs'])})"
            told.append(f"{WAYS.get(name, name)} {words.usd_short(one['cost_usd'])}{some}")
    if told:
        rows["otherwise"] = ", ".join(told)
    if receipt.get("rescued_jobs"):
        extra = words.usd(receipt["rescue_usd"])
        rows["rescue"] = f"{words.counted(receipt['rescued_jobs'], 'job')} left over by batch, {extra} more than batch"
    found = receipt.get("reconciliation", {})
    if found.get("batch_jobs"):
        silent = f", {found['unreported']} without a manifest" if found["unreported"] else ""
        rows["manifests"] = f"{found['agreeing']} of {words.counted(found['batch_jobs'], 'batch job')} agree{silent}"
    return rows


def _errors(errors: Mapping[str, int]) -> Text:
    return Text("failed and refused, by code:  " + "  ".join(f"{code} {number:,}" for code, number in errors.items()))


def _total(receipts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums; a sum of money is unknown when one of its parts is. Exact: added as pico-dollars."""
    total: dict[str, Any] = dict.fromkeys(("accepted", "failed", "refused_lines", "repeats", *LANES, *MONEY), 0)
    for one in receipts:
        for key in ("accepted", "failed", "refused_lines", "repeats"):
            total[key] += one[key]
        for lane in LANES:
            total[lane] += one["lanes"][lane]["jobs"]
        for key in MONEY:
            pico = pico_from_usd_float(one[key])
            total[key] = None if pico is None or total[key] is None else total[key] + pico
    return total | {key: usd_float(total[key]) for key in MONEY}
