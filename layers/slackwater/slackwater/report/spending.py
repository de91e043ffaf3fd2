"""What was spent, by lane and region, beside what the same tokens would have cost another way."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from slackwater.model.words import DASH, count, counted, share, usd, usd_short
from slackwater.report import charts
from slackwater.report.data import Story
from slackwater.report.markup import Child, Markup, name, tag
from slackwater.report.tables import LANES, behind, figure, legend, line, section, unknown

_OTHERWISE = (
    ("on_demand", "the same routes, all on demand"),
    ("flex", "the same routes, all flex"),
    ("batch", "the same routes, all batch"),
    ("home_only", "the same lanes, at home only"),
    ("best_possible", "the cheapest way that residency allows, whatever the deadline"),
)


class _Other(NamedTuple):
    """Another way to buy the same answers. `jobs`: how many it could be priced for; None: all."""

    label: str
    cost_usd: float | None
    note: str | None = None


def spending(story: Story) -> Markup:
    """The section on money."""
    receipt = story.receipt
    cost = receipt.get("cost_usd")
    others = list(_others(receipt, story.home_region))
    whole = max([amount for amount in (cost, *(other.cost_usd for other in others)) if amount is not None], default=0)
    return section(
        "What it cost, and would have cost",
        figure(_paid(receipt, cost, whole)),
        _lanes(receipt),
        figure([_bar_of(other, whole) for other in others]),
        tag("h3", "By region that was called"),
        _regions(receipt),
        behind(
            "Every comparison in numbers",
            ("way", "cost", "paid for the same", "difference", "answers"),
            _table(receipt),
        ),
        _words(receipt),
        id_="spend",
    )


def _others(receipt: Mapping[str, Any], home: str | None) -> Iterator[_Other]:
    where = f"at home ({home})" if home else "at home"
    bases = receipt.get("baselines") or {}
    yield _Other(f"all on demand {where}", bases.get("home_on_demand_usd", receipt.get("list_usd")))
    if bases:
        yield _Other(
            f"all by batch {where}",
            bases.get("home_batch_usd"),
            "a price only: whether it would have been in time is not asked",
        )
        yield _Other(
            "“up to 60 % off”, as an article claims", bases.get("article_usd"), "a claim, no price list was asked"
        )
    best = (receipt.get("counterfactuals") or {}).get("best_possible")
    if best:
        yield _Other("the cheapest way that residency allows", best.get("cost_usd"), _partly(best))


def _partly(one: Mapping[str, Any]) -> str | None:
    return f"without {counted(one['unknown_jobs'], 'answer')} of unknown price" if one.get("unknown_jobs") else None


def _paid(receipt: Mapping[str, Any], cost: float | None, whole: float) -> Markup:
    if cost is None:
        return line(
            tag("b", "paid"),
            "not known",
            note=f"{counted(receipt['unknown_price_jobs'], 'answer has', 'answers have')} no known price",
        )
    parts = [(f"lane-{lane}", _part(receipt["lanes"].get(lane, {}).get("cost_usd"), whole)) for lane, _ in LANES]
    unknown_jobs = receipt.get("unknown_price_jobs")
    note = f"without {counted(unknown_jobs, 'answer')} of unknown price" if unknown_jobs else None
    return line(tag("b", "paid"), usd_short(cost), charts.bar(f"paid {usd(cost)}, by lane", parts, height=20), note)


def _bar_of(other: _Other, whole: float) -> Markup:
    if other.cost_usd is None:
        return line(other.label, "not known", note=other.note)
    picture = charts.bar(f"{other.label}: {usd(other.cost_usd)}", [("other", _part(other.cost_usd, whole))], height=10)
    return line(other.label, usd_short(other.cost_usd), picture, other.note)


def _part(amount: float | None, whole: float) -> float:
    return amount / whole if amount and whole else 0.0


def _lanes(receipt: Mapping[str, Any]) -> Markup:
    entries = [
        (f"lane-{lane}", [words, tag("i", f" {counted(one['jobs'], 'job')}")], usd_short(one["cost_usd"]))
        for lane, words in LANES
        if (one := receipt["lanes"].get(lane)) and one["jobs"]
    ]
    return legend(entries)


def _regions(receipt: Mapping[str, Any]) -> Child:
    regions = receipt.get("regions") or {}
    if not regions:
        return unknown("No region was called.")
    most = max(one["cost_usd"] or 0 for one in regions.values())
    rows = sorted(regions.items(), key=lambda item: -(item[1]["cost_usd"] or 0))
    return figure(
        [
            line(
                [name(region), tag("i", f" {counted(one['jobs'], 'job')}")],
                usd_short(one["cost_usd"]),
                charts.bar(f"{region}: {usd(one['cost_usd'])}", [("region", _part(one["cost_usd"], most))], height=10),
            )
            for region, one in rows
        ]
    )


def _table(receipt: Mapping[str, Any]) -> Iterator[Sequence[Child]]:
    cost, jobs = receipt.get("cost_usd"), receipt["succeeded"]
    yield "as it went", usd(cost), usd(cost), DASH, count(jobs)
    for key, label in (
        ("home_on_demand_usd", "all on demand at home"),
        ("home_batch_usd", "all by batch at home"),
        ("article_usd", "an article's claim: 60 % off"),
    ):
        if key in (receipt.get("baselines") or {}):
            other = receipt["baselines"][key]
            yield label, usd(other), usd(cost), _less(cost, other), count(jobs)
    if "baselines" not in receipt:
        yield (
            "list: on demand at home",
            usd(receipt.get("list_usd")),
            usd(cost),
            _less(cost, receipt.get("list_usd")),
            count(jobs),
        )
    found = receipt.get("counterfactuals") or {}
    for key, label in _OTHERWISE:
        if key in found:
            one = found[key]
            yield (
                label, usd(one["cost_usd"]), usd(one["paid_usd"]), _less(one["paid_usd"], one["cost_usd"]),
                f"{count(one['jobs'])} of {count(one['jobs'] + one['unknown_jobs'])}",
            )  # fmt: skip


def _less(paid: float | None, other: float | None) -> str:
    """`48 % less`: what was paid, held against the other way."""
    if paid is None or not other:
        return "not known"
    return f"{share(abs(other - paid), other)} {'less' if other >= paid else 'more'}"


def _words(receipt: Mapping[str, Any]) -> Child:
    said: list[Child] = []
    if receipt.get("rescued_jobs"):
        jobs = counted(receipt["rescued_jobs"], "job was", "jobs were")
        said.append(
            f"{jobs} left over by batch and called; that cost {usd(receipt.get('rescue_usd'))} more than batch."
        )
    found = receipt.get("reconciliation")
    if found and found.get("batch_jobs"):
        said.append(_reconciled(found))
    said.append(
        f"Costs are tokens as Bedrock reports them, times the price table of {receipt['price_version']}: an estimate "
        "until you compare it with your bill."
    )
    return [tag("p", one, class_="note") for one in said]


def _reconciled(found: Mapping[str, Any]) -> str:
    jobs = counted(found["batch_jobs"], "batch job")
    words = f"Of {jobs}, {count(found['agreeing'])} agree with Bedrock's own count to the token"
    if found.get("differences"):
        words += f", {count(len(found['differences']))} do not"
    if found.get("unreported"):
        words += f", {count(found['unreported'])} left no count"
    return words + "."
