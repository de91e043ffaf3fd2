"""One history: shards, workers that die, messages that are lost, late and doubled, and Bedrock as its pages have it.

Decided by the code under test: `step`, `stray`, `behind_s`, `plan_rescue`, `lost_records`, `row_verdict` and
`latest_start`. The workers around it keep the ledger's rules (an attempt, a state, a lease) and nothing else.
"""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from slackwater.model.batch_job import BatchJob
from slackwater.model.job import Lane, Route
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.drain import Claim, behind_s
from slackwater.policy.forecast import PRIOR, Forecast, guard_at, latest_start
from slackwater.policy.rescue import RowVerdict, called_share, lost_records, plan_rescue, row_verdict
from slackwater.policy.step import (
    ABSENT_S,
    CHECK_S,
    INTENT_S,
    LIVE,
    Adopt,
    Collect,
    Look,
    Moments,
    Rescue,
    Step,
    Stop,
    Submit,
    moments,
    step,
    stray,
)
from tests.unit.bedrock_model import ENDED, NEVER, RUNNING, Job, NoAnswer, Refused, Region, Unreachable

START = datetime(2026, 12, 1, tzinfo=UTC)
PREFIX = "sw-abcdef-"
LEAD_S = 240.0
FULL_S, MOVE_AFTER = 300, 3
QUICK = Forecast(p50_s=1_200, p95_s=5_400, basis="history", n=40, version="h1-test")


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def seconds(at: datetime) -> float:
    return (at - START).total_seconds()


def _shard_of(name: str) -> str:
    return name.removeprefix(PREFIX).rpartition("-a")[0]


class Missed(AssertionError):
    """A promise that this history broke."""


@dataclass
class Ledger:
    """One shard as the table has it, and what its records have come to."""

    shard: Shard
    records: int  # as bits
    deadline_s: float
    look_at_s: float = 0.0


@dataclass
class Calls:
    """The calling lane: first come, first served, at the rate that the quotas let through."""

    rate: float
    waiting: list[list] = field(default_factory=list)  # [records left, their bits, owner]
    at: float = 0.0

    def add(self, records: int, owner: int, now: float) -> None:
        self.advance(now)
        self.waiting.append([float(records.bit_count()), records, owner])

    def advance(self, now: float) -> list[tuple[int, int, float]]:
        """What has been answered since: owner, records, and when the last of them was."""
        done = []
        while self.waiting and self.at < now:
            left, records, owner = self.waiting[0]
            took = left / self.rate
            if self.at + took > now:
                self.waiting[0][0] -= (now - self.at) * self.rate
                break
            self.at += took
            done.append((owner, records, self.at))
            self.waiting.pop(0)
        self.at = max(self.at, now)
        return done


