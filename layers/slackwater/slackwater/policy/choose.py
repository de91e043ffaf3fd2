"""Which lane jobs take: the cheapest way whose expected finish meets the deadline, with the reasons and what was
refused.

Pure: the same arguments give the same decision, so that functions, plan and explain cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from slackwater.model import request as traits_of
from slackwater.model.clock import iso
from slackwater.model.job import Lane, Route
from slackwater.model.native import INVOKE_MODEL, RequestType
from slackwater.model.profile import Mode
from slackwater.policy.cache import Prefix, input_pico, is_priced
from slackwater.policy.durations import too_long
from slackwater.policy.forecast import Forecast, guard_at, latest_start
from slackwater.policy.prices import PriceBook

_NOT_IN_BATCH: Final = {
    traits_of.TOOLS: "batch knows no tool calling",
    traits_of.CACHE: "batch has no prompt cache, and the prompt marks a cache point",
    traits_of.GUARDRAIL: "guardrails are not documented for batch",
    traits_of.MULTI_TURN: "batch takes no conversation of several turns",
    traits_of.STRUCTURED_OUTPUT: "AWS's pages contradict each other on structured output in batch",
    traits_of.MEDIA: "media in batch records must lie beside the file in S3",
}
"""https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html, …/prompt-caching.html,
…/batch-inference-data.html"""

_PREFERENCE: Final = {Lane.FLEX: 0, Lane.BATCH: 1, Lane.ON_DEMAND: 2}
"""Among ways of one price: flex knows no minimum and no hours of waiting."""

_NO_ROUTES: Final = {
    Lane.ON_DEMAND: "no route",
    Lane.FLEX: "the model has no flex tier on these routes",
    Lane.BATCH: "the model has no batch in a region where this stack has a bucket",
}
_MILLION: Final = 1_000_000
_FAST_FIRST: Final = (Lane.ON_DEMAND, Lane.FLEX)


@dataclass(frozen=True, slots=True)
class JobLoad:
    """Jobs that are alike but for their words. Tokens and bytes are sums; the output's are what the requests allow
    at most. `traits` has those of their length, too (`policy.durations.length_traits`); `prefix` is the cached
    beginning that all of them share, as the model caches it (`policy.cache.expected`)."""

    jobs: int
    input_tokens: int
    max_output_tokens: int
    traits: frozenset[str] = frozenset()
    forced: Lane | None = None
    prefix: Prefix | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """What a profile offers: its lanes and mode, and the routes of each lane (`policy.routes`); batch only where we
    have a bucket."""

    lanes: tuple[Lane, ...]
    mode: Mode
    calling: tuple[Route, ...]
    flex: tuple[Route, ...] = ()
    batch: tuple[Route, ...] = ()
    batch_enabled: bool = True
    batch_structured_output: bool = False
    batch_types: frozenset[RequestType] = frozenset(RequestType)  # that its batch jobs may have

    def of(self, lane: Lane) -> tuple[Route, ...]:
        """The routes of a lane."""
        return {Lane.ON_DEMAND: self.calling, Lane.FLEX: self.flex, Lane.BATCH: self.batch}[lane]


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds under the quotas that are left: `call_s` until these jobs and those due before them are called,
    `rescue_s` until all that their batch jobs may leave behind is; `one_s` until what one of their batch jobs may is
    (None: they are one)."""

    call_s: float
    rescue_s: float
    one_s: float | None = None

    @property
    def least_s(self) -> float:
        """The least that batch needs to be worth a try."""
        return self.rescue_s if self.one_s is None else min(self.one_s, self.rescue_s)


