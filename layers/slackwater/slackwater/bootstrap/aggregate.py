"""For the function that writes results file and receipt."""

from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.run_jobs import RunJobs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.bootstrap.profiled import ProfiledKit
from slackwater.settings import Settings
from slackwater.usecases.aggregate import Aggregate
from slackwater.usecases.run_report import RunReport


def build(settings: Settings) -> Aggregate:
    kit = ProfiledKit(settings)
    return Aggregate(
        documents=kit.store,
        runs=kit.runs,
        shards=ShardLedger(kit.table, kit.clock, retain_days=settings.retain_days),
        profiles=kit.profiles,
        prices=kit.prices,
        capability=kit.capability,
        report=RunReport(
            documents=kit.store,
            runs=kit.runs,
            jobs=RunJobs(kit.table),
            quotas=QuotaLedger(kit.table),
            profiles=kit.profiles,
            clock=kit.clock,
        ),
        clock=kit.clock,
        calls_in_flight=settings.concurrency,
    )
