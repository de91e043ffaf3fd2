"""What the functions share that call models: dispatch and route."""

from functools import cached_property

from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.adapters.ledger.budgets import Budgets
from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.pauses import Pauses
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.throttles import CountingThrottles
from slackwater.bootstrap.profiled import ProfiledKit
from slackwater.usecases.admission import Admission
from slackwater.usecases.cancelled import CancelledRuns
from slackwater.usecases.engine import Engine
from slackwater.usecases.limits import RunLimits
from slackwater.usecases.paused import Paused
from slackwater.usecases.routing import Routing
from slackwater.usecases.spending import Gate, Spending


class CallsKit(ProfiledKit):
    """The engine, and the routes it takes."""

    @cached_property
    def routing(self) -> Routing:
        return Routing(capability=self.capability, prices=self.prices)

    @cached_property
    def throttles(self) -> CountingThrottles:
        return CountingThrottles(BedrockRuntime(self._session, connections=self.settings.concurrency))

    @cached_property
    def cancelled(self) -> CancelledRuns:
        return CancelledRuns(self.runs, self.clock)

    @cached_property
    def paused(self) -> Paused:
        return Paused(Pauses(self.table), self.clock)

    @cached_property
    def gate(self) -> Gate:
        admission = Admission(
            quotas=QuotaLedger(self.table),
            health=RouteHealth(self.table, self.clock, self.rng),
            clock=self.clock,
        )
        return Gate(admission, self.paused)

    @cached_property
    def spending(self) -> Spending:
        return Spending(
            engine=self.engine,
            gate=self.gate,
            paused=self.paused,
            limits=RunLimits(runs=self.runs, profiles=self.profiles, clock=self.clock),
            accounts=Budgets(self.table, self.clock, self.rng, retain_days=self.settings.retain_days),
            prices=self.prices,
            clock=self.clock,
            cancelled=self.cancelled,
        )

    @cached_property
    def engine(self) -> Engine:
        return Engine(
            caller=self.throttles,
            admission=self.gate,
            prices=self.prices,
            clock=self.clock,
            rng=self.rng,
            concurrency=self.settings.concurrency,
            cancelled=self.cancelled,
        )
