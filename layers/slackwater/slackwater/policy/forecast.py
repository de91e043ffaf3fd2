"""How long a batch job takes, and the moments that follow from it. Until there is history (`policy.history`) it is a
guess, and says so."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

MARGIN_S: Final = 1800
"""Kept free before every deadline of a batch job."""

_Z95: Final = 1.6448536269514722  # the 95 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Forecast:
    """Turnaround of a batch job in seconds at two quantiles, from `n` own ended jobs. `basis` `prior`: a guess, AWS
    promises nothing. `version` is a fingerprint of what it was made from."""

    p50_s: int
    p95_s: int
    basis: str
    n: int
    version: str = ""

    def p_late(self, slack_s: float) -> float:
        """The chance that a job takes longer than `slack_s`: a log-normal through both quantiles."""
        if slack_s <= 0:
            return 1.0
        if self.p95_s <= self.p50_s:
            return 0.0 if slack_s >= self.p50_s else 1.0
        sigma = math.log(self.p95_s / self.p50_s) / _Z95
        return 0.5 * math.erfc(math.log(slack_s / self.p50_s) / (sigma * math.sqrt(2)))

    def as_json(self) -> dict[str, int | str]:
        """For plan, receipt and explain."""
        return {
            "p50_s": self.p50_s,
            "p95_s": self.p95_s,
            "basis": self.basis,
            "n": self.n,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Forecast":
        """What `as_json` wrote."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})


PRIOR: Final = Forecast(p50_s=2 * 3600, p95_s=8 * 3600, basis="prior", n=0, version="prior-1")


def slowest(forecasts: Iterable[Forecast]) -> Forecast:
    """Of jobs in several regions: all have ended when the slowest has. The prior for none."""
    return max(forecasts, key=lambda one: (one.p95_s, one.p50_s), default=PRIOR)


def latest_start(deadline: datetime, expected: Forecast, drain_s: float) -> datetime:
    """The last moment at which a batch job may still be begun: p95, then a rescue's drain, then the margin, fit
    before the deadline."""
    return deadline - timedelta(seconds=expected.p95_s + drain_s + MARGIN_S)


def guard_at(deadline: datetime, drain_s: float) -> datetime:
    """When a job that still runs is stopped, so that what it finished is kept and the rest is rescued in time: a
    margin for stopping and for reading the output, then the drain. A job that was begun at its latest start has had its
    p95 by then."""
    return last_moment(deadline, drain_s) - timedelta(seconds=MARGIN_S)


def last_moment(deadline: datetime, drain_s: float) -> datetime:
    """When rescue can wait no longer for a job to say what it finished."""
    return deadline - timedelta(seconds=drain_s)
