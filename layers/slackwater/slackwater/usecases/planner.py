"""The pure part of a plan: a lane for each class of jobs, and shards for those that go by batch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model.clock import iso
from slackwater.model.job import Lane, Route
from slackwater.model.native import INVOKE_MODEL, RequestType
from slackwater.model.profile import Profile, Profiles
from slackwater.policy.budget import affordable
from slackwater.policy.cache import Prefix, expected
from slackwater.policy.canary import CANARIES, MIN_GROUP, Asked, Canary, shape_key
from slackwater.policy.capability import Capability
from slackwater.policy.choose import Drain, JobLoad, Ways, choose
from slackwater.policy.classes import JobClass, Load
from slackwater.policy.cut import BlockLoad, cut_shards
from slackwater.policy.drain import Mean
from slackwater.policy.forecast import Forecast, guard_at, slowest
from slackwater.policy.prices import PriceBook
from slackwater.policy.remainder import Remainder
from slackwater.policy.routes import batch_routes, batch_shares, batch_types, flex_routes, resolve_routes, typical_price
from slackwater.usecases.drains import RouteDrains, quotas_of
from slackwater.usecases.forecasts import ForecastsPort, Priors
from slackwater.usecases.plan_caps import cap_warnings
from slackwater.usecases.planned import (
    ClassPlan,
    GroupPlan,
    batch_only,
    class_document,
    lanes_document,
    map_items,
    plan_warnings,
    route_document,
    span,
)
from slackwater.usecases.prefixes import prefix_document
from slackwater.usecases.survey import Survey

VERSION: Final = 1
MAX_SHARDS: Final = 250
MAX_RECORDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Stack:
    """What this stack can do: the regions that have a batch bucket, and how fast the calling lanes drain while no
    quota is known."""

    batch_regions: tuple[str, ...]
    batch_enabled: bool
    drain_jobs_per_s: float


class AskRemainder(Protocol):
    """usecases.remainders.Remainders."""

    def __call__(
        self,
        jobs: int,
        size: int,
        *,
        profile: Profile,
        kind: RequestType,
        deadline: datetime,
        calling: Lane,
        saving_pico: int | None,
        min_records: int,
    ) -> Remainder: ...


class Planner:
    """The pure part: the same survey at the same moment gives the same plan."""

    def __init__(
        self,
        *,
        profiles: Profiles,
        prices: PriceBook,
        capability: Capability,
        stack: Stack,
        forecasts: ForecastsPort | None = None,
        drains: RouteDrains | None = None,
        remainders: AskRemainder | None = None,
        canaries: Callable[[str], Asked] | None = None,
        max_cost_pico: int | None = None,
    ) -> None:
        """`remainders` says what becomes of records that are too few for a batch job (usecases.remainders); without
        it they are called. `canaries` says what is known of a shape (policy.canary); without it none are sent."""
        self._max_cost_pico = max_cost_pico  # of the file, all its profiles together
        self._ask_remainder = remainders
        self._canary = canaries
        self._remainders: list[Remainder] = []
        self._profiles = profiles
        self._prices = prices
        self._capability = capability
        self._stack = stack
        self._forecasts = forecasts or Priors()
        self._drains = drains
        self._ways: dict[str, Ways] = {}

    def plan(self, survey: Survey, *, deadline: datetime, now: datetime, profiles_version: str) -> dict[str, Any]:
        """The document `plan.json`. `deadline` is that of rows that name none. Raises ConfigurationError for a
        profile that AWS's offer does not allow."""
        classes, groups = self.decide(survey, deadline=deadline, now=now)
        document = survey.classes.to_json()
        for written, entry in zip(document["classes"], classes, strict=True):
            name = entry.jobs.key.profile
            shared = prefix_document(
                entry.jobs.key.prefix, self._cached_from(name), entry.total, self.ways(name), self._prices
            )
            written["plan"] = class_document(entry, shared)
        group_documents = [self._group_document(group) for group in groups]
        return {
            "v": VERSION,
            "run_id": survey.run_id,
            "planned_at": iso(now),
            "deadline": iso(deadline),
            "price_version": self._prices.version,
            "profiles_version": profiles_version,
            "forecast": slowest(self._forecast(g.profile, g.records, g.routes) for g in groups).as_json(),
            "forecasts": self._forecasts_document(groups),
            "blocks": [asdict(block) for block in survey.blocks],
            **document,
            "groups": group_documents,
            "lanes": lanes_document(classes, groups),
            "items": map_items(survey.blocks, classes, group_documents),
            "warnings": [
                *plan_warnings(classes),
                *cap_warnings(classes, self._profiles.profiles, self._max_cost_pico),
            ],
            "remainders": [decided.as_json() for decided in self._remainders],
        }

    def decide(self, survey: Survey, *, deadline: datetime, now: datetime) -> tuple[list[ClassPlan], list[GroupPlan]]:
        """The survey's classes, in its order, each with its decision, and the groups that are cut into batch jobs. As
        `plan` decides, without its document. Raises ConfigurationError."""
        classes = self._decide(survey, deadline, now)
        groups = self._groups(classes)
        index = {id(entry): i for i, group in enumerate(groups) for entry in group.classes}
        for entry in classes:
            entry.group = index.get(id(entry))
        return classes, groups

    def _cached_from(self, profile: str) -> int | None:
        return self._capability.cache_min_tokens(self._profiles.named(profile).model)

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

    def shared(self, jobs: JobClass) -> Prefix | None:
        """The beginning of their prompts that a class's jobs share, as their model caches it."""
        return expected(jobs.key.prefix, self._cached_from(jobs.key.profile))

    def _decide(self, survey: Survey, default: datetime, now: datetime) -> list[ClassPlan]:
        """Earliest deadline first: what is called for earlier deadlines is ahead in the queue. In the order of the
        survey."""
        order = sorted(enumerate(survey.classes), key=lambda pair: (pair[1].deadline or default, pair[0]))
        decided: dict[int, ClassPlan] = {}
        calls_ahead_s = rescues_ahead_s = 0.0
        for position, jobs in order:
            total, profile = jobs.total, jobs.key.profile
            deadline = jobs.deadline or default
            drain_s = total.jobs / self._jobs_per_s(profile, total)
            one_s = drain_s * min(1.0, self._max_records(profile) / max(1, total.jobs))
            decision = choose(
                JobLoad(
                    total.jobs,
                    total.input_tokens,
                    total.max_output_tokens,
                    jobs.key.traits,
                    jobs.key.lane,
                    self.shared(jobs),
                ),
                deadline=deadline,
                now=now,
                ways=self.ways(profile),
                prices=self._prices,
                forecast=self._forecast(profile, total.jobs, self.ways(profile).batch),
                drain=Drain(calls_ahead_s + drain_s, calls_ahead_s + rescues_ahead_s + drain_s, one_s),
            )
            if decision.lane in (Lane.ON_DEMAND, Lane.FLEX):
                calls_ahead_s += drain_s
            elif decision.lane is Lane.BATCH:
                rescues_ahead_s += drain_s
            decided[position] = ClassPlan(jobs, total, deadline, decision)
        return [decided[i] for i in range(len(decided))]

    def _jobs_per_s(self, profile: str, load: Load) -> float:
        """How fast jobs like these drain on the calling lanes under the quotas that are left."""
        if self._drains is None or not load.jobs:
            return self._stack.drain_jobs_per_s
        each = Mean(load.input_tokens / load.jobs, load.max_output_tokens / load.jobs)
        return self._drains.of_routes(self.ways(profile).calling, each)

    def _forecast(self, profile: str, records: int, routes: Sequence[Route]) -> Forecast:
        """Of the batch jobs that so many records make over these routes: all have ended when the slowest has."""
        regions = dict.fromkeys(route.region for route in routes)
        return self._forecasts.over(
            self._profiles.named(profile).model, regions, min(records, self._max_records(profile))
        )

    def _forecasts_document(self, groups: Sequence[GroupPlan]) -> list[dict[str, Any]]:
        """What was forecast of each model and region that gets batch jobs, with the version of each forecast."""
        found = {}
        for group in groups:
            model = self._profiles.named(group.profile).model
            for shard in group.cut.shards:
                told = self._forecasts.of(model, shard.region, shard.records)
                found[model, shard.region, told.version] = {"model": model, "region": shard.region, **told.as_json()}
        return [found[key] for key in sorted(found)]

    # ------------------------------------------------------------------ groups

    def _groups(self, classes: Sequence[ClassPlan]) -> list[GroupPlan]:
        """Batch-bound classes, cut. Those that end up without any shard go to their calling lanes, with the reason."""
        alike: dict[tuple[str, bool], list[ClassPlan]] = {}  # one shard holds one profile's jobs of one request type
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
        self._remainders = []
        for group in sorted(groups, key=lambda group: -group.records):
            jobs = len(group.cut.shards) or 1
            fits = shards + jobs <= MAX_SHARDS
            if fits and (group.cut.shards or self._waits(group)):
                kept.append(self._with_canaries(group))
                shards += jobs
            else:
                _leave(group, "more batch jobs than one run may have" if not fits else group.cut.leftover[0].reason)
        return kept

    def _with_canaries(self, group: GroupPlan) -> GroupPlan:
        """The group with the shapes that its shards wait for; some jobs of each are called first, as many as the
        smallest shard can spare."""
        if self._canary is None or group.records < MIN_GROUP or not group.cut.shards:
            return group
        spare = min(shard.records for shard in group.cut.shards) - self._min_records(group.profile)
        model, waiting = self._profiles.named(group.profile).model, []
        for entry in group.classes:
            shape = shape_key(model, entry.jobs.key.traits)
            state = self._canary(shape).state
            if state in (Canary.UNKNOWN, Canary.REFUSED) and shape not in waiting:  # another run's were refused
                if entry.calling_lane is None or spare < CANARIES:
                    continue
                entry.canary = shape
                spare -= CANARIES
            if state is not Canary.PASSED:
                waiting.append(shape)
        return replace(group, canaries=tuple(dict.fromkeys(waiting)))

    def _waits(self, group: GroupPlan) -> bool:
        """Whether records that are too few for a batch job wait in a pool; not those that may go by batch alone."""
        minimum = self._min_records(group.profile)
        fallback = group.fallback
        if self._ask_remainder is None or group.records >= minimum or fallback is None:
            return False
        if any(entry.calling_lane is None for entry in group.classes):
            return False
        native = INVOKE_MODEL in group.classes[0].jobs.key.traits
        decided = self._ask_remainder(
            group.records,
            sum(block.bytes for block in group.blocks),
            profile=self._profiles.named(group.profile),
            kind=RequestType.INVOKE_MODEL if native else RequestType.CONVERSE,
            deadline=min(entry.deadline for entry in group.classes),
            calling=fallback,
            saving_pico=group.saving_pico,
            min_records=minimum,
        )
        self._remainders.append(decided)
        return decided.taken.pooled

    def _min_records(self, profile: str) -> int:
        return self._capability.min_records(self._profiles.named(profile).model)

    def _max_records(self, profile: str) -> int:
        named = self._profiles.named(profile)
        largest = self._capability.max_records(named.model)
        return min(largest, named.batch_max_records or largest)

    def _affordable(self, profile: str, classes: Sequence[ClassPlan]) -> int:
        """How many records one batch job may have so that each cap holds the whole job: several then run one after
        the other, as far as the money goes."""
        named = self._profiles.named(profile)
        caps = (self._max_cost_pico, named.budget.run_pico, named.budget.day_pico)
        costs = [
            -(-way.cost_pico // entry.total.jobs)
            for entry in classes
            for way in entry.decision.ways
            if way.lane is Lane.BATCH and way.cost_pico is not None
        ]
        fits = affordable(caps, max(costs, default=0), max_tokens=named.max_tokens, most=MAX_RECORDS)
        return max(fits, 2 * self._min_records(profile))  # any number of records can be cut into such jobs

    def _max_bytes(self, profile: str) -> int:
        named = self._profiles.named(profile)
        largest = self._capability.max_shard_bytes(named.model)
        return min(largest, named.batch_max_bytes or largest)

    def _cut(self, name: str, classes: Sequence[ClassPlan], *, spread: bool) -> GroupPlan:
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
            max_records=min(self._max_records(name), self._affordable(name, classes)),
            max_bytes=self._max_bytes(name),
            min_records=self._min_records(name),
        )
        return GroupPlan(name, tuple(classes), loads, ways.batch, cut)

    def _group_document(self, group: GroupPlan) -> dict[str, Any]:
        profile: Profile = self._profiles.named(group.profile)
        offsets, ordinal = {}, 0
        for load in group.blocks:
            offsets[load.block] = ordinal
            ordinal += load.records
        largest = max((shard.records for shard in group.cut.shards), default=group.records)
        earliest = min(entry.deadline for entry in group.classes)
        return {
            "profile": group.profile,
            "home_region": profile.home_region,
            "routes": [route_document(route) for route in group.routes],
            "quotas": list(quotas_of(self.ways(group.profile).calling)),
            "deadline_at": iso(max(entry.deadline for entry in group.classes)),
            "guard_at": iso(guard_at(earliest, largest / self._stack.drain_jobs_per_s)),
            "rescue_lane": (group.fallback or Lane.ON_DEMAND).value,
            "pooled": None
            if group.cut.shards
            else {"blocks": span(group.blocks, offsets, 0, group.records), "records": group.records},
            "canaries": list(group.canaries),
            "records": group.records,
            "offsets": offsets,
            "shards": [
                {
                    "region": shard.region,
                    "first": shard.start_record,
                    "records": shard.records,
                    "blocks": span(group.blocks, offsets, shard.start_record, shard.end_record),
                }
                for shard in group.cut.shards
            ],
            "leftover": [
                {
                    "first": piece.start_record,
                    "records": piece.records,
                    "blocks": span(group.blocks, offsets, piece.start_record, piece.end_record),
                    "reason": piece.reason,
                }
                for piece in (group.cut.leftover if group.cut.shards else ())
            ],
        }


def _bundles(entries: Sequence[ClassPlan], min_records: int) -> list[list[ClassPlan]]:
    """Classes of one profile that share shards. A shard is stopped for its earliest deadline, so classes with other
    deadlines stay apart if they are large enough; a small one joins the next earlier bundle, whose guard it does not
    move."""
    bundles: list[list[ClassPlan]] = []
    small: list[ClassPlan] = []
    by_deadline: dict[datetime, list[ClassPlan]] = {}
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


def _leave(group: GroupPlan, reason: str) -> None:
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
                reasons=(batch_only(entry, f"cannot be taken: {reason}"),),
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
