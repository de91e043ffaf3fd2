"""Transactions that meet on one item: the loser waits a moment and tries again."""

import random
import time
from collections.abc import Sequence
from typing import Final

from slackwater.adapters.ledger.table import Table, TransactionFailed, Write

TRIES: Final = 8
FIRST_WAIT_S: Final = 0.02  # doubles, with full jitter: at most 2.5 s in all
PASSING: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def transact(table: Table, writes: Sequence[Write]) -> None:
    """As `table.transact`; a cancellation for reasons that pass is tried again. Raises TransactionFailed."""
    for left in reversed(range(TRIES)):
        try:
            table.transact(writes)
            return
        except TransactionFailed as exc:
            reasons = {reason for reason in exc.reasons if reason}
            if left == 0 or not reasons <= PASSING:
                raise
            time.sleep(random.uniform(0, FIRST_WAIT_S * 2 ** (TRIES - left)))  # noqa: S311 - jitter, no secret
