"""Runs, the units they wait for, and what their blocks have."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.table import (
    MAX_TRANSACTION,
    ConditionFailed,
    Item,
    Table,
    TransactionFailed,
    Write,
    due_partition,
)
from slackwater.model import bits
from slackwater.model.clock import Clock, iso, later
from slackwater.model.errors import Lost, NotYet
from slackwater.model.run import ENDED, RunState, Unit, throttle_counts

UNITS_A_TRANSACTION: Final = MAX_TRANSACTION - 1
_KNOWN: Final = "attribute_exists(pk)"
TRIES: Final = 8  # transactions on one run's META may meet; each loser tries again, this often


class Runs:
    """Raises Lost and NotYet where another worker owns a unit, RuntimeError where a transaction loses eight times."""

    def __init__(self, table: Table, clock: Clock, *, retain_days: int) -> None:
        self._table = table
        self._clock = clock
        self._retain_s = retain_days * 86_400

    # ------------------------------------------------------------------ runs

    def open(self, run_id: str, attributes: Mapping[str, Any], *, next_check_at: datetime) -> Item:
        """The run's META, made if it is new; what is already known of it stays."""
        now = self._clock.now()
        started = iso(now)
        return self._table.write(
            Write(
                _meta(run_id),
                set_once={
                    **attributes,
                    "v": 1,
                    "run_id": run_id,
                    "state": RunState.OPEN.value,
                    "unsettled": 0,
                    "repeats": 0,
                    "started_at": started,
                    "gsi1pk": due_partition(run_id),
                    "next_check_at": iso(next_check_at),
                    "ttl": self.ttl(),
                },
            ),
            returns="ALL_NEW",
        )

    def list_under(self, run_id: str, started_at: str, attributes: Mapping[str, Any]) -> None:
        """Enters the run in the list of its day, for `runs`."""
        self._table.write(
            Write(
                (f"RUNS#{started_at[:10]}", f"{started_at}#{run_id}"),
                put={"v": 1, "run_id": run_id, "ttl": self.ttl(), **attributes},
            )
        )

    def get(self, run_id: str) -> Item | None:
        return self._table.get(_meta(run_id))

    def update(self, run_id: str, **attributes: Any) -> Item:
        """Sets attributes of META; gives all of it. Raises LookupError for a run that is not in the ledger."""
        return self._of_known(Write(_meta(run_id), set_=attributes, condition=_KNOWN))

    def _of_known(self, write: Write) -> Item:
        try:
            return self._table.write(write, returns="ALL_NEW")
        except ConditionFailed:
            raise LookupError(f"no run {write.key[0].removeprefix('RUN#')}") from None

    def cancel(self, run_id: str) -> Item | None:
        """Marks the run, so that nothing new is begun for it, and lets the tick look at once; the first mark stands.
        None for a run that is unknown or has ended."""
        now = iso(self._clock.now())
        try:
            return self._table.write(
                Write(
                    _meta(run_id),
                    set_={"next_check_at": now},
                    set_once={"cancelled_at": now},
                    condition="attribute_exists(pk) AND NOT #state IN (:settled, :failed, :cancelled)",
                    values={state.value: state.value for state in sorted(ENDED)},
                ),
                returns="ALL_NEW",
            )
        except ConditionFailed:
            return None

    def add_repeats(self, run_id: str, number: int) -> None:
        """Counts calls whose reply was lost and that are made again."""
        if number:
            self._table.write(Write(_meta(run_id), add={"repeats": number}))

    def add_rerouted(self, run_id: str, number: int) -> None:
        """Counts answered calls that did not go by the route that their profile's mode prefers for them."""
        if number:
            self._table.write(Write(_meta(run_id), add={"rerouted": number}))

    def add_throttles(self, run_id: str, by_region: Mapping[str, int]) -> None:
        """Counts calls that a region refused for its quota."""
        self._table.write(Write(_meta(run_id), add=throttle_counts(by_region)))

    def set_token(self, run_id: str, token: str) -> Item:
        """Stores the workflow's task token and looks: whoever comes last, settler or waiter, sees both.

        Raises LookupError for a run that is not in the ledger.
        """
        return self._of_known(Write(_meta(run_id), set_={"token": token}, condition=_KNOWN))

    def reopen(self, run_id: str) -> Item:
        """A run whose workflow failed goes on: the tick looks at it again. Gives all of META; raises LookupError."""
        return self._of_known(
            Write(
                _meta(run_id),
                set_={
                    "state": RunState.OPEN.value,
                    "gsi1pk": due_partition(run_id),
                    "next_check_at": iso(self._clock.now()),
                },
                remove=("reason", "finished_at"),
                condition=_KNOWN,
            )
        )

    def finish(self, run_id: str, state: RunState, **attributes: Any) -> None:
        """The run has ended; the tick has no more business with it. Raises LookupError for a run that is not in the
        ledger.
        """
        self._of_known(
            Write(
                _meta(run_id),
                set_={"state": state.value, **attributes},
                remove=tuple({"gsi1pk", "next_check_at", "token", "reason"} - attributes.keys()),
                condition=_KNOWN,
            )
        )

    # ------------------------------------------------------------------ units

    def register(self, run_id: str, units: Sequence[Unit]) -> None:
        """Enters units that the run must wait for; those already entered are left alone and not counted again."""
        for start in range(0, len(units), UNITS_A_TRANSACTION):
            self._register(run_id, list(units[start : start + UNITS_A_TRANSACTION]))

    def _register(self, run_id: str, units: list[Unit]) -> None:
        for _ in range(TRIES):
            if not units:
                return
            try:
                self._table.transact(
                    [
                        *(self._put_unit(run_id, unit) for unit in units),
                        Write(_meta(run_id), add={"unsettled": len(units)}),
                    ]
                )
                return
            except TransactionFailed as exc:
                known = {i for i, reason in enumerate(exc.reasons[:-1]) if reason == "ConditionalCheckFailed"}
                units = [unit for i, unit in enumerate(units) if i not in known]
        raise RuntimeError(f"run {run_id}: its units could not be entered, try again")

    def _put_unit(self, run_id: str, unit: Unit) -> Write:
        item: dict[str, Any] = {
            "v": 1,
            "unit": unit.id,
            "kind": unit.kind,
            "state": "waiting",
            "lane": unit.lane,
            "hop": 0,
            "generation": unit.generation,
            "jobs": unit.jobs,
            "ttl": self.ttl(),
        }
        if unit.rescued:
            item["rescued"] = True
        if unit.block is not None:
            item["block"] = unit.block
        if unit.lines is not None:
            item["lines"] = unit.lines
            item["first_line"] = unit.first_line
        return Write(_unit(run_id, unit.id), put=item, condition="attribute_not_exists(pk)")

    def units(self, run_id: str) -> Iterator[Item]:
        return self._table.query(f"RUN#{run_id}", prefix="UNIT#")

    def unit(self, run_id: str, unit_id: str) -> Item | None:
        return self._table.get(_unit(run_id, unit_id))

    def claim(self, run_id: str, unit_id: str, *, hop: int, owner: str, lease_s: float) -> Item:
        """Takes a pack for `owner`. Raises Lost if it has ended or gone on by another message, NotYet while it is
        leased.
        """
        wall = int(self._clock.wall_s())
        try:
            return self._table.write(
                Write(
                    _unit(run_id, unit_id),
                    set_={"state": "calling", "owner": owner, "hop": hop, "lease_until": wall + int(lease_s)},
                    add={"attempt": 1},
                    condition="#state <> :ended AND #hop <= :mine AND (attribute_not_exists(#lease_until) OR "
                    "#lease_until < :wall OR #owner = :me)",
                    values={"ended": "ended", "mine": hop, "wall": wall, "me": owner},
                ),
                returns="ALL_NEW",
            )
        except ConditionFailed:
            item = self.unit(run_id, unit_id)
            if item is None or item["state"] == "ended" or item["hop"] > hop:
                raise Lost(f"{unit_id} needs this message no more") from None
            raise NotYet(f"{unit_id} is with another worker") from None

    def count_lost_calls(self, run_id: str, unit_id: str, *, owner: str, stored: bytes, lost: int) -> None:
        """After a killed worker: its calls in flight are counted as repeats, in one step with forgetting them."""
        if not lost:
            return
        try:
            self._table.transact(
                [
                    Write(
                        _unit(run_id, unit_id),
                        set_={"started": stored},
                        condition="#owner = :me",
                        values={"me": owner},
                    ),
                    Write(_meta(run_id), add={"repeats": lost}),
                ]
            )
        except TransactionFailed as exc:
            if exc.reasons[0] == "ConditionalCheckFailed":
                raise Lost(unit_id) from None
            raise NotYet(f"{unit_id}: the run is busy") from None

    def start(self, run_id: str, unit_id: str, *, owner: str, started: bytes, lease_s: float) -> None:
        """Records which positions are being called (all of them so far) and renews the lease. Raises Lost."""
        self._mine(run_id, unit_id, owner, {"started": started, "lease_until": int(self._clock.wall_s() + lease_s)})

    def renew(self, run_id: str, unit_id: str, *, owner: str, lease_s: float) -> None:
        """Raises Lost."""
        self._mine(run_id, unit_id, owner, {"lease_until": int(self._clock.wall_s() + lease_s)})

    def hand_back(
        self, run_id: str, unit_id: str, *, owner: str, hop: int, started: bytes, faults: Mapping[str, int]
    ) -> None:
        """The pack goes on by the message with `hop`; the older one is void. `faults`: line → failures that count
        against a job's bound. Raises Lost.
        """
        self._mine(
            run_id,
            unit_id,
            owner,
            {"state": "waiting", "hop": hop, "lease_until": 0, "started": started, "faults": dict(faults)},
        )

    def _mine(self, run_id: str, unit_id: str, owner: str, values: Mapping[str, Any]) -> None:
        try:
            self._table.write(
                Write(
                    _unit(run_id, unit_id),
                    set_=values,
                    condition="#owner = :me AND #state = :calling",
                    values={"me": owner, "calling": "calling"},
                )
            )
        except ConditionFailed:
            raise Lost(unit_id) from None

    def end_unit(self, run_id: str, unit_id: str) -> None:
        """The unit has nothing more to give; ending it again changes nothing."""
        for _ in range(TRIES):
            try:
                self._table.transact(
                    [
                        Write(
                            _unit(run_id, unit_id),
                            set_={"state": "ended", "ended_at": iso(self._clock.now())},
                            remove=("lease_until",),
                            condition="attribute_exists(pk) AND #state <> :ended",
                            values={"ended": "ended"},
                        ),
                        Write(_meta(run_id), add={"unsettled": -1}),
                    ]
                )
                return
            except TransactionFailed as exc:
                if exc.reasons[0] == "ConditionalCheckFailed":
                    return
        raise RuntimeError(f"run {run_id}: the end of {unit_id} could not be entered, try again")

    # ------------------------------------------------------------------ blocks

    def cover(self, run_id: str, block: str, source: str, lines: bytes) -> None:
        """These positions of the block have a final row from this source (one attribute a source: DynamoDB has no
        OR).
        """
        self._table.write(
            Write(
                _block(run_id, block),
                set_={"s_" + source.replace("-", "_"): lines},
                set_once={"v": 1, "ttl": self.ttl()},
            )
        )

    def covered(self, run_id: str) -> int:
        """How many lines of the run have a final row."""
        total = 0
        for item in self._table.query(f"RUN#{run_id}", prefix="BLOCK#"):
            total += bits.count(bits.union(*(value for name, value in item.items() if name.startswith("s_"))))
        return total

    def blocks(self, run_id: str) -> Iterator[Item]:
        return self._table.query(f"RUN#{run_id}", prefix="BLOCK#")

    def ttl(self) -> int:
        """Epoch seconds after which an item may go: what is kept of a run outlives its files by a day."""
        return int(later(self._clock.now(), self._retain_s + 86_400).timestamp())


def _meta(run_id: str) -> tuple[str, str]:
    return f"RUN#{run_id}", "META"


def _unit(run_id: str, unit_id: str) -> tuple[str, str]:
    return f"RUN#{run_id}", f"UNIT#{unit_id}"


def _block(run_id: str, block: str) -> tuple[str, str]:
    return f"RUN#{run_id}", f"BLOCK#{block}"
