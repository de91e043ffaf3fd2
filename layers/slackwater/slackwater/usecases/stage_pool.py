"""A closed pool becomes a shard in one of its profile's batch regions."""

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from slackwater.model.claim import Pool
from slackwater.model.errors import BadInput, ConfigurationError
from slackwater.model.job import Lane, Route
from slackwater.model.profile import Profile, Profiles
from slackwater.model.shard import FIRST_GENERATION, OwnerKind
from slackwater.model.words import counted
from slackwater.policy.capability import Capability
from slackwater.policy.forecast import guard_at
from slackwater.policy.pooling import MIN_JOBS
from slackwater.policy.prices import PriceBook
from slackwater.policy.routes import batch_routes, batch_shares, resolve_routes, typical_price
from slackwater.policy.weights import order
from slackwater.usecases.drains import quotas_of
from slackwater.usecases.stage import Stage, StageRecord


class PoolsPort(Protocol):
    def get(self, pool: str) -> Pool | None: ...


class KeeperPort(Protocol):
    """usecases.pools.PoolKeeper."""

    def close_pool(self, pool: str) -> bool: ...
    def stage_pool(self, pool: str) -> Iterator[StageRecord]: ...
    def deadline(self, pool: str) -> datetime: ...
    def staged(self, pool: str) -> None: ...
    def release_units(self, pool: str) -> int: ...
    def rescue_jobs(self, pool: str, rows: Iterable[Mapping[str, Any]]) -> int: ...


class ProfilesPort(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class StagePool:
    """Gives a word on what happened, for the log."""

    def __init__(
        self,
        *,
        pools: PoolsPort,
        keeper: KeeperPort,
        stage: Stage,
        profiles: ProfilesPort,
        capability: Capability,
        prices: PriceBook,
        deployed: Container[str],
        drain_jobs_per_s: float,
    ) -> None:
        """`deployed`: the regions that have a batch bucket of ours."""
        self._pools = pools
        self._keeper = keeper
        self._stage = stage
        self._profiles = profiles
        self._capability = capability
        self._prices = prices
        self._deployed = deployed
        self._drain_jobs_per_s = drain_jobs_per_s

    def __call__(self, pool_id: str) -> str:
        """Staging the same pool again makes the same shard. Without a batch region its jobs are called."""
        pool = self._pools.get(pool_id)
        if pool is None or pool.state not in ("open", "closed"):
            return "stale"
        self._keeper.close_pool(pool_id)
        pool = self._pools.get(pool_id) or pool  # from here on nobody joins or leaves
        profile, routes, quotas = self._ways(pool)
        records = self._keeper.stage_pool(pool_id)
        if profile is None or not routes or pool.count < MIN_JOBS:  # gone while they waited, or too few have stayed
            sent = self._keeper.rescue_jobs(pool_id, [{"job": r.job} for r in records if r.unit is None])
            sent += self._keeper.release_units(pool_id)
            self._keeper.staged(pool_id)
            why = "too few jobs have stayed" if pool.count < MIN_JOBS else "no batch region is left"
            return f"{why}: {counted(sent, 'job is called', 'jobs are called')}"
        price = typical_price(self._prices, Lane.BATCH)
        shares = batch_shares(profile.mode, routes, price)
        route = order(profile.mode, shares, pool.generation - 1, price=price)[0]
        shard = self._stage.shard(
            owner_kind=OwnerKind.POOL,
            owner=pool_id,
            profile=pool.profile,
            home_region=profile.home_region,
            records=records,
            region=route.region,
            model_id=route.model_id,
            base_model=route.base_model,
            kind=route.kind,
            deadline_at=self._keeper.deadline(pool_id),
            guard_at=guard_at(pool.deadline, pool.count / self._drain_jobs_per_s),
            generation=FIRST_GENERATION,
            profiles_version=pool.profiles_version,
            rescue_lane=_calling_lane(profile),
            alternatives=[other for other in routes if other != route],
            quotas=quotas,
        )
        self._keeper.staged(pool_id)
        return f"staged as {shard}"

    def _ways(self, pool: Pool) -> tuple[Profile | None, tuple[Route, ...], tuple[str, ...]]:
        """The pool's profile, as its jobs' runs have it, its batch routes, and what its calls draw on. Raises Missing
        if somebody has deleted that version from the bucket."""
        name = pool.profile
        try:
            profile = self._profiles.pinned(pool.profiles_version).named(name)
            calling = resolve_routes(profile, self._capability, self._prices, name=name)
            routes = batch_routes(profile, calling, self._capability, self._prices, deployed=self._deployed, name=name)
        except (BadInput, ConfigurationError):
            return None, (), ()
        return profile, routes, quotas_of(calling)


def _calling_lane(profile: Profile) -> Lane:
    return Lane.ON_DEMAND if Lane.ON_DEMAND in profile.lanes else Lane.FLEX
