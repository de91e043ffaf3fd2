"""The one place that knows both sides: use cases and adapters. Each function builds what one handler needs, and no more."""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from slackwater.adapters.bedrock_batch import ONE_ATTEMPT, BatchJobs
from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.adapters.ledger.due import DueItems
from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.pools import Pools
from slackwater.adapters.ledger.queue_runs import QueueRuns
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.ledger.workers import Workers
from slackwater.adapters.profiles import ProfileStore
from slackwater.adapters.queues import Queue
from slackwater.adapters.replies import QueuesByArn
from slackwater.adapters.shard_files import ShardFiles
from slackwater.adapters.store import Store
from slackwater.adapters.workflow import Events, RunWorkflow
from slackwater.model.claim import Room
from slackwater.model.clock import ScaledClock
from slackwater.policy.capability import Capability, load_capability
from slackwater.policy.forecast import PRIOR, latest_start
from slackwater.policy.pooling import FULL_BYTES, FULL_JOBS
from slackwater.policy.prices import PriceBook, load_price_book
from slackwater.settings import Settings
from slackwater.usecases.admit import Admit
from slackwater.usecases.aggregate import Aggregate
from slackwater.usecases.announce import Announce
from slackwater.usecases.asked import Reader
from slackwater.usecases.claims import Claims
from slackwater.usecases.collect import Collect
from slackwater.usecases.dispatch import Dispatch
from slackwater.usecases.engine import Engine
from slackwater.usecases.fail_jobs import FailJobs
from slackwater.usecases.fail_units import FailUnits
from slackwater.usecases.lanes import InForce, QueueLanes
from slackwater.usecases.onward import Onward
from slackwater.usecases.parts import Parts
from slackwater.usecases.place import Place
from slackwater.usecases.plan import Plan
from slackwater.usecases.plan import Stack as PlanStack
from slackwater.usecases.pools import PoolIntake, PoolKeeper
from slackwater.usecases.pools import due as pool_due
from slackwater.usecases.ports import Outgoing
from slackwater.usecases.queue_runs import Closing, Results
from slackwater.usecases.replies import Replies
from slackwater.usecases.route import Router
from slackwater.usecases.routing import CallsOfFileRun, Routing
from slackwater.usecases.settle import Settle
from slackwater.usecases.stage import Stage
from slackwater.usecases.stage_pool import StagePool
from slackwater.usecases.submit import Adopt, Stop, Submit
from slackwater.usecases.survey_file import SurveyFile
from slackwater.usecases.tick import Tick
from slackwater.usecases.wait import Wait
from slackwater.usecases.work import Work

CONTROL = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=3, read_timeout=60)


