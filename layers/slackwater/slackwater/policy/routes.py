"""A profile's wishes against what AWS offers: the concrete routes of its calls and of its batch jobs."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

from slackwater.model.job import Lane, Route
from slackwater.model.native import RequestType
from slackwater.model.profile import IN_REGION, Mode, Profile, RouteSpec, Tier
from slackwater.model.profile_problems import BadProfile
from slackwater.policy.capability import Capability, RouteKind, allowed_by_residency
from slackwater.policy.prices import PriceBook, Rates
from slackwater.policy.weights import PriceOf

TYPICAL_INPUT_TOKENS = 1000
TYPICAL_OUTPUT_TOKENS = 300
"""The mix by which routes are ranked before a job's own tokens are known."""


def resolve_routes(profile: Profile, capability: Capability, prices: PriceBook, *, name: str = "") -> tuple[Route, ...]:
    """The routes of on-demand and flex calls, in the profile's order; for `auto` the cheapest allowed way of each
    region, cheapest first.

    Raises BadProfile that names the field, the value and what would be allowed.
    """
    if not capability.regions(profile.model):
        known = ", ".join(sorted(capability.models()))
        _refuse(name, "model", profile.model, f"a model of the price table: {known}")
    if profile.routes == "auto":
        routes = _auto(profile, capability, prices)
        if not routes:
            given = profile.residency if isinstance(profile.residency, str) else ", ".join(profile.residency)
            words = [word for word in ("any", "us", "eu") if _is_open(profile.model, word, capability)]
            _refuse(name, "residency", given, f"one of {', '.join(words)}: {profile.model} has no route there")
    else:
        routes = tuple(
            replace(
                _route(_way_of(spec, index, profile, capability, name), spec.weight, profile.tier),
                application_profile=spec.application_profile,
            )
            for index, spec in enumerate(profile.routes)
        )
    without = [r.region for r in routes if profile.tier is Tier.PRIORITY and not _has_priority(r, prices)]
    if without and Lane.ON_DEMAND in profile.lanes:
        _refuse(name, "tier", "priority", f"default: {profile.model} has no priority price in {', '.join(without)}")
    if Lane.ON_DEMAND not in profile.lanes and not flex_routes(routes, capability):
        _refuse(name, "lanes", "flex", f"on_demand: {profile.model} has no flex tier on these routes")
    return routes


def flex_routes(routes: Iterable[Route], capability: Capability) -> tuple[Route, ...]:
    """Those of `routes` on which the half-price service tier exists, with tier `flex`."""
    found = []
    for route in routes:
        way = capability.way(route.base_model, route.region, _prefix(route))
        if way is not None and way.flex:
            found.append(replace(route, tier="flex"))
    return tuple(found)


def batch_routes(
    profile: Profile,
    routes: Sequence[Route],
    capability: Capability,
    prices: PriceBook,
    *,
    deployed: Container[str],
    name: str = "",
) -> tuple[Route, ...]:
    """Where the profile's batch jobs may run: its batch regions that have a bucket of ours (`deployed`), each by the
    route's own way if that has batch, else by the region's cheapest allowed way that has. Raises BadProfile
    for a named region without batch."""
    if Lane.BATCH not in profile.lanes:
        return ()
    named = profile.batch_regions != "auto"
    by_region = {route.region: route for route in reversed(routes)}
    regions = (
        profile.batch_regions if profile.batch_regions != "auto" else tuple(dict.fromkeys(r.region for r in routes))
    )
    found = []
    for region in regions:
        route = by_region.get(region)
        way = _batch_way(profile, route, region, capability, prices)
        if way is None:
            if named:
                allowed = [
                    r for r in capability.regions(profile.model) if _batch_way(profile, None, r, capability, prices)
                ]
                _refuse(
                    name,
                    "batch_regions",
                    region,
                    f"one of {', '.join(sorted(allowed)) or 'none: the model has no batch'}",
                )
            continue
        if region in deployed:
            found.append(_route(way, route.weight if route else 1))
    return tuple(found)


def batch_types(routes: Iterable[Route], capability: Capability) -> frozenset[RequestType]:
    """The request types that a batch job may have on every one of these routes."""
    words = {"Converse": RequestType.CONVERSE, "InvokeModel": RequestType.INVOKE_MODEL}
    types = frozenset(RequestType)
    for route in routes:
        listed = capability.batch_request_types(route.base_model, route.region, _prefix(route))
        types &= {words[word] for word in listed if word in words}
    return types


