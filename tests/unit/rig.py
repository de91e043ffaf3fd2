"""Ten-line fakes of the ports, shared by the unit tests. Nothing here decides anything."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import orjson

from slackwater.model.errors import CallFailed, Exists, Missing
from slackwater.model.job import Job, Lane, Route
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.model.usage import Usage
from slackwater.policy.capability import load_capability
from slackwater.policy.classify import Fault
from slackwater.policy.prices import load_price_book
from slackwater.policy.quota import Pool
from slackwater.report.data import BatchJob
from slackwater.usecases.admission import Need, Ticket, Wait
from slackwater.usecases.aggregate import Aggregate
from slackwater.usecases.ports import Answer, Outgoing
from slackwater.usecases.run_report import RunReport
from slackwater.usecases.tries import Call

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


class StillClock:
    """A clock that moves when told to; real and product time are one."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def at(self, real: datetime) -> datetime:
        return real

    def wall_s(self) -> float:
        return self.moment.timestamp()

    def queue_delay_s(self, seconds: float) -> int:
        return min(900, int(seconds))

    def real_s(self, seconds: float) -> float:
        return seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def route(region: str = "us-west-2", weight: int = 1) -> Route:
    return Route(region, f"global.{HAIKU}", HAIKU, "global", weight)


ROUTES = (route("us-west-2", 5), route("us-east-1", 3), route("us-east-2", 2))


def job(line: int = 1, text: str = "hello", run_id: str = "r1", *, deadline_s: float = 3600) -> Job:
    request = {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 100}}
    return Job(
        run_id, "00000", line, f"id-{line}", f"job-{line}", "default", START + timedelta(seconds=deadline_s), request
    )


def call(line: int = 1, routes: Sequence[Route] = ROUTES, **more: Any) -> Call:
    return Call(job(line, **more), Lane.ON_DEMAND, tuple(routes), "us-east-1")


def answer(text: str = "hi", input_tokens: int = 10, output_tokens: int = 5) -> Answer:
    response = {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": input_tokens,
            "outputTokens": output_tokens,
            "totalTokens": input_tokens + output_tokens,
        },
    }
    return Answer(response, Usage(input_tokens, output_tokens), 12, "default")


@dataclass
class Model:
    """Answers calls by a script: `script(route, request)` gives an Answer or raises CallFailed."""

    script: Callable[[Route, dict[str, Any]], Answer] = lambda route, request: answer()
    calls: list[tuple[str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=Lock)

    def converse(self, route: Route, lane: Lane, request: dict[str, Any], *, read_timeout_s: float) -> Answer:
        with self.lock:
            self.calls.append((route.region, request["messages"][0]["content"][0]["text"]))
        return self.script(route, request)


def fails(code: str, fault: str) -> Callable[[Route, dict[str, Any]], Answer]:
    def script(route: Route, request: dict[str, Any]) -> Answer:
        raise CallFailed(code, fault)

    return script


@dataclass
class Rested:
    """Health that rests a route for a minute after any fault against it."""

    clock: StillClock
    until: dict[str, datetime] = field(default_factory=dict)

    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]:
        return {n: self.until[n] for n in names if n in self.until and self.until[n] > self.clock.now()}

    def report(self, name: str, fault: str | None) -> None:
        if fault is not None and Fault(fault).against_route:
            self.until[name] = self.clock.now() + timedelta(seconds=60)


@dataclass
class Doors:
    """Admission without quotas: a route that rests is closed."""

    health: Rested

    def enter(self, route: Route, need: Need, waiting: int) -> Ticket | Wait:
        until = self.health.resting([route.name]).get(route.name)
        clock = self.health.clock
        return Ticket(route, need, 0, clock.now(), clock.wall_s()) if until is None else Wait(until)

    def leave(self, ticket: Ticket, usage: Usage | None, fault: Fault | None) -> None:
        if fault is None or fault.against_route:
            self.health.report(ticket.route.name, fault)

    def room_at(self, routes: Sequence[Route]) -> datetime:
        resting = self.health.resting([route.name for route in routes])
        return min(resting.get(route.name, self.health.clock.now()) for route in routes)

    def close(self) -> None:
        pass


class Bucket:
    """Objects in memory, with S3's create-only rule."""

    bucket = "home"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise Missing(key)
        return self.objects[key]

    def get_json(self, key: str) -> Any:
        return orjson.loads(self.get(key))

    def put(self, key: str, body: bytes, *, content_type: str = "", create_only: bool = False) -> None:
        if create_only and key in self.objects:
            raise Exists(key)
        self.objects[key] = body

    def put_json(self, key: str, document: Any) -> None:
        self.put(key, orjson.dumps(document))

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    @contextmanager
    def upload(self, key: str, *, content_type: str = "") -> Iterator[Any]:
        chunks = bytearray()

        class Sink:
            def write(self, data: bytes) -> None:
                chunks.extend(data)

        yield Sink()
        self.objects[key] = bytes(chunks)

    def rows(self, key: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.get(key).splitlines()]


class Outbox:
    """A queue that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, messages: Any) -> int:
        new = list(messages)
        self.sent += new
        return len(new)


class SettledShards:
    """What the ledger noted of shards when they settled."""

    def __init__(self, counts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._counts = counts or {}

    def many(self, shard_ids: Sequence[str]) -> Sequence[Any]:
        return []

    def settled_counts(self, shard_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        return {shard: self._counts[shard] for shard in shard_ids if shard in self._counts}


class ShippedProfiles:
    """The shipped profiles under any version."""

    def pinned(self, version: str) -> Profiles:
        return Profiles.from_bytes(shipped_profiles())


def aggregator(bucket: Bucket, runs: Any, clock: StillClock, shards: Any = None) -> Aggregate:
    """Aggregation over the shipped prices and profiles."""
    return Aggregate(
        documents=bucket,
        runs=runs,
        shards=shards or SettledShards(),
        profiles=ShippedProfiles(),
        prices=load_price_book(),
        capability=load_capability(),
        report=run_report(bucket, runs, clock),
        clock=clock,
        calls_in_flight=32,
    )


def run_report(bucket: Bucket, runs: Any, clock: StillClock, jobs: Sequence[BatchJob] = ()) -> RunReport:
    """The run report over the shipped profiles, where nobody knows a quota."""
    return RunReport(
        documents=bucket,
        runs=runs,
        jobs=lambda shard_ids, since: [job for job in jobs if job.shard in shard_ids],
        quotas=NoQuotas(),
        profiles=ShippedProfiles(),
        clock=clock,
    )


class NoQuotas:
    """A quota ledger in which nobody has dealt with anything."""

    def get(self, pool: str) -> tuple[Pool, None]:
        return Pool(), None


class Executions:
    """The run workflow: remembers starts and answers."""

    def __init__(self) -> None:
        self.started: dict[str, Mapping[str, Any]] = {}
        self.answered: list[str] = []

    def start(self, run_id: str, payload: Mapping[str, Any]) -> None:
        self.started.setdefault(run_id, payload)

    def answer(self, token: str, payload: Mapping[str, Any]) -> bool:
        self.answered.append(token)
        return True
