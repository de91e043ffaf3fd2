"""Calls a minute in each region, against the quota as far as it is known, and what was refused for it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from slackwater.model.job import Lane
from slackwater.model.timeline import moment
from slackwater.model.words import DASH, count, counted
from slackwater.report import charts
from slackwater.report.charts import Axis
from slackwater.report.data import Limit, Pool, Story
from slackwater.report.markup import Child, Markup, model, name, tag
from slackwater.report.tables import behind, figure, section, unknown

SLICES: Final = 60
MINUTE_S: Final = 60
_FAMILIES = {"on_demand": "in-region", "global": "global", "cross_region": "geographic"}


def calling(story: Story) -> Markup:
    """The section on quotas and throttles."""
    grain_s = max(MINUTE_S, story.timeline.grain_s)
    usage = {pool: _by_slice(story, pool, grain_s) for pool in story.pools}
    moments = [at for counts in usage.values() for at in counts]
    throttles = story.receipt.get("throttles")
    body: list[Child] = []
    if moments:
        start, end = min(moments), max(moments) + timedelta(seconds=grain_s)
        axis = Axis(start, max(end, start + timedelta(seconds=5 * grain_s)))
        body.append(tag("div", [_pool(pool, usage[pool], axis, grain_s, throttles) for pool in usage], class_="grid2"))
        body.append(behind("Calls and refusals in numbers", _HEAD, _table(usage, grain_s, throttles)))
        body.append(tag("p", _words(grain_s), class_="note"))
    else:
        body.append(unknown("No call was answered outside batch, so no quota of calls was used."))
    others = {} if throttles is None else {r: n for r, n in throttles.items() if r not in {p.region for p in usage}}
    if throttles is None:
        body.append(tag("p", "Refusals were not recorded when this run was made.", class_="note"))
    elif others:
        said = ", ".join(f"{region} {count(number)}" for region, number in sorted(others.items()))
        body.append(tag("p", "Refused for a quota where nothing was answered: ", said, class_="note"))
    return section("Quotas, region by region", body, id_="quotas")


_HEAD = ("region", "answered", "busiest minute", "limit a minute", "refused for quota")


def _by_slice(story: Story, pool: Pool, grain_s: int) -> Counter[datetime]:
    """Calls a minute: of each minute, or the mean over a longer grain."""
    counts: Counter[datetime] = Counter()
    for cell, number in story.timeline.cells:
        if cell.route in pool.routes and cell.lane != Lane.BATCH and cell.code is None:
            at = moment(cell.at)
            counts[at - timedelta(seconds=at.timestamp() % grain_s)] += number
    return counts


def _pool(
    pool: Pool, counts: Counter[datetime], axis: Axis, grain_s: int, throttles: Mapping[str, int] | None
) -> Markup:
    minutes = grain_s / MINUTE_S
    slices = max(1, min(SLICES, round(axis.seconds / grain_s)))
    heights = [0.0] * slices
    for at, number in counts.items():
        n = min(slices - 1, int((at - axis.start).total_seconds() * slices / axis.seconds))
        heights[n] = max(heights[n], number / minutes)
    peak = max(heights)
    limit = pool.limit
    title = f"{pool.region}: {_rate(peak)} answered in the busiest minute, {_limit(limit)}"
    return figure(
        [
            tag("div", tag("span", name(pool.region)), tag("b", f"{_rate(peak)} a minute at most"), class_="said"),
            charts.rates(title, title, axis, heights, limit.per_minute if limit else None),
        ],
        caption=[
            tag("span", f"{_FAMILIES.get(pool.family, pool.family)}, ", model(pool.model)),
            tag("span", _limit(limit)),
            tag(
                "span",
                _refused(pool.region, throttles),
                class_=None if not (throttles or {}).get(pool.region) else "odd",
            ),
        ],
        class_="pool",
    )


def _rate(per_minute: float) -> str:
    return f"{per_minute:,.0f}" if per_minute >= 10 or per_minute == int(per_minute) else f"{per_minute:,.1f}"


def _limit(limit: Limit | None) -> str:
    if limit is None or limit.per_minute is None:
        return "no limit is known"
    where = f"told by {limit.told_by}" if limit.known == "told" and limit.told_by else limit.known
    if limit.known == "searching":
        return "no limit is known; none was met"
    return f"limit {_rate(limit.per_minute)} a minute ({where})"


def _refused(region: str, throttles: Mapping[str, int] | None) -> str:
    if throttles is None:
        return "refusals not recorded"
    number = throttles.get(region, 0)
    return f"{counted(number, 'call')} refused for quota" if number else "no call refused for quota"


def _words(grain_s: int) -> str:
    how = "counted by the minute" if grain_s == MINUTE_S else f"means over {grain_s // MINUTE_S} minutes"
    return (
        f"Answered calls of this run alone, {how}, when their answers came; other runs share the same quotas. A limit "
        "is what the quota ledger held when the run ended; a learned one is an estimate from refusals. A refused call "
        "goes to another region or waits; it is not a failure."
    )


def _table(
    usage: Mapping[Pool, Counter[datetime]], grain_s: int, throttles: Mapping[str, int] | None
) -> Iterator[Sequence[Child]]:
    for pool, counts in usage.items():
        peak = max(counts.values(), default=0) * MINUTE_S / grain_s
        limit = pool.limit.per_minute if pool.limit and pool.limit.known != "searching" else None
        yield (
            [name(pool.region), " ", _FAMILIES.get(pool.family, pool.family), " ", name(pool.model)],
            count(sum(counts.values())),
            _rate(peak),
            DASH if limit is None else _rate(limit),
            "not recorded" if throttles is None else count(throttles.get(pool.region, 0)),
        )
