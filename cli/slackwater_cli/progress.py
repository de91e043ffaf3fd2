"""How runs under way look: a table that redraws itself on a terminal, one line a run elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slackwater.model.clock import parse_iso
from slackwater.model.shard import Shard, ShardState
from slackwater.usecases.inspect import Progress
from slackwater_cli import words
from slackwater_cli.cloud_reader import Snapshot

SHOWN_SHARDS = 6
STYLES = {"settled": "green", "failed": "red", "cancelled": "red", "settling": "cyan", "open": "cyan"}


def board(snapshots: Mapping[str, Snapshot | None], now: datetime, elapsed_s: float, title: str) -> RenderableType:
    """All runs, then their shards; `snapshots` by the name under which people know them."""
    parts: list[RenderableType] = [
        Text.assemble((title, "bold"), (f"   {words.span(elapsed_s)}", "dim")),
        _runs(snapshots, now),
    ]
    seen = [snapshot for snapshot in snapshots.values() if snapshot is not None]
    if shards := [(shard, one) for one in seen for shard in one.progress.shards]:
        parts.append(_shards(shards))
    if resting := _resting(seen, now):
        parts.append(Text(resting, style="yellow"))
    return Group(*parts)


def line(name: str, snapshot: Snapshot | None) -> str:
    """One run in one line, without colours: for logs."""
    if snapshot is None:
        return f"{name}: waiting for its workflow"
    progress = snapshot.progress
    pieces = [f"{name}: {progress.state}", f"{words.of(snapshot.done, progress.accepted)} done"]
    pieces += [f"{lane.lane} {lane.done}/{lane.jobs}" for lane in progress.lanes]
    pieces += [f"shard in {shard.region} {_status(shard, snapshot)}" for shard in _unsettled(progress)]
    pieces += [f"{region} rests" for region in sorted({name.split("|")[0] for name in snapshot.resting})]
    if progress.repeats:
        pieces.append(f"{progress.repeats} repeats")
    return ", ".join(pieces)


def _runs(snapshots: Mapping[str, Snapshot | None], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", overflow="ellipsis", no_wrap=True, max_width=26)
    table.add_column("state", no_wrap=True)
    table.add_column("", width=14)
    table.add_column("done", justify="right", no_wrap=True)
    table.add_column("due", no_wrap=True)
    table.add_column("lanes and regions")
    for name, snapshot in snapshots.items():
        if snapshot is None:
            table.add_row(Text(name), Text("waiting", "dim"), "", "", "", "")
            continue
        progress = snapshot.progress
        total = progress.accepted or 0
        bar = ProgressBar(total=max(total, 1), completed=snapshot.done, width=14)
        state = "surveying" if progress.accepted is None and not progress.ended else progress.state
        due = words.until(parse_iso(progress.deadline_at), now) if progress.deadline_at and not progress.ended else ""
        done = f"{snapshot.done:,}/{words.count(progress.accepted)}"
        table.add_row(Text(name), Text(state, STYLES.get(progress.state, "")), bar, done, due, _ways(snapshot))
    return table


def _ways(snapshot: Snapshot) -> Text:
    lanes = [f"{lane.lane} {lane.done}/{lane.jobs}" for lane in snapshot.progress.lanes]
    regions = [
        f"{region} {number}" for region, number in sorted(snapshot.by_region.items(), key=lambda r: (-r[1], r[0]))
    ]
    text = Text("  ".join(lanes))
    if regions:
        text.append(("\n" if lanes else "") + "  ".join(regions), style="dim")
    return text


def _shards(shards: Sequence[tuple[Shard, Snapshot]]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column, right in (("batch shard", False), ("region", False), ("records", True), ("Bedrock says", False)):
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for shard, snapshot in shards[:SHOWN_SHARDS]:
        style = "green" if shard.state is ShardState.SETTLED else ""
        table.add_row(shard.id, shard.region, f"{shard.records:,}", Text(_status(shard, snapshot), style=style))
    if len(shards) <= SHOWN_SHARDS:
        return table
    states = Counter(shard.state.value for shard, _ in shards[SHOWN_SHARDS:])
    rest = ", ".join(f"{number} {state}" for state, number in states.items())
    return Group(table, Text(f"and {len(shards) - SHOWN_SHARDS} more shards: {rest}", style="dim"))


def _status(shard: Shard, snapshot: Snapshot) -> str:
    """Bedrock's own word where it was asked, else the ledger's."""
    attempt = f", attempt {shard.attempt}" if shard.attempt > 1 else ""
    if shard.state is ShardState.SETTLED:
        return f"collected{attempt}"
    job = snapshot.jobs.get(shard.id)
    if job is None:
        return f"({shard.state.value}){attempt}"
    done = "" if job.processed_records is None else f" {job.processed_records:,}/{shard.records:,}"
    return f"{job.status}{done}{attempt}"


def _unsettled(progress: Progress) -> list[Shard]:
    return [shard for shard in progress.shards if shard.state is not ShardState.SETTLED]


def _resting(snapshots: Sequence[Snapshot], now: datetime) -> str:
    until: dict[str, datetime] = {}
    for snapshot in snapshots:
        for route, moment in snapshot.resting.items():
            region = route.split("|")[0]
            until[region] = max(moment, until.get(region, moment))
    if not until:
        return ""
    listed = ", ".join(
        f"{region} for {words.span((moment - now).total_seconds())}" for region, moment in sorted(until.items())
    )
    return f"resting after throttles or faults: {listed}"
