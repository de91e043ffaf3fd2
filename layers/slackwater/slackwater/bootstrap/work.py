"""For the function that takes one step of one shard, pool or run."""

from dataclasses import dataclass

from slackwater.adapters.ledger.budgets import Budgets
from slackwater.adapters.ledger.pauses import Pauses
from slackwater.adapters.queues import Queue
from slackwater.bootstrap.pooling import PoolingKit
from slackwater.bootstrap.shards import ShardsKit
from slackwater.settings import Settings
from slackwater.usecases.announce import Announce
from slackwater.usecases.canaries import CanaryWatch
from slackwater.usecases.cancel import CancelRun
from slackwater.usecases.cancelled import CancelledRuns
from slackwater.usecases.collect import Collect
from slackwater.usecases.fail_jobs import FailJobs
from slackwater.usecases.fail_units import FailUnits
from slackwater.usecases.limits import RunLimits
from slackwater.usecases.paused import Paused
from slackwater.usecases.shard_spending import CollectAndSettle, ShardMoney, SubmitUnderLimits
from slackwater.usecases.slots import BatchSlots
from slackwater.usecases.stage_pool import StagePool
from slackwater.usecases.submit import Adopt, Stop, Submit
from slackwater.usecases.work import Work


class WorkKit(ShardsKit, PoolingKit):
    """Shards, the pools and runs of queued jobs, and profiles for the pools' shards."""


@dataclass(frozen=True)
class Working:
    """What the work queue's handler needs: the use case, and its queue for the heartbeat."""

    work: Work
    queue: Queue


def build(settings: Settings) -> Working:
    kit = WorkKit(settings)
    jobs, shards, files, clock = kit.batch_jobs, kit.shards, kit.shard_files, kit.clock
    cancelled = CancelledRuns(kit.runs, clock)
    watch = CanaryWatch(ledger=kit.canaries, parts=kit.parts, clock=clock, note=kit.runs.update)
    slots = BatchSlots(
        ledger=kit.slot_ledger,
        shards=shards,
        jobs=jobs,
        prices=kit.prices,
        clock=clock,
        stack_arn=settings.stack_arn,
    )
    fail_units = FailUnits(
        runs=kit.runs,
        shards=shards,
        files=files,
        parts=kit.parts,
        documents=kit.store,
        settle=kit.settle,
        clock=clock,
    )
    money = ShardMoney(
        files=files,
        limits=RunLimits(runs=kit.runs, profiles=kit.profiles, clock=clock),
        accounts=Budgets(kit.table, clock, kit.rng, retain_days=settings.retain_days),
        prices=kit.prices,
        clock=clock,
    )
    submit = Submit(
        shards=shards,
        files=files,
        jobs=jobs,
        clock=clock,
        stack_arn=settings.stack_arn,
        cancelled=cancelled,
        slots=slots,
        canaries=watch.of,
    )
    collect = Collect(
        shards=shards,
        files=files,
        units=kit.runs,
        settle=kit.settle,
        results=kit.results,
        pools=kit.pool_keeper,
        stage=kit.stage,
        prices=kit.prices,
        forecasts=kit.forecasts,
        clock=clock,
        drains=kit.drains,
        leftover=kit.leftover,
        answered=watch.passed,
        slots=slots,
        batch_possible=settings.batch_enabled,
        cancelled=cancelled,
    )
    work = Work(
        announce=Announce(runs=kit.runs, documents=kit.store, events=kit.events, clock=clock),
        submit=SubmitUnderLimits(
            submit=submit,
            shards=shards,
            money=money,
            paused=Paused(Pauses(kit.table), clock),
            clock=clock,
        ),
        adopt=Adopt(shards=shards, jobs=jobs, clock=clock),
        stop=Stop(shards=shards, jobs=jobs, clock=clock),
        collect=CollectAndSettle(collect=collect, shards=shards, money=money),
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
        fail_units=fail_units,
        cancel=CancelRun(
            runs=kit.runs,
            shards=shards,
            fail_units=fail_units,
            closing=kit.closing,
            pools=kit.pools,
            results=kit.results,
            look=kit.settle.look,
            clock=clock,
        ),
        fail_jobs=FailJobs(jobs=kit.jobs, results=kit.results, clock=clock),
        shards=shards,
        runs=kit.runs,
        clock=clock,
        stack_arn=settings.stack_arn,
    )
    return Working(work, kit.queue(settings.work_queue_url))
