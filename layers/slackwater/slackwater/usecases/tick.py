"""The reconciler: what is due is compared with what Bedrock says, and the next step of each is put on the work queue.

Nothing is done here that a second tick, an early or a late one could spoil: messages may be doubled, the workers look
for themselves; when to look next is written only if nobody has written it since.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import orjson

from slackwater.model import ids
from slackwater.model.batch_job import ENDED as ENDED_JOB
from slackwater.model.batch_job import BatchCallFailed, BatchJob
from slackwater.model.claim import Pool, QueueRun
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.model.run import ENDED, RunKind, RunState, is_cancelled
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.closing import RunArrivals, closing
from slackwater.policy.drain import Claim, behind_s
from slackwater.policy.forecast import PRIOR, Forecast
from slackwater.policy.pooling import PoolAction, PoolStep
from slackwater.policy.rescue import called_share
from slackwater.policy.step import CHECK_S, Adopt, Collect, Look, Rescue, Step, Stop, Submit, step, stray
from slackwater.usecases.drains import ShardDrains
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.ports import Outgoing, Sender

ITEMS_A_PARTITION: Final = 200
LOST_AFTER_S: Final = 15 * 60  # after its deadline what nobody has ended was lost
LIST_BACK_S: Final = 3600  # lists reach so much further back than the oldest shard's intent
STRAYS_A_TICK: Final = 50
RESCUE_LEAD_S: Final = (
    240  # from a tick's decision to the first rescued call: the next tick, two queues, reading the index
)
COMPETES_S: Final = 600  # an open shard is looked at at least so often: what is due until then is all that is open
PEEK_EVERY_S: Final = 30.0  # real seconds between two looks into the dead-letter queues
POISON_S: Final = 3600  # a shard's dead work message is held against it only after so long: tick has sent others

_GOING: Final = ENDED_JOB | {"Stopping"}  # what they lack comes to light soon


class DuePort(Protocol):
    """One item of the index; see adapters.ledger.due."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def seen(self) -> str: ...


class DueItemsPort(Protocol):
    def due(self, now: datetime, *, limit: int) -> Iterator[Any]: ...
    def look_again(self, due: Any, at: datetime | None) -> bool: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class JobsPort(Protocol):
    """Bedrock's batch jobs. Raises BatchCallFailed."""

    @property
    def regions(self) -> tuple[str, ...]: ...
    def get(self, region: str, arn: str) -> BatchJob | None: ...
    def list(self, region: str, name_contains: str, *, since: datetime | None = None) -> Iterator[BatchJob]: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class QueueRunsPort(Protocol):
    def get(self, run_id: str) -> QueueRun | None: ...


class PoolsPort(Protocol):
    def get(self, pool: str) -> Pool | None: ...


class AnswerPort(Protocol):
    """Wakes a run's workflow if nothing is left to wait for (usecases.settle)."""

    def answer(self, meta: Mapping[str, Any] | None) -> bool: ...


class DeadLetters(Protocol):
    def peek(self, limit: int = ..., hidden_s: int = ...) -> list[str]: ...


@dataclass(frozen=True)
class Ticked:
    """What one tick did."""

    due: int
    sent: int
    unreadable_regions: tuple[str, ...] = ()
    left: int = 0  # due items that the time did not suffice for
    open_shards: int = 0  # batch jobs that were looked at
    oldest_s: float | None = None  # since the oldest of them was submitted, product time
    turnarounds_s: tuple[float, ...] = ()  # of the jobs that were found ended: from submitted to ended
    forecasts_s: tuple[float, ...] = ()  # within how long these were reckoned to end (p95)


@dataclass
class _Seen:
    """What Bedrock's lists show, region by region."""

    by_name: dict[str, BatchJob] = field(default_factory=dict)
    readable: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


