"""An ended batch job: what it answered becomes parts, what it did not goes another way, and its unit ends.

In two halves. First the output is read, the parts are written, and a verdict (what is missing, and where it goes) is
put beside the output, once. Then everything that follows is done from that verdict, so that a second collect, or one
after a crash between any two steps, comes to the same end even if more output has turned up meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Protocol

import orjson

from slackwater.model import bits, ids
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.model.errors import NotYet
from slackwater.model.job import Lane
from slackwater.model.native import typed
from slackwater.model.run import Unit
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.forecast import guard_at
from slackwater.policy.history import took
from slackwater.policy.prices import PriceBook
from slackwater.policy.remainder import Remainder
from slackwater.policy.rescue import MAX_SHARD_GENERATIONS, MIN_RECORDS, lost_records, plan_rescue
from slackwater.policy.step import CHECK_S
from slackwater.usecases.batch_output import Group, Join, Member, Rows, members_of
from slackwater.usecases.cancelled import never
from slackwater.usecases.drains import ShardDrains
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.leased import Alive, LeasesPort, leased
from slackwater.usecases.packs import packs_of
from slackwater.usecases.stage import Stage, StageRecord

LATE_JOB_S: Final = 600  # a job that may still turn up after its shard was rescued is looked for so much later
NEVER_STARTED: Final = "Expired"  # timed out before it began (Bedrock API reference, GetModelInvocationJob)
EXTRA_WAVES: Final = 1_000  # parts beside the first of an attempt, if output grew between two collects


class ShardsPort(LeasesPort, Protocol):
    def change(self, shard: Shard, **fields: object) -> Shard: ...
    def settle(
        self,
        shard: Shard,
        counts: Mapping[str, int],
        *,
        look_at: datetime | None = None,
        took: tuple[int, bool] | None = None,
    ) -> Shard: ...
    def count_repeats(self, shard: Shard, by_run: Mapping[str, int]) -> None: ...
    def remember(
        self,
        shard: Shard,
        *,
        status: str,
        ended_at: datetime,
        counts: Mapping[str, int],
        took: tuple[int, bool] | None,
    ) -> None: ...


class FilesPort(Protocol):
    """A shard's files; see adapters.shard_files."""

    def index(self, shard: Shard) -> Iterator[dict[str, Any]]: ...
    def input_lines(self, shard: Shard) -> Iterator[bytes]: ...
    def output_keys(self, shard: Shard, job_id: str) -> list[str]: ...
    def output_lines(self, shard: Shard, key: str) -> Iterator[bytes]: ...
    def manifest(self, shard: Shard, job_id: str) -> dict[str, Any] | None: ...
    def verdict(self, shard: Shard) -> Any | None: ...
    def put_verdict(self, shard: Shard, verdict: Mapping[str, Any]) -> bool: ...
    def put_part(self, run: str, block: str, source: str, wave: int, body: bytes) -> bool: ...
    def parts(self, run: str, block: str, source: str) -> Iterator[tuple[str, list[dict[str, Any]]]]: ...


class UnitsPort(Protocol):
    def unit(self, run_id: str, unit_id: str) -> Mapping[str, Any] | None: ...


class SettlePort(Protocol):
    """Ends a unit of a file run; see usecases.settle."""

    def unit(
        self, run_id: str, unit_id: str, source: str, covered: Mapping[str, bytes], replacements: Sequence[Unit] = ()
    ) -> None: ...


class ResultsPort(Protocol):
    """The last steps of queued jobs; see usecases.queue_runs. May be done again."""

    def settle_jobs(self, run_id: str, rows: Sequence[Mapping[str, Any]], part: str) -> frozenset[str]: ...


class PoolsPort(Protocol):
    """Sends pooled jobs back to the job queue, for a calling lane; see usecases.pools. May be done again."""

    def rescue_jobs(self, pool: str, rows: Iterable[Mapping[str, Any]]) -> int: ...


class SlotsPort(Protocol):
    def give(self, shard: Shard) -> None: ...


