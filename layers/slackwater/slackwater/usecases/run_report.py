"""The run report: what there is to tell of a run, gathered when its rows have been read, and put beside its receipt."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from slackwater.model import names
from slackwater.model.clock import Clock, parse_iso
from slackwater.model.errors import BadInput, Missing
from slackwater.model.job import Lane, Route
from slackwater.model.lines import batches
from slackwater.model.profile import Profiles
from slackwater.model.run import RunKind
from slackwater.model.timeline import Timeline
from slackwater.policy.quota import MINUTE_S
from slackwater.policy.quota import Pool as QuotaPool
from slackwater.policy.quota_limits import Known, Told, reading
from slackwater.report.data import BatchJob, Limit, Planned, Pool, Story
from slackwater.report.page import report
from slackwater.usecases.admission import pool_name
from slackwater.usecases.ports import Documents

NAME: Final = "report.html"
CONTENT_TYPE: Final = "text/html; charset=utf-8"
SHARD: Final = "shard-"


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def units(self, run_id: str) -> Iterable[dict[str, Any]]: ...


class JobsPort(Protocol):
    """The batch jobs behind these shards, as far as they are remembered (adapters.ledger.run_jobs)."""

    def __call__(self, shard_ids: Sequence[str], since: datetime) -> list[BatchJob]: ...


class QuotasPort(Protocol):
    def get(self, pool: str) -> tuple[QuotaPool, Told | None]: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class RunReport:
    """Makes `report.html`; nothing that it needs is required to be there."""

    def __init__(
        self,
        *,
        documents: Documents,
        runs: RunsPort,
        jobs: JobsPort,
        quotas: QuotasPort,
        profiles: Pinned,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._runs = runs
        self._jobs = jobs
        self._quotas = quotas
        self._profiles = profiles
        self._clock = clock

    def try_put(
        self, meta: Mapping[str, Any], receipt: Mapping[str, Any], timeline: Timeline, shards: Iterable[str]
    ) -> str | None:
        """Puts the page beside the receipt; None if that was done, else the warning that the receipt must give: a run
        completes without its report, but never silently."""
        try:
            page = report(self.story(meta, orjson.loads(orjson.dumps(receipt)), timeline, shards))
            self._documents.put(names.run_key(meta["run_id"], NAME), page.encode(), content_type=CONTENT_TYPE)
        except Exception as exc:  # noqa: BLE001  (whatever it is, the run's results are worth more than its picture)
            return f"{NAME} could not be made ({type(exc).__name__}): `slackwater report` makes it from the run's files"
        return None

    def rebuilt(self, run_id: str, results: Iterable[bytes]) -> str:
        """The page of a run that has ended, made from its files; `results` is `results.jsonl` in pieces. Raises Missing
        for a run without a receipt."""
        receipt = self._documents.get_json(names.run_key(run_id, "receipt.json"))
        meta = self._runs.get(run_id) or self._recalled(run_id, receipt)
        timeline = Timeline.of(orjson.loads(line) for lines in batches(results) for line in lines)
        parts = self._documents.keys(names.parts_prefix(run_id))
        return report(self.story(meta, receipt, timeline, shards_of(meta, parts, self._runs)))

    def story(
        self, meta: Mapping[str, Any], receipt: Mapping[str, Any], timeline: Timeline, shards: Iterable[str]
    ) -> Story:
        """What there is to tell. `receipt` has plain numbers."""
        wanted = sorted(shards)
        jobs = self._jobs(wanted, parse_iso(receipt["started_at"])) if wanted else []
        plan = self._plan(meta)
        return Story(
            receipt=receipt,
            timeline=timeline,
            kind=str(meta["kind"]),
            batch_jobs=tuple(jobs),
            jobs_unknown=len(wanted) - len(jobs),
            pools=self._pools(timeline),
            planned=None if plan is None else _planned(plan),
            forecast=None if plan is None else plan.get("forecast"),
            home_region=self._home_region(meta),
        )

    def _recalled(self, run_id: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """What a run's item said, after it has expired: only a file was surveyed."""
        surveyed = any(self._documents.keys(names.run_key(run_id, "survey.json")))
        kind = RunKind.FILE if surveyed else RunKind.QUEUE
        return {"run_id": run_id, "kind": kind.value, "profile": receipt.get("profile")}

    def _plan(self, meta: Mapping[str, Any]) -> dict[str, Any] | None:
        if meta["kind"] == RunKind.QUEUE:
            return None
        try:
            document: dict[str, Any] = self._documents.get_json(names.run_key(meta["run_id"], "plan.json"))
        except Missing:
            return None
        return document

    def _home_region(self, meta: Mapping[str, Any]) -> str | None:
        if not meta.get("profiles_version") or not meta.get("profile"):
            return None
        try:
            return self._profiles.pinned(meta["profiles_version"]).named(meta["profile"]).home_region
        except (Missing, BadInput):  # the version was deleted, or never had it
            return None

    def _pools(self, timeline: Timeline) -> tuple[Pool, ...]:
        """What the calls of the run drew on."""
        called = {cell.route for cell, _ in timeline.cells if cell.lane not in (None, Lane.BATCH)} - {None}
        routes: dict[str, list[str]] = {}
        for route in sorted(route for route in called if route is not None):
            routes.setdefault(_pool_of(route, timeline.models[route]), []).append(route)
        return tuple(self._pool(pool, of) for pool, of in routes.items())

    def _pool(self, pool: str, routes: Sequence[str]) -> Pool:
        region, family, model = pool.split("|", 2)
        state, told = self._quotas.get(pool)
        found = reading(state.requests, self._clock.now().timestamp())
        per_minute, learned = found.per_minute, state.requests.learned_per_s
        if found.known is Known.LEARNED and learned is not None:
            per_minute = learned * MINUTE_S  # as measured: what is allowed grows from there, to find the limit again
        limit = Limit(per_minute, found.known.value, None if told is None else told.by)
        return Pool(region, family, model, tuple(routes), limit)


def shards_of(meta: Mapping[str, Any], parts: Iterable[str], runs: RunsPort) -> set[str]:
    """The batch jobs that a run waited for, and those that rows of it came from; `parts` are the keys of its parts."""
    sources = {names.source_of_part(key) for key in parts}
    found = {source.removeprefix(SHARD) for source in sources if source.startswith(SHARD)}
    if meta["kind"] == RunKind.FILE:
        found |= {unit["unit"] for unit in runs.units(meta["run_id"]) if unit["kind"] == "shard"}
    return found


def _pool_of(route: str, model: str) -> str:
    region, model_id, tier = route.split("|", 2)
    return pool_name(Route(region, model_id, model, "", tier=tier))


def _planned(plan: Mapping[str, Any]) -> dict[str, Planned]:
    """By lane: what was expected; the last of its classes ends it."""
    finish: dict[str, datetime] = {}
    for one in plan.get("classes", ()):
        decided = one.get("plan") or {}
        if decided.get("lane") and decided.get("expected_finish"):
            at = parse_iso(decided["expected_finish"])
            finish[decided["lane"]] = max(at, finish.get(decided["lane"], at))
    return {
        lane: Planned(int(one["jobs"]), one.get("expected_cost_usd"), finish.get(lane))
        for lane, one in plan.get("lanes", {}).items()
    }
