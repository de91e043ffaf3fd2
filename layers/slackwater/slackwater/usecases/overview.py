"""What a stack has to do at this moment: its queues, its open runs, its batch jobs, and what was given up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slackwater.model.claim import Pool
from slackwater.model.run import ENDED
from slackwater.model.shard import Shard, ShardState
from slackwater.usecases.forecasts import Calibration, PairsPort, calibrations

ALWAYS: Final = datetime(9999, 1, 1, tzinfo=UTC)
ITEMS_A_PARTITION: Final = 250


@dataclass(frozen=True, slots=True)
class Gauge:
    """A queue's approximate counts; `oldest_s` (real seconds) is None where nobody measures it."""

    name: str
    visible: int
    in_flight: int
    delayed: int
    oldest_s: float | None
    dead: bool = False

    @property
    def messages(self) -> int:
        return self.visible + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class Overview:
    """`complete` is False where more may be open than was read."""

    queues: tuple[Gauge, ...]
    runs: tuple[dict[str, Any], ...]
    shards: tuple[Shard, ...]
    pools: tuple[Pool, ...]
    complete: bool
    forecasts: tuple[Calibration, ...] = ()


class DueItemsPort(Protocol):
    def due(self, now: datetime, *, limit: int) -> Iterator[Any]: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class PoolsPort(Protocol):
    def get(self, pool: str) -> Pool | None: ...


class GaugePort(Protocol):
    def __call__(self) -> Gauge: ...


class Overviews:
    """Reads the sparse index of what is due some day: all that is open, and nothing that has ended."""

    def __init__(
        self,
        *,
        items: DueItemsPort,
        runs: RunsPort,
        shards: ShardsPort,
        pools: PoolsPort,
        gauges: Sequence[GaugePort],
        history: PairsPort,
    ) -> None:
        self._history = history
        self._items = items
        self._runs = runs
        self._shards = shards
        self._pools = pools
        self._gauges = gauges

    def __call__(self) -> Overview:
        ids: dict[str, list[str]] = {"RUN": [], "SHARD": [], "POOL": []}
        for item in self._items.due(ALWAYS, limit=ITEMS_A_PARTITION):
            ids.setdefault(item.kind, []).append(item.id)
        runs = [meta for one in ids["RUN"] if (meta := self._runs.get(one)) is not None and meta["state"] not in ENDED]
        shards = [shard for one in ids["SHARD"] if (shard := self._shards.get(one)) is not None]
        pools = [pool for one in ids["POOL"] if (pool := self._pools.get(one)) is not None and pool.count]
        return Overview(
            queues=tuple(gauge() for gauge in self._gauges),
            runs=tuple(sorted(runs, key=lambda meta: str(meta["started_at"]))),
            shards=tuple(sorted((s for s in shards if s.state is not ShardState.SETTLED), key=_place)),
            pools=tuple(sorted(pools, key=lambda pool: pool.opened_at)),
            complete=sum(map(len, ids.values())) < ITEMS_A_PARTITION,
            forecasts=tuple(calibrations(self._history)),
        )


def _place(shard: Shard) -> tuple[str, datetime, str]:
    return shard.region, begun(shard), shard.id


def begun(shard: Shard) -> datetime:
    """Since when a shard has a job, or else waits for one; the far end of time where that was not noted."""
    return shard.submitted_at or shard.intent_at or ALWAYS
