"""The receipt of a run: counts and exact sums of its final rows, decimal at the edge."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from slackwater.model.job import Lane
from slackwater.model.money import pico_from_usd_float, usd_text
from slackwater.model.words import counted

VERSION = 1

Spender = Callable[[Mapping[str, Any], int | None, int | None], None]


@dataclass
class Share:
    """Jobs and money of one lane or region."""

    jobs: int = 0
    cost_pico: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"jobs": self.jobs, "cost_usd": number(self.cost_pico)}


class Alike(NamedTuple):
    """What rows that are summed together have in common: fields of a result line, by their names."""

    status: str
    lane: str
    region: str
    route: str
    model: str
    tier: str
    attempts: int
    price_version: str


@dataclass(frozen=True, slots=True)
class Total:
    """Sums of answers that are alike and of one price; all of it is known, and none used a prompt cache."""

    jobs: int
    input_tokens: int
    output_tokens: int
    longest_prompt: int
    cost_pico: int
    list_pico: int
    latency_ms: int


@dataclass
class Tally:
    """Sums final rows one by one; unknown prices are counted, never added as zero."""

    succeeded: int = 0
    failed: int = 0
    refused_lines: int = 0
    extras: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    list_pico: int = 0
    list_known: int = 0
    saved_pico: int = 0
    unknown_price_jobs: int = 0
    unknown_usage_jobs: int = 0
    called_ms: int = 0  # what on-demand and flex calls took, summed
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    spent: Spender | None = None  # hears of every answer, with its cost and list price
    lanes: dict[str, Share] = field(default_factory=lambda: {lane.value: Share() for lane in Lane})
    regions: dict[str, Share] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)  # batch jobs and calls of each accepted job
    unpriced: Counter[tuple[str, str]] = field(default_factory=Counter)  # model and region of answers without a price
    price_versions: Counter[str] = field(default_factory=Counter)  # which table priced the answers

    @property
    def accepted(self) -> int:
        return self.succeeded + self.failed

    @property
    def lines(self) -> int:
        return self.accepted + self.refused_lines

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts the final row of one line. A row without a job was refused at the door."""
        if row["error"]:
            self.errors[row["error"]["code"]] += 1
        if row["job"] is None:
            self.refused_lines += 1
            return
        self.attempts[row["attempts"]] += 1
        cost = pico_from_usd_float(row["cost_usd"])
        if row["status"] == "succeeded":
            self.succeeded += 1
            self._money(row, cost)
        else:
            self.failed += 1
        if row["lane"] is not None:
            self._share(self.lanes, row["lane"], cost)
            if row["lane"] != Lane.BATCH:
                self.called_ms += row["latency_ms"] or 0
        if row["region"] is not None:
            self._share(self.regions, row["region"], cost)

    def add_alike(self, alike: Alike, total: Total) -> None:
        """Counts many answers as `add` would one by one; `spent` does not hear of them."""
        self.attempts[alike.attempts] += total.jobs
        self.succeeded += total.jobs
        self.input_tokens += total.input_tokens
        self.output_tokens += total.output_tokens
        if alike.price_version:
            self.price_versions[alike.price_version] += total.jobs
        self.cost_pico += total.cost_pico
        self.list_known += total.jobs
        self.list_pico += total.list_pico
        self.saved_pico += total.list_pico - total.cost_pico
        self._share(self.lanes, alike.lane, total.cost_pico, total.jobs)
        self._share(self.regions, alike.region, total.cost_pico, total.jobs)
        if alike.lane != Lane.BATCH:
            self.called_ms += total.latency_ms

    def _share(self, shares: dict[str, Share], name: str, cost: int | None, jobs: int = 1) -> None:
        share = shares.setdefault(name, Share())
        share.jobs += jobs
        share.cost_pico += cost or 0

    def _money(self, row: Mapping[str, Any], cost: int | None) -> None:
        usage = row["usage"]
        if usage is None:
            self.unknown_usage_jobs += 1
        else:
            read, written = usage["cache_read_tokens"], usage["cache_write_tokens"]
            self.input_tokens += usage["input_tokens"] + read + written
            self.cache_read_tokens += read
            self.cache_write_tokens += written
            self.output_tokens += usage["output_tokens"]
        listed = pico_from_usd_float(row["list_usd"])
        if row["price_version"]:
            self.price_versions[row["price_version"]] += 1
        if cost is None:
            self.unknown_price_jobs += 1
            if usage is not None:
                self.unpriced[row["model"], row["region"]] += 1
        else:
            self.cost_pico += cost
        if listed is not None:
            self.list_known += 1
            self.list_pico += listed
        if cost is not None and listed is not None:
            self.saved_pico += listed - cost
        if self.spent is not None:
            self.spent(row, cost, listed)

    def price_warnings(self) -> list[str]:
        """Which prices are not known, by model and region, and whether more than one table was at work."""
        found = []
        if self.unknown_price_jobs:
            answers = counted(self.unknown_price_jobs, "answer has", "answers have")
            found.append(f"{answers} no known price: cost_usd sums the others")
        for (model, region), jobs in sorted(self.unpriced.items()):
            found.append(f"the price table lacks a price of {model} in {region}: {counted(jobs, 'answer')}")
        if len(self.price_versions) > 1:
            tables = ", ".join(f"{counted(n, 'answer')} by {name}" for name, n in sorted(self.price_versions.items()))
            found.append(f"the price table was replaced while the run was under way: {tables}")
        return found

    def known(self, pico: int, known_jobs: int) -> orjson.Fragment | None:
        """A sum over the known; null when something was answered and nothing of it is known."""
        return None if self.succeeded and not known_jobs else number(pico)


def receipt(
    tally: Tally,
    *,
    run_id: str,
    status: str,
    reason: str | None,
    repeats: int,
    price_version: str,
    infrastructure_pico: int,
    warnings: list[str],
    started_at: str,
    finished_at: str,
    deadline: str | None,
    **more: Any,
) -> dict[str, Any]:
    """The document of `receipt.json` (format version 1); `more` joins it: profile, source, dialect.

    `infrastructure_pico` is an estimate, and no part of `cost_usd` (policy.infrastructure).
    """
    known = tally.succeeded - tally.unknown_price_jobs
    return {
        "v": VERSION,
        "run_id": run_id,
        "status": status,
        "reason": reason,
        "lines": tally.lines,
        "accepted": tally.accepted,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "refused_lines": tally.refused_lines,
        "lanes": {name: share.as_json() for name, share in tally.lanes.items()},
        "regions": {name: tally.regions[name].as_json() for name in sorted(tally.regions)},
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cache_read_tokens": tally.cache_read_tokens,
        "cache_write_tokens": tally.cache_write_tokens,
        "cost_usd": tally.known(tally.cost_pico, known),
        "list_usd": tally.known(tally.list_pico, tally.list_known),
        "saved_usd": tally.known(tally.saved_pico, min(known, tally.list_known)),
        "infrastructure_usd": number(infrastructure_pico),
        "repeats": repeats,
        "unknown_price_jobs": tally.unknown_price_jobs,
        "unknown_usage_jobs": tally.unknown_usage_jobs,
        "extra_results": tally.extras,
        "errors": dict(tally.errors.most_common()),
        "attempts": {str(number): tally.attempts[number] for number in sorted(tally.attempts)},
        "price_version": price_version,
        "warnings": warnings,
        "started_at": started_at,
        "finished_at": finished_at,
        "deadline": deadline,
        **more,
    }


def number(pico: int) -> orjson.Fragment:
    """A JSON number with every digit: orjson writes floats, which hold 15."""
    return orjson.Fragment(usd_text(pico))
