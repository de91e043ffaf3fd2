"""The emulator's virtual clock: virtual = origin + (real − origin) × rate + offset. Its time stamps are virtual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

NAP_S = 0.2  # the longest real sleep between two looks: a change of the clock is felt at once


class Clock:
    """Virtual seconds since the epoch; the rate and the offset may change while it runs."""

    def __init__(self, rate: float = 1.0, origin: float = 0.0, wall: Callable[[], float] = time.time) -> None:
        self.offset_s = 0.0
        self._wall = wall
        self.set(rate=rate, origin=origin)

    def set(self, *, rate: float | None = None, origin: float | None = None, advance_s: float = 0.0) -> None:
        """Change the formula's terms. Raises ValueError for a rate that is not above 0 or a negative advance."""
        if rate is not None:
            if not rate > 0:
                raise ValueError("rate must be above 0")
            self.rate = rate
        if origin is not None:
            self.origin = origin
        if advance_s < 0:
            raise ValueError("advance_s must not be negative")
        self.offset_s += advance_s

    def now(self) -> float:
        """Virtual epoch seconds."""
        return self.origin + (self._wall() - self.origin) * self.rate + self.offset_s

    async def sleep(self, virtual_s: float) -> None:
        """Wait this many virtual seconds at the rate of this moment (for latencies: short)."""
        await asyncio.sleep(max(0.0, virtual_s) / self.rate)

    async def until(self, virtual: float, wake: asyncio.Event | None = None) -> bool:
        """Wait for a virtual moment; True if `wake` was set first."""
        while not (wake and wake.is_set()):
            real = (virtual - self.now()) / self.rate
            if real <= 0:
                return False
            nap = min(real, NAP_S)
            if wake is None:
                await asyncio.sleep(nap)
                continue
            try:
                await asyncio.wait_for(wake.wait(), nap)
            except TimeoutError:
                continue
        return True


def iso(virtual: float) -> str:
    """ISO 8601 in UTC with milliseconds, the form of Bedrock's time stamps."""
    return datetime.fromtimestamp(virtual, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
