"""What the fleet knows of its routes: which rest, and until when. One row a route, read through a short cache."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any, Final

from slackwater.adapters.ledger.table import Table, Write
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.policy.health import rest_after

FRESH_S: Final = 1.0  # a container knows what another learned within two seconds


class RouteHealth:
    """Rests are product time. Thread-safe; holds nothing that another container must know."""

    def __init__(self, table: Table, clock: Clock, rng: random.Random, *, retain_s: float = 86_400) -> None:
        self._table = table
        self._clock = clock
        self._rng = rng
        self._retain_s = retain_s
        self._lock = Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._read_at: dict[str, float] = {}

    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]:
        """The routes among `names` that rest now, and until when."""
        now = self._clock.now()
        found = {}
        for name, item in self._items(names).items():
            until = item.get("rest_until")
            if until is not None and parse_iso(until) > now:
                found[name] = parse_iso(until)
        return found

    def report(self, name: str, fault: str | None) -> None:
        """`fault` of a call over this route, None for an answer. Only what says something of the route is kept."""
        item = self._items([name])[name]
        strikes = int(item.get("strikes", 0))
        if fault is None:
            if strikes:
                self._keep(name, {"strikes": 0})
            return
        rest_s = rest_after(fault, strikes, self._rng)
        if rest_s:
            until = iso(later(self._clock.now(), rest_s))
            self._keep(name, {"strikes": strikes + 1, "rest_until": max(until, item.get("rest_until") or "")})

    def _items(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        wall = self._clock.wall_s()
        with self._lock:
            stale = [n for n in names if wall - self._read_at.get(n, -FRESH_S) >= FRESH_S]
            for name in stale:
                self._read_at[name] = wall  # others go on with what was known while this one reads
        for name in stale:
            item = self._table.get(_key(name)) or {}
            with self._lock:
                self._known[name] = item
        with self._lock:
            return {name: self._known.get(name, {}) for name in names}

    def _keep(self, name: str, values: dict[str, Any]) -> None:
        ttl = int(later(self._clock.now(), self._retain_s).timestamp())
        new = self._table.write(Write(_key(name), set_={**values, "v": 1, "ttl": ttl}), returns="ALL_NEW")
        with self._lock:
            self._known[name] = new


def _key(name: str) -> tuple[str, str]:
    return f"ROUTE#{name}", "HEALTH"
