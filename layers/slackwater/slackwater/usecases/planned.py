"""What a plan decided, class by class and group by group, and how `plan.json` says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slackwater.model.clock import iso
from slackwater.model.job import Lane, Route
from slackwater.model.money import usd_float
from slackwater.model.words import counted
from slackwater.policy.choose import Decision
from slackwater.policy.classes import JobClass, Load
from slackwater.policy.cut import BlockLoad, Cut
from slackwater.usecases.prefixes import prefix_reason
from slackwater.usecases.surveyor import Block

MAX_ITEMS: Final = 300
"""An inline Map's items are bounded by the execution's history of 25,000 events."""
MIN_BLOCKS_AN_ITEM: Final = 4
LANE_REFUSED: Final = "lane_refused"


@dataclass(slots=True)
class ClassPlan:
    """A class, decided. `group` is the index of its batch group, None if it is called or refused."""

    jobs: JobClass
    total: Load
    deadline: datetime
    decision: Decision
    group: int | None = None
    canary: str | None = None  # its shape, if some of its jobs are called first to prove it

    @property
    def first_block(self) -> str:
        return min(self.jobs.blocks)

    @property
    def forced_batch(self) -> bool:
        return self.jobs.key.lane is Lane.BATCH

    @property
    def calling_lane(self) -> Lane | None:
        """Where its jobs are called, if batch does not take them; None: they are refused."""
        if self.decision.lane is not Lane.BATCH:
            return self.decision.lane
        return None if self.forced_batch else self.decision.fallback


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Classes of one profile whose records are cut into shards together. `offsets`: ordinal of a block's first
    record."""

    profile: str
    classes: tuple[ClassPlan, ...]
    blocks: tuple[BlockLoad, ...]
    routes: tuple[Route, ...]
    cut: Cut
    canaries: tuple[str, ...] = ()  # shapes that its shards wait for

    @property
    def records(self) -> int:
        return sum(block.records for block in self.blocks)

    @property
    def fallback(self) -> Lane | None:
        """The lane that calls its jobs, if batch does not answer them."""
        return next((entry.decision.fallback for entry in self.classes if entry.decision.fallback), None)

    @property
    def saving_pico(self) -> int | None:
        """What batch is expected to cost less than calling; None if a price is unknown."""
        saving = 0
        for entry in self.classes:
            costs = {way.lane: way.cost_pico for way in entry.decision.ways}
            call = None if entry.decision.fallback is None else costs[entry.decision.fallback]
            batch = costs[Lane.BATCH]
            if call is None or batch is None:
                return None
            saving += call - batch
        return saving


def batch_only(entry: ClassPlan, what: str) -> str:
    """Why jobs fail that could have gone by batch and by nothing else."""
    if entry.forced_batch:
        return f"the lane batch was asked for: {what}"
    calling = "; ".join(f"{way.lane}: {way.refused}" for way in entry.decision.ways if way.lane is not Lane.BATCH)
    return f"batch: {what}; {calling}"


def class_document(entry: ClassPlan, prefix: dict[str, Any] | None = None) -> dict[str, Any]:
    """`prefix`: what is to be said of the cached prefix of its jobs (usecases.prefixes)."""
    decision = entry.decision
    calling = entry.calling_lane
    refused = None
    if calling is None:
        message = (
            "; ".join(decision.reasons) if decision.lane is None else batch_only(entry, "no batch job can hold it")
        )
        refused = {"code": LANE_REFUSED, "message": message}
    finish = decision.expected_finish
    return {
        "lane": None if decision.lane is None else decision.lane.value,
        "calling_lane": None if calling is None else calling.value,
        "group": entry.group,
        "refused": refused,
        "canary": None if entry.canary is None else {"shape": entry.canary, "block": entry.first_block},
        "jobs": entry.total.jobs,
        "deadline": iso(entry.deadline),
        "expected_cost_usd": usd_float(decision.cost_pico),
        "expected_finish": None if finish is None else iso(finish),
        "reasons": [*decision.reasons, *([] if prefix is None else [prefix_reason(prefix)])],
        **({} if prefix is None else {"cached_prefix": prefix}),
        "ways": [
            {
                "lane": way.lane.value,
                "routes": [route.name for route in way.routes],
                "route_costs_usd": [usd_float(cost) for cost in way.costs_pico],
                "expected_cost_usd": usd_float(way.cost_pico),
                "expected_finish": None if way.expected_finish is None else iso(way.expected_finish),
                "in_time": way.in_time,
                "refused": way.refused,
            }
            for way in decision.ways
        ],
    }


