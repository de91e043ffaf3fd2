"""When work that found no room is looked at again: nobody sleeps on it, it lies in its queue."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from slackwater.model.clock import MAX_DELAY_S

SHORTEST_S: Final = 1.0
SPREAD: Final = 0.5
"""Up to this part of a wait is added by dice, so that what waits for one route does not come back as one."""
USEFUL_PART: Final = 0.25
USEFUL_CALLS: Final = 64
"""Work of many calls comes back when so many of them may start (or a quarter of them, if that is fewer): each return
costs a message and the start of a worker."""


def delay_s(now: datetime, ready_at: datetime, deadline: datetime, draw: float) -> float:
    """Seconds to wait for room that is expected at `ready_at`: 1.0 to 1.5 times as long as that, at least a second, at
    most what SQS can delay, never past the deadline (where its failure is written). `draw` is uniform in [0, 1)."""
    wait_s = max(SHORTEST_S, (ready_at - now).total_seconds()) * (1 + SPREAD * draw)
    return max(0.0, min(wait_s, MAX_DELAY_S, (deadline - now).total_seconds()))


def useful_from(ready_at: Sequence[datetime]) -> datetime:
    """When a useful part of these calls may start. Raises ValueError for none."""
    if not ready_at:
        raise ValueError("nothing waits")
    part = min(USEFUL_CALLS, math.ceil(USEFUL_PART * len(ready_at)))
    return sorted(ready_at)[part - 1]
