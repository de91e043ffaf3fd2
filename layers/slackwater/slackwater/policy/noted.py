"""A decision as a queued job's ledger item keeps it: small, since it is written with the job's last step, and complete
enough to explain it later without deciding again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from slackwater.model.clock import iso
from slackwater.model.money import usd_float
from slackwater.policy.choose import Decision, Way


def noted(decision: Decision, now: datetime, price_version: str) -> dict[str, Any]:
    """The item's `decided`. Costs are pico-dollars by region, a lane's routes being of one model; nothing in it comes
    from the request but its size."""
    return {
        "at": iso(now),
        "prices": price_version,
        "lane": decision.lane.value if decision.lane else None,
        "why": decision.reasons[0],
        "ways": [_short(way) for way in decision.ways],
    }


def _short(way: Way) -> dict[str, Any]:
    short: dict[str, Any] = {"l": way.lane.value}
    if way.refused is not None:
        return short | {"no": way.refused}
    costs = {route.region: cost for route, cost in zip(way.routes, way.costs_pico, strict=True) if cost is not None}
    if way.cost_pico is not None:
        short["c"] = way.cost_pico
    if way.expected_finish is not None:
        short["f"] = iso(way.expected_finish)
    return short | {"r": costs, "in": way.in_time}


def decided_document(note: Mapping[str, Any]) -> dict[str, Any]:
    """What `explain` says of it beside its ways."""
    return {
        "at": note["at"],
        "price_version": note["prices"],
        "lane": note["lane"],
        "reasons": [note["why"], *(f"{way['l']}: {way['no']}" for way in note["ways"] if "no" in way)],
    }


def ways_document(note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry a lane and region, as `explain` shows them; a refused lane has one without a region."""
    told = []
    for way in note["ways"]:
        for region, cost in (way.get("r") or {None: None}).items():
            told.append(
                {
                    "lane": way["l"],
                    "route": region,
                    "expected_cost_usd": None if cost is None else usd_float(int(cost)),
                    "lane_cost_usd": usd_float(int(way["c"])) if "c" in way else None,
                    "expected_finish": way.get("f"),
                    "in_time": bool(way.get("in", False)),
                    "refused": way.get("no"),
                    "taken": way["l"] == note["lane"],
                }
            )
    return told
