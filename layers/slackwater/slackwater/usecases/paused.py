"""Whether a profile's jobs are paused, as those need it who are about to spend something; and the switch itself."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Protocol

from slackwater.model.clock import Clock
from slackwater.model.shard import Shard, ShardState
from slackwater.policy.pause import ALL, Pause, look_again_at, pause_of

KNOWN_FOR_S: Final = 2.0  # real seconds for which what was read is believed


class MarksPort(Protocol):
    """The marks in the ledger (adapters.ledger.pauses). `change` raises Contended."""

    def marks(self) -> Mapping[str, Pause]: ...
    def change(self, change: Callable[[Mapping[str, Pause]], Mapping[str, Pause]]) -> Mapping[str, Pause]: ...


class Paused:
    """Asked before each call and each create, answered from the ledger every two seconds at most. For the one thread
    of a worker that decides."""

    def __init__(self, marks: MarksPort, clock: Clock) -> None:
        self._marks = marks
        self._clock = clock
        self._known: Mapping[str, Pause] = {}
        self._looked_s = 0.0

    def __call__(self, profile: str) -> datetime | None:
        """When to ask again about a paused profile; None if it is not paused."""
        now_s = self._clock.wall_s()
        if now_s - self._looked_s >= KNOWN_FOR_S:
            self._known, self._looked_s = self._marks.marks(), now_s
        found = pause_of(self._known, profile)
        return None if found is None else look_again_at(found, self._clock.now())

    def any_of(self, profiles: Iterable[str]) -> datetime | None:
        """The same for work of several profiles, of which one is enough."""
        return next((until for profile in profiles if (until := self(profile)) is not None), None)


def not_paused(profile: str) -> datetime | None:  # noqa: ARG001 - the shape of Paused
    """For callers that know no pauses."""
    return None


class ShardsPort(Protocol):
    def cut_short(self, shard_id: str, at: datetime) -> bool: ...


def stop_running(shards: Iterable[Shard], ledger: ShardsPort, profile: str, now: datetime) -> int:
    """Lets the tick stop the batch jobs of a profile (or of `ALL`) that run or may; how many. What they have finished
    is kept, the rest goes by batch again, or is called, after the pause."""
    return sum(
        ledger.cut_short(shard.id, now)
        for shard in shards
        if shard.state in (ShardState.INTENT, ShardState.OPEN) and profile in (ALL, shard.profile)
    )


class Switch:
    """`pause` and `resume`. Each gives the marks that stand afterwards."""

    def __init__(self, marks: MarksPort, clock: Clock) -> None:
        self._marks = marks
        self._clock = clock

    def pause(self, profile: str, reason: str) -> Mapping[str, Pause]:
        """Marks a profile or `ALL`. A mark that stands keeps its time, and its reason unless another is given."""
        now = self._clock.now()

        def marked(marks: Mapping[str, Pause]) -> Mapping[str, Pause]:
            old = marks.get(profile)
            since = now if old is None else old.paused_at
            return {**marks, profile: Pause(profile, since, reason or ("" if old is None else old.reason))}

        return self._marks.change(marked)

    def resume(self, profile: str | None) -> Mapping[str, Pause]:
        """Takes a mark away; all of them where none is named."""
        return self._marks.change(
            lambda marks: {} if profile is None else {name: mark for name, mark in marks.items() if name != profile}
        )
