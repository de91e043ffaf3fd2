"""The quota ledger of a single process: for simulations and measurements."""

from collections.abc import Callable
from typing import TypeVar

from slackwater.policy.quota import Pool

Answer = TypeVar("Answer")


class QuotasInMemory:
    """As `ledger.quota.QuotaLedger`, for engines of one thread at a time."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}

    def change(self, pool: str, change: Callable[[Pool], tuple[Pool, Answer]], now_s: float) -> tuple[Pool, Answer]:
        """Applies `change` to the pool; `now_s` is for ledgers that forget."""
        del now_s
        self.pools[pool], answer = change(self.pools.get(pool, Pool()))
        return self.pools[pool], answer