def typical_price(prices: PriceBook, lane: Lane = Lane.ON_DEMAND) -> PriceOf:
    """A ranking price for `weights.order`: pico-dollars of a call of the typical mix on a route; None where unknown."""

    def price(route: Route) -> int | None:
        tier = route.tier if lane is Lane.ON_DEMAND else None
        rates = prices.rates(
            route.base_model, route.region, route.kind, lane.value, tier, input_tokens=TYPICAL_INPUT_TOKENS
        )
        return _typical(rates)

    return price


def batch_shares(mode: Mode, routes: Sequence[Route], price: PriceOf) -> tuple[Route, ...]:
    """Over which of the batch routes shards are divided by weight: all (weighted), those of the lowest price, or the
    first."""
    if not routes or mode is Mode.WEIGHTED:
        return tuple(routes)
    if mode is Mode.PRIMARY:
        return (routes[0],)
    known = [cost for cost in map(price, routes) if cost is not None]
    return tuple(r for r in routes if price(r) == min(known)) if known else tuple(routes)


def _typical(rates: Rates | None) -> int | None:
    if rates is None:
        return None
    return TYPICAL_INPUT_TOKENS * rates.input_pico + TYPICAL_OUTPUT_TOKENS * rates.output_pico


def _auto(profile: Profile, capability: Capability, prices: PriceBook) -> tuple[Route, ...]:
    ways = []
    for region in capability.regions(profile.model):
        allowed = [
            way
            for way in capability.ways(profile.model, region)
            if way.on_demand and allowed_by_residency(profile.residency, region, way.prefix)
        ]
        if allowed:
            ways.append(min(allowed, key=lambda way: _rank(way, prices, Lane.ON_DEMAND)))
    ways.sort(key=lambda way: (*_rank(way, prices, Lane.ON_DEMAND), way.region != profile.home_region, way.region))
    return tuple(_route(way, 1, profile.tier) for way in ways)


def _is_open(model: str, residency: str, capability: Capability) -> bool:
    return any(
        way.on_demand and allowed_by_residency(residency, region, way.prefix)
        for region in capability.regions(model)
        for way in capability.ways(model, region)
    )


def _rank(way: RouteKind, prices: PriceBook, lane: Lane) -> tuple[bool, int]:
    cost = _typical(
        prices.rates(way.model_id, way.region, way.price_kind, lane.value, input_tokens=TYPICAL_INPUT_TOKENS)
    )
    return cost is None, cost or 0


def _way_of(spec: RouteSpec, index: int, profile: Profile, capability: Capability, name: str) -> RouteKind:
    field = f"routes[{index}]"
    ways = [way for way in capability.ways(profile.model, spec.region) if way.on_demand]
    if not ways:
        regions = ", ".join(sorted(capability.regions(profile.model)))
        _refuse(name, f"{field}.region", spec.region, f"one of {regions}")
    via = "" if spec.via == IN_REGION else spec.via
    way = next((way for way in ways if way.prefix == via), None)
    if way is None:
        _refuse(name, f"{field}.via", spec.via, f"one of {', '.join(w.prefix or IN_REGION for w in ways)}")
    if not allowed_by_residency(profile.residency, spec.region, via):
        inside = [w for w in ways if allowed_by_residency(profile.residency, spec.region, w.prefix)]
        remedy = f"via {' or '.join(w.prefix or IN_REGION for w in inside)}" if inside else "another region"
        _refuse(name, field, f"{spec.region} via {spec.via}", f"{remedy}: residency is {profile.residency!r}")
    return way


def _batch_way(
    profile: Profile, route: Route | None, region: str, capability: Capability, prices: PriceBook
) -> RouteKind | None:
    ways = [
        way
        for way in capability.ways(profile.model, region)
        if way.batch and allowed_by_residency(profile.residency, region, way.prefix)
    ]
    own = [way for way in ways if route is not None and way.call_id == route.model_id]
    return min(own or ways, key=lambda way: _rank(way, prices, Lane.BATCH), default=None)


def _route(way: RouteKind, weight: int, tier: Tier = Tier.DEFAULT) -> Route:
    return Route(way.region, way.call_id, way.model_id, way.price_kind, weight, tier.value)


def _has_priority(route: Route, prices: PriceBook) -> bool:
    lane = Lane.ON_DEMAND.value
    return (
        prices.rates(route.base_model, route.region, route.kind, lane, Tier.PRIORITY.value, input_tokens=1) is not None
    )


def _prefix(route: Route) -> str:
    return "" if route.model_id == route.base_model else route.model_id.partition(".")[0]


def _refuse(name: str, field: str, value: str, allowed: str) -> NoReturn:
    raise BadProfile(name, field, value, allowed)
