"""What the answers of a run would have cost another way: the same tokens at the price book's other rows.

Answers are summed by how they were made (`Spent`), so that a million rows need a few hundred look-ups: within such a
group every token has one price, and sums of tokens are priced as exactly as tokens. Whole pico-dollars; what the book
does not hold is counted as unknown, never added as 0. These are prices: whether another way would have taken the jobs,
or in time, is what the plan asked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from slackwater.model.job import Lane
from slackwater.model.profile import Profile
from slackwater.model.receipt import Alike, Total
from slackwater.model.usage import Usage
from slackwater.policy.baselines import REGIONAL, Baselines, added, article_pico, baselines
from slackwater.policy.capability import Capability, Residency, allowed_by_residency
from slackwater.policy.prices import PriceBook, cost_pico

HOME_ONLY: Final = "home_only"
BEST_POSSIBLE: Final = "best_possible"
NAMES: Final = (*(lane.value for lane in Lane), HOME_ONLY, BEST_POSSIBLE)


class Spent(NamedTuple):
    """How answers were made, as far as their price depends on it. `cached`: prompt cache tokens are among theirs;
    `bracket`: which of a model's prices by prompt length holds; `rescued`: a batch job had left them."""

    route: str
    model: str
    lane: str
    tier: str | None
    cached: bool
    bracket: int
    rescued: bool
    known: bool


@dataclass(slots=True)
class Sums:
    """Answers of one `Spent`. `longest_prompt`: any prompt of theirs, to look their bracket up by."""

    jobs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    longest_prompt: int = 0
    paid_pico: int = 0
    listed_jobs: int = 0
    list_pico: int = 0

    @property
    def usage(self) -> Usage:
        """All of them as one."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.cache_write_1h_tokens,
        )


@dataclass(slots=True)
class Sum:
    """One counterfactual: `cost_pico` of `jobs` answers, for which `paid_pico` was paid; `unknown_jobs` are in
    neither."""

    jobs: int = 0
    unknown_jobs: int = 0
    cost_pico: int = 0
    paid_pico: int = 0

    def add(self, jobs: int, paid_pico: int | None, other_pico: int | None) -> None:
        """`jobs` answers more, at what they cost and would have cost."""
        if paid_pico is None or other_pico is None:
            self.unknown_jobs += jobs
        else:
            self.jobs += jobs
            self.paid_pico += paid_pico
            self.cost_pico += other_pico


@dataclass(slots=True)
class Account:
    """Answers by how they were made. `unknown_jobs`: those whose tokens nobody knows."""

    bracket: Callable[[str, int], int]
    groups: dict[Spent, Sums] = field(default_factory=dict)
    unknown_jobs: int = 0

    def add(self, row: Mapping[str, Any], paid_pico: int | None, listed_pico: int | None) -> None:
        """Counts one `succeeded` result line. Runs for every row of a run, hence flat."""
        usage = row["usage"]
        if usage is None:
            self.unknown_jobs += 1
            return
        read, written = usage["cache_read_tokens"], usage["cache_write_tokens"]
        prompt = usage["input_tokens"] + read + written
        model = row["model"]
        key = Spent(
            row["route"],
            model,
            row["lane"],
            row["tier"],
            bool(read or written),
            self.bracket(model, prompt),
            "rescued" in row,
            paid_pico is not None,
        )
        sums = self.groups.get(key)
        if sums is None:
            sums = self.groups[key] = Sums()
        sums.jobs += 1
        sums.input_tokens += usage["input_tokens"]
        sums.output_tokens += usage["output_tokens"]
        sums.longest_prompt = max(sums.longest_prompt, prompt)
        if read or written:
            sums.cache_read_tokens += read
            sums.cache_write_tokens += written
            sums.cache_write_1h_tokens += usage.get("cache_write_1h_tokens", 0)
        sums.paid_pico += paid_pico or 0
        if listed_pico is not None:
            sums.listed_jobs += 1
            sums.list_pico += listed_pico

    def add_alike(self, alike: Alike, total: Total) -> None:
        """Counts many answers of one price, as `add` would one by one."""
        bracket = self.bracket(alike.model, total.longest_prompt)
        key = Spent(alike.route, alike.model, alike.lane, alike.tier, False, bracket, rescued=False, known=True)
        sums = self.groups.setdefault(key, Sums())
        sums.jobs += total.jobs
        sums.input_tokens += total.input_tokens
        sums.output_tokens += total.output_tokens
        sums.longest_prompt = max(sums.longest_prompt, total.longest_prompt)
        sums.paid_pico += total.cost_pico
        sums.listed_jobs += total.jobs
        sums.list_pico += total.list_pico


@dataclass(frozen=True, slots=True)
class Terms:
    """Where answers are at home, and where they may be made; each None where it is not known."""

    home_region: str | None
    residency: Residency | None

    @classmethod
    def of(cls, profiles: Iterable[Profile]) -> "Terms":
        """What all of these profiles agree on; none say nothing."""
        some = list(profiles)
        homes, residencies = {one.home_region for one in some}, {one.residency for one in some}
        return cls(homes.pop() if len(homes) == 1 else None, residencies.pop() if len(residencies) == 1 else None)


@dataclass(frozen=True, slots=True)
class Otherwise:
    """A run's answers held against the book. `rescue`: the rescued ones, and what batch would have taken for them."""

    counterfactuals: Mapping[str, Sum]
    baselines: Baselines
    rescue: Sum


