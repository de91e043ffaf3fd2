"""Quotas of one source region, quota family and base model: requests a minute, tokens a minute, tokens a day.

Rule (docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html): a call reserves `input + max_tokens` at
its start; at its end the charge is `input + cache writes + output x burn-down`, the rest is given back. Minutes are
token buckets that hold one minute; a day is a UTC day of the virtual clock. (How AWS refills is not published: this is
the emulator's choice.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import ApiError

DAY_S: Final = 86_400
MINUTE_S: Final = 60.0
REQUESTS: Final = "Too many requests, please wait before trying again."
TOKENS: Final = "Too many tokens, please wait before trying again."
TOKENS_A_DAY: Final = "Too many tokens per day, please wait before trying again."


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in force; None is unlimited."""

    rpm: float | None = None
    tpm: float | None = None
    tpd: float | None = None


@dataclass(frozen=True, slots=True)
class QuotaKey:
    region: str
    family: str
    model: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call holds until it is settled."""

    key: QuotaKey
    tokens: int
    day: int


class Bucket:
    """A token bucket that refills in one minute; its level may go below zero by a settlement."""

    __slots__ = ("at", "level", "limit")

    def __init__(self, limit: float, now: float) -> None:
        self.limit, self.level, self.at = limit, limit, now

    def refill(self, now: float) -> None:
        """Let time pass; a clock that jumps back takes nothing away."""
        self.level = min(self.limit, self.level + max(0.0, now - self.at) * self.limit / MINUTE_S)
        self.at = now


class Quotas:
    """All buckets of the emulator. Not thread-safe: used from the event loop."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[QuotaKey, str], Bucket] = {}
        self._days: dict[tuple[QuotaKey, int], int] = {}

    def _bucket(self, key: QuotaKey, kind: str, limit: float | None, now: float) -> Bucket | None:
        if limit is None:
            return None
        bucket = self._buckets.get((key, kind))
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[(key, kind)] = Bucket(limit, now)
        bucket.refill(now)
        return bucket

    def reserve(self, key: QuotaKey, limits: Limits, tokens: int, now: float, floor: float = 0.0) -> Reservation:
        """Take one request and `tokens`, all or nothing; `floor` is the share of a minute that must be left.

        Raises ApiError (ThrottlingException), worded for the limit that is short.
        """
        requests = self._bucket(key, "rpm", limits.rpm, now)
        minute = self._bucket(key, "tpm", limits.tpm, now)
        day = int(now // DAY_S)
        if requests and requests.level - 1 < floor * requests.limit:
            raise ApiError("ThrottlingException", REQUESTS)
        if minute and minute.level - tokens < floor * minute.limit:
            raise ApiError("ThrottlingException", TOKENS)
        if limits.tpd is not None and self._days.get((key, day), 0) + tokens > limits.tpd:
            raise ApiError("ThrottlingException", TOKENS_A_DAY)
        if requests:
            requests.level -= 1
        if minute:
            minute.level -= tokens
        if limits.tpd is not None:
            self._days[(key, day)] = self._days.get((key, day), 0) + tokens
        return Reservation(key, tokens, day)

    def settle(self, reservation: Reservation, charge: int, now: float) -> None:
        """Replace the reservation by what was really used; more than was reserved is taken too."""
        back = reservation.tokens - charge
        minute = self._buckets.get((reservation.key, "tpm"))
        if minute:
            minute.refill(now)
            minute.level = min(minute.limit, minute.level + back)
        if (reservation.key, reservation.day) in self._days:
            self._days[(reservation.key, reservation.day)] -= back
