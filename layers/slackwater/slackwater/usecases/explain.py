"""Why a job went the way it went: the ways considered, what was refused, what was taken, what happened, and its money.

A job of a file is explained from `plan.json`, which holds the decision of each class of jobs as it was made: nothing is
decided again, and prices or forecasts of today do not get in. A queued job's decision lies in its ledger item, made
when it was last decided. Which of the two it was, the answer says (`decided.from`). No prompt and no answer is in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from slackwater.model import input_row, names
from slackwater.model.errors import Missing
from slackwater.model.job import Lane
from slackwater.model.money import pico_from_usd_float, usd_float
from slackwater.model.profile import Profiles
from slackwater.model.run import RunKind
from slackwater.policy.capability import Capability
from slackwater.policy.classes import Classes
from slackwater.policy.counterfactuals import Account, Terms, otherwise
from slackwater.policy.noted import decided_document, ways_document
from slackwater.policy.prices import PriceBook
from slackwater.usecases.aggregate import final_rows
from slackwater.usecases.ports import Documents
from slackwater.usecases.routing import Routing, job_of_row

VERSION: Final = 1
BY_ID: Final = "id:"
"""Before a caller's id that is a number: else it is taken for a line."""
FROM_PLAN: Final = "plan"
FROM_LEDGER: Final = "ledger"
_SHARD: Final = ("region", "state", "attempt", "job_name", "records", "submitted_at", "guard_at", "stop_asked_at")
_ROW: Final = ("status", "lane", "route", "region", "tier", "attempts", "latency_ms", "finished_at", "usage")


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def blocks(self, run_id: str) -> Iterator[dict[str, Any]]: ...


