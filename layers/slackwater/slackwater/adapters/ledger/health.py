"""What the fleet knows of its routes: one row a route, read through a short cache, changed by versioned updates."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from slackwater.adapters.ledger.table import ConditionFailed, Item, Table, Write
from slackwater.model.clock import Clock, iso, parse_iso
from slackwater.policy import health
from slackwater.policy.health import Closed, RouteState

ATTEMPTS: Final = 4
LEAST_REST_REAL_S: Final = 0.25  # also where the clock runs fast: others must hear of a rest before it is over
FRESH_S: Final = 1.0  # real seconds: a container knows what another learned within two


class RouteHealth:
    """Rests are product time. Not thread-safe; holds nothing that another container must know: what it counts itself
    are the faults in a row that it has seen."""

    def __init__(
        self, table: Table, clock: Clock, rng: random.Random, *, owner: str = "", retain_s: float = 86_400
    ) -> None:
        self._table = table
        self._clock = clock
        self._rng = rng
        self._owner = owner or f"{rng.getrandbits(64):016x}"
        self._retain_s = retain_s
        self._known: dict[str, tuple[float, Item]] = {}
        self._in_a_row: dict[str, int] = {}
        self._drawn: dict[str, tuple[RouteState, datetime]] = {}

    def gate(self, name: str) -> datetime | None:
        """Until when no call may go by the route; None if one may now. For a route whose rest is over that is so once:
        who is told None first makes the fleet's one probe."""
        now_s = self._now_s()
        for _ in range(ATTEMPTS):
            item = self._item(name)
            state = _state(item)
            closed_for, until = self._drawn.get(name, (None, _moment(0)))
            if closed_for == state and now_s < until.timestamp():
                return until  # whoever asks again at once would soon be let in by any dice
            verdict = health.gate(state, now_s, self._rng.random())
            if isinstance(verdict, Closed):
                until = _moment(verdict.until_s)
                if state.ramp_from_s:
                    self._drawn[name] = state, until
                return until
            if verdict is None or self._keep(name, item, health.probing(state, now_s, self._owner)):
                return None
        return _moment(now_s + 1)  # the others are quicker

    def report(self, name: str, fault: str | None, started_at: datetime) -> None:
        """`fault` of a call over this route, None for an answer. Only what says something of the route is kept."""
        if fault is None:
            self._in_a_row.pop(name, None)
        elif health.faults_before_rest(fault) is not None:
            self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
            self._known.pop(name, None)  # others may have found it closed already
        for _ in range(ATTEMPTS):
            item = self._item(name)
            state = _state(item)
            after = self._after(name, state, fault, started_at.timestamp())
            if after == state or self._keep(name, item, after):
                return

    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]:
        """The routes among `names` that rest now, and until when: for people to read, it takes no probe."""
        now_s = self._now_s()
        states = {name: _state(self._item(name)) for name in names}
        return {name: _moment(state.rest_until_s) for name, state in states.items() if state.rest_until_s > now_s}

    def _after(self, name: str, state: RouteState, fault: str | None, started_s: float) -> RouteState:
        now_s = self._now_s()
        if fault is None:
            return health.after_answer(state, now_s, started_s)
        needed = health.faults_before_rest(fault)
        if needed is None:
            return health.after_nothing(state, self._owner, started_s)
        if self._in_a_row[name] < needed and not state.strikes:
            return state
        least_s = max(health.LEAST_S, LEAST_REST_REAL_S / self._clock.real_s(1.0))
        return health.after_fault(state, fault, now_s, started_s, self._rng, least_s=least_s)

    def _item(self, name: str) -> Item:
        wall_s = self._clock.wall_s()
        read_at, item = self._known.get(name, (-math.inf, {}))
        if wall_s - read_at >= FRESH_S:
            item = self._table.get(_key(name)) or {}
            self._known[name] = (wall_s, item)
        return item

    def _keep(self, name: str, seen: Item, state: RouteState) -> bool:
        """Whether the state was written: not where the row is another than the one that was seen, which is then
        known."""
        times = {
            "rested_at": state.rested_at_s,
            "rest_until": state.rest_until_s,
            "probe_until": state.probe_until_s,
            "ramp_from": state.ramp_from_s,
        }
        version = int(seen.get("version", 0))
        set_ = {
            "v": 1,
            "version": version + 1,
            "strikes": state.strikes,
            "prober": state.prober,
            "ramp_ms": round(state.ramp_s * 1000),
            "ttl": int(self._now_s() + self._retain_s),
            **{attribute: iso(_moment(at_s)) for attribute, at_s in times.items() if at_s},
        }
        write = Write(
            _key(name),
            set_=set_,
            remove=[attribute for attribute, at_s in times.items() if not at_s],
            condition="#version = :version" if version else "attribute_not_exists(#version)",
            values={"version": version} if version else {},
        )
        try:
            item, kept = self._table.write(write, returns="ALL_NEW"), True
        except ConditionFailed as failed:
            item, kept = failed.item or {}, False
        self._known[name] = (self._clock.wall_s(), item)
        return kept

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


def _state(item: Mapping[str, Any]) -> RouteState:
    def at_s(attribute: str) -> float:
        text = item.get(attribute)
        return parse_iso(text).timestamp() if text else 0.0

    return RouteState(
        strikes=int(item.get("strikes", 0)),
        rested_at_s=at_s("rested_at"),
        rest_until_s=at_s("rest_until"),
        probe_until_s=at_s("probe_until"),
        prober=item.get("prober", ""),
        ramp_from_s=at_s("ramp_from"),
        ramp_s=int(item.get("ramp_ms", 1000 * health.RAMP_MOST_S)) / 1000,
    )


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _key(name: str) -> tuple[str, str]:
    return f"ROUTE#{name}", "HEALTH"