class History:
    """Runs from a plan to the end of everything. Raises Missed."""

    def __init__(self, seed: int, *, guard: bool = True, forget_finished: bool = False, compete: bool = True) -> None:
        """The switches break a promise on purpose, to see that it would be noticed."""
        self.seed, self.guard, self.forget_finished, self.compete = seed, guard, forget_finished, compete
        self.dice = dice = Random(seed)
        self.now = 0.0
        self.next_tick = 0.0
        self.forecast = PRIOR if dice.random() < 0.08 else QUICK
        self.lane = Calls(rate=dice.choice([0.02, 0.05, 0.2, 1.0]))
        self.regions = {name: Region(name, Random(dice.getrandbits(32))) for name in ("east", "west", "north")}
        self.shards: dict[str, Ledger] = {}
        self.owner: list[Ledger] = []  # by number: the first shard of its records
        self.of: dict[str, int] = {}
        self.answered: list[int] = []  # by number: records with a final row
        self.bills: list[list[int]] = []  # by number: records, once a billing
        self.repeats = 0
        self.messages: list = []
        self.sent = 0
        self.statuses: set[str] = set()  # that were seen
        self.settled: Counter[ShardState] = Counter()  # from which states shards have settled
        self.works: Counter[str] = Counter()  # what workers were asked to do
        self.slowed_at: float | None = None
        self.excused = False
        self._plan()
        self._weather()

    # ------------------------------------------------------------------ the beginning

    def _plan(self) -> None:
        """Shards as a plan that goes by the rule would make them: what batch may leave behind can be called in time."""
        dice, ahead_s = self.dice, 0.0
        together = dice.random() < 0.5
        hours = dice.choice([2.5, 4, 7]) + self.forecast.p95_s / 3600
        for _ in range(dice.choice([1, 1, 2, 3, 5])):
            deadline_s = 3600 * (hours if together else hours + dice.choice([0, 0.5, 2, 5]))
            size = dice.choice([100, 130, 250, 500])
            drain_s = size / self.lane.rate
            if moment(0) > latest_start(moment(deadline_s), self.forecast, ahead_s + drain_s):
                continue  # the plan calls these at once
            ahead_s += drain_s
            self._stage((1 << size) - 1, deadline_s, len(self.owner), 0, "east")

    def _stage(self, records: int, deadline_s: float, number: int, generation: int, region: str) -> None:
        name = f"s{'abcdefghijklmnopqrstuvwxyz'[number]}{generation}".ljust(21, "a")
        drain_s = records.bit_count() / self.lane.rate
        others = tuple(Route(r, "m", "m", "regional") for r in self.regions if r != region)
        shard = Shard(
            id=name, state=ShardState.STAGED, region=region, model_id="m", base_model="m", kind="regional", attempt=1,
            records=records.bit_count(), bytes=1, owner_kind=OwnerKind.RUN, owner="r", profile="p",
            home_region="east", deadline_at=moment(deadline_s), guard_at=guard_at(moment(deadline_s), drain_s),
            generation=generation, alternatives=others, staged_at=moment(self.now), earliest_at=moment(deadline_s),
        )  # fmt: skip
        self.shards[name] = Ledger(shard, records, deadline_s)
        self.of[name] = number
        if generation == 0:
            self.owner.append(self.shards[name])
            self.answered.append(0)
            self.bills.append([])

    def _weather(self) -> None:
        dice = self.dice
        last = max((ledger.deadline_s for ledger in self.owner), default=0.0)
        self.last = last
        for region in self.regions.values():
            if dice.random() < 0.3:
                start = dice.uniform(0, last)
                region.down.append((start, start + dice.choice([300, 3_600, 20_000])))
            if dice.random() < 0.3:
                region.full.append((0, dice.choice([600, 7_200, NEVER])))
            region.refuses = dice.random() < 0.08
            if dice.random() < 0.2:
                stranger = region._born("somebody-elses-job", 1 << 99, 0.0, 24)
                region.foreign.append(replace(stranger, missing=0, errors={}, fails=False))
        everywhere = dice.random()
        for region in self.regions.values():
            if everywhere < 0.05:
                region.full.append((dice.choice([0, 100]), NEVER))
            elif everywhere < 0.1:
                region.refuses = True
            elif everywhere < 0.18:
                region.down.append((dice.choice([30, 200, 4_000]), last))
        if dice.random() < 0.3:
            self.slowed_at = dice.uniform(0, last)
            self.slower = dice.choice([0.3, 0.6, 0.8])
        self.hints = sorted(
            dice.uniform(0, last) for _ in range(dice.choice([0, 3, 20]))
        )  # events early, late, foreign

    # ------------------------------------------------------------------ time passes

    def run(self) -> "History":
        while self.now < self.last + 6 * 3600 or self.lane.waiting:
            self._next()
            self._slow_down()
            self._settle_calls()
            self._deliver()
            if self.now >= self.next_tick:
                self._tick()
                self.next_tick = self.now + self._until_next()
            if (
                all(ledger.shard.state is ShardState.SETTLED for ledger in self.shards.values())
                and not self.lane.waiting
            ) and not self._live():
                break
        self._settle_calls()
        self._judge()
        return self

    def _next(self) -> None:
        """To the next message, event or tick."""
        if self.hints and self.hints[0] <= self.next_tick:
            self.next_tick = max(self.now + 1, self.hints.pop(0))  # an event: nothing of it is believed
        self.now = min(self.next_tick, self.messages[0][0]) if self.messages else self.next_tick

    def _until_next(self) -> float:
        """A minute; where nothing is near, some ticks are late."""
        behind = {} if self.messages else self._behind()
        quiet = not self.messages and all(
            self.now + 3_000 < seconds(self._moments(ledger, behind.get(name, 0.0)).guard)
            for name, ledger in self.shards.items()
            if ledger.shard.state is not ShardState.SETTLED
        )
        return self.dice.choice([60, 120, 400, 900]) if quiet else 60

    def _moments(self, ledger: Ledger, behind: float) -> Moments:
        return moments(ledger.shard, LEAD_S + ledger.shard.records / self.lane.rate, behind)

    def _slow_down(self) -> None:
        if self.slowed_at is None or self.now < self.slowed_at:
            return
        self._settle_calls()
        self.lane.rate *= self.slower
        self.slowed_at = None
        called = [(self.owner[number].deadline_s, left) for left, _, number in self.lane.waiting]
        still_open = sorted(
            (ledger.deadline_s, float(ledger.shard.records))
            for ledger in self.shards.values()
            if ledger.shard.state is not ShardState.SETTLED
        )
        done_at = self.now + LEAD_S
        for deadline_s, records in [*called, *still_open]:
            done_at += records / self.lane.rate
            if done_at > deadline_s:
                self.excused = True  # too late even if everything that is open were called from this moment on

    def _settle_calls(self) -> None:
        for number, records, at in self.lane.advance(self.now):
            if at > self.owner[number].deadline_s + 1 and not self.excused:
                raise Missed(
                    f"{records.bit_count()} records were called {at - self.owner[number].deadline_s:.0f} s late"
                )
            self.answered[number] |= records
            self.bills[number].append(records)

    def _live(self) -> list[Job]:
        jobs = [job for region in self.regions.values() for job in region.jobs.values()]
        return [job for job in jobs if job.status(self.now) in RUNNING]

    # ------------------------------------------------------------------ the tick

    def _list(self) -> tuple[dict[str, Job], set[str]]:
        seen: dict[str, Job] = {}
        failed = set()
        for name in {ledger.shard.region for ledger in self.shards.values()}:
            try:
                seen |= self.regions[name].list(self.now)
            except Unreachable:
                failed.add(name)
        return seen, failed

    def _behind(self, seen: dict[str, Job] | None = None) -> dict[str, float]:
        if not self.compete:
            return {}
        claims = []
        for name, ledger in self.shards.items():
            shard = ledger.shard
            if shard.state is ShardState.SETTLED:
                continue
            job = (seen or {}).get(shard.job_name or "")
            status = "" if job is None else job.status(self.now)
            begun = shard.submitted_at or shard.staged_at
            drain_s = shard.records / self.lane.rate
            claims.append(
                Claim(
                    name, frozenset("q"), moment(ledger.deadline_s), drain_s,
                    begun + timedelta(seconds=self.forecast.p95_s),
                    called_s=drain_s * called_share(shard, moment(self.now), self.forecast, drain_s, shard.generation),
                    going=shard.state in (ShardState.STOPPING, ShardState.COLLECTING)
                    or status in ENDED | {"Stopping"},
                )
            )  # fmt: skip
        return behind_s(claims, moment(self.now), lead_s=LEAD_S)

    def _tick(self) -> None:
        seen, failed = self._list()
        behind = self._behind(seen)
        for name, ledger in list(self.shards.items()):
            shard = ledger.shard
            if shard.state is ShardState.SETTLED:
                continue
            if ledger.look_at_s > self.now:
                continue
            found = self._told(seen.get(shard.job_name or ""))
            taken = self._step(ledger, found, behind.get(name, 0.0), listed=shard.region not in failed)
            if any(isinstance(action, Look) for action in taken.actions):
                found, taken = self._ask(ledger, behind.get(name, 0.0))
            self._send(name, shard, taken, found)
        for name, job in seen.items():
            ledger = self.shards.get(_shard_of(name))
            if stray(self._told(job), ledger.shard if ledger else None, PREFIX):
                self._put(5.0, ("stop", None, 0, job.arn, job.region))

    def _step(self, ledger: Ledger, found: BatchJob | None, behind: float, **more: bool) -> Step:
        shard = ledger.shard
        if not self.guard:  # broken on purpose
            behind, shard = 0.0, replace(shard, earliest_at=moment(ledger.deadline_s + 36_000))
        drain_s = LEAD_S + shard.records / self.lane.rate
        return step(shard, found, moment(self.now), drain_s=drain_s, behind_s=behind, **more)

    def _ask(self, ledger: Ledger, behind: float) -> tuple[BatchJob | None, Step]:
        shard = ledger.shard
        try:
            job = self.regions[shard.region].get(shard.arn, self.now)
        except Unreachable:
            taken = self._step(ledger, None, behind, listed=False)
            return None, replace(taken, actions=tuple(a for a in taken.actions if not isinstance(a, Look)))
        found = self._told(job)
        return found, self._step(ledger, found, behind, listed=True, asked=found is None)

    def _told(self, job: Job | None) -> BatchJob | None:
        if job is None:
            return None
        status, end = job.status(self.now), job.end(self.now)
        self.statuses.add(status)
        told = end is not None or self.dice.random() < 0.7
        processed = job.processed(self.now).bit_count() if told else None
        ended_at = None if end is None else moment(end)
        return BatchJob(job.name, job.arn, status, job.region, moment(job.created_at), ended_at, None, processed)

    def _send(self, name: str, shard: Shard, taken: Step, found: BatchJob | None) -> None:
        for action in taken.actions:
            message = self._message(action, name, shard)
            delay_s = self.dice.choice([1, 5, 30, 60])
            fate = self.dice.random()
            if fate < 0.04:
                delay_s += 100  # its worker died before it did anything; the queue delivers it again
            self._put(delay_s, message)
            if fate > 0.85:
                self._put(delay_s + self.dice.choice([0, 20, 4_000]), message)
        self.shards[name].look_at_s = seconds(taken.next_check_at)

    def _message(self, action, name: str, shard: Shard) -> tuple:
        match action:
            case Submit():
                return "submit", name, shard.attempt
            case Adopt():
                return "adopt", name, shard.attempt
            case Stop():
                return "stop", name, shard.attempt, action.arn, action.region
            case Collect():
                return "collect", name, shard.attempt, action.status, action.processed, action.final
            case Rescue():
                return "rescue", name, shard.attempt, action.repeats
        raise AssertionError(action)

    def _put(self, delay_s: float, message: tuple) -> None:
        self.sent += 1
        heapq.heappush(self.messages, (self.now + delay_s, self.sent, message))

    # ------------------------------------------------------------------ the workers

    def _deliver(self) -> None:
        while self.messages and self.messages[0][0] <= self.now:
            _, _, (do, name, attempt, *more) = heapq.heappop(self.messages)
            self.works[do] += 1
            if do == "stop":
                self._stop(name, attempt, *more)
                continue
            ledger = self.shards[name]
            if ledger.shard.attempt != attempt or ledger.shard.state is ShardState.SETTLED:
                continue
            getattr(self, f"_{do}")(ledger, *more)

    def _change(self, ledger: Ledger, look_in_s: float = CHECK_S, **fields) -> None:
        ledger.shard = replace(ledger.shard, **fields)
        ledger.look_at_s = self.now + look_in_s

    def _submit(self, ledger: Ledger) -> None:
        shard = ledger.shard
        if moment(self.now) >= shard.guard_at:
            return
        if shard.state is ShardState.STAGED:
            name = f"{PREFIX}{shard.id}-a{shard.attempt}"
            self._change(ledger, state=ShardState.INTENT, job_name=name, intent_at=moment(self.now))
            if self.dice.random() < 0.05:
                return  # killed between the intent and the create
            self._create(ledger)
        elif shard.state is ShardState.INTENT:
            age = self.now - seconds(shard.intent_at)
            if age <= INTENT_S - 10:
                self._create(ledger)
            elif age >= INTENT_S + ABSENT_S:
                self._again(ledger)

    def _again(self, ledger: Ledger) -> None:
        """Nothing of that name in ten minutes: elsewhere, or the same again."""
        shard = ledger.shard
        try:
            there = self.regions[shard.region].list(self.now).get(shard.job_name)
        except Unreachable:
            return
        if there is not None:
            self._adopt(ledger)
        elif shard.alternatives:
            self._move(ledger, shard.alternatives[0], refused=False)
        else:
            self._change(ledger, intent_at=moment(self.now))
            self._create(ledger)

    def _create(self, ledger: Ledger) -> None:
        shard = ledger.shard
        hours = math.ceil((ledger.deadline_s - self.now) / 3600)
        try:
            arn = self.regions[shard.region].create(shard.job_name, ledger.records, self.now, hours)
        except NoAnswer:
            self._one_job(shard)
            return
        except Unreachable:
            self._full(ledger)
            return
        except Refused as refused:
            if refused.full:
                self._full(ledger)
            elif shard.alternatives:
                self._move(ledger, shard.alternatives[0], refused=True)
            else:
                self._change(ledger, state=ShardState.COLLECTING, job_name=None, look_in_s=0)
            return
        self._one_job(shard)
        self._change(ledger, state=ShardState.OPEN, arn=arn, submitted_at=moment(self.now), delays=0)

    def _one_job(self, shard: Shard) -> None:
        names = [job.name for job in self._live() if job.name.startswith(PREFIX + shard.id)]
        if len(names) > 1:
            raise Missed(f"two live jobs for one shard: {names}")

    def _full(self, ledger: Ledger) -> None:
        shard = ledger.shard
        if shard.delays + 1 >= MOVE_AFTER and shard.alternatives:
            self._move(ledger, shard.alternatives[0], refused=False)
            return
        self._change(
            ledger, state=ShardState.STAGED, job_name=None, intent_at=None, delays=shard.delays + 1, look_in_s=FULL_S
        )

    def _move(self, ledger: Ledger, to: Route, *, refused: bool) -> None:
        shard = ledger.shard
        left = tuple(route for route in shard.alternatives if route != to)
        alternatives = left if refused else (*left, Route(shard.region, "m", "m", "regional"))
        self._change(
            ledger, state=ShardState.STAGED, attempt=shard.attempt + 1, region=to.region, alternatives=alternatives,
            job_name=None, intent_at=None, delays=0, look_in_s=0,
        )  # fmt: skip

    def _adopt(self, ledger: Ledger) -> None:
        shard = ledger.shard
        if shard.state is not ShardState.INTENT:
            return
        try:
            job = self.regions[shard.region].list(self.now).get(shard.job_name)
        except Unreachable:
            return
        if job is not None:
            self._change(ledger, state=ShardState.OPEN, arn=job.arn, submitted_at=moment(job.created_at), look_in_s=0)

    def _stop(self, name: str | None, attempt: int, arn: str, region: str) -> None:
        if any(job.arn == arn for one in self.regions.values() for job in one.foreign):
            raise Missed("somebody else's job was stopped")
        try:
            self.regions[region].stop(arn, self.now)
        except Unreachable:
            return
        ledger = self.shards.get(name or "")
        if ledger is not None and ledger.shard.state is ShardState.OPEN and ledger.shard.attempt == attempt:
            self._change(ledger, state=ShardState.STOPPING, stop_asked_at=moment(self.now))

    def _collect(self, ledger: Ledger, status: str, processed: int | None, final: bool) -> None:
        shard = ledger.shard
        job = self._job(shard)
        rows = None if job is None else job.rows(self.now)
        if rows is None and not final and shard.arn is not None and processed != 0:
            self._change(ledger, stopped_seen_at=shard.stopped_seen_at or moment(self.now))
            return
        if rows is not None and not self.regions[shard.region].reachable(self.now):
            return  # its bucket is as far as its control plane
        self._settle(ledger, job, rows, processed, None if status != "Expired" and shard.arn else 0)

    def _rescue(self, ledger: Ledger, repeats: int) -> None:
        self._settle(ledger, self._job(ledger.shard), None, None, repeats, given_up=True)

    def _job(self, shard: Shard) -> Job | None:
        return None if shard.arn is None else self.regions[shard.region].jobs.get(shard.job_name or "")

    def _settle(
        self,
        ledger: Ledger,
        job: Job | None,
        rows: int | None,
        processed: int | None,
        repeats: int | None,
        *,
        given_up: bool = False,
    ) -> None:
        """Finished rows are kept, and what is missing goes on as `plan_rescue` says."""
        number, seen = self.of[ledger.shard.id], rows or 0
        retry, other, failed = ledger.records & ~seen, 0, 0
        for code, records in (job.errors if job is not None else {}).items():
            match row_verdict(int(code)):
                case RowVerdict.FINAL:
                    failed |= records & seen
                case RowVerdict.OTHER_LANE:
                    other |= records & seen
                case _:
                    retry |= records & seen
        answered = seen & ~retry & ~other & ~failed
        if self.forget_finished:  # broken on purpose
            retry |= answered
        unanswered = (ledger.records & ~seen).bit_count()
        lost = lost_records(
            missing=unanswered, processed=processed, rows_seen=seen.bit_count(), any_output=rows is not None
        )
        self.repeats += lost if repeats is None else min(repeats, (retry | other).bit_count())
        self.answered[number] |= answered | failed
        self.settled[ledger.shard.state] += 1
        ledger.shard = replace(ledger.shard, state=ShardState.SETTLED)
        if answered and self.now > ledger.deadline_s and not self.excused:
            raise Missed("a batch job was collected after its deadline")
        self._go_on(ledger, number, retry, other, given_up)

    def _go_on(self, ledger: Ledger, number: int, retry: int, other: int, given_up: bool) -> None:
        missing = retry | other
        if missing & self.answered[number]:
            raise Missed("what is finished would be done again")
        if not missing:
            return
        plan = plan_rescue(
            missing=retry.bit_count(),
            generation=ledger.shard.generation,
            now=moment(self.now),
            deadline=moment(ledger.deadline_s),
            forecast=self.forecast,
            drain_s=missing.bit_count() / self.lane.rate,
            batch_possible=ledger.shard.arn is not None,
            stopped=ledger.shard.stop_asked_at is not None or given_up,
        )
        if plan.lane is Lane.BATCH:
            region = self.dice.choice(list(self.regions))
            self._stage(retry, ledger.deadline_s, number, plan.generation, region)
            missing = other
        if missing:
            self.lane.add(missing, number, self.now)

    # ------------------------------------------------------------------ the end

    def _judge(self) -> None:
        for region in self.regions.values():
            for job in region.jobs.values():
                number = self.of[_shard_of(job.name)]
                errors = 0
                for records in job.errors.values():
                    errors |= records
                self.bills[number].append(job.processed(self.now) & ~errors)
                if job.status(self.now) in LIVE:
                    raise Missed(f"a job goes on after everything has settled: {job.status(self.now)}")
        paid_again = 0
        for number, ledger in enumerate(self.owner):
            if self.answered[number] != ledger.records:
                left = (ledger.records & ~self.answered[number]).bit_count()
                raise Missed(f"{left} records have no end")
            once = 0
            for records in self.bills[number]:
                paid_again += (once & records).bit_count()
                once |= records
        if paid_again > self.repeats:
            raise Missed(f"{paid_again} records were paid again, {self.repeats} repeats are named")
