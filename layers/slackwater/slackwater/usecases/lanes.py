"""Which lane a queued job takes, under the profiles of its run."""

from collections.abc import Container
from dataclasses import replace
from typing import Any, Final

from slackwater.model.clock import Clock
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.native import output_limit, shape
from slackwater.model.profile import Profile
from slackwater.policy.capability import Capability
from slackwater.policy.choose import Drain, JobLoad, Ways, choose
from slackwater.policy.drain import Mean
from slackwater.policy.durations import length_traits
from slackwater.policy.noted import noted
from slackwater.policy.pooling import FULL_JOBS
from slackwater.policy.prices import PriceBook
from slackwater.policy.routes import batch_routes, batch_types, flex_routes, resolve_routes
from slackwater.policy.tokens import input_tokens, max_output_tokens
from slackwater.usecases.claims import Mine
from slackwater.usecases.drains import RouteDrains
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.routing import Routing
from slackwater.usecases.tries import Call

IN_FRONT: Final = 50  # jobs that are reckoned to be called before this one: a batch of messages


class QueueLanes:
    """`choose` for one queued job at a time; remembers the ways of each profile's version."""

    def __init__(
        self,
        *,
        capability: Capability,
        prices: PriceBook,
        routing: Routing,
        forecasts: ForecastsPort,
        deployed: Container[str],
        batch_enabled: bool,
        drains: RouteDrains,
        clock: Clock,
    ) -> None:
        """`deployed`: regions with a bucket of ours."""
        self._capability = capability
        self._prices = prices
        self._routing = routing
        self._forecasts = forecasts
        self._deployed = deployed
        self._batch_enabled = batch_enabled
        self._drains = drains
        self._clock = clock
        self._ways: dict[tuple[str, str], Ways] = {}

    def lane(self, mine: Mine, profile: Profile, version: str) -> tuple[Lane, dict[str, Any]]:
        """The job's lane by a profile of one version, and what to note of the choice. Raises BadInput where no lane of
        it takes the job; a job that is past its deadline gets some calling lane."""
        asked = mine.asked
        load = JobLoad(
            1,
            input_tokens(asked.request),
            max_output_tokens(asked.request, profile.max_tokens),
            shape(asked.request) | length_traits(output_limit(asked.request)),
            asked.lane,
        )
        ways = self._of(mine.entry.profile, profile, version)
        rate = self._drains.of_routes(ways.calling, Mean(load.input_tokens, load.max_output_tokens))
        regions = dict.fromkeys(route.region for route in ways.batch)
        now = self._clock.now()
        decision = choose(
            load,
            deadline=mine.entry.deadline,
            now=now,
            ways=ways,
            prices=self._prices,
            forecast=self._forecasts.over(profile.model, regions, FULL_JOBS),
            drain=Drain(IN_FRONT / rate, FULL_JOBS / rate),
        )
        if decision.lane is None:
            raise BadInput("; ".join(decision.reasons), "/lane" if asked.lane else "/profile")
        return decision.lane, noted(decision, now, self._prices.version)

    def call(self, mine: Mine, lane: Lane, profile: Profile, version: str) -> Call:
        """The job's call: its ordinal decides where it goes first, so a redelivery goes the same way."""
        call = self._routing.call(mine.entry.as_job(mine.asked), lane, profile, version)
        return replace(call, faults=mine.entry.faults)

    def _of(self, name: str, profile: Profile, version: str) -> Ways:
        key = (name, version)
        if key not in self._ways:
            routes = resolve_routes(profile, self._capability, self._prices, name=name)
            batch = batch_routes(profile, routes, self._capability, self._prices, deployed=self._deployed, name=name)
            self._ways[key] = Ways(
                profile.lanes,
                profile.mode,
                routes,
                flex_routes(routes, self._capability),
                batch,
                self._batch_enabled,
                profile.batch_structured_output,
                batch_types(batch, self._capability),
            )
        return self._ways[key]