class Tick:
    """Looks once at everything that is due."""

    def __init__(
        self,
        *,
        items: DueItemsPort,
        shards: ShardsPort,
        jobs: JobsPort,
        runs: RunsPort,
        queue_runs: QueueRunsPort,
        pools: PoolsPort,
        settle: AnswerPort,
        work: Sender,
        dead_packs: DeadLetters,
        dead_work: DeadLetters,
        dead_jobs: DeadLetters,
        clock: Clock,
        pool_due: Callable[..., PoolStep],
        forecasts: ForecastsPort,
        drains: ShardDrains,
        drain_jobs_per_s: float,
        stack_arn: str,
    ) -> None:
        """`pool_due(pool, now, forecast=…, drain_jobs_per_s=…)` decides about a pool (usecases.pools.due)."""
        self._items = items
        self._shards = shards
        self._jobs = jobs
        self._runs = runs
        self._queue_runs = queue_runs
        self._pools = pools
        self._settle = settle
        self._work = work
        self._dead_packs = dead_packs
        self._dead_work = dead_work
        self._dead_jobs = dead_jobs
        self._clock = clock
        self._pool_due = pool_due
        self._forecasts = forecasts
        self._drains = drains
        self._drain_jobs_per_s = drain_jobs_per_s
        self._prefix = ids.job_name_prefix(stack_arn)
        self._behind_s: Mapping[str, float] = {}  # of the present pass
        self._peeked_wall_s = 0.0  # only spares calls: another container may peek as well

    def __call__(self, *, stop_at_wall_s: float) -> Ticked:
        """One pass. What is left at `stop_at_wall_s` stays due for the next tick."""
        now = self._clock.now()
        soon = list(self._items.due(later(now, COMPETES_S), limit=ITEMS_A_PARTITION))
        due = [item for item in soon if item.seen <= iso(now)]
        open_shards = [shard for item in soon if item.kind == "SHARD" and (shard := self._shards.get(item.id))]
        looked_at = {item.id for item in due}
        by_item = {shard.id: shard for shard in open_shards if shard.id in looked_at}
        seen = self._list(list(by_item.values()))
        self._behind_s = behind_s(self._claims(open_shards, seen), now, lead_s=RESCUE_LEAD_S)
        sent, left = 0, 0
        broken: list[str] = []
        for item in sorted(due, key=lambda one: one.kind != "SHARD"):
            if self._clock.wall_s() >= stop_at_wall_s:
                left += 1
                continue
            try:
                sent += self._look_at(item, by_item, seen)
            except Exception as exc:  # noqa: BLE001 - one broken item must not stop the others; raised again below
                broken.append(f"{item.kind} {item.id}: {type(exc).__name__}")
        sent += self._send(self._strays(seen, set(by_item)))
        sent += self._send(self._dead())
        if broken:
            raise RuntimeError("could not be looked at: " + ", ".join(broken[:20]))
        return Ticked(len(due), sent, tuple(sorted(seen.failed)), left, *self._ages(by_item.values(), seen))

    def _claims(self, shards: Iterable[Shard], seen: _Seen) -> list[Claim]:
        """Open shards that may need rescue, and with which quotas: all that have not settled, since a complete job may
        lack any of its lines."""
        claims, now = [], self._clock.now()
        for shard in shards:
            if shard.state is ShardState.SETTLED or shard.cut or shard.earliest_at is None:
                continue
            job = None if shard.job_name is None else seen.by_name.get(shard.job_name)
            status = "" if job is None else job.status
            begun = shard.submitted_at or shard.staged_at or shard.earliest_at
            drain_s = shard.records / self._drains.of_shard(shard)
            told = PRIOR if shard.forecast is None else Forecast.from_json(shard.forecast)
            claims.append(
                Claim(
                    shard.id,
                    frozenset(shard.quotas),
                    shard.earliest_at,
                    drain_s,
                    later(begun, told.p95_s),
                    going=shard.state in (ShardState.STOPPING, ShardState.COLLECTING) or status in _GOING,
                    processed=0 if job is None else job.processed_records or 0,
                    called_s=drain_s * called_share(shard, now, told, drain_s, shard.generation - 1),
                )
            )
        return claims

    def _ages(
        self, shards: Iterable[Shard], seen: _Seen
    ) -> tuple[int, float | None, tuple[float, ...], tuple[float, ...]]:
        """How many batch jobs are open, how old the oldest is, how long those took that have ended by now, and within
        how long they were reckoned to."""
        now, open_s, ended_s, told_s = self._clock.now(), [], [], []
        for shard in shards:
            if shard.submitted_at is None or shard.job_name is None or shard.state is ShardState.SETTLED:
                continue
            job = seen.by_name.get(shard.job_name)
            if job is not None and job.ended:
                if job.ended_at is not None:
                    ended_s.append((job.ended_at - shard.submitted_at).total_seconds())
                    told_s.append(_p95_s(shard))
                continue
            open_s.append((now - shard.submitted_at).total_seconds())
        return len(open_s), max(open_s, default=None), tuple(ended_s), tuple(told_s)

    def _look_at(self, item: Any, shards: Mapping[str, Shard], seen: _Seen) -> int:
        match item.kind:
            case "SHARD":
                shard = shards.get(item.id)
                return 0 if shard is None else self._shard(item, shard, seen)
            case "RUN":
                return self._run(item)
            case "POOL":
                return self._pool(item)
            case kind:
                raise ValueError(f"an item of kind {kind} is due")

    def _send(self, bodies: Iterable[dict[str, Any]]) -> int:
        at = iso(self._clock.now())
        return self._work.send(Outgoing({"v": 1, "at": at, **body}) for body in bodies)

    # ------------------------------------------------------------------ shards

    def _list(self, shards: Sequence[Shard]) -> _Seen:
        seen = _Seen()
        for region in sorted({shard.region for shard in shards if shard.job_name is not None}):
            moments = [shard.intent_at for shard in shards if shard.region == region and shard.intent_at is not None]
            since = min(moments) - timedelta(seconds=LIST_BACK_S) if moments else None
            try:
                for job in self._jobs.list(region, self._prefix, since=since):
                    seen.by_name[job.name] = job
                seen.readable.add(region)
            except BatchCallFailed:
                seen.failed.add(region)  # not to see a job there means nothing
        return seen

    def _shard(self, item: Any, shard: Shard, seen: _Seen) -> int:
        observed = None if shard.job_name is None else seen.by_name.get(shard.job_name)
        next_step = self._step(shard, observed, listed=shard.region not in seen.failed)
        look = next((action for action in next_step.actions if isinstance(action, Look)), None)
        if look is not None:
            observed, next_step = self._ask(shard, look)
        sent = self._send(_message(shard, action, observed) for action in next_step.actions)
        self._items.look_again(item, next_step.next_check_at)
        return sent

    def _step(self, shard: Shard, observed: BatchJob | None, *, listed: bool, asked: bool = False) -> Step:
        return step(
            shard,
            observed,
            self._clock.now(),
            drain_s=RESCUE_LEAD_S + shard.records / self._drains.of_shard(shard),
            behind_s=self._behind_s.get(shard.id, 0.0),
            leased=shard.lease_until_s > self._clock.wall_s(),
            listed=listed,
            asked=asked,
        )

    def _ask(self, shard: Shard, look: Look) -> tuple[BatchJob | None, Step]:
        """Lists lag: an open job that they do not show is asked for by Get."""
        try:
            job = self._jobs.get(shard.region, look.arn)
        except BatchCallFailed:
            answer = self._step(shard, None, listed=False)
            return None, Step(tuple(a for a in answer.actions if not isinstance(a, Look)), answer.next_check_at)
        return job, self._step(shard, job, listed=True, asked=job is None)

    def _strays(self, seen: _Seen, looked_at: set[str]) -> Iterator[dict[str, Any]]:
        """Live jobs of ours that serve nobody any more: a shard that was rescued, or has moved, left them behind."""
        left = STRAYS_A_TICK
        for name, job in sorted(seen.by_name.items()):
            parts = ids.JOB_NAME.match(name)
            if parts is None or parts["shard"] in looked_at or job.ended:
                continue
            if not left:
                return
            left -= 1
            shard = self._shards.get(parts["shard"])
            if stray(job, shard, self._prefix):
                yield _stop(parts["shard"], int(parts["attempt"]), job.arn, job.region)

    # ------------------------------------------------------------------ runs and pools

    def _run(self, item: Any) -> int:
        now = self._clock.now()
        meta = self._runs.get(item.id)
        if meta is None or meta["state"] in ENDED:
            self._items.look_again(item, None)
            return 0
        takes_jobs = meta["kind"] == RunKind.QUEUE.value and meta["state"] == RunState.OPEN.value
        if takes_jobs and not is_cancelled(meta):
            return self._open_run(item, now)
        self._settle.answer(meta)  # the last settler may have died just before it
        bodies: list[dict[str, Any]] = []
        if is_cancelled(meta) and (takes_jobs or meta["unsettled"] > 0):
            bodies.append({"do": "cancel_run", "run": item.id})  # one pass does what can be done then
        if meta["unsettled"] > 0 and now >= later(parse_iso(meta["deadline_at"]), LOST_AFTER_S):
            bodies.append({"do": "fail_units", "run": item.id, "code": "deadline_missed"})
        self._items.look_again(item, later(now, CHECK_S))
        return self._send(bodies)

    def _open_run(self, item: Any, now: datetime) -> int:
        run = self._queue_runs.get(item.id)
        if run is None:
            return 0
        decided = closing(
            RunArrivals(run.accepted, run.refused, run.last_arrival_at, run.close_asked_at, run.expected), now
        )
        sent = 0
        if decided.close:
            body = {"do": "close_run", "run": item.id, "reason": decided.reason}
            if decided.warning is not None:
                body["warning"] = decided.warning
            sent = self._send([body])
        self._items.look_again(item, decided.next_check_at or later(now, CHECK_S))
        return sent

    def _pool(self, item: Any) -> int:
        now = self._clock.now()
        pool = self._pools.get(item.id)
        if pool is None or pool.state in ("released", "staged"):
            if pool is not None and pool.state == "released":  # its worker may have died in the middle
                self._items.look_again(item, later(now, LOST_AFTER_S))
                return self._send([{"do": "release_pool", "pool": item.id}])
            self._items.look_again(item, None)
            return 0
        if pool.state == "closed":
            self._items.look_again(item, later(now, CHECK_S))
            return self._send([{"do": "stage_pool", "pool": item.id}])
        decided = self._pool_due(pool, now, forecast=self._forecast_of(pool), drain_jobs_per_s=self._drain_jobs_per_s)
        self._items.look_again(item, decided.next_check_at or later(now, CHECK_S))
        match decided.action:
            case PoolAction.CLOSE:
                return self._send([{"do": "stage_pool", "pool": item.id}])
            case PoolAction.RELEASE:
                return self._send([{"do": "release_pool", "pool": item.id}])
            case _:
                return 0

    def _forecast_of(self, pool: Pool) -> Forecast:
        """Of its batch job, wherever that will run."""
        return self._forecasts.over(pool.key.partition("|")[0], self._jobs.regions, pool.count)

    # ------------------------------------------------------------------ dead letters

    def _dead(self) -> Iterator[dict[str, Any]]:
        """Units whose message was given up; the message stays for the operator."""
        wall_s = self._clock.wall_s()
        if wall_s - self._peeked_wall_s < PEEK_EVERY_S:
            return
        self._peeked_wall_s = wall_s
        for body in _objects(self._dead_packs.peek()):
            if isinstance(body.get("run_id"), str) and isinstance(body.get("pack_id"), str):
                units = [body["pack_id"]]
                yield {"do": "fail_units", "run": body["run_id"], "units": units, "code": "undeliverable"}
        for body in _objects(self._dead_work.peek()):
            yield from self._dead_shard(body)
        jobs = [
            {"job": body["job"], "hop": body["hop"]}
            for body in _objects(self._dead_jobs.peek())
            if isinstance(body.get("job"), str) and isinstance(body.get("hop"), int)
        ]
        if jobs:
            yield {"do": "fail_jobs", "jobs": jobs}

    def _dead_shard(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if body.get("do") not in ("collect", "rescue") or not isinstance(body.get("shard"), str):
            return
        shard = self._shards.get(body["shard"])
        if shard is None or shard.state is ShardState.SETTLED or shard.owner_kind is not OwnerKind.RUN:
            return
        if self._clock.now() >= later(parse_iso(body["at"]), POISON_S):
            yield {"do": "fail_units", "run": shard.owner, "units": [shard.id], "code": "undeliverable"}


def _message(
    shard: Shard, action: Submit | Adopt | Look | Stop | Collect | Rescue, observed: BatchJob | None
) -> dict[str, Any]:
    """An action as a work message; `attempt` lets a worker drop what is about an earlier one."""
    of_shard = {"shard": shard.id, "attempt": shard.attempt}
    match action:
        case Submit():
            return {"do": "submit", **of_shard, "may_move": action.may_move}
        case Adopt():
            return {"do": "adopt", **of_shard}
        case Stop():
            return _stop(shard.id, shard.attempt, action.arn, action.region)
        case Collect():
            ended_at = None if observed is None or observed.ended_at is None else iso(observed.ended_at)
            return {
                "do": "collect",
                **of_shard,
                "status": action.status,
                "processed": action.processed,
                "ended_at": ended_at,
                "final": action.final,
            }
        case Rescue():
            return {"do": "rescue", **of_shard, "repeats": action.repeats, "reason": action.reason}
        case _:
            raise ValueError(f"{type(action).__name__} is no work for a worker")


def _p95_s(shard: Shard) -> float:
    """Within how long its job was reckoned to end."""
    return float(PRIOR.p95_s if shard.forecast is None else shard.forecast["p95_s"])


def _stop(shard: str, attempt: int, arn: str, region: str) -> dict[str, Any]:
    return {"do": "stop", "shard": shard, "attempt": attempt, "arn": arn, "region": region}


def _objects(bodies: Iterable[str]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            yield found
