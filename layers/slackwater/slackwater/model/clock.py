"""Time as the product sees it. The embedded cloud may run it fast; on AWS the rate is 1."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

MAX_DELAY_S = 900  # SQS DelaySeconds: 0–900 (SQS API reference, SendMessage)


class Clock(Protocol):
    """What use cases may know of time."""

    def now(self) -> datetime: ...
    def at(self, real: datetime) -> datetime: ...
    def wall_s(self) -> float: ...
    def queue_delay_s(self, seconds: float) -> int: ...
    def real_s(self, seconds: float) -> float: ...


@dataclass(frozen=True)
class ScaledClock:
    """`rate` seconds of product time pass in one real second since `origin_s` (epoch seconds)."""

    rate: float = 1.0
    origin_s: float = 0.0

    def now(self) -> datetime:
        """The product's time, aware, UTC: deadlines, batch waiting, rests, pool ages."""
        return self._of(time.time())

    def at(self, real: datetime) -> datetime:
        """The product's time at a real moment that AWS stamped (`SentTimestamp`, `LastModified`)."""
        return self._of(real.timestamp())

    def wall_s(self) -> float:
        """Real epoch seconds: leases and visibilities guard against dead machines, which die in real time."""
        return time.time()

    def queue_delay_s(self, seconds: float) -> int:
        """`DelaySeconds` after which about `seconds` of product time have passed; at most 900."""
        return max(0, min(MAX_DELAY_S, math.ceil(seconds / self.rate)))

    def real_s(self, seconds: float) -> float:
        """Real seconds in which `seconds` of product time pass."""
        return seconds / self.rate

    def _of(self, epoch_s: float) -> datetime:
        if self.rate == 1.0:
            return datetime.fromtimestamp(epoch_s, UTC)
        return datetime.fromtimestamp(self.origin_s + (epoch_s - self.origin_s) * self.rate, UTC)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """The aware moment that `iso` wrote. Raises ValueError for text without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-12-01T06:00:00Z")
    return moment


def later(moment: datetime, seconds: float) -> datetime:
    """`moment` + `seconds`."""
    return moment + timedelta(seconds=seconds)
