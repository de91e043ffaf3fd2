"""Canaries at work: which shapes need one, and whether a shard may begin."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from slackwater.model.clock import Clock, later
from slackwater.model.shard import OwnerKind, Shard
from slackwater.policy.canary import WAIT_S, Asked, Canary, judged

NOTED: Final = "canary_"
"""What the names of a run's attributes begin with that tell of shards which were never sent."""


class LedgerPort(Protocol):
    """adapters.ledger.canaries."""

    def get(self, key: str) -> Asked: ...
    def ask(self, key: str, *, run: str, block: str, unit: str, lines: Sequence[int]) -> None: ...
    def note(self, key: str, state: Canary, run: str = "") -> None: ...


class PartsPort(Protocol):
    def rows(self, run_id: str, block: str, source: str) -> Iterator[dict[str, Any]]: ...


class CanaryWatch:
    """Looks at what has come of the canaries whenever a shard is about to begin."""

    def __init__(self, *, ledger: LedgerPort, parts: PartsPort, clock: Clock, note: Callable[..., object]) -> None:
        """`note(run, **attributes)` adds attributes to a run's item."""
        self._ledger = ledger
        self._parts = parts
        self._clock = clock
        self._note = note

    def of(self, shard: Shard) -> Canary:
        """PASSED: the shard may begin. ASKED: it waits. REFUSED: no batch job is made of it, since its records would
        fail alike; the run's receipt says so."""
        states = [self._state(key, shard.owner) for key in shard.canaries]
        if Canary.REFUSED in states:
            if shard.owner_kind is OwnerKind.RUN:
                self._note(shard.owner, **{f"{NOTED}{shard.id}": shard.records})
            return Canary.REFUSED
        waited = shard.staged_at is None or self._clock.now() >= later(shard.staged_at, WAIT_S)
        if waited or all(state is Canary.PASSED for state in states):
            return Canary.PASSED
        return Canary.ASKED if shard.owner_kind is OwnerKind.RUN or Canary.ASKED in states else Canary.PASSED

    def passed(self, keys: Iterable[str]) -> None:
        """A batch job has answered requests of these shapes."""
        for key in keys:
            self._ledger.note(key, Canary.PASSED)

    def _state(self, key: str, owner: str) -> Canary:
        """A refusal holds for the run whose jobs they were: another's may be fine."""
        asked = self._ledger.get(key)
        if asked.state is Canary.REFUSED and asked.run != owner:
            return Canary.UNKNOWN
        if asked.state is not Canary.ASKED:
            return asked.state
        rows = self._parts.rows(asked.run, asked.block, f"pack-{asked.unit}")
        outcomes = {row["line"]: (row["status"], (row["error"] or {}).get("code")) for row in rows}
        found = judged([outcomes[line] for line in asked.lines if line in outcomes], len(asked.lines))
        if found in (Canary.PASSED, Canary.REFUSED):
            self._ledger.note(key, found, asked.run)
        return Canary.UNKNOWN if found is Canary.REFUSED and asked.run != owner else found
