"""Batch jobs in memory: the real use cases and ledger over moto's table, and a control plane that forgets nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import orjson

from slackwater.adapters.ledger.canaries import Canaries
from slackwater.adapters.ledger.due import DueItems
from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.pools import Pools
from slackwater.adapters.ledger.queue_runs import QueueRuns
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.slots import SlotLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.shard_files import ShardFiles
from slackwater.model import bits, ids
from slackwater.model.batch_job import BatchCallFailed, BatchJob, OpenJob
from slackwater.model.job import Route
from slackwater.model.run import RunKind, Unit
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.capability import load_capability
from slackwater.policy.classify import classify_batch
from slackwater.policy.forecast import guard_at
from slackwater.policy.prices import load_price_book
from slackwater.usecases.canaries import CanaryWatch
from slackwater.usecases.cancel import AskCancel, CancelRun
from slackwater.usecases.cancelled import CancelledRuns
from slackwater.usecases.collect import Collect
from slackwater.usecases.drains import Drains
from slackwater.usecases.fail_jobs import FailJobs
from slackwater.usecases.fail_units import FailUnits
from slackwater.usecases.forecasts import Forecasts
from slackwater.usecases.parts import Parts
from slackwater.usecases.pooled import Latest, PoolRecords
from slackwater.usecases.pools import PoolKeeper
from slackwater.usecases.pools import due as pool_due
from slackwater.usecases.queue_runs import Closing, Results
from slackwater.usecases.remainders import Leftover, PoolRemainder, Remainders
from slackwater.usecases.settle import Settle
from slackwater.usecases.slots import BatchSlots
from slackwater.usecases.stage import Stage, StageRecord
from slackwater.usecases.stage_pool import StagePool
from slackwater.usecases.submit import Adopt, Stop, Submit
from slackwater.usecases.tick import Tick, Ticked
from slackwater.usecases.work import Work, Worked
from tests.unit.queue_rig import Applied
from tests.unit.rig import HAIKU, START, Bucket, Executions, Outbox, StillClock

STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/slackwater/1"
PREFIX = ids.job_name_prefix(STACK)
WEST = Route("us-west-2", f"global.{HAIKU}", HAIKU, "global")
EAST = Route("us-east-1", f"global.{HAIKU}", HAIKU, "global")
DRAIN = 20.0
PRICES, CAPABILITY = load_price_book(), load_capability()

Output = Callable[[list[dict[str, Any]]], Iterable[Any]]
"""From the input records to the lines of the output file (objects, or raw bytes)."""


class Store(Bucket):
    """A bucket that streams, in chunks that respect no line."""

    def __init__(self, bucket: str = "home") -> None:
        super().__init__()
        self.bucket = bucket

    def put_file(self, key: str, file: BinaryIO) -> None:
        self.objects[key] = file.read()

    def stream(self, key: str) -> Iterator[bytes]:
        body = self.get(key)
        for start in range(0, len(body), 777):
            yield body[start : start + 777]


def usage(record: Mapping[str, Any]) -> dict[str, int]:
    return {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}


def answered(record: Mapping[str, Any], text: str | None = None) -> dict[str, Any]:
    """The output line of a record that the model answered: an echo."""
    said = text or "echo of " + record["modelInput"]["messages"][0]["content"][0]["text"]
    message = {"role": "assistant", "content": [{"text": said}]}
    output = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage(record)}
    return {"recordId": record["recordId"], "modelInput": record["modelInput"], "modelOutput": output}


def refused(record: Mapping[str, Any], code: Any = 400, text: str = "bad request") -> dict[str, Any]:
    return {
        "recordId": record["recordId"],
        "modelInput": record["modelInput"],
        "error": {"errorCode": code, "errorMessage": text},
    }


def all_answered(records: list[dict[str, Any]]) -> list[Any]:
    return [answered(record) for record in records]


class Bedrock:
    """Batch jobs of all regions. `before`, `after`: codes with which the next calls of an operation end."""

    def __init__(self, clock: StillClock, stores: Mapping[str, Store]) -> None:
        self._clock = clock
        self._stores = stores
        self.jobs: dict[str, BatchJob] = {}  # by ARN
        self.hidden: set[str] = set()  # names that the list does not show (yet)
        self.before: dict[str, list[str]] = {}  # operation → codes; nothing is done
        self.after: dict[str, list[str]] = {}  # operation → codes; it is done, the reply is lost
        self.down: set[str] = set()
        self.others: dict[str, int] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.created: list[dict[str, Any]] = []

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self._stores)

    def _called(self, operation: str, region: str, what: str) -> None:
        self.calls.append((operation, region, what))
        if region in self.down:
            self._fail(operation, "ServiceUnavailableException", 503)
        if self.before.get(operation):
            code, _, status = self.before[operation].pop(0).partition(":")
            self._fail(operation, code, int(status or 400))

    def _fail(self, operation: str, code: str, status: int | None) -> None:
        raise BatchCallFailed(code, classify_batch(operation, code, status))

    def _reply(self, operation: str) -> None:
        if self.after.get(operation):
            self._fail(operation, self.after[operation].pop(0), None)

    def create(self, *, region: str, name: str, **request: Any) -> str:
        self._called("create", region, name)
        known = next((job for job in self.jobs.values() if job.region == region and job.name == name), None)
        if known is None:
            arn = f"arn:aws:bedrock:{region}:000000000000:model-invocation-job/{ids.h(region + name)[:12]}"
            known = self.jobs[arn] = BatchJob(name, arn, "Submitted", region, self._clock.now())
            self.created.append({"region": region, "name": name, **request})
        self._reply("create")
        return known.arn

    def get(self, region: str, arn: str) -> BatchJob | None:
        self._called("get", region, arn)
        return self.jobs.get(arn)

    def list(self, region: str, name_contains: str, *, since: datetime | None = None) -> Iterator[BatchJob]:
        self._called("list", region, name_contains)
        for job in list(self.jobs.values()):
            if job.region != region or not job.name.startswith(name_contains) or job.name in self.hidden:
                continue
            if since is None or (job.submitted_at is not None and job.submitted_at >= since):
                yield job

    def open_jobs(self, region: str) -> Iterator[OpenJob]:
        """Everybody's: `others` are other people's, by region."""
        self._called("list", region, "")
        for job in self.jobs.values():
            if job.region == region and not job.ended:
                yield OpenJob(job.name, WEST.model_id, job.status, job.submitted_at)
        for number in range(self.others.get(region, 0)):
            yield OpenJob(f"theirs-{number}", HAIKU, "InProgress", self._clock.now())

    def stop(self, region: str, arn: str) -> bool:
        self._called("stop", region, arn)
        job = self.jobs[arn]
        if job.ended or job.status == "Stopping":
            return False
        self.jobs[arn] = replace(job, status="Stopping")
        return True

    def moves(self, status: str, **more: Any) -> None:
        """Every job that has not ended gets this status."""
        for arn, job in self.jobs.items():
            if not job.ended:
                ended = {"ended_at": self._clock.now()} if replace(job, status=status).ended else {}
                self.jobs[arn] = replace(job, status=status, **{**ended, **more})

    def ends(self, status: str = "Completed", output: Output | None = all_answered, **more: Any) -> None:
        """Every job that has not ended ends so; `output` None: it leaves no file."""
        for job in list(self.jobs.values()):
            if not job.ended and output is not None:
                self.writes(job, output)
        self.moves(status, **more)

    def writes(self, job: BatchJob, output: Output, file: str = "in.jsonl.out") -> None:
        parts = ids.JOB_NAME.match(job.name)
        assert parts is not None
        store = self._stores[job.region]
        folder = f"v1/shards/{parts['shard']}"
        records = store.rows(f"{folder}/in.jsonl")
        lines = [line if isinstance(line, bytes) else orjson.dumps(line) for line in output(records)]
        store.put(f"{folder}/out/{job.short_id}/{file}", b"\n".join(lines) + (b"\n" if lines else b""))
        store.put(f"{folder}/out/{job.short_id}/manifest.json.out", b'{"processedRecordCount": 123456}')


class Killed(BaseException):
    """SIGKILL, as far as a test can have it: nothing after it runs."""


class Fragile:
    """A port whose n-th call of all such ports, counted by `fuse`, dies before or after it is done."""

    def __init__(self, port: Any, fuse: "Fuse") -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found) or name in ("release", "index", "input_lines", "output_lines"):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._fuse.burn()
            done = found(*args, **more)
            self._fuse.burn()
            return done

        return call


@dataclass
class Fuse:
    """Blows at burn number `at`; None: never."""

    at: int | None = None
    burnt: int = 0

    def burn(self) -> None:
        self.burnt += 1
        if self.at is not None and self.burnt == self.at:
            raise Killed


class NoReplies:
    def send(self, answered: Iterable[Any]) -> frozenset[str]:
        list(answered)
        return frozenset()


@dataclass
class Letters:
    """A dead-letter queue."""

    bodies: list[str]

    def peek(self, limit: int = 10, hidden_s: int = 5) -> list[str]:
        return self.bodies[:limit]


class BatchWorld:
    """Everything that tick and work share; `work` is one worker, `settle_down` lets both run until nothing changes."""

    def __init__(self, table: Table, clock: StillClock, *, fuse: Fuse | None = None) -> None:
        self.table, self.clock = table, clock
        self.home = Store()
        self.stores = {"us-west-2": Store("west"), "us-east-1": self.home}
        self.bedrock = Bedrock(clock, self.stores)
        self.fuse = fuse or Fuse()
        self.runs = Runs(table, clock, retain_days=30)
        self.shards = ShardLedger(table, clock)
        self.files = ShardFiles(self.home, self.stores)  # type: ignore[arg-type, dict-item]
        self.packs, self.queue, self.sent = Outbox(), Outbox(), Outbox()
        self.workflow = Executions()
        self.announced: list[tuple[str, str, str]] = []
        self.parts = Parts(self.home)
        self.settle = Settle(runs=self.runs, packs=self.packs, workflow=self.workflow)
        self.applied = Applied()
        self.jobs, self.queue_runs = Jobs(table, clock), QueueRuns(table, clock)
        self.pools = Pools(table, clock, self.jobs)
        self.results = Results(jobs=self.jobs, parts=self.parts, replies=NoReplies(), look=self.settle.look)
        self.closing = Closing(
            runs=self.queue_runs,
            jobs=self.jobs,
            results=self.results,
            workflow=self.workflow,
            clock=clock,
            ask_tick=lambda run: None,
        )
        self.dead = {"packs": Letters([]), "work": Letters([]), "jobs": Letters([])}
        self.forecasts = Forecasts(history=History(table), clock=clock)
        self.drains = Drains(quotas=QuotaLedger(table), clock=clock, assumed=DRAIN)
        self.stage = Stage(shards=self.shards, files=self.files, clock=clock, forecasts=self.forecasts.by_region)
        self.work = self._work()
        self.tick = self._tick()
        self.workers = 0
        self.outcomes: list[Worked] = []

    def _work(self) -> Work:
        self.cancelled = CancelledRuns(self.runs, self.clock)
        self.fail_units = FailUnits(
            runs=self.runs,
            shards=self.shards,
            files=self.files,
            parts=self.parts,
            documents=self.home,
            settle=self.settle,
            clock=self.clock,
        )
        self.cancel_run = CancelRun(
            runs=self.runs,
            shards=self.shards,
            fail_units=self.fail_units,
            closing=self.closing,
            pools=self.pools,
            results=self.results,
            look=self.settle.look,
            clock=self.clock,
        )
        shards, files, bedrock = (Fragile(port, self.fuse) for port in (self.shards, self.files, self.bedrock))
        keeper = PoolKeeper(
            pools=self.pools,
            jobs=self.jobs,
            documents=self.home,
            onward=_Onward(self),
            settle=self.settle,
            clock=self.clock,
        )
        latest = Latest(forecasts=self.forecasts, regions=(WEST.region, EAST.region), drain_jobs_per_s=DRAIN)
        self.remainders = Remainders(pools=self.pools, clock=self.clock, latest=latest)
        self.pool_remainder = PoolRemainder(
            documents=self.home,
            profiles=self.applied,
            join=PoolRecords(pools=self.pools, clock=self.clock, latest=latest),
            settle=self.settle,
        )
        watch = CanaryWatch(
            ledger=Canaries(self.table, self.clock), parts=self.parts, clock=self.clock, note=self.runs.update
        )
        self.slot_ledger = SlotLedger(self.table, self.clock)
        self.slots = BatchSlots(
            ledger=self.slot_ledger,
            shards=self.shards,
            jobs=self.bedrock,
            prices=PRICES,
            clock=self.clock,
            stack_arn=STACK,
        )
        stage = Stage(shards=shards, files=files, clock=self.clock, forecasts=self.forecasts.by_region)
        return Work(
            announce=lambda run_id, status, error: self.announced.append((run_id, status, error)),
            submit=Submit(
                shards=shards,
                files=files,
                jobs=bedrock,
                clock=self.clock,
                stack_arn=STACK,
                cancelled=self.cancelled,
                slots=self.slots,
                canaries=watch.of,
            ),
            adopt=Adopt(shards=shards, jobs=bedrock, clock=self.clock),
            stop=Stop(shards=shards, jobs=bedrock, clock=self.clock),
            collect=Collect(
                shards=shards,
                files=files,
                units=self.runs,
                settle=Fragile(self.settle, self.fuse),
                results=Fragile(self.results, self.fuse),
                pools=Fragile(keeper, self.fuse),
                stage=stage,
                prices=PRICES,
                forecasts=self.forecasts,
                clock=self.clock,
                drains=self.drains,
                leftover=Leftover(
                    ask=self.remainders,
                    pool=self.pool_remainder,
                    profiles=self.applied,
                    prices=PRICES,
                    note=self.runs.update,
                ),
                slots=self.slots,
                answered=watch.passed,
                cancelled=self.cancelled,
            ),
            stage_pool=StagePool(
                pools=self.pools,
                keeper=keeper,
                stage=stage,
                profiles=self.applied,
                capability=CAPABILITY,
                prices=PRICES,
                deployed=self.stores,
                drain_jobs_per_s=DRAIN,
            ),
            keeper=keeper,
            closing=self.closing,
            fail_units=self.fail_units,
            cancel=self.cancel_run,
            fail_jobs=FailJobs(jobs=self.jobs, results=self.results, clock=self.clock),
            shards=self.shards,
            runs=self.runs,
            clock=self.clock,
            stack_arn=STACK,
        )

    def _tick(self) -> Tick:
        return Tick(
            items=DueItems(self.table),
            shards=self.shards,
            jobs=self.bedrock,
            runs=self.runs,
            queue_runs=self.queue_runs,
            pools=self.pools,
            settle=self.settle,
            work=self.sent,
            dead_packs=self.dead["packs"],
            dead_work=self.dead["work"],
            dead_jobs=self.dead["jobs"],
            clock=self.clock,
            pool_due=pool_due,
            forecasts=self.forecasts,
            drains=self.drains,
            drain_jobs_per_s=DRAIN,
            stack_arn=STACK,
        )

    # ------------------------------------------------------------------ a file run

    def file_run(self, jobs: int = 250, *, run: str = "r1", deadline_s: float = 86_400, block: int = 100) -> str:
        """A run whose only unit is one shard, staged in us-west-2; blocks of `block` lines."""
        deadline = self.clock.now() + timedelta(seconds=deadline_s)
        self.runs.open(
            run,
            {"kind": RunKind.FILE.value, "profile": "default", "deadline_at": _iso(deadline), "accepted": jobs},
            next_check_at=deadline + timedelta(minutes=15),
        )
        self.runs.set_token(run, f"token of {run}")
        records = [record(line, run=run, block=block) for line in range(1, jobs + 1)]
        shard = self.staged(records, run=run, deadline=deadline)
        self.runs.register(run, [Unit(shard, "shard", None, "batch", None, jobs=jobs)])
        return shard

    def staged(self, records: list[StageRecord], *, run: str, deadline: datetime, **more: Any) -> str:
        arguments: dict[str, Any] = {
            "owner_kind": OwnerKind.RUN,
            "owner": run,
            "profile": "default",
            "home_region": "us-east-1",
            "records": records,
            "region": WEST.region,
            "model_id": WEST.model_id,
            "base_model": WEST.base_model,
            "kind": WEST.kind,
            "deadline_at": deadline,
            "guard_at": guard_at(deadline, len(records) / DRAIN),
            "generation": 1,
            "profiles_version": "v1",
            "alternatives": (EAST,),
        }
        return self.stage.shard(**{**arguments, **more})

    def file_run_drawing_on(self, quotas: tuple[str, ...], *, run: str = "r1") -> str:
        """As `file_run`; calling its jobs would draw on these quotas."""
        shard = self.shard(self.file_run(run=run))
        self.shards.change(shard, quotas=quotas)
        return shard.id

    def shard_like(self) -> Shard:
        """A shard as a file run makes it."""
        return self.shard(self.file_run(run="like"))

    def file_run_with_job(self, jobs: int, *, run: str = "r1") -> tuple[str, BatchJob]:
        """As `file_run`; its shard has a job already."""
        shard = self.shard(self.file_run(jobs, run=run))
        name = ids.batch_job_name(STACK, shard.id, 1)
        arn = self.bedrock.create(region=shard.region, name=name)
        self.shards.change(shard, state=ShardState.OPEN, arn=arn, job_name=name, submitted_at=self.clock.now())
        return shard.id, self.bedrock.jobs[arn]

    def cancels(self, run: str) -> bool:
        """What the command does."""
        return AskCancel(runs=self.runs, work=self.sent)(run)

    def collects(self, shard_id: str, **ended: Any) -> dict[str, Any]:
        """The message that the tick sends when the shard's job has ended."""
        message = {"v": 1, "do": "collect", "shard": shard_id, "attempt": 1, "ended_at": None, "final": False}
        return {**message, "processed": None, **ended}

    def shard(self, shard_id: str) -> Shard:
        found = self.shards.get(shard_id)
        assert found is not None
        return found

    # ------------------------------------------------------------------ time passes

    def beat(self) -> Ticked:
        """One tick, and a worker for each message that it sends."""
        ticked = self.tick(stop_at_wall_s=self.clock.wall_s() + 100)
        self.deliver()
        return ticked

    def deliver(self) -> None:
        """Each message on the work queue is worked on once."""
        while self.sent.sent:
            self.do(self.sent.sent.pop(0).body)

    def do(self, body: Mapping[str, Any]) -> Worked:
        self.workers += 1
        body = orjson.loads(orjson.dumps(body))
        done = self.work(body, worker=f"w{self.workers}", alive=_alive)
        self.outcomes.append(done)
        return done

    def opened(self, shard_id: str) -> Shard:
        """Beats until the shard has a job."""
        self.beat()
        shard = self.shard(shard_id)
        assert shard.arn is not None, self.outcomes
        self.clock.advance(61)
        return shard

    # ------------------------------------------------------------------ what came of it

    def rows(self, run: str = "r1") -> list[dict[str, Any]]:
        """All rows in all parts of a run."""
        return [row for key in self.home.keys(f"v1/runs/{run}/parts/") for row in self.home.rows(key)]

    def covered(self, run: str = "r1", block: int = 100) -> set[int]:
        """Lines that the ledger says to have a final row."""
        lines = set()
        for item in self.runs.blocks(run):
            first = int(item["sk"].removeprefix("BLOCK#")) * block + 1
            for name, value in item.items():
                if name.startswith("s_"):
                    lines |= {first + position for position in bits.unpack(value)}
        return lines

    def waiting(self, run: str = "r1", block: int = 100) -> dict[str, set[int]]:
        """Lines by the open pack that has to answer them, and open shards without lines."""
        found = {}
        for unit in self.runs.units(run):
            if unit["state"] != "ended":
                lines = bits.unpack(unit.get("lines"))
                found[unit["unit"]] = {unit.get("first_line", 0) + position for position in lines}
        return found

    def meta(self, run: str = "r1") -> dict[str, Any]:
        found = self.runs.get(run)
        assert found is not None
        return found


