"""What was spent under each cap: one item an account, changed by versioned updates."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from slackwater.adapters.ledger.table import ConditionFailed, Item, Key, Table, Write
from slackwater.model.clock import Clock, later
from slackwater.model.errors import Contended
from slackwater.policy.budget import Account, Hold

Answer = TypeVar("Answer")
ATTEMPTS: Final = 10
FIRST_WAIT_S: Final = 0.01  # doubles up to LONGEST_WAIT_S, with full jitter
LONGEST_WAIT_S: Final = 0.3


class Budgets:
    """Accounts by key. Those of a run lie with the run, those of a day with their profile."""

    def __init__(self, table: Table, clock: Clock, rng: random.Random, *, retain_days: int) -> None:
        self._table = table
        self._clock = clock
        self._rng = rng
        self._retain_s = (retain_days + 1) * 86_400

    def get(self, key: Key) -> Account:
        """As it stands; an empty one where nobody has spent."""
        return _account(self._table.get(key) or {})

    def change(self, key: Key, change: Callable[[Account], tuple[Account, Answer]]) -> tuple[Account, Answer]:
        """Applies a pure function (it may run several times) to the account. Raises Contended."""
        item = self._table.get(key) or {}
        for attempt in range(ATTEMPTS):
            before = _account(item)
            after, answer = change(before)
            if after == before:
                return after, answer
            version = int(item.get("version", 0))
            try:
                self._table.write(self._write(key, after, version))
            except ConditionFailed as failed:
                item = failed.item or {}
                time.sleep(self._rng.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)))
            else:
                return after, answer
        raise Contended("/".join(key))

    def _write(self, key: Key, account: Account, version: int) -> Write:
        holds: dict[str, Any] = {
            name: {"pico": hold.pico} | ({} if hold.until_s is None else {"until_s": hold.until_s})
            for name, hold in account.holds.items()
        }
        return Write(
            key,
            set_={
                "v": 1,
                "version": version + 1,
                "spent_pico": account.spent_pico,
                "holds": holds,
                "ttl": int(later(self._clock.now(), self._retain_s).timestamp()),
            },
            condition="#version = :version" if version else "attribute_not_exists(#version)",
            values={"version": version} if version else {},
        )


def _account(item: Item) -> Account:
    holds: Mapping[str, Mapping[str, int]] = item.get("holds", {})
    return Account(
        int(item.get("spent_pico", 0)),
        {name: Hold(int(hold["pico"]), hold.get("until_s")) for name, hold in holds.items()},
    )
