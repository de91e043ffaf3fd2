"""The forecast of a batch job's turnaround by model, region and size, from what our own jobs took."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from slackwater.model.clock import Clock
from slackwater.model.shard import Shard
from slackwater.policy.forecast import PRIOR, Forecast, slowest
from slackwater.policy.history import Score, Turnaround, forecast, score, size_of

CACHE_S: Final = 60.0  # product time: a job that has just ended changes little


class HistoryPort(Protocol):
    """See adapters.ledger.history."""

    def turnarounds(self, region: str, model: str) -> list[Turnaround]: ...


class PairsPort(HistoryPort, Protocol):
    def pairs(self) -> Iterator[tuple[str, str]]: ...


class ForecastsPort(Protocol):
    """What deciders ask."""

    def of(self, model: str, region: str, records: int, /) -> Forecast: ...
    def over(self, model: str, regions: Iterable[str], records: int, /) -> Forecast: ...


class Priors:
    """The prior, whatever is asked: where nobody has a history to read."""

    def of(self, *_: object) -> Forecast:
        return PRIOR

    def over(self, *_: object) -> Forecast:
        return PRIOR


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a model in a region, and the forecasts that were made of it, by size."""

    read_at: datetime
    history: list[Turnaround]
    made: dict[int, Forecast]


class Forecasts:
    """One read for a model and region, and none for the next minute. Where a region has no history of its own the
    prior holds, whatever the model does elsewhere: queues differ by region."""

    def __init__(self, *, history: HistoryPort, clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}

    def of(self, model: str, region: str, records: int) -> Forecast:
        """Of a job of so many records in one region."""
        known, size = self._read(region, model), size_of(records)
        if size not in known.made:
            known.made[size] = forecast(known.history, records)
        return known.made[size]

    def over(self, model: str, regions: Iterable[str], records: int) -> Forecast:
        """Of jobs of so many records, spread over several regions: the slowest's. The prior for none."""
        return slowest(self.of(model, region, records) for region in regions)

    def by_region(self, model: str, regions: Sequence[str], records: int) -> Mapping[str, Mapping[str, Any]]:
        """As a shard keeps them, so that they can be scored when its job has ended."""
        return {region: self.of(model, region, records).as_json() for region in dict.fromkeys(regions)}

    def _read(self, region: str, model: str) -> _Known:
        now = self._clock.now()
        known = self._known.get((region, model))
        if known is None or now - known.read_at > timedelta(seconds=CACHE_S):
            known = self._known[region, model] = _Known(now, self._history.turnarounds(region, model), {})
        return known


def foretold(shards: Iterable[Shard]) -> list[dict[str, Any]]:
    """For a receipt: of each shard what was forecast of its job, and how long it took. `actual_s` is null for one that
    did not end by itself; if it was cut off, `longer_than_s` says after how long."""
    return [
        {
            "shard": shard.id,
            "region": shard.region,
            "model": shard.base_model,
            **shard.forecast,
            "actual_s": shard.took_s if shard.took_whole else None,
            "longer_than_s": None if shard.took_whole else shard.took_s,
        }
        for shard in shards
        if shard.forecast is not None
    ]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A model in a region: what would be forecast of a small job now, and how good forecasts have been."""

    region: str
    model: str
    now: Forecast
    score: Score

    def as_json(self) -> dict[str, Any]:
        return {
            "region": self.region,
            "model": self.model,
            "forecast": self.now.as_json(),
            "score": self.score.as_json(),
        }


def calibrations(history: PairsPort) -> list[Calibration]:
    """Of every region and model in which a batch job has ended."""
    found = []
    for region, model in history.pairs():
        some = history.turnarounds(region, model)
        typical = sorted(one.records for one in some)[len(some) // 2] if some else 1
        found.append(Calibration(region, model, forecast(some, typical), score(some)))
    return found
