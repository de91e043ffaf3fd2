"""Our side: the product's engine, called as its functions call it. What finds no room goes back to a delay queue.

The queue is a heap that behaves as SQS does: a message that is sent on comes back after whole seconds. Ledger and
health are in memory, shared by all engines of the scenario, each of which stands for one container.
"""

import heapq
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import boto3

from bench.on_demand_lib.drive import Outcomes
from bench.on_demand_lib.durable import Tables
from bench.on_demand_lib.peers import MODEL
from bench.on_demand_lib.world import Offer, Region, Scenario
from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.in_memory import QuotasInMemory
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.table import ConditionFailed, Table, Write
from slackwater.model.clock import ScaledClock, iso
from slackwater.model.job import Job, Lane, Route
from slackwater.model.profile import Mode
from slackwater.policy.prices import load_price_book
from slackwater.policy.quota import Meter, Pool
from slackwater.policy.quota_limits import BY_HAND, Told
from slackwater.policy.routes import typical_price
from slackwater.policy.weights import order
from slackwater.usecases.admission import Admission, Need, Quotas, Ticket, pool_name
from slackwater.usecases.engine import Engine
from slackwater.usecases.ports import Answer
from slackwater.usecases.tries import Call

BASE: Final = "anthropic.claude-haiku-4-5-20251001-v1:0"
CONTAINERS: Final = 16  # where the scenario does not say: enough that a batch never waits for a container
IN_FLIGHT: Final = 32  # CallsInFlight's default
BATCH: Final = 50  # RouteFunction's BatchSize
FAR_S: Final = 3600.0
AMPLE_PER_S: Final = 1e6
_JOB: Final = re.compile(r"job (\d+)")


@dataclass(frozen=True)
class Later:
    """A job that found no room: it comes back in `delay_s`."""

    job: int
    delay_s: float


class Container(Protocol):
    """What the bench needs of an engine: ends jobs (by telling `ended`), and gives back those that found no room."""

    def work(self, jobs: Sequence[int]) -> list[Later]: ...


class Ended(Protocol):
    def __call__(self, job: int, error: str | None) -> None: ...


class Began(Protocol):
    def __call__(self, job: int) -> None: ...


# ---------------------------------------------------------------------- the engine's ports, in memory


