"""When a pool of queued jobs stops waiting: it becomes a batch job, or its jobs are called after all."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from slackwater.policy.forecast import Forecast, latest_start

FULL_JOBS: Final = 1_000
MIN_JOBS: Final = 100
"""A batch job's minimum."""
MAX_WAIT_S: Final = 900
"""A pool that has the minimum waits so long for more, counted from its opening."""
FULL_BYTES: Final = 900_000_000
"""A pool this large closes, so that what joins in the same moment still fits into one file."""
CHECK_S: Final = 60


class PoolAction(StrEnum):
    """What happens to the pool now."""

    KEEP = "keep"
    CLOSE = "close"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """An open pool, as far as the decision goes; `earliest_deadline` is None while it is empty."""

    count: int
    bytes: int
    opened_at: datetime
    earliest_deadline: datetime | None


@dataclass(frozen=True, slots=True)
class PoolStep:
    """The decision with its reason; `next_check_at` is set for `keep`."""

    action: PoolAction
    reason: str
    next_check_at: datetime | None = None


def pool_step(
    pool: PoolLoad,
    now: datetime,
    *,
    forecast: Forecast,
    drain_s: float,
    min_jobs: int = MIN_JOBS,
    full_jobs: int = FULL_JOBS,
    max_wait_s: float = MAX_WAIT_S,
) -> PoolStep:
    """Closes a full pool, or one that has the minimum and has waited; at its latest safe moment closes it if it has
    the minimum, else releases it. Past that moment a batch job could not hold the earliest deadline, so it is
    released whatever it holds.

    Taking this step late or again is harmless. `drain_s`: how long the pool's jobs take on the calling lanes.
    """
    soon = now + timedelta(seconds=CHECK_S)
    if pool.count == 0 or pool.earliest_deadline is None:
        return PoolStep(PoolAction.KEEP, "the pool is empty", soon)
    latest = latest_start(pool.earliest_deadline, forecast, drain_s)
    if now > latest:
        return PoolStep(PoolAction.RELEASE, "a batch job could no longer hold the earliest deadline")
    if pool.count < min_jobs:
        if now == latest:
            return PoolStep(PoolAction.RELEASE, "too few jobs for a batch job at the latest safe moment")
        return PoolStep(PoolAction.KEEP, f"waiting for {min_jobs - pool.count} more jobs", min(soon, latest))
    waited_until = pool.opened_at + timedelta(seconds=max_wait_s)
    for due, reason in (
        (pool.count >= full_jobs or pool.bytes >= FULL_BYTES, "the pool is full"),
        (now >= waited_until, "the pool has the minimum and has waited for more"),
        (soon > latest, "the latest safe moment of the earliest deadline"),  # the next look would be too late
    ):
        if due:
            return PoolStep(PoolAction.CLOSE, reason)
    return PoolStep(PoolAction.KEEP, "waiting for more jobs", min(soon, waited_until))


def release_at(deadline: datetime, forecast: Forecast, drain_s: float) -> datetime:
    """The latest safe moment of a job in a pool: what joins after it would only be released."""
    return latest_start(deadline, forecast, drain_s)
