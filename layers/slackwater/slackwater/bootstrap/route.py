"""For the function that takes jobs from the job queue."""

from dataclasses import dataclass

from slackwater.adapters.ledger.workers import Workers
from slackwater.adapters.queues import Queue
from slackwater.adapters.throttles import CountingThrottles
from slackwater.bootstrap.calls import CallsKit
from slackwater.bootstrap.queued import QueueKit
from slackwater.bootstrap.reckoned import ReckonedKit
from slackwater.model.claim import Room
from slackwater.model.clock import ScaledClock
from slackwater.policy.pooling import FULL_BYTES, FULL_JOBS
from slackwater.settings import Settings
from slackwater.usecases.asked import Reader
from slackwater.usecases.claims import Claims
from slackwater.usecases.lanes import QueueLanes
from slackwater.usecases.pools import PoolIntake
from slackwater.usecases.route import Router
from slackwater.usecases.run_profiles import RunProfiles


class RouteKit(QueueKit, CallsKit, ReckonedKit):
    """Both sides of a queued job that is called."""


@dataclass(frozen=True)
class JobRouting:
    """What the job queue's handler needs: the use case, queue and workers' leases for the heartbeat, the clock, and
    the throttles met.
    """

    router: Router
    queue: Queue
    workers: Workers
    clock: ScaledClock
    throttles: CountingThrottles


def build(settings: Settings) -> JobRouting:
    kit = RouteKit(settings)
    profiles = RunProfiles(kit.profiles, kit.queue_runs)
    router = Router(
        read=Reader(profiles=profiles.at_door, documents=kit.store, reply_queue_arns=settings.reply_queue_arns),
        claims=Claims(
            jobs=kit.jobs,
            runs=kit.queue_runs,
            fate=kit.workers.fate,
            parts=kit.parts,
            clock=kit.clock,
            pins=lambda: {"profiles_version": profiles.version, "price_version": kit.prices.version},
            arrived=kit.closing.arrived,
        ),
        closing=kit.closing,
        results=kit.results,
        replies=kit.replies,
        lanes=QueueLanes(
            capability=kit.capability,
            prices=kit.prices,
            routing=kit.routing,
            forecasts=kit.forecasts,
            deployed=settings.batch_buckets,
            batch_enabled=settings.batch_enabled,
            drains=kit.drains,
            clock=kit.clock,
        ),
        pools=PoolIntake(
            pools=kit.pools,
            documents=kit.store,
            clock=kit.clock,
            room=Room(FULL_JOBS, FULL_BYTES),
            latest=kit.latest,
        ),
        engine=kit.spending,
        onward=kit.onward,
        workers=kit.workers,
        repeats=kit.jobs,
        profiles=profiles,
        clock=kit.clock,
        cancelled=kit.cancelled,
    )
    return JobRouting(router, kit.queue(settings.job_queue_url), kit.workers, kit.clock, kit.throttles)
