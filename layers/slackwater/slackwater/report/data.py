"""What a report is made of. Whatever is None is not known, and the page says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slackwater.model.timeline import Timeline


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A Bedrock batch job that held jobs of the run. `records`: all of its own, other runs' included."""

    shard: str
    region: str
    model: str
    records: int
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    status: str | None = None
    forecast: Mapping[str, Any] | None = None  # {p50_s, p95_s, basis, n} of when it was begun


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota of requests a minute, as it was known when the report was made. `known`: `told`, `learned` …"""

    per_minute: float | None
    known: str
    told_by: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The calls by routes that share a quota (region, kind of route, model)."""

    region: str
    family: str
    model: str
    routes: tuple[str, ...]
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plan expected of a lane before anything was called."""

    jobs: int
    cost_usd: float | None
    finish: datetime | None


@dataclass(frozen=True, slots=True)
class Story:
    """One run, told: `receipt` is receipt.json as it is read back. `jobs_unknown`: batch jobs that nobody remembers any
    more; `planned` is None for a run without a plan (queue jobs are decided one by one)."""

    receipt: Mapping[str, Any]
    timeline: Timeline
    kind: str  # file | queue
    batch_jobs: tuple[BatchJob, ...] = ()
    jobs_unknown: int = 0
    pools: tuple[Pool, ...] = ()
    planned: Mapping[str, Planned] | None = None
    forecast: Mapping[str, Any] | None = None  # {p50_s, p95_s, basis, n} of the plan
    home_region: str | None = None
