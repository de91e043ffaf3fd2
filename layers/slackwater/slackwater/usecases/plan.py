"""Plan: a lane for each class of a run's jobs, the shards, and the items that the workflow's Map places.

Reads the survey, never the jobs. The document `plan.json` holds everything that placing an item needs; the
workflow's state carries only the small items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model import names
from slackwater.model.clock import Clock, iso, parse_iso
from slackwater.model.job import Lane, Route
from slackwater.model.money import usd_float
from slackwater.model.native import INVOKE_MODEL
from slackwater.model.profile import Profile, Profiles
from slackwater.model.words import counted
from slackwater.policy.capability import Capability
from slackwater.policy.choose import Decision, Drain, JobLoad, Ways, choose
from slackwater.policy.classes import JobClass, Load
from slackwater.policy.cut import BlockLoad, Cut, cut_shards
from slackwater.policy.forecast import PRIOR, Forecast, guard_at
from slackwater.policy.prices import PriceBook
from slackwater.policy.routes import batch_routes, batch_shares, batch_types, flex_routes, resolve_routes, typical_price
from slackwater.usecases.survey import Survey
from slackwater.usecases.surveyor import Block

VERSION: Final = 1
MAX_ITEMS: Final = 300
"""An inline Map's items are bounded by the execution's history of 25,000 events."""
MAX_SHARDS: Final = 250
MIN_BLOCKS_AN_ITEM: Final = 4
LANE_REFUSED: Final = "lane_refused"


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class PlanDocuments(Protocol):
    def get_json(self, key: str) -> Any: ...
    def put_json(self, key: str, document: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """What this stack can do: the regions that have a batch bucket, and how fast the calling lanes drain while no
    quota is known."""

    batch_regions: tuple[str, ...]
    batch_enabled: bool
    drain_jobs_per_s: float


@dataclass(slots=True)
class _Class:
    """A class, decided. `group` is the index of its batch group, None if it is called or refused."""

    jobs: JobClass
    total: Load
    deadline: datetime
    decision: Decision
    group: int | None = None

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
class _Group:
    """Classes of one profile whose records are cut into shards together. `offsets`: ordinal of a block's first
    record."""

    profile: str
    classes: tuple[_Class, ...]
    blocks: tuple[BlockLoad, ...]
    routes: tuple[Route, ...]
    cut: Cut

    @property
    def records(self) -> int:
        return sum(block.records for block in self.blocks)


class Planner:
    """The pure part: the same survey at the same moment gives the same plan."""

    def __init__(
        self,
        *,
        profiles: Profiles,
        prices: PriceBook,
        capability: Capability,
        stack: Stack,
        forecast: Forecast = PRIOR,
    ) -> None:
        self._profiles = profiles
        self._prices = prices
        self._capability = capability
        self._stack = stack
        self._forecast = forecast
        self._ways: dict[str, Ways] = {}

    def plan(self, survey: Survey, *, deadline: datetime, now: datetime, profiles_version: str) -> dict[str, Any]:
        """The document `plan.json`. `deadline` is that of rows that name none. Raises ConfigurationError for a
        profile that AWS's offer does not allow."""
        classes = self._decide(survey, deadline, now)
        groups = self._groups(classes)
        index = {id(entry): i for i, group in enumerate(groups) for entry in group.classes}
        for entry in classes:
            entry.group = index.get(id(entry))
        document = survey.classes.to_json()
        for written, entry in zip(document["classes"], classes, strict=True):
            written["plan"] = _class_document(entry)
        group_documents = [self._group_document(group) for group in groups]
        return {
            "v": VERSION,
            "run_id": survey.run_id,
            "planned_at": iso(now),
            "deadline": iso(deadline),
            "price_version": self._prices.version,
            "profiles_version": profiles_version,
            "forecast": self._forecast.as_json(),
            "blocks": [asdict(block) for block in survey.blocks],
            **document,
            "groups": group_documents,
            "lanes": _lanes(classes, groups),
            "items": _items(survey.blocks, classes, group_documents),
            "warnings": _warnings(classes),
        }

    def ways(self, name: str) -> Ways:
        """What the profile of that name offers in this stack."""
        if name not in self._ways:
            profile = self._profiles.named(name)
            calling = resolve_routes(profile, self._capability, self._prices, name=name)
            batch = batch_routes(
                profile, calling, self._capability, self._prices, deployed=self._stack.batch_regions, name=name
            )
            self._ways[name] = Ways(
                lanes=profile.lanes,
                mode=profile.mode,
                calling=calling,
                flex=flex_routes(calling, self._capability),
                batch=batch,
                batch_enabled=self._stack.batch_enabled,
                batch_structured_output=profile.batch_structured_output,
                batch_types=batch_types(batch, self._capability),
            )
        return self._ways[name]

    def _decide(self, survey: Survey, default: datetime, now: datetime) -> list[_Class]:
        """Earliest deadline first: what is called for earlier deadlines is ahead in the queue. In the order of the
        survey."""
        order = sorted(enumerate(survey.classes), key=lambda pair: (pair[1].deadline or default, pair[0]))
        decided: dict[int, _Class] = {}
        ahead = 0
        for position, jobs in order:
            total = jobs.total
            deadline = jobs.deadline or default
            decision = choose(
                JobLoad(total.jobs, total.input_tokens, total.max_output_tokens, jobs.key.traits, jobs.key.lane),
                deadline=deadline,
                now=now,
                ways=self.ways(jobs.key.profile),
                prices=self._prices,
                forecast=self._forecast,
                drain=Drain(
                    call_s=(ahead + total.jobs) / self._stack.drain_jobs_per_s,
                    rescue_s=self._rescue_s(jobs.key.profile, total.jobs),
                ),
            )
            if decision.lane in (Lane.ON_DEMAND, Lane.FLEX):
                ahead += total.jobs
            decided[position] = _Class(jobs, total, deadline, decision)
        return [decided[i] for i in range(len(decided))]

    def _rescue_s(self, profile: str, records: int) -> float:
        """One batch job may be late as a whole; that all are is beyond what is planned for."""
        return min(records, self._max_records(profile)) / self._stack.drain_jobs_per_s

    # ------------------------------------------------------------------ groups

    def _groups(self, classes: Sequence[_Class]) -> list[_Group]:
        """Batch-bound classes, cut. Those that end up without any shard go to their calling lanes, with the reason."""
        alike: dict[tuple[str, bool], list[_Class]] = {}  # one shard holds one profile's jobs of one request type
        for entry in classes:
            if entry.decision.lane is Lane.BATCH:
                key = entry.jobs.key
                alike.setdefault((key.profile, INVOKE_MODEL in key.traits), []).append(entry)
        bundles = [
            (name, bundle)
            for (name, _), entries in alike.items()
            for bundle in _bundles(entries, self._min_records(name))
        ]
        groups = [self._cut(name, bundle, spread=True) for name, bundle in bundles]
        if sum(len(group.cut.shards) for group in groups) > MAX_SHARDS:
            groups = [self._cut(name, bundle, spread=False) for name, bundle in bundles]
        kept, shards = [], 0
        for group in sorted(groups, key=lambda group: -group.records):
            fits = shards + len(group.cut.shards) <= MAX_SHARDS
            if group.cut.shards and fits:
                kept.append(group)
                shards += len(group.cut.shards)
            else:
                _leave(group, "more batch jobs than one run may have" if not fits else group.cut.leftover[0].reason)
        return kept

    def _min_records(self, profile: str) -> int:
        return self._capability.min_records(self._profiles.named(profile).model)

    def _max_records(self, profile: str) -> int:
        named = self._profiles.named(profile)
        largest = self._capability.max_records(named.model)
        return min(largest, named.batch_max_records or largest)

    def _max_bytes(self, profile: str) -> int:
        named = self._profiles.named(profile)
        largest = self._capability.max_shard_bytes(named.model)
        return min(largest, named.batch_max_bytes or largest)

    def _cut(self, name: str, classes: Sequence[_Class], *, spread: bool) -> _Group:
        ways = self.ways(name)
        routes = batch_shares(ways.mode, ways.batch, typical_price(self._prices, Lane.BATCH))
        if not spread:
            routes = (max(routes, key=lambda route: route.weight),)
        blocks: dict[str, list[int]] = {}
        for entry in classes:
            for block, load in entry.jobs.blocks.items():
                sums = blocks.setdefault(block, [0, 0])
                sums[0] += load.jobs
                sums[1] += load.bytes
        loads = tuple(BlockLoad(block, *blocks[block]) for block in sorted(blocks))
        cut = cut_shards(
            loads,
            [(route.region, route.weight) for route in routes],
            max_records=self._max_records(name),
            max_bytes=self._max_bytes(name),
            min_records=self._min_records(name),
        )
        return _Group(name, tuple(classes), loads, ways.batch, cut)

    def _group_document(self, group: _Group) -> dict[str, Any]:
        profile: Profile = self._profiles.named(group.profile)
        offsets, ordinal = {}, 0
        for load in group.blocks:
            offsets[load.block] = ordinal
            ordinal += load.records
        largest = max(shard.records for shard in group.cut.shards)
        earliest = min(entry.deadline for entry in group.classes)
        return {
            "profile": group.profile,
            "home_region": profile.home_region,
            "routes": [_route_document(route) for route in group.routes],
            "deadline_at": iso(max(entry.deadline for entry in group.classes)),
            "guard_at": iso(guard_at(earliest, largest / self._stack.drain_jobs_per_s)),
            "rescue_lane": next(
                (entry.decision.fallback for entry in group.classes if entry.decision.fallback), Lane.ON_DEMAND
            ).value,
            "records": group.records,
            "offsets": offsets,
            "shards": [
                {
                    "region": shard.region,
                    "first": shard.start_record,
                    "records": shard.records,
                    "blocks": _span(group.blocks, offsets, shard.start_record, shard.end_record),
                }
                for shard in group.cut.shards
            ],
            "leftover": [
                {
                    "first": piece.start_record,
                    "records": piece.records,
                    "blocks": _span(group.blocks, offsets, piece.start_record, piece.end_record),
                    "reason": piece.reason,
                }
                for piece in group.cut.leftover
            ],
        }