class Kit:
    """What the use cases of one function share, each made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = ScaledClock(settings.clock_rate, settings.clock_origin)
        self.rng = random.Random()  # noqa: S311 - jitter, no secret
        self._session = boto3.Session()

    def client(self, service: str, region: str | None = None) -> Any:
        """A client with the SDK's own endpoint variables, and room for the threads of one worker."""
        config = CONTROL.merge(Config(max_pool_connections=max(10, self.settings.concurrency)))
        if service == "s3":
            config = config.merge(Config(s3={"addressing_style": "auto"}))
        return self._session.client(service, region_name=region or self.settings.region, config=config)

    @cached_property
    def table(self) -> Table:
        return Table(self.client("dynamodb"), self.settings.table)

    @cached_property
    def store(self) -> Store:
        return Store(self.client("s3"), self.settings.bucket)

    @cached_property
    def sqs(self) -> Any:
        return self.client("sqs")

    def queue(self, url: str) -> Queue:
        return Queue(self.sqs, url, self.clock)

    @cached_property
    def runs(self) -> Runs:
        return Runs(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def workflow(self) -> RunWorkflow:
        return RunWorkflow(self.client("stepfunctions"), self.settings.state_machine_arn)

    @cached_property
    def events(self) -> Events:
        return Events(self.client("events"), self.settings.event_bus)

    @cached_property
    def parts(self) -> Parts:
        return Parts(self.store)

    @cached_property
    def prices(self) -> PriceBook:
        return load_price_book()

    @cached_property
    def capability(self) -> Capability:
        return load_capability()

    @cached_property
    def profiles(self) -> ProfileStore:
        return ProfileStore(self.store)

    @cached_property
    def routing(self) -> Routing:
        return Routing(capability=self.capability, prices=self.prices)

    @cached_property
    def settle(self) -> Settle:
        return Settle(runs=self.runs, packs=self.queue(self.settings.pack_queue_url), workflow=self.workflow)

    @cached_property
    def regional(self) -> dict[str, Store]:
        """The batch buckets, each by a client of its own region."""
        return {
            region: Store(self.client("s3", region), bucket) for region, bucket in self.settings.batch_buckets.items()
        }

    @cached_property
    def shards(self) -> ShardLedger:
        return ShardLedger(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def shard_files(self) -> ShardFiles:
        return ShardFiles(self.store, self.regional)

    @cached_property
    def stage(self) -> Stage:
        return Stage(shards=self.shards, files=self.shard_files, clock=self.clock)

    @cached_property
    def batch_jobs(self) -> BatchJobs:
        clients: dict[str, Any] = {}

        def client(region: str) -> Any:
            if region not in clients:
                clients[region] = self._session.client("bedrock", region_name=region, config=ONE_ATTEMPT)
            return clients[region]

        buckets = self.settings.batch_buckets
        roles = {region: self.settings.batch_role(region) for region in buckets}
        return BatchJobs(client, buckets=buckets, roles=roles)

    @cached_property
    def engine(self) -> Engine:
        return Engine(
            caller=BedrockRuntime(self._session, connections=self.settings.concurrency),
            health=RouteHealth(self.table, self.clock, self.rng),
            prices=self.prices,
            clock=self.clock,
            rng=self.rng,
            concurrency=self.settings.concurrency,
        )


class QueueKit(Kit):
    """What the functions share that deal with queued jobs: route, tick, work."""

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def queue_runs(self) -> QueueRuns:
        return QueueRuns(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.table, self.clock)

    @cached_property
    def pools(self) -> Pools:
        return Pools(self.table, self.clock, self.jobs, retain_days=self.settings.retain_days)

    @cached_property
    def replies(self) -> Replies:
        queues = QueuesByArn(lambda region: self.client("sqs", region), self.clock)
        return Replies(queues=queues, jobs=self.jobs, parts=self.parts, bucket=self.settings.bucket)

    @cached_property
    def results(self) -> Results:
        return Results(jobs=self.jobs, parts=self.parts, replies=self.replies, look=self.settle.look)

    @cached_property
    def closing(self) -> Closing:
        work = self.queue(self.settings.work_queue_url)
        return Closing(
            runs=self.queue_runs,
            jobs=self.jobs,
            results=self.results,
            workflow=self.workflow,
            clock=self.clock,
            ask_tick=lambda run: work.send([Outgoing({"v": 1, "do": "close_run", "run": run})]),
        )

    @cached_property
    def onward(self) -> Onward:
        queue = self.queue(self.settings.job_queue_url)
        return Onward(queue=queue, documents=self.store, jobs=self.jobs, clock=self.clock, rng=self.rng)

    @cached_property
    def pool_keeper(self) -> PoolKeeper:
        return PoolKeeper(
            pools=self.pools, jobs=self.jobs, documents=self.store, onward=self.onward, clock=self.clock
        )


def admit(settings: Settings) -> Admit:
    kit = Kit(settings)
    return Admit(workflow=kit.workflow, bucket=kit.store)


def survey_file(settings: Settings) -> SurveyFile:
    kit = Kit(settings)
    return SurveyFile(documents=kit.store, runs=kit.runs, profiles=kit.profiles, events=kit.events, clock=kit.clock)


def plan(settings: Settings) -> Plan:
    kit = Kit(settings)
    stack = PlanStack(
        batch_regions=tuple(settings.batch_buckets),
        batch_enabled=settings.batch_enabled,
        drain_jobs_per_s=settings.drain_jobs_per_s,
    )
    return Plan(
        documents=kit.store,
        runs=kit.runs,
        profiles=kit.profiles,
        prices=kit.prices,
        capability=kit.capability,
        stack=stack,
        clock=kit.clock,
    )


def place(settings: Settings) -> Place:
    kit = Kit(settings)
    return Place(documents=kit.store, runs=kit.runs, stage=kit.stage, settle=kit.settle, clock=kit.clock)


def wait(settings: Settings) -> Wait:
    kit = Kit(settings)
    return Wait(runs=kit.runs, settle=kit.settle)


def aggregate(settings: Settings) -> Aggregate:
    kit = Kit(settings)
    return Aggregate(documents=kit.store, runs=kit.runs, clock=kit.clock, price_version=kit.prices.version)


def announce(settings: Settings) -> Announce:
    kit = Kit(settings)
    return Announce(runs=kit.runs, documents=kit.store, events=kit.events, clock=kit.clock)


@dataclass(frozen=True)
class Dispatching:
    """What the pack queue's handler needs: the use case, its queue for the heartbeat, and the clock."""

    dispatch: Dispatch
    queue: Queue
    clock: ScaledClock


def dispatching(settings: Settings) -> Dispatching:
    kit = Kit(settings)
    queue = kit.queue(settings.pack_queue_url)
    dispatch = Dispatch(
        packs=kit.runs,
        parts=kit.parts,
        documents=kit.store,
        engine=kit.engine,
        calls_of=CallsOfFileRun(runs=kit.runs, profiles=kit.profiles, routing=kit.routing),
        queue=queue,
        settle=kit.settle,
        clock=kit.clock,
    )
    return Dispatching(dispatch, queue, kit.clock)


@dataclass(frozen=True)
class JobRouting:
    """What the job queue's handler needs: the use case, queue and workers' leases for the heartbeat, and the clock."""

    router: Router
    queue: Queue
    workers: Workers
    clock: ScaledClock


def job_routing(settings: Settings) -> JobRouting:
    kit = QueueKit(settings)
    in_force = InForce(kit.profiles)
    drain_s = FULL_JOBS / settings.drain_jobs_per_s
    router = Router(
        read=Reader(
            profiles=lambda: in_force.profiles, documents=kit.store, reply_queue_arns=settings.reply_queue_arns
        ),
        claims=Claims(
            jobs=kit.jobs,
            runs=kit.queue_runs,
            fate=kit.workers.fate,
            parts=kit.parts,
            clock=kit.clock,
            pins=lambda: {"profiles_version": in_force.version, "price_version": kit.prices.version},
            arrived=kit.closing.arrived,
        ),
        closing=kit.closing,
        results=kit.results,
        replies=kit.replies,
        lanes=QueueLanes(
            in_force=in_force,
            capability=kit.capability,
            prices=kit.prices,
            routing=kit.routing,
            forecast=PRIOR,
            deployed=settings.batch_buckets,
            batch_enabled=settings.batch_enabled,
            drain_jobs_per_s=settings.drain_jobs_per_s,
            clock=kit.clock,
        ),
        pools=PoolIntake(
            pools=kit.pools,
            documents=kit.store,
            clock=kit.clock,
            room=Room(FULL_JOBS, FULL_BYTES),
            latest_start=lambda deadline: latest_start(deadline, PRIOR, drain_s),
        ),
        engine=kit.engine,
        onward=kit.onward,
        workers=kit.workers,
        repeats=kit.jobs,
        in_force=in_force,
        clock=kit.clock,
    )
    return JobRouting(router, kit.queue(settings.job_queue_url), kit.workers, kit.clock)


@dataclass(frozen=True)
class Working:
    """What the work queue's handler needs: the use case, and its queue for the heartbeat."""

    work: Work
    queue: Queue


def working(settings: Settings) -> Working:
    kit = QueueKit(settings)
    jobs, shards, files, clock = kit.batch_jobs, kit.shards, kit.shard_files, kit.clock
    work = Work(
        submit=Submit(shards=shards, files=files, jobs=jobs, clock=clock, stack_arn=settings.stack_arn),
        adopt=Adopt(shards=shards, jobs=jobs, clock=clock),
        stop=Stop(shards=shards, jobs=jobs, clock=clock),
        collect=Collect(
            shards=shards,
            files=files,
            units=kit.runs,
            settle=kit.settle,
            results=kit.results,
            pools=kit.pool_keeper,
            stage=kit.stage,
            prices=kit.prices,
            forecast=PRIOR,
            clock=clock,
            drain_jobs_per_s=settings.drain_jobs_per_s,
            batch_possible=settings.batch_enabled,
        ),
        stage_pool=StagePool(
            pools=kit.pools,
            keeper=kit.pool_keeper,
            stage=kit.stage,
            profiles=kit.profiles,
            capability=kit.capability,
            prices=kit.prices,
            deployed=settings.batch_buckets,
            drain_jobs_per_s=settings.drain_jobs_per_s,
        ),
        keeper=kit.pool_keeper,
        closing=kit.closing,
        fail_units=FailUnits(
            runs=kit.runs,
            shards=shards,
            files=files,
            parts=kit.parts,
            documents=kit.store,
            settle=kit.settle,
            clock=clock,
        ),
        fail_jobs=FailJobs(jobs=kit.jobs, results=kit.results, clock=clock),
        shards=shards,
        runs=kit.runs,
        clock=clock,
        stack_arn=settings.stack_arn,
    )
    return Working(work, kit.queue(settings.work_queue_url))


@dataclass(frozen=True)
class Ticking:
    """What the tick's handler needs: the use case, and the clock for its time budget."""

    tick: Tick
    clock: ScaledClock


def ticking(settings: Settings) -> Ticking:
    kit = QueueKit(settings)
    tick = Tick(
        items=DueItems(kit.table),
        shards=kit.shards,
        jobs=kit.batch_jobs,
        runs=kit.runs,
        queue_runs=kit.queue_runs,
        pools=kit.pools,
        settle=kit.settle,
        work=kit.queue(settings.work_queue_url),
        dead_packs=kit.queue(settings.pack_dead_letters_url),
        dead_work=kit.queue(settings.work_dead_letters_url),
        dead_jobs=kit.queue(settings.job_dead_letters_url),
        clock=kit.clock,
        pool_due=pool_due,
        forecast=PRIOR,
        drain_jobs_per_s=settings.drain_jobs_per_s,
        stack_arn=settings.stack_arn,
    )
    return Ticking(tick, kit.clock)