class ItemsPort(Protocol):
    def get(self, key: tuple[str, str]) -> dict[str, Any] | None: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class Explain:
    """Answers about one job from the ledger and the home bucket; changes nothing."""

    def __init__(
        self,
        *,
        documents: Documents,
        runs: RunsPort,
        items: ItemsPort,
        profiles: Pinned,
        prices: PriceBook,
        capability: Capability,
    ) -> None:
        self._documents = documents
        self._runs = runs
        self._items = items
        self._profiles = profiles
        self._prices = prices
        self._capability = capability
        self._routing = Routing(capability=capability, prices=prices)

    def __call__(self, job: str, run_id: str | None = None) -> dict[str, Any] | None:
        """The explanation of a job: by its id, or within a run by its id, the caller's id or its line. None where there
        is no such job; without `run_id` only jobs of the queue are found, for a file's job lies in its run alone."""
        if run_id is None:
            item = self._items.get((f"JOB#{job}", "META"))
            return None if item is None else self._queued(item)
        meta = self._runs.get(run_id)
        if meta is None:
            return None
        if meta["kind"] == RunKind.QUEUE:
            item = self._queued_as(run_id, job)
            return None if item is None else self._queued(item)
        return self._of_file(meta, job)

    # ------------------------------------------------------------------ jobs of a file

    def _of_file(self, meta: Mapping[str, Any], wanted: str) -> dict[str, Any] | None:
        run_id = str(meta["run_id"])
        try:
            plan = self._documents.get_json(names.run_key(run_id, "plan.json"))
        except Missing:
            return None
        found = self._row_of(run_id, plan, wanted)
        if found is None:
            return self._refused(meta, plan, wanted)
        block, rows, row = found
        job = job_of_row(row, dict(meta), block)
        classes = Classes.from_json(plan)
        plans = {entry.key: doc["plan"] for entry, doc in zip(classes, plan["classes"], strict=True)}
        decided = plans[classes.of_row(row).key]
        results = self._results(run_id, block, row["line"])
        final = results[0] if results else None
        return {
            **_head(meta, job.job, job.id, row["line"], job.profile),
            "state": "done" if final else "under way",
            "decided": {
                "from": FROM_PLAN,
                "at": plan["planned_at"],
                "deadline": decided["deadline"],
                "price_version": plan["price_version"],
                "profiles_version": plan["profiles_version"],
                "forecast": plan["forecast"],
                "lane": decided["lane"],
                "jobs_alike": decided["jobs"],
                "reasons": decided["reasons"],
                "refused": None if decided["refused"] is None else decided["refused"]["message"],
                **({"cached_prefix": decided["cached_prefix"]} if "cached_prefix" in decided else {}),
            },
            "ways": _ways(decided),
            "batch": self._batch(plan, classes, plans, block, rows, row, results),
            **self._afterwards(meta, results, self._preferred(meta, job, decided), job.profile),
        }

    def _row_of(
        self, run_id: str, plan: Mapping[str, Any], wanted: str
    ) -> tuple[str, list[dict[str, Any]], dict[str, Any]] | None:
        """The block, its rows and the job's row: by line, by our id or by the caller's."""
        line, wanted = int(wanted) if wanted.isdecimal() else None, wanted.removeprefix(BY_ID)
        for block in plan["blocks"]:
            if not block["accepted"] or (line is not None and not block["first_line"] <= line <= block["last_line"]):
                continue
            rows = [
                orjson.loads(raw) for raw in self._documents.get(names.input_key(run_id, block["block"])).splitlines()
            ]
            for row in rows:
                if row["line"] == line or (line is None and wanted in (row["id"], input_row.job_id(run_id, row))):
                    return block["block"], rows, row
        return None

    def _refused(self, meta: Mapping[str, Any], plan: Mapping[str, Any], wanted: str) -> dict[str, Any] | None:
        """A line that was refused at the door: no way was ever considered for it."""
        if not wanted.isdecimal():
            return None
        line = int(wanted)
        block = next((b["block"] for b in plan["blocks"] if b["first_line"] <= line <= b["last_line"]), None)
        results = [] if block is None else self._results(str(meta["run_id"]), block, line)
        if not results:
            return None
        return {
            **_head(meta, None, results[0]["value"]["id"], line, None),
            "state": "refused",
            "decided": None,
            "ways": [],
            "batch": None,
            **self._afterwards(meta, results, None, None),
        }

    def _batch(  # noqa: PLR0917 - what a plan and a block say of one row
        self,
        plan: Mapping[str, Any],
        classes: Classes,
        plans: Mapping[Any, Mapping[str, Any]],
        block: str,
        rows: Sequence[dict[str, Any]],
        row: Mapping[str, Any],
        results: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any] | None:
        """Where it was planned as a batch record, and the batch jobs that brought rows of it."""
        group = plans[classes.of_row(row).key]["group"]
        if group is None:
            return None
        before = sum(
            plans[classes.of_row(other).key]["group"] == group for other in rows if other["line"] < row["line"]
        )
        ordinal = plan["groups"][group]["offsets"][block] + before
        planned = next(
            (
                {"region": shard["region"], "record": ordinal - shard["first"], "records": shard["records"]}
                for shard in plan["groups"][group]["shards"]
                if shard["first"] <= ordinal < shard["first"] + shard["records"]
            ),
            None,
        )
        return {"planned": planned, "jobs": self._shards(results)}

    def _preferred(self, meta: Mapping[str, Any], job: Any, decided: Mapping[str, Any]) -> str | None:
        """The route that the profile's mode prefers for this very job, if it is called."""
        lane = decided["calling_lane"]
        if lane is None:
            return None
        version = str(meta["profiles_version"])
        try:
            profile = self._profiles.pinned(version).named(job.profile)
        except Missing:
            return None
        return self._routing.call(job, Lane(lane), profile, version).routes[0].name

    # ------------------------------------------------------------------ jobs of the queue

    def _queued_as(self, run_id: str, wanted: str) -> dict[str, Any] | None:
        """The JOB item of a queue run's job by ordinal, our id or the caller's."""
        number, wanted = wanted if wanted.isdecimal() else None, wanted.removeprefix(BY_ID)
        for block in self._runs.blocks(run_id):
            for name, value in block.items():
                job, _, caller_id = str(value).partition(" ") if name.startswith("j_") else ("", "", "")
                if job and (number == name[2:] if number else wanted in (job, caller_id)):
                    return self._items.get((f"JOB#{job}", "META"))
        return None

    def _queued(self, item: Mapping[str, Any]) -> dict[str, Any]:
        run_id = str(item["run"])
        meta = self._runs.get(run_id) or {"run_id": run_id, "kind": RunKind.QUEUE, "profile": item["profile"]}
        results = self._results(run_id, item["block"], int(item["ordinal"]))
        decided = item.get("decided")
        return {
            **_head(meta, item["job"], item["id"], int(item["ordinal"]), item["profile"]),
            "state": item["state"],
            "decided": None
            if decided is None
            else {"from": FROM_LEDGER, "deadline": item["deadline_at"], **decided_document(decided)},
            "ways": [] if decided is None else ways_document(decided),
            "batch": {"planned": None, "jobs": self._shards(results)} if item.get("pool") or results else None,
            "queue": {
                "pool": item.get("pool"),
                "hops": int(item["hop"]),
                "claims": int(item["attempt"]),
                "faults": int(item.get("faults", 0)),
            },
            **self._afterwards(meta, results, None, item["profile"]),
        }

    # ------------------------------------------------------------------ what happened

    def _results(self, run_id: str, block: str, line: int) -> list[dict[str, Any]]:
        """Every stored row of a line, the final one first, each with the part's source."""
        keys = sorted(self._documents.keys(names.parts_prefix(run_id, block)))
        parts = [(key, self._documents.get(key)) for key in keys]
        winners, _ = final_rows(parts)
        final = next((row.rank[2] for row in winners if row.line == line), None)
        found = []
        for key, body in parts:
            for raw in body.splitlines():
                value = orjson.loads(raw)
                if value["line"] == line:
                    found.append({"key": key, "source": names.source_of_part(key), "value": value})
        return sorted(found, key=lambda one: one["key"] != final)

    def _shards(self, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        told = []
        for source in dict.fromkeys(one["source"] for one in results):
            if source.startswith("shard-"):
                shard = source.removeprefix("shard-")
                item = self._items.get((f"SHARD#{shard}", "META")) or {}
                more = {name: item.get(name) for name in _SHARD}
                told.append({"shard": shard, **more, "refused_regions": list(item.get("refused_regions", ()))})
        return told

    def _afterwards(
        self, meta: Mapping[str, Any], results: Sequence[Mapping[str, Any]], preferred: str | None, profile: str | None
    ) -> dict[str, Any]:
        if not results:
            return {"outcome": None, "other_results": 0, "money": None}
        final = results[0]["value"]
        error = final["error"]
        called = final["lane"] in (Lane.ON_DEMAND, Lane.FLEX)
        outcome = {
            **{name: final[name] for name in _ROW},
            "source": results[0]["source"],
            "rescued": bool(final.get("rescued")),
            "preferred_route": preferred if called else None,
            "rerouted": None if preferred is None or not called else final["route"] != preferred,
            "error": None if error is None else {name: error[name] for name in ("code", "message", "pointer")},
        }
        return {"outcome": outcome, "other_results": len(results) - 1, "money": self._money(meta, final, profile)}

    def _money(self, meta: Mapping[str, Any], row: Mapping[str, Any], profile: str | None) -> dict[str, Any] | None:
        """What it cost, and what the same tokens would have cost another way, at the price book of today."""
        if row["status"] != "succeeded":
            return None
        account = Account(self._prices.length_bracket)
        account.add(row, pico_from_usd_float(row["cost_usd"]), pico_from_usd_float(row["list_usd"]))
        found = otherwise(account, self._prices, self._capability, self._terms_of(meta, profile))
        return {
            "cost_usd": row["cost_usd"],
            "list_usd": row["list_usd"],
            "price_version": row["price_version"],
            "counterfactuals": {
                name: usd_float(one.cost_pico) if one.jobs else None for name, one in found.counterfactuals.items()
            },
            "counterfactuals_price_version": self._prices.version,
        }

    def _terms_of(self, meta: Mapping[str, Any], profile: str | None) -> Callable[[str], Terms]:
        """Of the profile that the job named, in the version of its run."""
        try:
            named = self._profiles.pinned(str(meta.get("profiles_version"))).profiles.get(
                profile or str(meta["profile"])
            )
        except Missing:  # that version is gone: what follows from it is unknown
            named = None
        terms = Terms.of([] if named is None else [named])
        return lambda _model: terms


def _head(meta: Mapping[str, Any], job: str | None, caller_id: str, line: int, profile: str | None) -> dict[str, Any]:
    return {
        "v": VERSION,
        "run_id": meta["run_id"],
        "kind": str(meta["kind"]),
        "job": job,
        "id": caller_id,
        "line": line,
        "profile": profile,
    }


def _ways(decided: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry a lane and route (one without a route for a lane that has none). Costs are those of the mean job of its
    class."""
    jobs = max(1, decided["jobs"])
    told = []
    for way in decided["ways"]:
        costs = way.get("route_costs_usd") or [None] * len(way["routes"])
        for route, cost in zip(way["routes"] or [None], costs or [None], strict=True):
            told.append(
                {
                    "lane": way["lane"],
                    "route": route,
                    "expected_cost_usd": _each(cost, jobs),
                    "lane_cost_usd": _each(way["expected_cost_usd"], jobs),
                    "expected_finish": way["expected_finish"],
                    "in_time": way["in_time"],
                    "refused": way["refused"],
                    "taken": way["lane"] == decided["lane"],
                }
            )
    return told


def _each(total_usd: float | None, jobs: int) -> float | None:
    pico = pico_from_usd_float(total_usd)
    return None if pico is None else usd_float(pico // jobs)