def lanes_document(classes: Sequence[ClassPlan], groups: Sequence[GroupPlan]) -> dict[str, dict[str, Any]]:
    """Jobs and expected cost by lane; a cost with an unknown price in it is null. Leftovers count as batch's until
    they are placed."""
    jobs = dict.fromkeys(Lane, 0)
    costs: dict[Lane, int | None] = dict.fromkeys(Lane, 0)
    for entry in classes:
        lane = entry.decision.lane
        if lane is None:
            continue
        jobs[lane] += entry.total.jobs
        so_far, cost = costs[lane], entry.decision.cost_pico
        costs[lane] = None if so_far is None or cost is None else so_far + cost
    left = sum(piece.records for group in groups if group.cut.shards for piece in group.cut.leftover)
    lanes = {lane.value: {"jobs": jobs[lane], "expected_cost_usd": usd_float(costs[lane])} for lane in Lane}
    if left:
        lanes[Lane.BATCH.value]["leftover"] = left
    return lanes


def map_items(
    blocks: Sequence[Block], classes: Sequence[ClassPlan], groups: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Packs first: what is called has the nearer deadlines. At most MAX_ITEMS."""
    shards = [
        {"kind": "shard", "group": g, "shard": s, **{k: shard[k] for k in ("region", "first", "records", "blocks")}}
        for g, group in enumerate(groups)
        for s, shard in enumerate(group["shards"])
    ]
    shards += [
        {"kind": "pool", "group": g, "first": 0, **group["pooled"]} for g, group in enumerate(groups) if group["pooled"]
    ]
    called = {block for entry in classes if entry.group is None for block in entry.jobs.blocks}
    called.update(entry.first_block for entry in classes if entry.canary is not None)
    names_ = [block.block for block in blocks]
    for group in groups:
        for first, last in (piece["blocks"] for piece in group["leftover"]):
            called.update(name for name in names_ if first <= name <= last)
    ordered = [name for name in names_ if name in called]
    size = max(MIN_BLOCKS_AN_ITEM, -(-len(ordered) // (MAX_ITEMS - len(shards))))
    packs: list[dict[str, Any]] = [
        {"kind": "packs", "blocks": [ordered[i], ordered[min(i + size, len(ordered)) - 1]]}
        for i in range(0, len(ordered), size)
    ]
    return packs + shards


def plan_warnings(classes: Sequence[ClassPlan]) -> list[str]:
    found = []
    for entry in classes:
        who = f"{counted(entry.total.jobs, 'job')} of profile {entry.jobs.key.profile}"
        if entry.decision.lane is None:
            found.append(f"{who} refused: {entry.decision.reasons[0]}")
        elif entry.decision.cost_pico is None:
            found.append(f"{who}: the price of {entry.decision.lane} is unknown")
        if entry.decision.warning:
            found.append(f"{who}: {entry.decision.warning}")
    return list(dict.fromkeys(found))


def route_document(route: Route) -> dict[str, Any]:
    return {
        "region": route.region,
        "model_id": route.model_id,
        "base_model": route.base_model,
        "kind": route.kind,
        "weight": route.weight,
    }


def span(blocks: Sequence[BlockLoad], offsets: Mapping[str, int], start: int, end: int) -> list[str]:
    """The first and the last block that hold records `start` … `end` − 1."""
    touched = [b.block for b in blocks if offsets[b.block] < end and offsets[b.block] + b.records > start]
    return [touched[0], touched[-1]]
