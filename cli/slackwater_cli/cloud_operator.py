"""What the command does to a stack, and what it asks of its queues: the library's own use cases over a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from slackwater.adapters.ledger.due import DueItems
from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.pools import Pools
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.operator import DeadLetterQueue, QueueGauge
from slackwater.adapters.queues import Queue
from slackwater.usecases.cancel import AskCancel
from slackwater.usecases.dead_letters import INTAKE, JOBS, PACKS, QUEUES, WORK, Explain
from slackwater.usecases.overview import Gauge, Overview, Overviews
from slackwater.usecases.paused import stop_running
from slackwater_cli.connection import Connection

OUTPUTS: Final = {INTAKE: "Intake", JOBS: "Job", PACKS: "Pack", WORK: "Work"}
"""How the stack's outputs call its queues: `<name>QueueUrl` and `<name>DeadLettersUrl`."""


class CloudOperator:
    """Acts on one stack."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        clock = connection.clock
        self._sqs = connection.client("sqs", None)
        table = Table(connection.client("dynamodb", None), connection.output("TableName"))
        self._runs = Runs(table, clock, retain_days=1)
        self._shards = ShardLedger(table, clock, retain_days=1)
        self._jobs = Jobs(table, clock, retain_days=1)
        self._pools = Pools(table, clock, self._jobs, retain_days=1)
        self._items = DueItems(table)
        self._history = History(table)

    def cancel(self, run_id: str) -> bool:
        """Asks for a run to be cancelled; False if it has ended."""
        queue = Queue(self._sqs, self._connection.output("WorkQueueUrl"), self._connection.clock)
        return AskCancel(runs=self._runs, work=queue)(run_id)

    def stop_batch(self, profile: str) -> tuple[int, bool]:
        """Asks for running batch jobs to be stopped: how many, and whether that was all of them."""
        seen = self.overview()
        return stop_running(seen.shards, self._shards, profile, self._connection.clock.now()), seen.complete

    def overview(self) -> Overview:
        """What the stack has to do now."""
        return Overviews(
            items=self._items,
            runs=self._runs,
            shards=self._shards,
            pools=self._pools,
            gauges=[*self._gauges("QueueUrl", dead=False), *self._gauges("DeadLettersUrl", dead=True)],
            history=self._history,
        )()

    def dead_gauges(self) -> list[Gauge]:
        """How many messages each dead-letter queue has."""
        return [gauge() for gauge in self._gauges("DeadLettersUrl", dead=True)]

    def dead_letters(self, queue: str) -> DeadLetterQueue:
        """The dead-letter queue of one of `QUEUES`. Raises Complaint where the stack does not tell its queues."""
        url = self._connection.output(f"{OUTPUTS[queue]}DeadLettersUrl")
        return DeadLetterQueue(self._sqs, url, self._connection.output(f"{OUTPUTS[queue]}QueueUrl"))

    def explain(self) -> Explain:
        """Why messages lie there."""
        return Explain(jobs=self._jobs, runs=self._runs, shards=self._shards)

    def _gauges(self, kind: str, *, dead: bool) -> Iterable[QueueGauge]:
        for queue in QUEUES:
            url = self._connection.outputs.get(f"{OUTPUTS[queue]}{kind}")
            if url is not None:  # a stack of an earlier release tells fewer
                yield QueueGauge(self._sqs, self._cloudwatch, queue, url, dead=dead)

    def _cloudwatch(self) -> Any:
        return self._connection.client("cloudwatch", None)