class LeftoverPort(Protocol):
    """Whether what a run's batch job left over may wait in a pool, and taking it there; see usecases.remainders."""

    def decide(self, shard: Shard, records: Sequence[StageRecord]) -> Remainder: ...
    def pool(self, shard: Shard, records: Sequence[StageRecord]) -> None: ...
    def note(self, shard: Shard, decided: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """What the tick saw of a job's end. `final`: its output is waited for no longer. `repeats` overrides our count."""

    status: str
    processed: int | None = None
    ended_at: datetime | None = None
    final: bool = False
    without_output: bool = False
    repeats: int | None = None


class Collect:
    """Settles a shard. Gives a word on what happened, for the log."""

    def __init__(
        self,
        *,
        shards: ShardsPort,
        files: FilesPort,
        units: UnitsPort,
        settle: SettlePort,
        results: ResultsPort,
        pools: PoolsPort,
        stage: Stage,
        prices: PriceBook,
        forecasts: ForecastsPort,
        clock: Clock,
        drains: ShardDrains,
        leftover: LeftoverPort | None = None,
        slots: SlotsPort | None = None,
        answered: Callable[[Sequence[str]], None] | None = None,
        batch_possible: bool = True,
        cancelled: Callable[[str], bool] = never,
    ) -> None:
        self._shards = shards
        self._files = files
        self._units = units
        self._settle = settle
        self._results = results
        self._pools = pools
        self._stage = stage
        self._prices = prices
        self._forecasts = forecasts
        self._clock = clock
        self._drains = drains
        self._leftover = leftover
        self._slots = slots
        self._answered = answered
        self._batch_possible = batch_possible
        self._cancelled = cancelled

    def __call__(self, shard_id: str, attempt: int, ended: Ended, *, worker: str, alive: Alive) -> str:
        """Raises Lost when another worker has taken over, NotYet while the run does not know of the shard."""
        with leased(self._shards, shard_id, worker, alive) as shard:
            if shard is None:
                return "busy"
            if shard.state is ShardState.SETTLED or shard.attempt != attempt:
                return "stale"
            verdict = self._files.verdict(shard)
            if self._is_over(shard):  # what would be done from the verdict was done, or is wanted no more
                counts = {} if verdict is None else verdict["counts"]
                return self._end(shard, counts, look_at=None, word="its unit had ended")
            if verdict is None:
                if self._still_to_come(shard, ended):
                    return "waiting for output"
                collecting = self._shards.change(shard, state=ShardState.COLLECTING)
                members = members_of(self._files.index(shard), shard)
                return self._follow(collecting, members, self._read(collecting, members, ended))
            return self._follow(shard, members_of(self._files.index(shard), shard), verdict)

    def _is_over(self, shard: Shard) -> bool:
        """Whether the run waits for this shard no more. Its unit is entered just after the shard is staged."""
        if shard.owner_kind is OwnerKind.POOL:
            return False
        unit = self._units.unit(shard.owner, shard.id)
        if unit is None:
            raise NotYet(f"shard {shard.id} is no unit of its run yet")
        return bool(unit["state"] == "ended")

    # ------------------------------------------------------------------ first half: read, write parts, decide

    def _outputs(self, shard: Shard, ended: Ended) -> list[str]:
        if ended.without_output or shard.arn is None:
            return []
        return self._files.output_keys(shard, shard.arn.rpartition("/")[2])

    def _manifest(self, shard: Shard) -> Mapping[str, Any] | None:
        return None if shard.arn is None else self._files.manifest(shard, shard.arn.rpartition("/")[2])

    def _still_to_come(self, shard: Shard, ended: Ended) -> bool:
        """Output may follow a job's end; the first look that finds none starts the wait."""
        if ended.final or ended.without_output or shard.arn is None or ended.processed == 0:
            return False  # there is nothing to wait for
        if self._outputs(shard, ended):
            return False
        now = self._clock.now()
        self._shards.change(shard, stopped_seen_at=shard.stopped_seen_at or now, next_check_at=later(now, CHECK_S))
        return True

    def _read(self, shard: Shard, members: list[Member], ended: Ended) -> dict[str, Any]:
        outputs = self._outputs(shard, ended)
        now = self._clock.now()
        with Rows() as rows:
            join = Join(shard, members, self._prices, rows, finished_at=ended.ended_at or now)
            for key in outputs:
                for line in self._files.output_lines(shard, key):
                    join.take(line)
            missing = join.finish(now, self._cancelled)
            for (run, block), lines in rows.parts():
                self._store(run, block, shard, lines)
        lost = lost_records(
            missing=join.counts.unanswered,
            processed=ended.processed,
            rows_seen=join.counts.seen,
            any_output=bool(outputs),
        )
        if ended.repeats is not None:
            lost = min(ended.repeats, len(missing.retry) + len(missing.other_lane))
        elif shard.arn is None or ended.status == NEVER_STARTED:
            lost = 0
        verdict = {
            "v": 1,
            "status": ended.status,
            "ended_at": iso(ended.ended_at or now),
            "counts": join.counts.as_json() | {"repeats": lost},
            "tokens": join.tokens.beside(self._manifest(shard) if outputs else None),
            "maybe_alive": ended.without_output and ended.repeats != 0,
            **self._rescue(shard, members, missing.retry, missing.other_lane, now, given_up=ended.without_output),
        }
        if self._files.put_verdict(shard, verdict):
            return verdict
        first = self._files.verdict(shard)  # another worker's, from before it lost its lease
        if first is None:
            raise NotYet(f"shard {shard.id}: its verdict is being written")
        return dict(first)

    def _store(self, run: str, block: str, shard: Shard, lines: bytes) -> None:
        """Writes a part; if an earlier collect has, only what that one had not seen is added, as a further wave."""
        source = source_of(shard)
        wave = shard.attempt
        while not self._files.put_part(run, block, source, wave, lines):
            there = {row["line"] for _, rows in self._files.parts(run, block, source) for row in rows}
            each = lines.splitlines(keepends=True)
            lines = b"".join(line for line in each if orjson.loads(line)["line"] not in there)
            if not lines:
                return
            wave += 1
            if wave > shard.attempt + EXTRA_WAVES:
                raise RuntimeError(f"{source} of {run}/{block}: a thousand waves are taken")

    def _rescue(
        self,
        shard: Shard,
        members: Sequence[Member],
        retry: list[int],
        other_lane: list[int],
        now: datetime,
        *,
        given_up: bool,
    ) -> dict[str, Any]:
        """Where the missing records go: into a new shard, or on a calling lane. `given_up`: the job's end was waited
        for no longer."""
        stopped = given_up or (shard.stop_asked_at is not None and not shard.cut)
        called, batched, decided = sorted((*retry, *other_lane)), [], None
        reason = "nothing is missing"
        if called:
            plan = plan_rescue(
                missing=len(retry),
                generation=shard.generation - 1,  # so often they went by batch before
                now=now,
                deadline=min(members[ordinal].deadline for ordinal in called),
                forecast=self._forecasts.of(shard.base_model, shard.region, len(retry)),
                drain_s=len(called) / self._drains.of_shard(shard),
                batch_possible=self._batch_possible and shard.owner_kind is OwnerKind.RUN and shard.arn is not None,
                calling_lane=shard.rescue_lane,
                stopped=stopped,
            )
            reason = plan.reason
            if plan.lane is Lane.BATCH:
                called, batched = other_lane, retry
            else:
                decided = None if stopped else self._remainder(shard, members, retry)
        if decided is None:
            return {"called": called, "batched": batched, "reason": reason}
        waits = {"called": sorted(other_lane), "pooled": retry} if decided.taken.pooled else {"called": called}
        return {**waits, "batched": [], "reason": reason, "remainder": decided.as_json()}

    def _remainder(self, shard: Shard, members: Sequence[Member], retry: Sequence[int]) -> Remainder | None:
        """What becomes of records that batch could still answer and that are too few for a job; None: no question."""
        if self._leftover is None or not self._batch_possible or not 0 < len(retry) < MIN_RECORDS:
            return None
        if shard.owner_kind is not OwnerKind.RUN or shard.arn is None or shard.generation >= MAX_SHARD_GENERATIONS:
            return None
        return self._leftover.decide(shard, list(self._again(shard, members, set(retry))))

    # ------------------------------------------------------------------ second half: from the verdict alone

    def _follow(self, shard: Shard, members: Sequence[Member], verdict: Mapping[str, Any]) -> str:
        missing = {*verdict["called"], *verdict["batched"], *verdict.get("pooled", ())}
        if verdict["counts"]["repeats"]:
            self._shards.count_repeats(shard, _by_run(members, sorted(missing), verdict["counts"]["repeats"]))
        if shard.owner_kind is OwnerKind.RUN:
            self._end_unit(shard, members, verdict, missing)
        else:
            self._end_jobs(shard, members, verdict, missing)
        turnaround = None
        if shard.arn is not None:
            status, ended_at = verdict["status"], parse_iso(verdict["ended_at"])
            turnaround = took(status, shard.submitted_at, ended_at, shard.stop_asked_at)
            self._shards.remember(shard, status=status, ended_at=ended_at, counts=verdict["counts"], took=turnaround)
        look_at = later(self._clock.now(), LATE_JOB_S) if verdict["maybe_alive"] and shard.job_name else None
        ways = {way: len(verdict[way]) for way in ("called", "batched", "pooled") if way in verdict}
        counts = {**verdict["counts"], **ways}
        counts |= verdict.get("tokens", {})
        return self._end(shard, counts, look_at=look_at, word="settled", turnaround=turnaround)

    def _end(
        self,
        shard: Shard,
        counts: Mapping[str, int],
        *,
        look_at: datetime | None,
        word: str,
        turnaround: tuple[int, bool] | None = None,
    ) -> str:
        if self._slots is not None:
            self._slots.give(shard)
        if self._answered is not None and shard.canaries and counts.get("succeeded"):
            self._answered(shard.canaries)
        self._shards.settle(shard, counts, look_at=look_at, took=turnaround)
        return word

    def _end_unit(self, shard: Shard, members: Sequence[Member], verdict: Mapping[str, Any], missing: set[int]) -> None:
        covered: dict[str, list[int]] = {}
        for ordinal, member in enumerate(members):
            if ordinal not in missing:
                covered.setdefault(member.group[1], []).append(member.position)
        replacements = self._packs(shard, [members[ordinal] for ordinal in verdict["called"]])
        if self._leftover is not None and verdict.get("remainder"):
            self._leftover.note(shard, verdict["remainder"])
            if verdict.get("pooled"):  # entered before this unit ends, so that the run cannot settle in between
                self._leftover.pool(shard, list(self._again(shard, members, set(verdict["pooled"]))))
        if verdict["batched"]:
            replacements.append(self._restage(shard, members, verdict["batched"]))
        self._settle.unit(
            shard.owner,
            shard.id,
            source_of(shard),
            {block: bits.pack(positions) for block, positions in covered.items()},
            replacements,
        )

    def _packs(self, shard: Shard, members: Iterable[Member], run: str | None = None) -> list[Unit]:
        """`run`: whose, where it is not the shard's owner."""
        owner = shard.owner if run is None else run
        units: list[Unit] = []
        for (_, block), of_block in groupby(sorted(members, key=lambda m: (m.group, m.line)), key=lambda m: m.group):
            some = list(of_block)
            jobs = [member.as_job(shard.profile) for member in some]
            lane, generation = shard.rescue_lane.value, shard.generation + 1
            units += packs_of(owner, block, lane, jobs, first_line=some[0].first_line, generation=generation)
        return [replace(unit, rescued=True) for unit in units]

    def _restage(self, shard: Shard, members: Sequence[Member], ordinals: Sequence[int]) -> Unit:
        """The missing records as a new shard in the same region, its requests from the old one's file."""
        deadlines = [members[ordinal].deadline for ordinal in ordinals]
        guard = guard_at(min(deadlines), len(ordinals) / self._drains.of_shard(shard))
        new = self._stage.shard(
            owner_kind=shard.owner_kind,
            owner=shard.owner,
            profile=shard.profile,
            home_region=shard.home_region,
            records=self._again(shard, members, set(ordinals)),
            region=shard.region,
            model_id=shard.model_id,
            base_model=shard.base_model,
            kind=shard.kind,
            deadline_at=max(deadlines),
            guard_at=guard,
            generation=shard.generation + 1,
            profiles_version=shard.profiles_version,
            rescue_lane=shard.rescue_lane,
            alternatives=shard.alternatives,
            quotas=shard.quotas,
        )
        return Unit(
            id=new,
            kind="shard",
            block=None,
            lane=Lane.BATCH.value,
            lines=None,
            generation=shard.generation + 1,
            jobs=len(ordinals),
        )

    def _again(self, shard: Shard, members: Sequence[Member], wanted: set[int]) -> Iterator[StageRecord]:
        for line in self._files.input_lines(shard):
            record = orjson.loads(line)
            ordinal = ids.ordinal_of_record(record["recordId"])
            if ordinal is None or ordinal not in wanted:
                continue
            member = members[ordinal]
            yield StageRecord(
                run=member.group[0],
                block=member.group[1],
                line=member.line,
                id=member.id,
                job=member.job,
                request=typed(record["modelInput"], shard.request_type),
                first_line=member.first_line,
                deadline_at=member.deadline,
                tags=member.tags,
            )

    def _end_jobs(
        self, shard: Shard, members: Sequence[Member], verdict: Mapping[str, Any], missing: set[int], /
    ) -> None:
        """Queue jobs end one by one, from what the parts hold; what cannot be replied now is tried with the next."""
        unsent: set[str] = set()
        units = self._end_units(shard, members, missing)
        for run, block in _groups(m for o, m in enumerate(members) if o not in missing and m.unit is None):
            for part, rows in self._files.parts(run, block, source_of(shard)):
                unsent |= self._results.settle_jobs(run, rows, part)
        if verdict["called"]:
            queued = (m for m in (members[ordinal] for ordinal in verdict["called"]) if m.job not in units)
            self._pools.rescue_jobs(shard.owner, ({"job": member.job} for member in queued))
        if unsent:
            raise NotYet(f"shard {shard.id}: {len(unsent)} replies could not be sent")

    def _end_units(self, shard: Shard, members: Sequence[Member], missing: set[int]) -> frozenset[str]:
        """Records of file runs that came by the pool: each unit ends, and packs call what is missing of it. Gives
        their jobs."""
        units: dict[tuple[str, str], list[tuple[int, Member]]] = {}
        for ordinal, member in enumerate(members):
            if member.unit is not None:
                units.setdefault((member.group[0], member.unit), []).append((ordinal, member))
        for (run, unit), some in units.items():
            covered: dict[str, list[int]] = {}
            for ordinal, member in some:
                if ordinal not in missing:
                    covered.setdefault(member.group[1], []).append(member.position)
            packs = self._packs(shard, [member for ordinal, member in some if ordinal in missing], run)
            positions = {block: bits.pack(found) for block, found in covered.items()}
            self._settle.unit(run, unit, source_of(shard), positions, packs)
        return frozenset(member.job for some in units.values() for _, member in some)


def source_of(shard: Shard) -> str:
    """The `<source>` of the parts that a shard writes."""
    return f"shard-{shard.id}"


def _groups(members: Iterable[Member]) -> list[Group]:
    return sorted({member.group for member in members})


def _by_run(members: Sequence[Member], missing: Sequence[int], repeats: int) -> dict[str, int]:
    """`repeats` spread over the runs of the missing records: which of them were paid for is not known."""
    by_run: dict[str, int] = {}
    for ordinal in missing[:repeats]:
        run = members[ordinal].group[0]
        by_run[run] = by_run.get(run, 0) + 1
    return by_run
