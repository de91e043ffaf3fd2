"""Queue runs: the generation of a name that takes jobs now, its ordinals, and how it closes.

`NAME#h(profile|name)/META` points to the newest generation, `…/WORD` keeps a closing word that came before the jobs
it speaks of. `RUN#r/META` has what every run has; `RUN#r/BLOCK#b#<ordinal div 50>` has `j_<ordinal>` =
`<job> <caller's id>` for each claimed ordinal.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import ConditionFailed, Item, Key, Table, TransactionFailed, Write, due_partition
from slackwater.model import ids
from slackwater.model.claim import QueueRun, RunClosed
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.model.run import RunKind, RunState

IDLE_S: Final = 15 * 60  # a run without any word closes after so long: the first look at a new one
WORD_LIVES_S: Final = 15 * 60  # a closing word waits so long for the jobs it speaks of


class QueueRuns:
    """Runs of queued jobs."""

    def __init__(self, table: Table, clock: Clock, *, retain_days: int = 30) -> None:
        self._table = table
        self._clock = clock
        self._retain_s = (retain_days + 1) * 86_400

    # ------------------------------------------------------------------ generations

    def newest(self, profile: str, name: str) -> QueueRun | None:
        """The newest generation of a name, whatever its state."""
        pointer = self._table.get(_name(profile, name))
        return None if pointer is None else self.get(pointer["run_id"])

    def get(self, run_id: str) -> QueueRun | None:
        item = self._table.get(_meta(run_id))
        return None if item is None or item["kind"] != RunKind.QUEUE else _run(item)

    def current(self, profile: str, name: str, **pins: Any) -> QueueRun:
        """The generation that takes jobs, opened if there is none; `pins` are the versions that a new one keeps."""
        passed = 0  # generations that cannot be opened: the table forgets a name and its runs at different moments
        while True:
            pointer = self._table.get(_name(profile, name))
            run = None if pointer is None else self.get(pointer["run_id"])
            if run is not None and run.state == RunState.OPEN:
                return run
            generation = max(passed, 0 if pointer is None else pointer["generation"]) + 1
            if not self._open(profile, name, generation, pins):
                passed = generation

    def _open(self, profile: str, name: str, generation: int, pins: dict[str, Any]) -> bool:
        """Opens a generation, unless another worker is quicker. False if there is such a run from former times."""
        now = self._clock.now()
        run_id = ids.run_of_name(profile, name, generation)
        word = self._word(profile, name, now)
        shown = name if generation == 1 else f"{name}.{generation}"
        meta: Item = {
            "v": 1,
            "run_id": run_id,
            "kind": RunKind.QUEUE.value,
            "state": RunState.OPEN.value,
            "profile": profile,
            "name": name,
            "shown": shown,
            "generation": generation,
            **{count: 0 for count in ("accepted", "refused", "unsettled", "succeeded", "failed", "repeats", "extras")},
            "next_ordinal": 0,
            "started_at": iso(now),
            "last_arrival_at": iso(now),
            "deadline_at": iso(now),
            "gsi1pk": due_partition(run_id),
            "next_check_at": iso(now if word else later(now, IDLE_S)),
            "ttl": self._ttl(),
            **word,
            **pins,
        }
        writes = [
            Write(
                _name(profile, name),
                set_={"v": 1, "generation": generation, "run_id": run_id, "ttl": self._ttl()},
                condition="attribute_not_exists(#generation) OR #generation < :mine",
                values={"mine": generation},
            ),
            Write(_meta(run_id), put=meta, condition="attribute_not_exists(pk)"),
            Write(
                (f"RUNS#{iso(now)[:10]}", f"{iso(now)}#{run_id}"),
                put={"v": 1, "run_id": run_id, "kind": "queue", "profile": profile, "name": shown, "ttl": self._ttl()},
            ),
        ]
        if word:
            heard = {"asked": word["close_asked_at"]}
            writes.append(
                Write(
                    _word(profile, name),
                    remove=("close_asked_at", "expected"),
                    condition="#close_asked_at = :asked",
                    values=heard,
                )
            )
        try:
            transact(self._table, writes)
        except TransactionFailed as exc:
            if "ConditionalCheckFailed" not in exc.reasons:
                raise
            return exc.reasons[0] is not None or exc.reasons[1] is None
        return True

    def _word(self, profile: str, name: str, now: datetime) -> Item:
        """What was said about the name's next run before it began, unless that is long ago."""
        item = self._table.get(_word(profile, name)) or {}
        asked = item.get("close_asked_at")
        if asked is None or later(parse_iso(asked), WORD_LIVES_S) < now:
            return {}
        return {name: item[name] for name in ("close_asked_at", "expected", "close_message") if name in item}

    # ------------------------------------------------------------------ intake

    def ordinals(self, run_id: str, number: int) -> tuple[int, QueueRun]:
        """A slice of `number` ordinals: its first, and the run as it stands. Raises RunClosed."""
        try:
            item = self._table.write(
                Write(
                    _meta(run_id),
                    add={"next_ordinal": number},
                    condition="#state = :open",
                    values={"open": RunState.OPEN.value},
                ),
                returns="ALL_NEW",
            )
        except ConditionFailed:
            raise RunClosed(run_id) from None
        return item["next_ordinal"] - number, _run(item)

    # ------------------------------------------------------------------ closing

    def ask_close(self, run_id: str, *, expected: int | None, message_id: str) -> bool:
        """Says that no more jobs are coming; the tick looks at once. False if the run is not open."""
        now = iso(self._clock.now())
        word = {} if expected is None else {"expected": expected}
        try:
            self._table.write(
                Write(
                    _meta(run_id),
                    set_={"close_asked_at": now, "close_message": message_id, "next_check_at": now, **word},
                    condition="#state = :open",
                    values={"open": RunState.OPEN.value},
                )
            )
        except ConditionFailed:
            return False
        return True

    def close_next(self, profile: str, name: str, *, expected: int | None, message_id: str) -> bool:
        """Keeps the word for the name's next run, 15 minutes long; False for a doubled word that the newest run has
        heard already."""
        pointer = self._table.get(_name(profile, name))
        newest = None if pointer is None else self._table.get(_meta(pointer["run_id"]))
        if newest is not None and newest.get("close_message") == message_id:
            return False
        self._table.write(
            Write(
                _word(profile, name),
                put={
                    "v": 1,
                    "ttl": self._ttl(),
                    "close_asked_at": iso(self._clock.now()),
                    "close_message": message_id,
                    **({} if expected is None else {"expected": expected}),
                },
            )
        )
        return True

    def to_settling(self, run_id: str) -> bool:
        """From here on the run takes no more jobs. True also if it was so already."""
        try:
            self._table.write(
                Write(
                    _meta(run_id),
                    set_={"state": RunState.SETTLING.value, "closed_at": iso(self._clock.now())},
                    condition="#state = :open OR #state = :settling",
                    values={"open": RunState.OPEN.value, "settling": RunState.SETTLING.value},
                )
            )
        except ConditionFailed:
            return False
        return True

    def look_again(self, run_id: str, at: datetime, *, deadline: datetime | None = None) -> None:
        """When the tick looks next; `deadline` mends the run's latest deadline."""
        more = {} if deadline is None else {"deadline_at": iso(deadline)}
        self._table.write(Write(_meta(run_id), set_={"next_check_at": iso(at), **more}))

    def claimed(self, run_id: str) -> Iterator[tuple[str, int, str, str]]:
        """Every claimed ordinal: block, ordinal, job, caller's id (shortened if it is very long)."""
        for item in self._table.query(f"RUN#{run_id}", prefix="BLOCK#"):
            block = item["sk"].split("#")[1]
            names = sorted((int(name[2:]), value) for name, value in item.items() if name.startswith("j_"))
            for ordinal, value in names:
                job, _, caller_id = value.partition(" ")
                yield block, ordinal, job, caller_id

    def _ttl(self) -> int:
        return int(later(self._clock.now(), self._retain_s).timestamp())


def _name(profile: str, name: str) -> Key:
    return f"NAME#{ids.h(f'{profile}|{name}')}", "META"


def _word(profile: str, name: str) -> Key:
    return f"NAME#{ids.h(f'{profile}|{name}')}", "WORD"


def _meta(run_id: str) -> Key:
    return f"RUN#{run_id}", "META"


def _run(item: Item) -> QueueRun:
    asked = item.get("close_asked_at")
    return QueueRun(
        run_id=item["run_id"],
        profile=item["profile"],
        name=item["name"],
        generation=item["generation"],
        state=item["state"],
        accepted=item["accepted"],
        refused=item["refused"],
        unsettled=item["unsettled"],
        next_ordinal=item["next_ordinal"],
        started_at=parse_iso(item["started_at"]),
        last_arrival_at=parse_iso(item["last_arrival_at"]),
        deadline=parse_iso(item["deadline_at"]),
        profiles_version=item["profiles_version"],
        expected=item.get("expected"),
        close_asked_at=None if asked is None else parse_iso(asked),
        token=item.get("token"),
    )
