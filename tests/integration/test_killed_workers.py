"""Workers killed in the middle of paid work: nothing is lost, and what is paid again is on the receipt."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import cloud as clouds
from tests.integration.driver import Driver, check, converse

RATE = 20.0


@pytest.fixture
def slow(start_cloud) -> Iterator[Driver]:
    """A cloud whose clock leaves room for a real minute and a half of waiting, with calls that take a while."""
    driver = Driver(start_cloud(clock_rate=RATE))
    driver.control("config", {"faults": {"*": {"*": {"latency_ms": [60_000, 80_000]}}}}, "PATCH")  # 3–4 s real
    yield driver


def kill(cloud: clouds.Cloud, function: str, at_least: int = 1, within_s: float = 30) -> int:
    """SIGKILLs the living workers of a function; how many there were."""
    end = time.monotonic() + within_s
    while len(pids := cloud.worker_pids(function)) < at_least:
        assert time.monotonic() < end, f"no worker of {function}"
        time.sleep(0.05)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.promise(2)
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds workers in /proc")
def test_packs_and_queue_jobs_survive_their_workers(slow: Driver):
    lines = [converse(f"killed pack {n}", id=f"{n}") for n in range(600)]
    jobs = [
        {
            "v": 1,
            "profile": "default",
            "run_id": "killed",
            "job_id": f"k{n}",
            "lane": "on_demand",
            "deadline": "6h",
            "request": converse(f"killed job {n}"),
        }
        for n in range(150)
    ]
    key = slow.drop("killed", lines, lane="on_demand", deadline="6h")
    slow.send(*jobs, {"v": 1, "profile": "default", "close_run": "killed", "expected": 150})
    slow.run_of(key)
    wait_for_calls(slow, 40)
    killed = kill(slow.cloud, "DispatchFunction") + kill(slow.cloud, "RouteFunction")
    calls_then = slow.control("stats")["total"]["calls"]
    slow.control("config", {"faults": None}, "PATCH")  # slow calls were there to be killed
    file_run = slow.settled(key, within_s=400)
    queue_run = slow.settled("killed", within_s=400)
    for run, asked in ((file_run, lines), (queue_run, [job["request"] for job in jobs])):
        check(run, len(asked))
        assert run.receipt["succeeded"] == len(asked), run.receipt["errors"]
        paid = slow.paid(asked)
        assert min(paid) >= 1
        again = sum(count - 1 for count in paid)
        assert again <= run.receipt["repeats"] <= 64 * killed, run.receipt
    assert file_run.receipt["repeats"] + queue_run.receipt["repeats"] > 0, "the kill came too late to prove anything"
    assert slow.control("stats")["total"]["calls"] > calls_then
    assert slow.dead_letters() == dict.fromkeys(slow.dead_letters(), 0)


def wait_for_calls(driver: Driver, calls: int, within_s: float = 60) -> None:
    """Until the emulator has got so many calls."""
    end = time.monotonic() + within_s
    while driver.control("stats")["total"].get("calls", 0) < calls:
        assert time.monotonic() < end, driver.control("stats")
        time.sleep(0.05)