class _Onward:
    """Sends pooled jobs on, as the real one does, but remembers them only."""

    def __init__(self, world: BatchWorld) -> None:
        self._world = world

    def release(self, parcels: Iterable[Any]) -> None:
        self._world.queue.send(parcel for parcel in parcels)


@contextmanager
def _alive_once(renew: Callable[[], None]) -> Iterator[None]:
    renew()
    yield


def _alive(renew: Callable[[], None]) -> AbstractContextManager[None]:
    return nullcontext() if renew is None else _alive_once(renew)


def record(line: int, *, run: str = "r1", block: int = 100, secret: str = "prompt") -> StageRecord:
    index = (line - 1) // block
    return StageRecord(
        run=run,
        block=f"{index:05d}",
        line=line,
        id=f"id-{line}",
        job=f"job-{run}-{line}",
        request={"messages": [{"role": "user", "content": [{"text": f"{secret} {line}"}]}]},
        first_line=index * block + 1,
    )


def index_row(ordinal: int, *, block: int = 7) -> dict[str, Any]:
    """The index row of record `ordinal` of a shard that holds all lines of its run."""
    one = record(ordinal + 1, block=block)
    row = {"r": ordinal, "run": one.run, "block": one.block, "line": one.line, "first": one.first_line}
    return {**row, "id": one.id, "job": one.job}


def a_shard(records: int = 100, **more: Any) -> Shard:
    """A staged shard that is in no ledger."""
    fields: dict[str, Any] = {
        "id": "s" + "a" * 20,
        "state": ShardState.STAGED,
        "region": WEST.region,
        "model_id": WEST.model_id,
        "base_model": WEST.base_model,
        "kind": WEST.kind,
        "attempt": 1,
        "records": records,
        "bytes": 1000,
        "owner_kind": OwnerKind.RUN,
        "owner": "r1",
        "profile": "default",
        "home_region": "us-east-1",
        "deadline_at": START + timedelta(days=1),
        "guard_at": START + timedelta(hours=23),
        "generation": 1,
        "alternatives": (EAST,),
        "next_check_at": START,
    }
    return Shard(**{**fields, **more})


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
