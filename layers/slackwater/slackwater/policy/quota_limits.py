"""Limits that somebody knows, and what a pool comes to for people to read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from slackwater.model.clock import iso
from slackwater.policy.quota import MINUTE_S, Meter
from slackwater.policy.quota_names import Quota, calling_quotas

BY_HAND: Final = "hand"
BY_SERVICE_QUOTAS: Final = "service quotas"


@dataclass(frozen=True, slots=True)
class Told:
    """Requests and tokens a minute (None: not told), who said so and when (ISO)."""

    rpm: int | None
    tpm: int | None
    by: str
    at: str


class Known(StrEnum):
    """Where a limit comes from."""

    TOLD = "told"
    LEARNED = "learned"
    SEARCHED = "searching"
    NONE = "none seen"


@dataclass(frozen=True, slots=True)
class Reading:
    """One limit as it stands: units a minute allowed now (None: no limit), units in use that have not flowed back, and
    when the last throttle was (None: none is known)."""

    known: Known
    per_minute: float | None
    in_use: float
    throttles: int
    throttled_at: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "known": self.known.value, "per_minute": self.per_minute, "in_use": self.in_use,
            "throttles": self.throttles, "throttled_at": self.throttled_at,
        }  # fmt: skip


def reading(meter: Meter, now_s: float, *, unmetered: bool = False) -> Reading:
    """What a meter says at `now_s`; `unmetered` as in `Meter.rate`."""
    meter = meter.fresh(now_s)
    rate = meter.rate(now_s, unmetered=unmetered)
    if meter.learned_per_s is not None:
        known = Known.LEARNED
    elif meter.told_per_s is not None:
        known = Known.TOLD
    else:
        known = Known.NONE if unmetered else Known.SEARCHED
    return Reading(
        known,
        None if rate is None else round(rate * MINUTE_S, 3),
        0.0 if rate is None else round(max(0.0, meter.full_at_s - now_s) * rate, 3),
        meter.throttles,
        iso(datetime.fromtimestamp(meter.throttled_at_s, UTC)) if meter.throttled_at_s else None,
    )


def limits_of(listed: Iterable[Quota], prefix: str, model_name: str) -> tuple[int | None, int | None]:
    """Requests and tokens a minute that Service Quotas lists for a kind of route; None for what it does not list."""
    found = calling_quotas(listed, prefix, model_name)
    rpm, tpm = found.get("requests per minute"), found.get("tokens per minute")
    return (None if rpm is None else int(rpm.value)), (None if tpm is None else int(tpm.value))
