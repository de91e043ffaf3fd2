"""For the function that chooses lanes."""

from slackwater.bootstrap.pooling import PoolingKit
from slackwater.bootstrap.reckoned import ReckonedKit
from slackwater.settings import Settings
from slackwater.usecases.plan import Plan
from slackwater.usecases.planner import Stack


class PlanKit(PoolingKit, ReckonedKit):
    """Profiles and remainders, forecasts and drains."""


def build(settings: Settings) -> Plan:
    kit = PlanKit(settings)
    stack = Stack(
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
        forecasts=kit.forecasts,
        drains=kit.drains,
        remainders=kit.remainders,
        canaries=kit.canaries.get,
    )