class MemoryTable:
    """As much of the ledger's table as routes' health asks for, in memory; shared by all containers."""

    def __init__(self) -> None:
        self._items: dict[Any, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any) -> dict[str, Any] | None:
        return self._items.get(key)

    def write(self, write: Write, returns: str = "") -> dict[str, Any]:
        """The item as it is then. Raises ConditionFailed; a condition that is not known here is a mistake of the
        bench.
        """
        assert returns in ("", "ALL_NEW")
        with self._lock:
            old = self._items.get(write.key, {})
            if write.condition is not None and not self._holds(write.condition, old, write.values):
                raise ConditionFailed(dict(old))
            gone = set(write.remove)
            self._items[write.key] = {k: v for k, v in old.items() if k not in gone} | dict(write.set_)
            return dict(self._items[write.key])

    def _holds(self, condition: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        match condition:
            case "attribute_not_exists(#version)":
                return "version" not in item
            case "#version = :version":
                return bool(item.get("version") == values["version"])
        raise NotImplementedError(condition)


class SharedQuotas(QuotasInMemory):
    """The quota ledger of the whole fleet, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def change(self, pool: str, change: Callable[[Pool], tuple[Pool, Any]], now_s: float) -> tuple[Pool, Any]:
        with self._lock:
            return super().change(pool, change, now_s)

    def tell(self, pool: str, region: Region) -> None:
        """The limits of a pool, as `quotas sync` reads them: no limit of the fake's is a large one of Bedrock's."""
        self.pools[pool] = Pool(
            requests=Meter(told_per_s=region.requests_per_s or AMPLE_PER_S),
            tokens=Meter(told_per_s=region.tokens_per_s),
        )


class InMemory:
    """Quotas and health of the fleet in its own process: what the engine itself takes, job by job."""

    window_s = 0.0

    def __init__(self) -> None:
        self._quotas, self._health = SharedQuotas(), MemoryTable()

    def quotas(self) -> Quotas:
        return self._quotas

    def health(self) -> MemoryTable:
        return self._health

    def fresh(self, told: Mapping[str, Region]) -> None:
        """As before the first call; `told` are the limits that somebody knows."""
        self._quotas.pools.clear()
        for pool, region in told.items():
            self._quotas.tell(pool, region)


class Durable:
    """The same in DynamoDB, as the product keeps them: an adapter with a client of its own for each container; and
    jobs in batches, as its mapping gathers them."""

    window_s = 1.0

    def __init__(self) -> None:
        self._tables = Tables(connections=2)
        self._table = self._tables.table()
        self._pools: set[str] = set()

    def quotas(self) -> Quotas:
        return QuotaLedger(self._tables.table())

    def health(self) -> Table:
        return self._tables.table()

    def fresh(self, told: Mapping[str, Region]) -> None:
        """As before the first call. Ledgers find that what they remember is not the row's version any more."""
        for pool, region in told.items():
            self._table.write(Write((f"QUOTA#{pool}", "LEDGER"), put={"v": 1, "version": 1_000_000}))
            rpm = round((region.requests_per_s or AMPLE_PER_S) * 60)
            tpm = round(region.tokens_per_s * 60) if region.tokens_per_s else None
            QuotaLedger(self._table).tell(pool, Told(rpm=rpm, tpm=tpm, by=BY_HAND, at=iso(datetime.now(UTC))))


Ledger = InMemory | Durable


class Noting:
    """The caller, and when each call came back."""

    def __init__(self, caller: BedrockRuntime, ended_at: dict[int, float]) -> None:
        self._caller = caller
        self._ended_at = ended_at

    def converse(self, route: Route, lane: Lane, request: dict[str, Any], *, read_timeout_s: float) -> Answer:
        try:
            return self._caller.converse(route, lane, request, read_timeout_s=read_timeout_s)
        finally:
            found = _JOB.match(request["messages"][0]["content"][0]["text"])
            assert found
            self._ended_at[int(found[1])] = time.monotonic()


@dataclass
class Sink:
    began: Began
    ended: Ended

    def starting(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self.began(call.job.line)

    def losing(self, call: Call) -> None:
        """Nothing is lost here: the fake answers or refuses."""

    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        for call, row in rows:
            self.ended(call.job.line, None if row["status"] == "succeeded" else row["error"]["code"])


class Bound:
    """An Engine as a Container."""

    def __init__(self, fleet: "Fleet", number: int, concurrency: int) -> None:
        self._fleet = fleet
        self._engine = Engine(
            caller=fleet.caller,
            admission=Admission(
                quotas=fleet.ledger.quotas(),
                health=RouteHealth(fleet.ledger.health(), fleet.clock, random.Random(number)),  # type: ignore[arg-type]
                clock=fleet.clock,
            ),
            prices=fleet.prices,
            clock=fleet.clock,
            rng=random.Random(number),
            concurrency=concurrency,
        )

    def work(self, jobs: Sequence[int]) -> list[Later]:
        fleet = self._fleet
        unfinished = self._engine.run([fleet.call(job) for job in jobs], fleet.sink, stop_at_wall_s=time.time() + FAR_S)
        now = fleet.clock.now()
        return [Later(u.call.job.line, (u.not_before - now).total_seconds()) for u in unfinished]


class Queue:
    """Delayed jobs, first due first; takers sleep until one is due. With a window a batch is gathered for so long, as
    Lambda's mapping does (MaximumBatchingWindowInSeconds)."""

    def __init__(self, outcomes: Outcomes, window_s: float) -> None:
        self._outcomes = outcomes
        self._window_s = window_s
        self._poller = threading.Lock()
        self._heap: list[tuple[float, int]] = []
        self._changed = threading.Condition()

    def put(self, due_s: float, job: int) -> None:
        with self._changed:
            heapq.heappush(self._heap, (due_s, job))
            if self._heap[0][1] == job:
                self._changed.notify()

    def take(self, most: int) -> list[int]:
        """What is due, at most so many; none if nothing was within half a second."""
        if not self._window_s:
            return self._due(most)
        with self._poller:
            taken = self._due(most)
            until_s = self._outcomes.now_s() + self._window_s
            while taken and len(taken) < most and self._outcomes.now_s() < until_s:
                time.sleep(0.02)
                taken += self._due(most - len(taken), wait_s=0)
            return taken

    def _due(self, most: int, wait_s: float = 0.5) -> list[int]:
        with self._changed:
            due_in_s = self._heap[0][0] - self._outcomes.now_s() if self._heap else wait_s
            if due_in_s > 0 and wait_s:
                self._changed.wait(min(wait_s, due_in_s))
            taken: list[int] = []
            while self._heap and len(taken) < most and self._heap[0][0] <= self._outcomes.now_s():
                taken.append(heapq.heappop(self._heap)[1])
            return taken


class Fleet:
    """The containers of a scenario, and the queue that feeds them."""

    def __init__(self, endpoint: str, scenario: Scenario, ledger: "Ledger") -> None:
        logging.disable(logging.CRITICAL)
        self._scenario = scenario
        self.clock = ScaledClock()
        self.prices = load_price_book()
        self.ledger = ledger
        self._ended_at: dict[int, float] = {}
        self._began_at: dict[int, float] = {}
        self._outcomes = Outcomes()
        self._broken: list[BaseException] = []
        number = 1 if scenario.closed else scenario.containers if scenario.containers > 1 else CONTAINERS
        concurrency = scenario.closed or IN_FLIGHT
        runtime = BedrockRuntime(AtEndpoint(endpoint), connections=number * concurrency)  # type: ignore[arg-type]
        self.caller = Noting(runtime, self._ended_at)
        self.sink = Sink(self._began, self._ended)
        self._routes = tuple(
            Route(name, MODEL, BASE, "global", region.weight) for name, region in scenario.world.regions.items()
        )
        self._tell()
        self._price = typical_price(self.prices)
        self._deadline = datetime.fromtimestamp(time.time() + FAR_S, UTC)
        self._containers: list[Container] = [Bound(self, n, concurrency) for n in range(number)]

    def _tell(self) -> None:
        """The ledger as it is before the first call: the fake forgets its warm calls, too."""
        told = self._routes if self._scenario.told else ()
        self.ledger.fresh({pool_name(route): self._scenario.world.regions[route.region] for route in told})

    def call(self, job: int) -> Call:
        world = self._scenario.world
        request = {
            "messages": [{"role": "user", "content": [{"text": world.text(job)}]}],
            "inferenceConfig": {"maxTokens": world.max_tokens},
        }
        work = Job("r", "00000", job, f"id-{job}", f"job-{job}", "default", self._deadline, request)
        ordered = order(Mode.WEIGHTED, self._routes, job, price=self._price)
        return Call(work, Lane.ON_DEMAND, tuple(ordered), "us-east-1")

    def _began(self, job: int) -> None:
        self._began_at.setdefault(job, self._outcomes.now_s())

    def _ended(self, job: int, error: str | None) -> None:
        end_s = self._ended_at.get(job, time.monotonic()) - self._outcomes.began_s
        at_s = self._began_at[job] if self._scenario.closed else self._arrivals[job]
        self._outcomes.rows.append((job, at_s, end_s, error))

    def drive(self, scenario: Scenario, offers: Sequence[Offer], outcomes: Outcomes) -> None:
        self._tell()
        self._outcomes = outcomes
        self._arrivals: Mapping[int, float] = {offer.job: offer.at_s for offer in offers}
        if scenario.closed:
            self._containers[0].work([offer.job for offer in offers])
            return
        queue = Queue(outcomes, self.ledger.window_s)
        for offer in offers:
            queue.put(offer.at_s, offer.job)
        threads = [
            threading.Thread(target=self._container, args=(one, queue, len(offers), outcomes), daemon=True)
            for one in self._containers
        ]
        for thread in threads:
            thread.start()
        while len(outcomes.rows) < len(offers) and outcomes.now_s() < scenario.stop_s and not self._broken:
            time.sleep(0.02)
        if self._broken:  # a fault of the engine's or the bench's own, no outcome
            raise self._broken[0]

    def _container(self, one: Container, queue: Queue, jobs: int, outcomes: Outcomes) -> None:
        try:
            self._work(one, queue, jobs, outcomes)
        except BaseException as exc:
            self._broken.append(exc)
            raise

    def _work(self, one: Container, queue: Queue, jobs: int, outcomes: Outcomes) -> None:
        while len(outcomes.rows) < jobs:
            taken = queue.take(BATCH)
            for later in one.work(taken) if taken else ():
                delay_s = max(1, self.clock.queue_delay_s(later.delay_s))  # SQS knows whole seconds
                queue.put(outcomes.now_s() + delay_s, later.job)


class AtEndpoint(boto3.Session):
    """A session whose clients call the fake."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._endpoint = endpoint

    def client(self, *names: Any, **options: Any) -> Any:
        return super().client(*names, endpoint_url=self._endpoint, **options)


def slackwater(endpoint: str, scenario: Scenario, ledger: str = "memory") -> Fleet:
    """`ledger`: `memory` or `durable`."""
    return Fleet(endpoint, scenario, Durable() if ledger == "durable" else InMemory())


def decision_ms(routes: int = 50, decisions: int = 500, passes: int = 5) -> list[float]:
    """Milliseconds of each decision by which of so many routes a call goes: the order in which it tries them, their
    health, and leave by the first that has room. The first half of the routes is full. Of several passes over the same
    decisions each one's least: what a shared machine's other work adds is no part of a decision.
    """
    many = [Route(f"region-{n}", MODEL, BASE, "global", 1 + n % 5) for n in range(routes)]
    return [min(took) for took in zip(*(_decide(many, decisions) for _ in range(passes)), strict=True)]


def _decide(many: Sequence[Route], decisions: int) -> list[float]:
    clock, quotas = ScaledClock(), SharedQuotas()
    for n, route in enumerate(many):
        quotas.tell(pool_name(route), Region(requests_per_s=1e-6 if n < len(many) // 2 else 1e6, tokens_per_s=1e9))
    health = RouteHealth(MemoryTable(), clock, random.Random(1))  # type: ignore[arg-type]
    admission = Admission(quotas=quotas, health=health, clock=clock)
    price, need = typical_price(load_price_book()), Need(100, 100)
    took = []
    for job in range(decisions):
        began = time.perf_counter()
        for route in order(Mode.WEIGHTED, many, job, price=price):
            if isinstance(admission.enter(route, need, 1), Ticket):
                break
        took.append((time.perf_counter() - began) * 1000)
    return took
