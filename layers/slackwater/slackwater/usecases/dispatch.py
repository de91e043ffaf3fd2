"""A pack on the on-demand lane: claimed, called, stored, and what nobody could take sent back."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import orjson

from slackwater.model import bits, names
from slackwater.model.clock import Clock
from slackwater.model.job import Job
from slackwater.model.run import PackMessage
from slackwater.policy import send_back
from slackwater.usecases.parts import Parts
from slackwater.usecases.ports import Documents, Outgoing, Sender
from slackwater.usecases.settle import Settle
from slackwater.usecases.spending import CallsPort
from slackwater.usecases.tries import Call, Unfinished, rerouted

LEASE_S: Final = 85.0  # below the 90 s visibility: a message that comes back finds its pack free


class Packs(Protocol):
    """The ledger's side of a pack; all raise Lost when another worker owns it."""

    def claim(self, run_id: str, unit_id: str, *, hop: int, owner: str, lease_s: float) -> dict[str, Any]: ...
    def count_lost_calls(self, run_id: str, unit_id: str, *, owner: str, stored: bytes, lost: int) -> None: ...
    def start(self, run_id: str, unit_id: str, *, owner: str, started: bytes, lease_s: float) -> None: ...
    def renew(self, run_id: str, unit_id: str, *, owner: str, lease_s: float) -> None: ...
    def hand_back(
        self, run_id: str, unit_id: str, *, owner: str, hop: int, started: bytes, faults: Mapping[str, int]
    ) -> None: ...
    def add_repeats(self, run_id: str, number: int) -> None: ...
    def add_rerouted(self, run_id: str, number: int) -> None: ...
    def add_throttles(self, run_id: str, by_region: Mapping[str, int]) -> None: ...


class CallsOfJobs(Protocol):
    """Jobs of one run as calls of one lane: their routes in the order to try."""

    def __call__(self, run_id: str, lane: str, rows: Iterable[dict[str, Any]], block: str) -> Sequence[Call]: ...


@dataclass(frozen=True)
class Dispatched:
    """What became of a pack in this pass."""

    stored: int
    unfinished: int
    repeats: int


class Dispatch:
    """Raises Lost (drop the message) and NotYet (leave it on the queue)."""

    def __init__(
        self,
        *,
        packs: Packs,
        parts: Parts,
        documents: Documents,
        engine: CallsPort,
        calls_of: CallsOfJobs,
        queue: Sender,
        settle: Settle,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._packs = packs
        self._parts = parts
        self._documents = documents
        self._engine = engine
        self._calls_of = calls_of
        self._queue = queue
        self._settle = settle
        self._clock = clock
        self._rng = rng

    def __call__(
        self,
        message: PackMessage,
        *,
        owner: str,
        stop_at_wall_s: float,
        alive: Callable[[Callable[[], None]], Any],
    ) -> Dispatched:
        """Runs the pack once. `alive(renew)` is entered for as long as the worker lives: it keeps message and lease."""
        pack = self._packs.claim(message.run_id, message.pack_id, hop=message.hop, owner=owner, lease_s=LEASE_S)
        with alive(lambda: self._packs.renew(message.run_id, message.pack_id, owner=owner, lease_s=LEASE_S)):
            return self._run(message, pack, owner, stop_at_wall_s)

    def _run(self, message: PackMessage, pack: dict[str, Any], owner: str, stop_at_wall_s: float) -> Dispatched:
        first = pack["first_line"]
        source = f"pack-{message.pack_id}"
        stored = {row["line"] - first for row in self._parts.rows(message.run_id, message.block, source)}
        lost = set(bits.unpack(pack.get("started"))) - stored
        self._packs.count_lost_calls(
            message.run_id, message.pack_id, owner=owner, stored=bits.pack(stored), lost=len(lost)
        )
        wanted = set(bits.unpack(pack["lines"])) - stored
        calls = self._calls_of(
            message.run_id,
            pack["lane"],
            (row for row in self._input(message) if row["line"] - first in wanted),
            message.block,
        )
        faults = pack.get("faults") or {}
        rescued = bool(pack.get("rescued"))
        calls = [
            replace(call, job=replace(call.job, rescued=rescued), faults=faults.get(str(call.job.line), 0))
            for call in calls
        ]
        before = pack["generation"] - 1 if rescued else 0  # so often its jobs went by batch
        sink = _PackSink(
            self._packs, self._parts, message, source=source, owner=owner, first=first, stored=stored, before=before
        )
        unfinished = self._engine.run(calls, sink, stop_at_wall_s=stop_at_wall_s)
        for run_id, by_region in self._engine.take_throttles().items():  # first: with its last unit a run may settle
            self._packs.add_throttles(run_id, by_region)
        if unfinished:
            self._hand_back(message, owner, sink, unfinished)
        else:
            self._settle.unit(message.run_id, message.pack_id, source, {message.block: bits.pack(sink.stored)})
        return Dispatched(len(sink.stored), len(unfinished), len(lost) + sink.losses)

    def _input(self, message: PackMessage) -> Iterator[dict[str, Any]]:
        for line in self._documents.get(names.input_key(message.run_id, message.block)).splitlines():
            yield orjson.loads(line)

    def _hand_back(self, message: PackMessage, owner: str, sink: "_PackSink", unfinished: Sequence[Unfinished]) -> None:
        """Send, then mark: killed in between, the older message finds its hop still good and the newer one waits."""
        ready_at = send_back.useful_from([u.not_before for u in unfinished])
        deadline = min(u.call.job.deadline for u in unfinished)
        onward = PackMessage(message.run_id, message.pack_id, message.block, message.hop + 1)
        delay_s = send_back.delay_s(self._clock.now(), ready_at, deadline, self._rng.random())
        self._queue.send([Outgoing(onward.body(), delay_s=delay_s, group=message.run_id)])
        self._packs.hand_back(
            message.run_id,
            message.pack_id,
            owner=owner,
            hop=onward.hop,
            started=bits.pack(sink.stored),
            faults={str(u.call.job.line): u.call.faults for u in unfinished if u.call.faults},
        )


class _PackSink:
    """Keeps `started` and the parts of one pack in step."""

    def __init__(
        self,
        packs: Packs,
        parts: Parts,
        message: PackMessage,
        *,
        source: str,
        owner: str,
        first: int,
        stored: set[int],
        before: int,
    ) -> None:
        self._before = before
        self._packs, self._parts, self._message = packs, parts, message
        self._source, self._owner, self._first = source, owner, first
        self.stored = stored
        self._started = set(stored)
        self._wave = 0
        self.losses = 0

    def starting(self, calls: Sequence[Call]) -> None:
        self._started |= {self._position(call.job) for call in calls}
        self._packs.start(
            self._message.run_id,
            self._message.pack_id,
            owner=self._owner,
            started=bits.pack(self._started),
            lease_s=LEASE_S,
        )

    def losing(self, call: Call) -> None:
        self.losses += 1
        self._packs.add_repeats(call.job.run_id, 1)

    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        key = self._parts.append(
            self._message.run_id,
            self._message.block,
            self._source,
            [{**row, "attempts": row["attempts"] + self._before} for _, row in rows],
            first_wave=self._wave,
        )
        self._wave = names.wave_of_part(key) + 1
        self.stored |= {self._position(call.job) for call, _ in rows}
        self._packs.add_rerouted(self._message.run_id, len(rerouted(rows)))

    def _position(self, job: Job) -> int:
        return job.line - self._first
