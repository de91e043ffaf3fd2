"""One contender, one scenario, one process: jobs arrive when they arrive, and each ends with an outcome.

    python -m bench.on_demand_lib.drive < {"contender": …, "endpoint": …, "scenario": …}      one JSON line on stdout

Runs in the contender's own environment: standard library only, and what the contender's module imports.
"""

import asyncio
import importlib
import json
import os
import resource
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from bench.on_demand_lib.world import Offer, Scenario

MAX_THREADS: Final = 600
WARM_JOB: Final = 1_000_000  # numbers of the jobs before the start, which are not counted


@dataclass
class Outcomes:
    """(job, seconds of arrival, seconds of its end, error or None), thread-safe by the interpreter's list."""

    began_s: float = field(default_factory=time.monotonic)
    rows: list[tuple[int, float, float, str | None]] = field(default_factory=list)

    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    def end(self, job: int, at_s: float, error: str | None) -> None:
        self.rows.append((job, at_s, self.now_s(), error))


@runtime_checkable
class Blocking(Protocol):
    """A contender that blocks its caller: each job gets a thread."""

    def call(self, text: str, max_tokens: int) -> None: ...


@runtime_checkable
class Async(Protocol):
    """A contender on an event loop."""

    async def opened(self) -> None: ...
    async def acall(self, text: str, max_tokens: int) -> None: ...


@runtime_checkable
class Driven(Protocol):
    """A contender that takes jobs as its product does: from a queue, in batches."""

    def drive(self, scenario: Scenario, offers: Sequence[Offer], outcomes: Outcomes) -> None: ...


def _control(endpoint: str, path: str) -> None:
    urllib.request.urlopen(urllib.request.Request(endpoint + path, data=b"{}", method="POST")).read()


# ---------------------------------------------------------------------- threads


def _blocking(fleet: Sequence[Blocking], scenario: Scenario, start: Callable[[], Outcomes]) -> Outcomes:
    world = scenario.world

    def one(job: int, at_s: float, outcomes: Outcomes) -> None:
        error = None
        try:
            fleet[job % len(fleet)].call(world.text(job), world.max_tokens)
        except Exception as exc:  # noqa: BLE001 - a peer may raise what it likes; its class is the outcome
            error = type(exc).__name__
        outcomes.end(job, at_s, error)

    for warm in _warm(len(fleet)):
        one(warm, 0, Outcomes())
    pool = ThreadPoolExecutor(scenario.closed or min(MAX_THREADS, len(scenario.offers)))
    outcomes = start()
    if scenario.closed:
        _callers(pool, scenario.closed, scenario.offers, lambda job: one(job, outcomes.now_s(), outcomes))
        return outcomes
    for offer in scenario.offers:
        time.sleep(max(0.0, offer.at_s - outcomes.now_s()))
        pool.submit(one, offer.job, offer.at_s, outcomes)
    while len(outcomes.rows) < len(scenario.offers) and outcomes.now_s() < scenario.stop_s:
        time.sleep(0.02)
    return outcomes


def _callers(pool: ThreadPoolExecutor, number: int, offers: Sequence[Offer], one: Callable[[int], None]) -> None:
    """So many callers, each with its next job as soon as its last one has ended."""
    left, lock = iter(offers), threading.Lock()

    def caller() -> None:
        while True:
            with lock:
                offer = next(left, None)
            if offer is None:
                return
            one(offer.job)

    for future in [pool.submit(caller) for _ in range(number)]:
        future.result()


# ---------------------------------------------------------------------- event loop


async def _async(fleet: Sequence[Async], scenario: Scenario, start: Callable[[], Outcomes]) -> Outcomes:
    world = scenario.world

    async def one(job: int, at_s: float, outcomes: Outcomes) -> None:
        error = None
        try:
            await fleet[job % len(fleet)].acall(world.text(job), world.max_tokens)
        except Exception as exc:  # noqa: BLE001 - as above
            error = type(exc).__name__
        outcomes.end(job, at_s, error)

    for member in fleet:
        await member.opened()
    for warm in _warm(len(fleet)):
        await one(warm, 0, Outcomes())
    outcomes = start()
    if scenario.closed:
        left: Iterator[Offer] = iter(scenario.offers)

        async def caller() -> None:
            for offer in left:
                await one(offer.job, outcomes.now_s(), outcomes)

        await asyncio.gather(*(caller() for _ in range(scenario.closed)))
        return outcomes
    tasks: list[Awaitable[None]] = []
    for offer in scenario.offers:
        await asyncio.sleep(max(0.0, offer.at_s - outcomes.now_s()))
        tasks.append(asyncio.create_task(one(offer.job, offer.at_s, outcomes)))
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), max(0.1, scenario.stop_s - outcomes.now_s()))
    return outcomes


# ---------------------------------------------------------------------- together


def _warm(fleet: int) -> range:
    return range(WARM_JOB, WARM_JOB + 6 * fleet)


def run(contender: str, endpoint: str, scenario: Scenario) -> dict[str, Any]:
    """Outcomes, CPU seconds and peak memory of `module:name[:option]`."""
    module, name, *options = contender.split(":")
    make = getattr(importlib.import_module(f"bench.on_demand_lib.{module}"), name)
    used: list[float] = []

    def start() -> Outcomes:
        _control(endpoint, "/control/start")
        used.append(_cpu_s())
        return Outcomes()

    fleet = make(endpoint, scenario, *options)
    if isinstance(fleet, Driven):
        fleet.drive(scenario, [Offer(n, 0.0) for n in _warm(1)], Outcomes())
        outcomes = start()
        fleet.drive(scenario, scenario.offers, outcomes)
    elif isinstance(fleet[0], Async):
        outcomes = asyncio.run(_async(fleet, scenario, start))
    else:
        outcomes = _blocking(fleet, scenario, start)
    wall_s, cpu_s = outcomes.now_s(), _cpu_s() - used[0]
    return {
        "outcomes": list(outcomes.rows),
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    given = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a contender prints is no result
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RUST_LOG": "off",  # TensorZero's lines cost it time
    }
    found = run(given["contender"], given["endpoint"], Scenario.from_json(json.dumps(given["scenario"])))
    out.write(json.dumps(found) + "\n")
    out.flush()
    os._exit(0)  # threads that still wait in a retry hold nothing that matters


if __name__ == "__main__":
    main()
