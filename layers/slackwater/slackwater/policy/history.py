"""The turnaround forecast: what our own ended batch jobs of a model and region teach, and how good it has been.

A job that was stopped at its guard, or timed out, tells only that it would have taken *longer*: such observations are
censored, and the quantiles are those of a weighted product-limit (Kaplan-Meier) estimate, which uses them for just
that. To leave them out would make every forecast too short exactly where jobs are late.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slackwater.model.clock import iso
from slackwater.policy.forecast import PRIOR, Forecast

MIN_HISTORY: Final = 20
"""Ended jobs before their turnaround replaces the prior."""
NEWEST: Final = 200
"""So many of the newest ended jobs of a model and region are looked at."""
HALF_LIFE_S: Final = 7 * 86_400
"""A job that ended so much earlier than the newest one weighs half as much (product time)."""
SIZES: Final = (1_000, 10_000)
"""Records from which on a job is of the next size."""
ALGORITHM: Final = "h1"
"""Part of every version: another way to reckon makes other versions."""

_TOOK: Final = frozenset({"Completed"})
_TOOK_LONGER: Final = frozenset({"PartiallyCompleted", "Stopped", "Expired", "Rescued"})
_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Turnaround:
    """One ended job: seconds from submitted to ended. `whole` False: it was cut off then and would have taken longer.

    `told` is the forecast under which it was begun, None if that was not noted.
    """

    took_s: int
    whole: bool
    records: int
    ended_at: datetime
    told: Forecast | None = None


def took(
    status: str, submitted_at: datetime | None, ended_at: datetime, stop_asked_at: datetime | None = None
) -> tuple[int, bool] | None:
    """Seconds and `whole` of a job that ended in `status`; None where its end says nothing of how long jobs take.

    A refused job (`Failed`) and one that Bedrock does not know say nothing; a stopped one worked until the stop was
    asked for. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetModelInvocationJob.html (`status`)
    """
    if submitted_at is None:
        return None
    if status in _TOOK:
        return max(1, round((ended_at - submitted_at).total_seconds())), True
    if status == "Rescued" and stop_asked_at is None:
        return None  # its region could not be asked: nobody knows what it did
    if status not in _TOOK_LONGER:
        return None
    until = ended_at if stop_asked_at is None else min(ended_at, stop_asked_at)
    return max(1, round((until - submitted_at).total_seconds())), False


def forecast(history: Sequence[Turnaround], records: int) -> Forecast:
    """The forecast for a job of so many records, from ended jobs of its model and region in any order.

    Jobs of its size are used if there are 20; else of its size and larger ones, which errs on the long side; else all
    (`all_sizes`), but never shorter than the prior, since small jobs say little of large ones; else the prior.
    """
    size = size_of(records)
    newest = sorted(history, key=lambda one: (one.ended_at, one.took_s), reverse=True)[:NEWEST]
    alike = [one for one in newest if size_of(one.records) == size]
    for some in (alike, [one for one in newest if size_of(one.records) >= size]):
        if len(some) >= MIN_HISTORY:
            return Forecast(quantile(some, 50), quantile(some, 95), "history", len(some), _version(some))
    if len(newest) >= MIN_HISTORY:
        p50_s, p95_s = quantile(newest, 50), quantile(newest, 95)
        version = _version(newest, "all_sizes")
        return Forecast(max(p50_s, PRIOR.p50_s), max(p95_s, PRIOR.p95_s), "all_sizes", len(newest), version)
    return Forecast(PRIOR.p50_s, PRIOR.p95_s, PRIOR.basis, len(newest), PRIOR.version)


def size_of(records: int) -> int:
    """The class of a job's size: 0, 1 …"""
    return sum(records >= least for least in SIZES)


def quantile(history: Sequence[Turnaround], percent: int) -> int:
    """The weighted product-limit quantile in seconds. Where too many were cut off for it to be seen: the longest time
    seen or the prior's, whichever is more. Raises ValueError without history."""
    newest = max(one.ended_at for one in history)
    weighted = [(one, _weight(one, newest)) for one in sorted(history, key=lambda one: (one.took_s, not one.whole))]
    at_risk = sum(weight for _, weight in weighted)
    still = 1.0
    for one, weight in weighted:
        if one.whole:
            still *= max(0.0, 1 - weight / at_risk) if at_risk > weight else 0.0
            if still <= 1 - percent / 100 + _EPSILON:
                return one.took_s
        at_risk -= weight
    prior_s = PRIOR.p50_s if percent <= 50 else PRIOR.p95_s
    return max(prior_s, weighted[-1][0].took_s)


def _weight(one: Turnaround, newest: datetime) -> float:
    """Relative to the newest, not to now: the same jobs make the same forecast whenever they are asked."""
    return float(0.5 ** ((newest - one.ended_at).total_seconds() / HALF_LIFE_S))


def _version(some: Iterable[Turnaround], how: str = "") -> str:
    lines = sorted(f"{iso(one.ended_at)} {one.took_s} {one.whole} {one.records}" for one in some)
    return f"{ALGORITHM}-{hashlib.sha256('|'.join([how, *lines]).encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Score:
    """How good forecasts have been, over `jobs` ended jobs that had one. A share is of those that can be judged (a job
    that was cut off before its quantile cannot), None for none. `pinball_s`: the mean of the two quantile losses, in
    seconds; lower is better."""

    jobs: int
    within_p50: float | None
    within_p95: float | None
    pinball_s: float | None

    def as_json(self) -> dict[str, int | float | None]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def score(history: Iterable[Turnaround]) -> Score:
    """Calibration of the forecasts under which these jobs were begun: a good one has half of them within its p50, and
    95 % within its p95."""
    told = [(one, one.told) for one in history if one.told is not None]
    whole = [(one.took_s, forecast_) for one, forecast_ in told if one.whole]
    losses = [(_loss(s, f.p50_s, 0.5) + _loss(s, f.p95_s, 0.95)) / 2 for s, f in whole]
    return Score(
        len(told),
        _share(_within(one, forecast_.p50_s) for one, forecast_ in told),
        _share(_within(one, forecast_.p95_s) for one, forecast_ in told),
        round(sum(losses) / len(losses), 1) if losses else None,
    )


def _within(one: Turnaround, quantile_s: int) -> bool | None:
    if one.took_s > quantile_s:
        return False
    return True if one.whole else None


def _share(judged: Iterable[bool | None]) -> float | None:
    known = [within for within in judged if within is not None]
    return round(sum(known) / len(known), 4) if known else None


def _loss(took_s: int, quantile_s: int, share: float) -> float:
    """Pinball loss: too short costs `share` a second, too long the rest."""
    return share * (took_s - quantile_s) if took_s >= quantile_s else (1 - share) * (quantile_s - took_s)
