"""The quota ledger and the routes' health of a single process: for simulations and measurements."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from slackwater.model.clock import Clock
from slackwater.policy import health
from slackwater.policy.health import Closed, MayProbe, RouteState
from slackwater.policy.quota import Pool

Answer = TypeVar("Answer")
_OWNER = "this process"


class QuotasInMemory:
    """As `ledger.quota.QuotaLedger`, for engines of one thread at a time."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}

    def change(self, pool: str, change: Callable[[Pool], tuple[Pool, Answer]], now_s: float) -> tuple[Pool, Answer]:
        """Applies `change` to the pool; `now_s` is for ledgers that forget."""
        del now_s
        self.pools[pool], answer = change(self.pools.get(pool, Pool()))
        return self.pools[pool], answer


class HealthInMemory:
    """As `ledger.health.RouteHealth`."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._states: dict[str, RouteState] = {}
        self._in_a_row: dict[str, int] = {}

    def gate(self, name: str) -> datetime | None:
        """Until when no call may go by the route; None if one may now."""
        state = self._states.get(name)
        if state is None:
            return None
        now_s = self._clock.now().timestamp()
        verdict = health.gate(state, now_s, self._rng.random())
        if isinstance(verdict, Closed):
            return datetime.fromtimestamp(verdict.until_s, UTC)
        if isinstance(verdict, MayProbe):
            self._states[name] = health.probing(state, now_s, _OWNER)
        return None

    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]:
        """The routes among `names` that rest now, and until when."""
        now_s = self._clock.now().timestamp()
        ends = {name: self._states[name].rest_until_s for name in names if name in self._states}
        return {name: datetime.fromtimestamp(at_s, UTC) for name, at_s in ends.items() if at_s > now_s}

    def report(self, name: str, fault: str | None, started_at: datetime) -> None:
        """`fault` of a call over this route, None for an answer."""
        state = self._states.get(name, RouteState())
        now_s, started_s = self._clock.now().timestamp(), started_at.timestamp()
        if fault is None:
            self._in_a_row.pop(name, None)
            if name in self._states:
                self._states[name] = health.after_answer(state, now_s, started_s)
            return
        needed = health.faults_before_rest(fault)
        if needed is None:
            if name in self._states:
                self._states[name] = health.after_nothing(state, _OWNER, started_s)
            return
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        if state.strikes or self._in_a_row[name] >= needed:
            self._states[name] = health.after_fault(state, fault, now_s, started_s, self._rng)
