"""`CANARY#model|traits`: whether a model takes requests of a shape, as far as calls have shown. Names only."""

from collections.abc import Sequence
from typing import Any, Final

from slackwater.adapters.ledger.table import ConditionFailed, Key, Table, Write
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.policy.canary import PASSED_S, REFUSED_S, WAIT_S, Asked, Canary

_LIVES_S: Final = {Canary.ASKED: WAIT_S, Canary.PASSED: PASSED_S, Canary.REFUSED: REFUSED_S}


class Canaries:
    """What is past its time is unknown again."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def get(self, key: str) -> Asked:
        """What is known of a shape, and of the canaries that were asked last."""
        item = self._table.get(_key(key))
        if item is None or parse_iso(item["until"]) <= self._clock.now():
            return Asked(Canary.UNKNOWN)
        return Asked(
            Canary(item["state"]),
            item.get("run", ""),
            item.get("block", ""),
            item.get("unit", ""),
            tuple(item.get("lines", ())),
        )

    def ask(self, key: str, *, run: str, block: str, unit: str, lines: Sequence[int]) -> None:
        """Notes which jobs are the canaries of a shape. The first run that asks is waited for by the others; one that
        was refused is followed by the next that asks."""
        asked = {"run": run, "block": block, "unit": unit, "lines": list(lines)}
        try:
            self._put(key, Canary.ASKED, asked, condition="attribute_not_exists(pk) OR #until <= :now OR #state = :no")
        except ConditionFailed:
            return

    def note(self, key: str, state: Canary, run: str = "") -> None:
        """What has come of them, and in which run. An answer outlasts a refusal."""
        self._put(key, state, {"run": run}, condition=None)

    def _put(self, key: str, state: Canary, more: dict[str, Any], *, condition: str | None) -> None:
        now = self._clock.now()
        item = {"v": 1, "state": state.value, "until": iso(later(now, _LIVES_S[state])), **more}
        values = {} if condition is None else {"now": iso(now), "no": Canary.REFUSED.value}
        ttl = int(self._clock.wall_s() + _LIVES_S[state]) + 86_400
        self._table.write(Write(_key(key), put={**item, "ttl": ttl}, condition=condition, values=values))


def _key(key: str) -> Key:
    return f"CANARY#{key}", "META"
