"""Plans as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slackwater.model.clock import iso
from slackwater.model.money import usd_float
from slackwater.policy.baselines import ARTICLE_OFF_PERCENT
from slackwater.usecases.estimated import by_way, sums
from slackwater_cli import words

if TYPE_CHECKING:
    from slackwater.policy.learned import Amount
    from slackwater.usecases.estimated import Estimate, Share, Sums

SHOWN_REFUSALS = 5
SHOWN_REGIONS = 2
_VERSION = re.compile(r"(-\d{8})?(-v\d+(:\d+)?)?$")  # of a model's id: `--json` has it whole
_METHODS = {
    "given": "as given",
    "history": "known from history",
    "estimated": "estimated by bytes",
    "max_tokens": "the most that is allowed: how much it will be is not known",
}


def plan_view(estimate: Estimate, name: str | None) -> RenderableType:
    """The whole plan."""
    whole = sums(estimate.shares)
    parts: list[RenderableType] = [_head(estimate, name), Text(), _ways(estimate), Text(), _money(whole)]
    if estimate.refused:
        parts += [Text(), _refused(estimate)]
    parts += [Text(f"~ {risk}", style="dim") for risk in estimate.risks]
    parts += [Text(f"! {warning}", style="yellow") for warning in estimate.warnings]
    return Group(*parts)


def _head(estimate: Estimate, name: str | None) -> Text:
    lines = words.counted(estimate.lines, "line" if name else "job")
    dialect = f" of the {estimate.dialect} dialect" if estimate.dialect else ""
    refused = f", {estimate.refused_lines:,} refused" if name else ""
    unplaced = f", {estimate.unplaced:,} without a lane" if estimate.unplaced else ""
    due = f"due {words.moment(iso(estimate.deadline))}, {words.until(estimate.deadline, estimate.planned_at)}"
    return Text.assemble((f"{name}: " if name else "", "bold"), f"{lines}{dialect}{refused}{unplaced}; {due}")


def _ways(estimate: Estimate) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("profile", "model", "lane"):
        table.add_column(column, overflow="fold", no_wrap=column == "lane")
    for column in ("jobs", "input", "output", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("expected", no_wrap=True)
    table.add_column("from", overflow="fold")
    for (profile, lane), alike in by_way(estimate.shares).items():
        one = sums(alike)
        finish = words.DASH if one.expected_finish is None else words.until(one.expected_finish, estimate.planned_at)
        table.add_row(
            Text(profile), _VERSION.sub("", alike[0].model.partition(".")[2]), lane.value, words.count(one.jobs),
            words.count(one.read.tokens), words.count(one.written.tokens), _usd(one.cost_pico), finish,
            _regions(alike),
        )  # fmt: skip
    return table


def _regions(alike: Sequence[Share]) -> str:
    regions = list(dict.fromkeys(region for share in alike for region in share.regions))
    more = f" +{len(regions) - SHOWN_REGIONS}" if len(regions) > SHOWN_REGIONS else ""
    return ", ".join(regions[:SHOWN_REGIONS]) + more


def _money(whole: Sums) -> Table:
    grid = Table.grid(padding=(0, 2))
    compared = whole.compared
    unknown = f"  {words.counted(whole.unknown_jobs, 'job')} of unknown price" if whole.unknown_jobs else ""
    around = "" if whole.low_pico == whole.high_pico else f"({_usd(whole.low_pico)} to {_usd(whole.high_pico)})"
    grid.add_row(Text("cost", style="dim"), Text(_usd(whole.cost_pico), style="bold"), around + unknown)
    for name, pico in (
        ("all on demand at home", compared.home_on_demand_pico),
        ("all by batch at home", compared.home_batch_pico),
        (f"the article's claim: {ARTICLE_OFF_PERCENT} % off", compared.article_pico),
    ):
        grid.add_row(Text(name, style="dim"), _usd(pico), _against(whole.cost_pico, pico))
    grid.add_row(Text("input", style="dim"), words.count(whole.read.tokens), _bar(whole.read))
    grid.add_row(Text("output", style="dim"), words.count(whole.written.tokens), _bar(whole.written))
    return grid


def _against(cost_pico: int | None, pico: int | None) -> str:
    if cost_pico is None or not pico:
        return ""
    less = pico - cost_pico
    return f"{words.share(abs(less), pico)} {'less' if less >= 0 else 'more'} than that"


def _bar(amount: Amount) -> str:
    around = "" if amount.low == amount.high else f" ({amount.low:,} to {amount.high:,})"
    return f"tokens, {_METHODS[amount.method]}{around}"


def _refused(estimate: Estimate) -> Text:
    text = Text()
    for one in estimate.refused[:SHOWN_REFUSALS]:
        text.append(f"line {one.line}{f' {one.pointer}' if one.pointer else ''}: {one.message}\n", style="yellow")
    more = estimate.refused_lines - min(SHOWN_REFUSALS, len(estimate.refused))
    text.append(f"and {more:,} more; --json shows {len(estimate.refused)} of them\n" if more else "", style="yellow")
    return text


def _usd(pico: int | None) -> str:
    return words.usd_short(usd_float(pico))