class Plan:
    """The workflow's step: reads `survey.json`, writes `plan.json`, gives the Map's items."""

    def __init__(
        self,
        *,
        documents: PlanDocuments,
        runs: RunsPort,
        profiles: Pinned,
        prices: PriceBook,
        capability: Capability,
        stack: Stack,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._runs = runs
        self._profiles = profiles
        self._prices = prices
        self._capability = capability
        self._stack = stack
        self._clock = clock

    def __call__(self, run_id: str) -> list[dict[str, Any]]:
        """Planning again replaces a plan that was never answered for: the workflow places only the items of the last
        answer.

        Raises LookupError for a run that is not in the ledger, ConfigurationError for an impossible profile.
        """
        meta = self._runs.get(run_id)
        if meta is None:
            raise LookupError(f"no run {run_id}")
        version = meta["profiles_version"]
        planner = Planner(
            profiles=self._profiles.pinned(version),
            prices=self._prices,
            capability=self._capability,
            stack=self._stack,
        )
        document = planner.plan(
            Survey.from_json(self._documents.get_json(names.run_key(run_id, "survey.json"))),
            deadline=parse_iso(meta["deadline_at"]),
            now=self._clock.now(),
            profiles_version=version,
        )
        self._documents.put_json(names.run_key(run_id, "plan.json"), document)
        items: list[dict[str, Any]] = document["items"]
        return items


def _bundles(entries: Sequence[_Class], min_records: int) -> list[list[_Class]]:
    """Classes of one profile that share shards. A shard is stopped for its earliest deadline, so classes with other
    deadlines stay apart if they are large enough; a small one joins the next earlier bundle, whose guard it does not
    move."""
    bundles: list[list[_Class]] = []
    small: list[_Class] = []
    by_deadline: dict[datetime, list[_Class]] = {}
    for entry in sorted(entries, key=lambda entry: entry.deadline):
        by_deadline.setdefault(entry.deadline, []).append(entry)
    for together in by_deadline.values():
        if sum(entry.total.jobs for entry in together) >= min_records:
            bundles.append([*small, *together])
            small = []
        elif bundles:
            bundles[-1].extend(together)
        else:
            small.extend(together)
            if sum(entry.total.jobs for entry in small) >= min_records:
                bundles.append(small)
                small = []
    return [*bundles, small] if small else bundles


def _leave(group: _Group, reason: str) -> None:
    """All of a group's jobs go to their calling lanes; those that must go by batch are refused."""
    for entry in group.classes:
        ways = {way.lane: way for way in entry.decision.ways}
        why = f"batch: {reason} ({group.records} in all)"
        lane = None if entry.forced_batch else entry.decision.fallback
        if lane is None:
            entry.decision = replace(
                entry.decision,
                lane=None,
                routes=(),
                cost_pico=None,
                expected_finish=None,
                reasons=(_batch_only(entry, f"cannot be taken: {reason}"),),
            )
        else:
            way = ways[lane]
            entry.decision = replace(
                entry.decision,
                lane=lane,
                routes=way.routes,
                cost_pico=way.cost_pico,
                expected_finish=way.expected_finish,
                reasons=(f"{lane}: what is left without batch", why),
            )


def _batch_only(entry: _Class, what: str) -> str:
    """Why jobs fail that could have gone by batch and by nothing else."""
    if entry.forced_batch:
        return f"the lane batch was asked for: {what}"
    calling = "; ".join(f"{way.lane}: {way.refused}" for way in entry.decision.ways if way.lane is not Lane.BATCH)
    return f"batch: {what}; {calling}"


def _class_document(entry: _Class) -> dict[str, Any]:
    decision = entry.decision
    calling = entry.calling_lane
    refused = None
    if calling is None:
        message = (
            "; ".join(decision.reasons) if decision.lane is None else _batch_only(entry, "no batch job can hold it")
        )
        refused = {"code": LANE_REFUSED, "message": message}
    finish = decision.expected_finish
    return {
        "lane": None if decision.lane is None else decision.lane.value,
        "calling_lane": None if calling is None else calling.value,
        "group": entry.group,
        "refused": refused,
        "jobs": entry.total.jobs,
        "deadline": iso(entry.deadline),
        "expected_cost_usd": usd_float(decision.cost_pico),
        "expected_finish": None if finish is None else iso(finish),
        "reasons": list(decision.reasons),
        "ways": [
            {
                "lane": way.lane.value,
                "routes": [route.name for route in way.routes],
                "expected_cost_usd": usd_float(way.cost_pico),
                "expected_finish": None if way.expected_finish is None else iso(way.expected_finish),
                "in_time": way.in_time,
                "refused": way.refused,
            }
            for way in decision.ways
        ],
    }


def _lanes(classes: Sequence[_Class], groups: Sequence[_Group]) -> dict[str, dict[str, Any]]:
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
    left = sum(piece.records for group in groups for piece in group.cut.leftover)
    lanes = {lane.value: {"jobs": jobs[lane], "expected_cost_usd": usd_float(costs[lane])} for lane in Lane}
    if left:
        lanes[Lane.BATCH.value]["leftover"] = left
    return lanes


def _items(
    blocks: Sequence[Block], classes: Sequence[_Class], groups: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Packs first: what is called has the nearer deadlines. At most MAX_ITEMS."""
    shards = [
        {"kind": "shard", "group": g, "shard": s, **{k: shard[k] for k in ("region", "first", "records", "blocks")}}
        for g, group in enumerate(groups)
        for s, shard in enumerate(group["shards"])
    ]
    called = {block for entry in classes if entry.group is None for block in entry.jobs.blocks}
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


def _warnings(classes: Sequence[_Class]) -> list[str]:
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


def _route_document(route: Route) -> dict[str, Any]:
    return {
        "region": route.region,
        "model_id": route.model_id,
        "base_model": route.base_model,
        "kind": route.kind,
        "weight": route.weight,
    }


def _span(blocks: Sequence[BlockLoad], offsets: Mapping[str, int], start: int, end: int) -> list[str]:
    """The first and the last block that hold records `start` … `end` − 1."""
    touched = [b.block for b in blocks if offsets[b.block] < end and offsets[b.block] + b.records > start]
    return [touched[0], touched[-1]]
