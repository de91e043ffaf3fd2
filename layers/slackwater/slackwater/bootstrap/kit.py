"""What the use cases of one function share, each made when it is first asked for."""

import random
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.queues import Queue
from slackwater.adapters.store import Store
from slackwater.adapters.workflow import Events, RunWorkflow
from slackwater.model.clock import ScaledClock
from slackwater.settings import Settings
from slackwater.usecases.parts import Parts
from slackwater.usecases.settle import Settle

CONTROL = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=3, read_timeout=60)


class Kit:
    """Clock, clients, store, queues, and the ledger of runs."""

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
    def settle(self) -> Settle:
        return Settle(runs=self.runs, packs=self.queue(self.settings.pack_queue_url), workflow=self.workflow)
