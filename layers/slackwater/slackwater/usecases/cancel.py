"""Cancelling a run: it is marked first, and from then on nothing new is begun for it; what was begun is finished, kept
and paid for; what is left fails as `cancelled`, so that the run ends as any other, with its results and its receipt.

Each pass does what can be done now. The tick asks for another one until nothing is left, so a pass may be doubled or
lost.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, Protocol

from slackwater.model import ids
from slackwater.model.claim import Entry, JobState, Pool, Pooled, PooledUnit
from slackwater.model.clock import Clock
from slackwater.model.run import ENDED, RunKind, is_cancelled
from slackwater.model.shard import FIRST_GENERATION
from slackwater.model.words import counted
from slackwater.usecases.cancelled import CANCELLED, cancelled_row
from slackwater.usecases.pooled import POOLED
from slackwater.usecases.ports import Outgoing, Sender
from slackwater.usecases.queue_runs import READ_AT_ONCE, Row

SOURCE: Final = "route-cancel"


class MetaPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


# ---------------------------------------------------------------------- asking


class MarkPort(MetaPort, Protocol):
    def cancel(self, run_id: str) -> dict[str, Any] | None: ...


class AskCancel:
    """What the command does: marks the run and asks a worker for the first pass."""

    def __init__(self, *, runs: MarkPort, work: Sender) -> None:
        self._runs = runs
        self._work = work

    def __call__(self, run_id: str) -> bool:
        """False for a run that is unknown or has ended. Asking again is harmless."""
        if self._runs.cancel(run_id) is None:
            return False
        self._work.send([Outgoing({"v": 1, "do": "cancel_run", "run": run_id})])
        return True


# ---------------------------------------------------------------------- doing


class RunsPort(MarkPort, Protocol):
    def units(self, run_id: str) -> Iterator[dict[str, Any]]: ...


class ShardsPort(Protocol):
    def cut_short(self, shard_id: str, at: datetime) -> bool: ...


class FailUnitsPort(Protocol):
    def __call__(self, run_id: str, code: str, only: Iterable[str] | None = None) -> int: ...


class ClosingPort(Protocol):
    def close_queue_run(self, run_id: str) -> bool: ...
    def open_jobs(self, run_id: str) -> Iterator[Entry]: ...


class PoolsPort(Protocol):
    def get(self, pool: str) -> Pool | None: ...
    def members(self, pool: str) -> Iterator[Pooled]: ...
    def leave(self, pool: str, jobs: Sequence[str]) -> frozenset[str]: ...
    def units(self, pool: str) -> Iterator[PooledUnit]: ...
    def leave_unit(self, pool: str, unit: str) -> bool: ...


class ResultsPort(Protocol):
    def store(self, rows: Sequence[Row], source: str) -> frozenset[str]: ...


class CancelRun:
    """One pass of a worker. Gives a word on what happened, for the log."""

    def __init__(
        self,
        *,
        runs: RunsPort,
        shards: ShardsPort,
        fail_units: FailUnitsPort,
        closing: ClosingPort,
        pools: PoolsPort,
        results: ResultsPort,
        look: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        """`look` wakes the run's workflow when nothing of it is left to wait for."""
        self._runs = runs
        self._shards = shards
        self._fail_units = fail_units
        self._closing = closing
        self._pools = pools
        self._results = results
        self._look = look
        self._clock = clock

    def __call__(self, run_id: str) -> str:
        meta = self._runs.get(run_id)
        if meta is None or meta["state"] in ENDED:
            return "had ended"
        if not is_cancelled(meta) and self._runs.cancel(run_id) is None:
            return "had ended"
        word = self._jobs(run_id) if meta["kind"] == RunKind.QUEUE.value else self._units(run_id)
        self._look(run_id)
        return word

    def _units(self, run_id: str) -> str:
        """Of a file run: packs that nobody holds end here, those that are being called end by themselves; batch jobs
        are stopped by moving the moment at which the tick stops them."""
        now = self._clock.now()
        packs, shards = [], 0
        for unit in self._runs.units(run_id):
            if unit["state"] == "ended":
                continue
            if unit["kind"] == "pack":
                packs.append(unit["unit"])
            elif unit["kind"] == POOLED:
                pool = unit.get("pool")
                if pool is None or self._pools.leave_unit(pool, unit["unit"]):
                    packs.append(unit["unit"])  # else its pool is closed: its batch job is waited for
            else:
                shards += self._shards.cut_short(unit["unit"], now)
        failed = self._fail_units(run_id, CANCELLED, packs) if packs else 0
        return _ended(counted(failed, "pack ends", "packs end"), shards)

    # ------------------------------------------------------------------ queue runs

    def _jobs(self, run_id: str) -> str:
        """Of a queue run: it takes no more jobs; what waits fails, what is in a batch job of other runs too is waited
        for."""
        self._closing.close_queue_run(run_id)
        failed = shards = 0
        waiting = (entry for entry in self._closing.open_jobs(run_id) if _waits(entry))
        pools: set[str] = set()
        while some := list(islice(waiting, READ_AT_ONCE)):
            failed += self._fail(self._free(some, pools))
        for pool in sorted(pools):
            shards += self._stop_shard_of(pool)
        return _ended(counted(failed, "job ends", "jobs end"), shards)

    def _free(self, waiting: Sequence[Entry], pools: set[str]) -> list[Entry]:
        """Those that no batch job holds, taken out of their open pools first; the pools of the others are noted."""
        free = [entry for entry in waiting if entry.pool is None]
        by_pool: dict[str, list[Entry]] = {}
        for entry in waiting:
            if entry.pool is not None:
                by_pool.setdefault(entry.pool, []).append(entry)
        for pool, entries in by_pool.items():
            left = self._pools.leave(pool, [entry.job for entry in entries])
            free += [entry for entry in entries if entry.job in left]
            if len(left) < len(entries):
                pools.add(pool)
        return free

    def _fail(self, entries: Sequence[Entry]) -> int:
        now = self._clock.now()
        if entries:
            self._results.store([Row(entry, cancelled_row(entry.as_job(), now)) for entry in entries], SOURCE)
        return len(entries)

    def _stop_shard_of(self, pool: str) -> int:
        """Stops the batch job of a pool, if it holds nobody else's jobs."""
        found = self._pools.get(pool)
        if found is None or found.state != "staged":
            return 0
        if next(self._pools.units(pool), None) is not None:
            return 0  # records of a file run are in it
        members = list(self._pools.members(pool))
        if not all(is_cancelled(self._runs.get(run)) for run in {member.run_id for member in members}):
            return 0
        shard = ids.shard_id(pool, [member.job for member in members], FIRST_GENERATION)
        return int(self._shards.cut_short(shard, self._clock.now()))


def _ended(what: str, shards: int) -> str:
    return f"{what}, {counted(shards, 'shard is stopped', 'shards are stopped')}"


def _waits(entry: Entry) -> bool:
    return entry.state is JobState.WAITING and not entry.refused
