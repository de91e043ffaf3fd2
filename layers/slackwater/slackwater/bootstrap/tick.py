"""For the function that looks at all that is due."""

from dataclasses import dataclass

from slackwater.adapters.ledger.due import DueItems
from slackwater.bootstrap.queued import QueueKit
from slackwater.bootstrap.shards import ShardsKit
from slackwater.model.clock import ScaledClock
from slackwater.settings import Settings
from slackwater.usecases.pools import due as pool_due
from slackwater.usecases.tick import Tick


class TickKit(QueueKit, ShardsKit):
    """Shards, and the pools and runs of queued jobs."""


@dataclass(frozen=True)
class Ticking:
    """What the tick's handler needs: the use case, and the clock for its time budget."""

    tick: Tick
    clock: ScaledClock


def build(settings: Settings) -> Ticking:
    kit = TickKit(settings)
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
        forecasts=kit.forecasts,
        drains=kit.drains,
        drain_jobs_per_s=settings.drain_jobs_per_s,
        stack_arn=settings.stack_arn,
    )
    return Ticking(tick, kit.clock)
