"""What the functions share that reckon with time: how long batch jobs take, and how fast calls drain."""

from functools import cached_property

from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.bootstrap.kit import Kit
from slackwater.usecases.drains import Drains
from slackwater.usecases.forecasts import Forecasts
from slackwater.usecases.pooled import Latest


class ReckonedKit(Kit):
    """Forecasts from our own ended jobs, and drains under the quotas that are left."""

    @cached_property
    def forecasts(self) -> Forecasts:
        return Forecasts(history=History(self.table), clock=self.clock)

    @cached_property
    def latest(self) -> Latest:
        return Latest(
            forecasts=self.forecasts,
            regions=tuple(self.settings.batch_buckets),
            drain_jobs_per_s=self.settings.drain_jobs_per_s,
        )

    @cached_property
    def drains(self) -> Drains:
        quotas = QuotaLedger(self.table)
        return Drains(quotas=quotas, clock=self.clock, assumed=self.settings.drain_jobs_per_s)
