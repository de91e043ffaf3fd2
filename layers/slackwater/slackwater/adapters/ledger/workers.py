"""Who is alive: one item a worker, so that the lease of all it holds is renewed by one write, and can be broken by
one.

`WORKER#w/META`: `lease_until` (wall seconds), `s_<job>` for each job whose call has begun, `fenced` once somebody has
found the lease expired. A fenced worker can begin no further call: what it had begun is known for good.
"""

from collections.abc import Iterable
from typing import Final

from slackwater.adapters.ledger.table import ConditionFailed, Item, Key, Table, Write
from slackwater.model.claim import Fate
from slackwater.model.clock import Clock
from slackwater.model.errors import Lost

LEASE_S: Final = (
    80  # below the 90 s visibility, and renewed before it: a message that comes back finds its worker's lease expired
)
KEEP_S: Final = 15 * 86_400  # longer than any message lives
_STARTED: Final = "s_"


class Workers:
    """The leases of workers."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def renew(self, worker: str, *, stops_at_s: float) -> None:
        """Begins or prolongs a worker's lease. Raises Lost for a worker that has been given up."""
        self._mine(worker, {"stops_at": int(stops_at_s)})

    def start(self, worker: str, jobs: Iterable[str]) -> None:
        """Records that the calls of these jobs begin. Raises Lost for a worker that has been given up: it must not
        call."""
        self._mine(worker, {_STARTED + job: True for job in jobs})

    def end(self, worker: str) -> None:
        """Gives up the own lease, so that what this worker could not finish need not wait for it. Nothing of it may
        be in flight."""
        try:
            self._table.write(Write(_key(worker), set_={"lease_until": 0}, condition="attribute_exists(pk)"))
        except ConditionFailed:
            return

    def _mine(self, worker: str, values: Item) -> None:
        wall_s = int(self._clock.wall_s())
        try:
            self._table.write(
                Write(
                    _key(worker),
                    set_={**values, "lease_until": wall_s + LEASE_S, "v": 1, "ttl": wall_s + KEEP_S},
                    condition="attribute_not_exists(#fenced)",
                )
            )
        except ConditionFailed:
            raise Lost(f"worker {worker} was given up") from None

    def fate(self, worker: str) -> Fate:
        """Gives up a worker whose lease is over, for good; one that still has it is left alone."""
        wall_s = int(self._clock.wall_s())
        try:
            item = self._table.write(
                Write(
                    _key(worker),
                    set_={"fenced": True},
                    set_once={"v": 1, "ttl": wall_s + KEEP_S},
                    condition="attribute_not_exists(#lease_until) OR #lease_until < :wall OR attribute_exists(#fenced)",
                    values={"wall": wall_s},
                ),
                returns="ALL_NEW",
            )
        except ConditionFailed:
            alive = self._table.get(_key(worker))
            if alive is None:
                return Fate(started=frozenset())
            return Fate(soon_s=alive["lease_until"], latest_s=alive["stops_at"])
        return Fate(started=frozenset(name.removeprefix(_STARTED) for name in item if name.startswith(_STARTED)))


def _key(worker: str) -> Key:
    return f"WORKER#{worker}", "META"
