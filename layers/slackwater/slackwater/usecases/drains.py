"""How fast calls drain under the quotas that are left, as the fleet's ledger has them at this moment."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from slackwater.model.clock import Clock
from slackwater.model.job import Route
from slackwater.model.shard import Shard
from slackwater.policy.drain import Mean, jobs_per_s
from slackwater.policy.quota import Pool
from slackwater.policy.quota_limits import Told
from slackwater.policy.tokens import of_text
from slackwater.usecases.admission import pool_name

CACHE_S: Final = 60.0  # product time


class QuotasPort(Protocol):
    """The fleet's quota ledger, read only (adapters.ledger.quota)."""

    def get(self, pool: str) -> tuple[Pool, Told | None]: ...


class Drains:
    """One read for each quota, and none for the next minute."""

    def __init__(self, *, quotas: QuotasPort, clock: Clock, assumed: float) -> None:
        """`assumed`: jobs a second that drain where no quota is known."""
        self._quotas = quotas
        self._clock = clock
        self._assumed = assumed
        self._known: dict[str, tuple[datetime, Pool]] = {}

    def of_shard(self, shard: Shard) -> float:
        """Jobs a second at which a shard's jobs can be called."""
        records = max(1, shard.records)
        each = Mean(of_text(shard.bytes // records, 1), shard.max_output_tokens / records)
        return self._of(shard.quotas, each)

    def of_routes(self, routes: Iterable[Route], each: Mean) -> float:
        """The same for jobs of this mean size over a profile's calling routes."""
        return self._of(quotas_of(routes), each)

    def _of(self, names: Sequence[str], each: Mean) -> float:
        now = self._clock.now()
        pools = {name: self._pool(name, now) for name in names}
        return jobs_per_s(pools, each, assumed=self._assumed, now_s=now.timestamp())

    def _pool(self, name: str, now: datetime) -> Pool:
        known = self._known.get(name)
        if known is None or now - known[0] > timedelta(seconds=CACHE_S):
            known = self._known[name] = (now, self._quotas.get(name)[0])
        return known[1]


def quotas_of(routes: Iterable[Route]) -> tuple[str, ...]:
    """The quotas that calls by these routes draw on, each once."""
    return tuple(dict.fromkeys(pool_name(route) for route in routes))


class ShardDrains(Protocol):
    """What deciders about shards ask: jobs a second at which a shard's jobs can be called."""

    def of_shard(self, shard: Shard) -> float: ...


class RouteDrains(Protocol):
    """What planners ask: the same for jobs of a mean size over calling routes."""

    def of_routes(self, routes: Iterable[Route], each: Mean) -> float: ...