@dataclass(frozen=True, slots=True)
class Way:
    """One lane, considered. `cost_pico` is an estimate (for batch with the chance of a rescue), None if a price is
    unknown; `costs_pico` is what all would cost by each of the routes, as far as known."""

    lane: Lane
    routes: tuple[Route, ...]
    cost_pico: int | None
    expected_finish: datetime | None
    in_time: bool
    refused: str | None
    at_risk: bool = False  # in time only if not everything that batch is given is late
    costs_pico: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`lane` None: the jobs are refused, for `reasons[0]`. `fallback` is the calling lane for what batch leaves
    over."""

    lane: Lane | None
    routes: tuple[Route, ...]
    cost_pico: int | None
    expected_finish: datetime | None
    fallback: Lane | None
    reasons: tuple[str, ...]
    warning: str | None
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class _Scene:
    load: JobLoad
    deadline: datetime
    now: datetime
    ways: Ways
    prices: PriceBook
    forecast: Forecast
    drain: Drain


def choose(
    load: JobLoad,
    *,
    deadline: datetime,
    now: datetime,
    ways: Ways,
    prices: PriceBook,
    forecast: Forecast,
    drain: Drain,
) -> Decision:
    """The lane for `load`.

    Eligible is what profile, residency, capability and time allow. Of what meets the deadline the cheapest is taken,
    an unknown price only where no known one is; among equals flex, then batch, then on demand. If nothing meets it,
    the fastest. A forced lane is taken or refused. Batch is never begun past its latest moment, which leaves time to
    call all that it might leave behind; where calling all from now on would be too late as well, time to call what one
    batch job might.
    """
    scene = _Scene(load, deadline, now, ways, prices, forecast, drain)
    considered = tuple(_told(_way(lane, scene), scene) for lane in Lane)
    open_ways = [way for way in considered if way.refused is None]
    calling = [way for way in open_ways if way.lane is not Lane.BATCH]
    fallback = _best(calling)
    if load.forced is not None:
        return _forced(load.forced, considered, fallback)
    best = _best(open_ways)
    if best is None:
        reasons = tuple(f"{way.lane}: {way.refused}" for way in considered)
        return Decision(None, (), None, None, None, ("no lane can take these jobs", *reasons), None, considered)
    return _decision(best, fallback, considered, [_why(best, considered)])


def _best(candidates: Sequence[Way]) -> Way | None:
    in_time = [way for way in candidates if way.in_time]
    if in_time:
        return min(in_time, key=lambda way: (way.cost_pico is None, way.cost_pico or 0, _PREFERENCE[way.lane]))
    calling = [way for way in candidates if way.lane in _FAST_FIRST]
    return min(calling, key=lambda way: (way.expected_finish, _FAST_FIRST.index(way.lane)), default=None)


def _why(chosen: Way, considered: Sequence[Way]) -> str:
    rivals = [w for w in considered if w.refused is None and w.in_time and w is not chosen]
    if not chosen.in_time:
        return f"{chosen.lane}: nothing meets the deadline; this is the fastest"
    if not rivals:
        return f"{chosen.lane}: the only way that meets the deadline"
    if chosen.cost_pico is None:
        return f"{chosen.lane}: meets the deadline; no way that does has a known price"
    if any(rival.cost_pico == chosen.cost_pico for rival in rivals):
        return f"{chosen.lane}: the cheapest that meets the deadline, preferred among equals"
    return f"{chosen.lane}: the cheapest that meets the deadline"


def _forced(lane: Lane, considered: Sequence[Way], fallback: Way | None) -> Decision:
    way = next(way for way in considered if way.lane is lane)
    if way.refused is not None:
        reason = f"the lane {lane} was asked for and cannot be taken: {way.refused}"
        return Decision(None, (), None, None, None, (reason,), None, tuple(considered))
    return _decision(way, fallback, considered, [f"{lane}: asked for by the caller"])


def _decision(way: Way, fallback: Way | None, considered: Sequence[Way], reasons: list[str]) -> Decision:
    for other in considered:
        if other.refused is not None:
            reasons.append(f"{other.lane}: {other.refused}")
        elif other is not way and not other.in_time:
            reasons.append(f"{other.lane}: would end after the deadline")
    if way.cost_pico is None:
        reasons.append(f"{way.lane}: its price is unknown")
    warning = None
    if way.at_risk:
        warning = "should more than one of its batch jobs be late, the deadline will be missed: calls would be as late"
    elif not way.in_time:
        warning = (
            f"the deadline will probably be missed: expected {iso(way.expected_finish)}"
            if way.expected_finish
            else None
        )
    return Decision(
        way.lane,
        way.routes,
        way.cost_pico,
        way.expected_finish,
        None if fallback is None else fallback.lane,
        tuple(reasons),
        warning,
        tuple(considered),
    )


def _way(lane: Lane, scene: _Scene) -> Way:
    routes = scene.ways.of(lane)
    refused = _refusal(lane, scene)
    if refused is not None:
        return Way(lane, routes, None, None, False, refused)
    cost = _lane_cost(lane, scene)
    if lane is Lane.BATCH:
        finish = scene.now + timedelta(seconds=scene.forecast.p50_s)
        at_risk = scene.now > latest_start(scene.deadline, scene.forecast, scene.drain.rescue_s)
        return Way(lane, routes, _with_rescue(cost, scene), finish, True, None, at_risk)
    finish = scene.now + timedelta(seconds=scene.drain.call_s)
    # flex is best effort and throttled first: there must be time to call everything again on demand
    again_s = scene.drain.call_s if lane is Lane.FLEX and Lane.ON_DEMAND in scene.ways.lanes else 0.0
    return Way(lane, routes, cost, finish, finish + timedelta(seconds=again_s) <= scene.deadline, None)


def _told(way: Way, scene: _Scene) -> Way:
    """With the cost by each route, refused or not: what a plan says and `explain` shows."""
    return replace(way, costs_pico=tuple(_route_cost(way.lane, r, scene.load, scene.prices) for r in way.routes))


def _refusal(lane: Lane, scene: _Scene) -> str | None:
    """Why a lane cannot be taken at all, or None."""
    if lane not in scene.ways.lanes:
        return "the profile does not allow it"
    if lane is Lane.BATCH and not scene.ways.batch_enabled:
        return "batch is switched off in this stack"
    if not scene.ways.of(lane):
        return _NO_ROUTES[lane]
    if lane is Lane.BATCH:
        return _not_by_batch(scene)
    return too_long(scene.load.traits, scene.ways.of(lane)[0].base_model)


def _not_by_batch(scene: _Scene) -> str | None:
    kind = RequestType.INVOKE_MODEL if INVOKE_MODEL in scene.load.traits else RequestType.CONVERSE
    if kind not in scene.ways.batch_types:
        return f"the model's batch jobs take no {kind} records"
    for trait in sorted(scene.load.traits & _NOT_IN_BATCH.keys()):
        if trait == traits_of.CACHE and _comparable(scene):
            continue  # its cache points are taken out, and the prices decide
        if trait != traits_of.STRUCTURED_OUTPUT or not scene.ways.batch_structured_output:
            return _NOT_IN_BATCH[trait]
    needed_s = scene.drain.rescue_s if _calls_in_time(scene) else scene.drain.least_s
    latest = latest_start(scene.deadline, scene.forecast, needed_s)
    if scene.now > latest:
        return f"had to begin by {iso(latest)} to leave time for a rescue ({scene.forecast.basis} forecast)"
    return None


def lane_cost_pico(lane: Lane, load: JobLoad, ways: Ways, prices: PriceBook) -> int | None:
    """What the jobs cost on a lane as its mode spreads them: the weighted mean, the cheapest route, or the first; None
    where that is unknown. The lane has a route."""
    routes, mode = ways.of(lane), ways.mode
    costs = [_route_cost(lane, route, load, prices) for route in routes]
    if mode is Mode.PRIMARY:
        return costs[0]
    known = [cost for cost in costs if cost is not None]
    if mode is Mode.CHEAPEST:
        return min(known, default=None)
    if len(known) < len(costs):
        return None
    total = sum(route.weight for route in routes)
    return sum(cost * route.weight for cost, route in zip(known, routes, strict=True)) // total


def _calls_in_time(scene: _Scene) -> bool:
    """Whether calling all from now on would hold the deadline."""
    finish = scene.now + timedelta(seconds=scene.drain.call_s)
    return finish <= scene.deadline and any(_refusal(lane, scene) is None for lane in _FAST_FIRST)


def _lane_cost(lane: Lane, scene: _Scene) -> int | None:
    return lane_cost_pico(lane, scene.load, scene.ways, scene.prices)


def _route_cost(lane: Lane, route: Route, load: JobLoad, prices: PriceBook) -> int | None:
    mean_input = -(-load.input_tokens // max(1, load.jobs))
    tier = route.tier if lane is Lane.ON_DEMAND else None
    rates = prices.rates(route.base_model, route.region, route.kind, lane.value, tier, input_tokens=mean_input)
    if rates is None or (lane is Lane.FLEX and traits_of.CACHE in load.traits):
        return None  # no list has cache prices for flex
    prefix = load.prefix if lane is Lane.ON_DEMAND else None
    inputs = input_pico(rates, load.input_tokens, load.jobs, prefix)
    return None if inputs is None else inputs + load.max_output_tokens * rates.output_pico


def _comparable(scene: _Scene) -> bool:
    """Whether calls with the jobs' cached prefix have a price to hold against batch's."""
    load, routes = scene.load, scene.ways.calling
    if load.prefix is None or not routes:
        return False
    mean_input = -(-load.input_tokens // max(1, load.jobs))
    first = routes[0]
    rates = scene.prices.rates(
        first.base_model, first.region, first.kind, Lane.ON_DEMAND.value, first.tier, input_tokens=mean_input
    )
    return is_priced(rates, load.prefix)


def _with_rescue(cost: int | None, scene: _Scene) -> int | None:
    """Batch's price and the chance of being stopped at its guard times the price of calling everything after all."""
    lanes = [lane for lane in _FAST_FIRST if lane in scene.ways.lanes and scene.ways.of(lane)]
    if cost is None or not lanes:
        return cost
    rescue = _lane_cost(lanes[0], scene)
    if rescue is None:
        return None
    slack_s = (guard_at(scene.deadline, scene.drain.least_s) - scene.now).total_seconds()
    return cost + rescue * round(scene.forecast.p_late(slack_s) * _MILLION) // _MILLION
