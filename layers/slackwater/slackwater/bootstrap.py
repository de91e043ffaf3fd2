"""The one place that knows both sides: use cases and adapters. Each function builds what one handler needs, and no more."""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.profiles import ProfileStore
from slackwater.adapters.queues import Queue
from slackwater.adapters.shard_files import ShardFiles
from slackwater.adapters.store import Store
from slackwater.adapters.workflow import Events, RunWorkflow
from slackwater.model.clock import ScaledClock
from slackwater.policy.capability import Capability, load_capability
from slackwater.policy.prices import PriceBook, load_price_book
from slackwater.settings import Settings
from slackwater.usecases.admit import Admit
from slackwater.usecases.aggregate import Aggregate
from slackwater.usecases.announce import Announce
from slackwater.usecases.dispatch import Dispatch
from slackwater.usecases.engine import Engine
from slackwater.usecases.parts import Parts
from slackwater.usecases.place import Place
from slackwater.usecases.plan import Plan
from slackwater.usecases.plan import Stack as PlanStack
from slackwater.usecases.routing import CallsOfFileRun, Routing
from slackwater.usecases.settle import Settle
from slackwater.usecases.stage import Stage
from slackwater.usecases.survey_file import SurveyFile
from slackwater.usecases.wait import Wait

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
    def engine(self) -> Engine:
        return Engine(
            caller=BedrockRuntime(self._session, connections=self.settings.concurrency),
            health=RouteHealth(self.table, self.clock, self.rng),
            prices=self.prices,
            clock=self.clock,
            rng=self.rng,
            concurrency=self.settings.concurrency,
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
