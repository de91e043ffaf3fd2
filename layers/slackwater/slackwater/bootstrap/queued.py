"""What the functions share that deal with queued jobs: route, tick and work."""

from functools import cached_property

from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.pools import Pools
from slackwater.adapters.ledger.queue_runs import QueueRuns
from slackwater.adapters.ledger.workers import Workers
from slackwater.adapters.replies import QueuesByArn
from slackwater.bootstrap.kit import Kit
from slackwater.usecases.onward import Onward
from slackwater.usecases.pools import PoolKeeper
from slackwater.usecases.ports import Outgoing
from slackwater.usecases.queue_runs import Closing, Results
from slackwater.usecases.replies import Replies


class QueueKit(Kit):
    """Jobs and their runs, pools, replies."""

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
            pools=self.pools,
            jobs=self.jobs,
            documents=self.store,
            onward=self.onward,
            settle=self.settle,
            clock=self.clock,
        )