def otherwise(account: Account, book: PriceBook, capability: Capability, terms_of: Callable[[str], Terms]) -> Otherwise:
    """Every counterfactual of a run. `terms_of`: by which answers of a base model are judged."""
    sums = {name: Sum(unknown_jobs=account.unknown_jobs) for name in NAMES}
    rescue = Sum()
    base = Baselines(0, 0, 0) if not account.unknown_jobs else Baselines(None, None, None)
    for spent, group in account.groups.items():
        terms = terms_of(spent.model)
        paid = group.paid_pico if spent.known else None
        for lane in Lane:
            sums[lane.value].add(group.jobs, paid, in_lane(lane, spent, group, book))
        sums[HOME_ONLY].add(group.jobs, paid, _at_home(spent, group, book, terms.home_region))
        sums[BEST_POSSIBLE].add(group.jobs, paid, _best(spent, group, book, capability, terms.residency))
        if spent.rescued:
            rescue.add(group.jobs, paid, in_lane(Lane.BATCH, spent, group, book))
        base = _more(base, spent, group, book, terms.home_region)
    return Otherwise(sums, base, rescue)


def kind_of(route: str) -> str:
    """Which price row a route's name stands for: `global` or `regional`."""
    return "global" if route.partition("|")[2].startswith("global.") else REGIONAL


def in_lane(lane: Lane, spent: Spent, group: Sums, book: PriceBook) -> int | None:
    """What the group would have cost in `lane` by the route that it took; what it did cost in its own."""
    if lane == spent.lane:
        return group.paid_pico if spent.known else None
    region = spent.route.partition("|")[0]
    return _priced(group, book, spent.model, region, kind_of(spent.route), lane, None)


def _priced(  # noqa: PLR0917 - the columns of the price table, in its order
    group: Sums, book: PriceBook, model: str, region: str, kind: str, lane: Lane, tier: str | None
) -> int | None:
    """Batch has no prompt cache: there the whole prompt is input. Elsewhere caching without a price is unknown."""
    rates = book.rates(model, region, kind, lane.value, tier, input_tokens=group.longest_prompt)
    usage = group.usage
    if lane is Lane.BATCH:
        usage = Usage(usage.prompt_tokens, usage.output_tokens)
    return cost_pico(rates, usage)


def _at_home(spent: Spent, group: Sums, book: PriceBook, home: str | None) -> int | None:
    """In its own lane, but at the home region, by its in-region id."""
    if home is None:
        return None
    if spent.lane == Lane.ON_DEMAND and spent.tier == "default" and group.listed_jobs == group.jobs:
        return group.list_pico
    tier = spent.tier if spent.lane == Lane.ON_DEMAND else None
    return _priced(group, book, spent.model, home, REGIONAL, Lane(spent.lane), tier)


def _best(
    spent: Spent, group: Sums, book: PriceBook, capability: Capability, residency: Residency | None
) -> int | None:
    """The cheapest lane and route that the profile's residency allows, whatever its lanes, routes and deadlines; one
    way for the whole group."""
    if residency is None:
        return None
    costs = [
        _priced(group, book, spent.model, region, kind, lane, None)
        for region, kind, lane in _ways(spent.model, residency, capability)
    ]
    if spent.known:
        costs.append(group.paid_pico)
    return min((cost for cost in costs if cost is not None), default=None)


def _ways(model: str, residency: Residency, capability: Capability) -> Iterable[tuple[str, str, Lane]]:
    for region in capability.regions(model):
        for way in capability.ways(model, region):
            if not allowed_by_residency(residency, region, way.prefix):
                continue
            for lane, there in (
                (Lane.ON_DEMAND, way.on_demand),
                (Lane.FLEX, way.flex),
                (Lane.BATCH, way.batch),
            ):
                if there:
                    yield region, way.price_kind, lane


def _more(so_far: Baselines, spent: Spent, group: Sums, book: PriceBook, home: str | None) -> Baselines:
    if home is None:
        return Baselines(None, None, None)
    found = baselines(group.usage, book, model_id=spent.model, home_region=home, jobs=group.jobs)
    on_demand = group.list_pico if group.listed_jobs == group.jobs else found.home_on_demand_pico
    return Baselines(
        added(so_far.home_on_demand_pico, on_demand),
        added(so_far.home_batch_pico, found.home_batch_pico),
        added(so_far.article_pico, article_pico(on_demand)),
    )
