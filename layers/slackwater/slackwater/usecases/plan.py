"""Plan: a lane for each class of a run's jobs, the shards, and the items that the workflow's Map places.

Reads the survey, never the jobs. The document `plan.json` holds everything that placing an item needs; the
workflow's state carries only the small items.
"""

from collections.abc import Callable
from typing import Any, Protocol

from slackwater.model import names
from slackwater.model.clock import Clock, parse_iso
from slackwater.model.profile import Profiles
from slackwater.policy.canary import Asked
from slackwater.policy.capability import Capability
from slackwater.policy.prices import PriceBook
from slackwater.usecases.drains import RouteDrains
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.planner import AskRemainder, Planner, Stack
from slackwater.usecases.survey import Survey


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class PlanDocuments(Protocol):
    def get_json(self, key: str) -> Any: ...
    def put_json(self, key: str, document: Any) -> None: ...


class Plan:
    """The workflow's step: reads `survey.json`, writes `plan.json`, gives the Map's items."""

    def __init__(
        self,
        *,
        documents: PlanDocuments,
        runs: RunsPort,
        profiles: Pinned,
        prices: PriceBook,
        capability: Capability,
        stack: Stack,
        clock: Clock,
        forecasts: ForecastsPort | None = None,
        drains: RouteDrains | None = None,
        remainders: AskRemainder | None = None,
        canaries: Callable[[str], Asked] | None = None,
    ) -> None:
        self._remainders = remainders
        self._canaries = canaries
        self._documents = documents
        self._runs = runs
        self._profiles = profiles
        self._prices = prices
        self._capability = capability
        self._stack = stack
        self._clock = clock
        self._forecasts = forecasts
        self._drains = drains

    def __call__(self, run_id: str) -> list[dict[str, Any]]:
        """Planning again replaces a plan that was never answered for: the workflow places only the items of the last
        answer.

        Raises LookupError for a run that is not in the ledger, ConfigurationError for an impossible profile.
        """
        meta = self._runs.get(run_id)
        if meta is None:
            raise LookupError(f"no run {run_id}")
        version = meta["profiles_version"]
        planner = Planner(
            profiles=self._profiles.pinned(version),
            prices=self._prices,
            capability=self._capability,
            stack=self._stack,
            forecasts=self._forecasts,
            drains=self._drains,
            remainders=self._remainders,
            canaries=self._canaries,
            max_cost_pico=meta.get("max_cost_pico"),
        )
        document = planner.plan(
            Survey.from_json(self._documents.get_json(names.run_key(run_id, "survey.json"))),
            deadline=parse_iso(meta["deadline_at"]),
            now=self._clock.now(),
            profiles_version=version,
        )
        self._documents.put_json(names.run_key(run_id, "plan.json"), document)
        items: list[dict[str, Any]] = document["items"]
        return items
