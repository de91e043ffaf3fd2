"""The kill switch: marks under which nothing that costs is begun, for one profile or for all."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slackwater.model.clock import later

ALL: Final = "*"
"""The mark that holds for every profile; no profile can have this name."""

SOONEST_S: Final = 30.0
LATEST_S: Final = 300.0
PART: Final = 0.25
"""Held work looks again after a quarter of the time for which the pause has lasted, between these bounds: soon after a
short pause, and for little money during a long one."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One mark. `profile` is a profile's name or `ALL`; `reason` is what the operator gave, and may be empty."""

    profile: str
    paused_at: datetime
    reason: str = ""

    def as_json(self, at: str) -> dict[str, str]:
        """For programs; `at` is `paused_at` as text."""
        return {"profile": self.profile, "paused_at": at, "reason": self.reason}


def pause_of(marks: Mapping[str, Pause], profile: str) -> Pause | None:
    """The mark that holds for a profile's jobs, if any."""
    return marks.get(ALL) or marks.get(profile)


def look_again_at(pause: Pause, now: datetime) -> datetime:
    """When held work asks again whether the pause is over."""
    lasted_s = (now - pause.paused_at).total_seconds()
    return later(now, min(LATEST_S, max(SOONEST_S, PART * lasted_s)))
