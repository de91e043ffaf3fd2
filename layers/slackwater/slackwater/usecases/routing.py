"""Jobs as calls: the profile's routes for a lane, in the order in which each job tries them."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from slackwater.model import input_row
from slackwater.model.clock import parse_iso
from slackwater.model.job import Job, Lane, Route
from slackwater.model.profile import Profile, Profiles
from slackwater.policy.cache import expected, keeps_together, ordinal_of, prefix_of
from slackwater.policy.capability import Capability
from slackwater.policy.prices import PriceBook, Rates
from slackwater.policy.routes import TYPICAL_INPUT_TOKENS, flex_routes, resolve_routes, typical_price
from slackwater.policy.weights import order
from slackwater.usecases.tries import Call


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class Routing:
    """Which routes a profile's calls may take; remembers what it has worked out for a profile of one version."""

    def __init__(self, *, capability: Capability, prices: PriceBook) -> None:
        self._capability = capability
        self._prices = prices
        self._routes: dict[tuple[str, str, Lane], tuple[Route, ...]] = {}

    def routes(self, name: str, version: str, profile: Profile, lane: Lane) -> tuple[Route, ...]:
        """The profile's routes for a calling lane. Raises ConfigurationError where the profile has none."""
        key = (name, version, lane)
        if key not in self._routes:
            routes = resolve_routes(profile, self._capability, self._prices, name=name)
            self._routes[key] = flex_routes(routes, self._capability) if lane is Lane.FLEX else routes
        return self._routes[key]

    def call(self, job: Job, lane: Lane, profile: Profile, version: str) -> Call:
        """The job as a call: `job.line`, its place in its run, decides where it goes first, so a redelivery goes the
        same way. Jobs that share a cached prefix have one place, so that one route keeps it for all of them.
        """
        routes = self.routes(job.profile, version, profile, lane)
        prefix = expected(prefix_of(job.request), self._capability.cache_min_tokens(profile.model))
        together = prefix is not None and keeps_together(self._rates(routes[0], lane), prefix)
        ordinal = ordinal_of(prefix) if prefix is not None and together else job.line
        ordered = order(profile.mode, routes, ordinal, price=typical_price(self._prices, lane))
        return Call(job, lane, tuple(ordered), profile.home_region)

    def _rates(self, route: Route, lane: Lane) -> Rates | None:
        return self._prices.rates(
            route.base_model,
            route.region,
            route.kind,
            lane.value,
            route.tier if lane is Lane.ON_DEMAND else None,
            input_tokens=TYPICAL_INPUT_TOKENS,
        )


class CallsOfFileRun:
    """Input rows of a file run as calls, under the profiles that the run has pinned."""

    def __init__(self, *, runs: RunsPort, profiles: Pinned, routing: Routing) -> None:
        self._runs = runs
        self._profiles = profiles
        self._routing = routing

    def __call__(self, run_id: str, lane: str, rows: Iterable[dict[str, Any]], block: str) -> Sequence[Call]:
        """Raises LookupError for a run that is not in the ledger."""
        meta = self._runs.get(run_id)
        if meta is None:
            raise LookupError(f"no run {run_id}")
        profiles = self._profiles.pinned(meta["profiles_version"])
        calls = []
        for row in rows:
            job = job_of_row(row, meta, block)
            profile = profiles.named(job.profile)
            calls.append(self._routing.call(job, Lane(lane), profile, meta["profiles_version"]))
        return calls


def job_of_row(row: dict[str, Any], meta: dict[str, Any], block: str) -> Job:
    """The job of a row of `input/<block>.jsonl`; what the row does not say is the file's default in META."""
    return Job(
        run_id=meta["run_id"],
        block=block,
        line=row["line"],
        id=row["id"],
        job=input_row.job_id(meta["run_id"], row),
        profile=row.get("profile") or meta["profile"],
        deadline=parse_iso(row.get("deadline") or meta["deadline_at"]),
        request=input_row.request_of(row),
        lane=Lane(row["lane"]) if row.get("lane") else None,
        tags=row.get("tags"),
    )
