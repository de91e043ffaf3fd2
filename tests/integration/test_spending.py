"""The kill switch and a budget in the embedded cloud: what the emulator bills is what counts."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from slackwater.adapters.ledger.pauses import Pauses
from slackwater.adapters.ledger.table import Table
from slackwater.model.clock import ScaledClock
from slackwater.policy.pause import ALL
from slackwater.usecases.paused import Switch
from tests.integration.driver import Driver, check, converse

RATE = 20.0
SLOW = {"*": {"*": {"latency_ms": [8_000, 12_000]}}}  # an answer takes half a real second
MINUTE_S = 60 / RATE  # a minute of the product, in real seconds


@pytest.fixture
def driver(start_cloud: Callable[..., Any]) -> Driver:
    return Driver(start_cloud(clock_rate=RATE))


def prompts(driver: Driver) -> int:
    return sum(entry["count"] for entry in driver.bill().values())


@pytest.mark.promise(2)
@pytest.mark.promise(4)
def test_pause_stops_the_bill_within_a_minute_and_after_resume_nothing_is_lost_or_paid_twice(
    driver: Driver, eventually: Callable[..., Any]
) -> None:
    table = Table(driver.cloud.client("dynamodb"), driver.table)
    switch = Switch(Pauses(table), ScaledClock(RATE, driver.cloud.clock_origin))
    called = [converse(f"called {n}", id=f"c{n}") for n in range(400)]
    batched = [converse(f"batched {n}", id=f"b{n}") for n in range(120)]
    queued = [converse(f"queued {n}") for n in range(40)]
    with driver.emulator(faults=SLOW):
        names = {"called": driver.drop("called", called, lane="on_demand", deadline="24h")}
        eventually(lambda: prompts(driver) > 20)
        switch.pause(ALL, "a test")
        names["batched"] = driver.drop("batched", batched, lane="batch", deadline="24h")
        driver.send(
            *({"v": 1, "profile": "default", "run_id": "queued", "job_id": f"q{n}", "deadline": "6h", "request": one}
              for n, one in enumerate(queued)),
            {"v": 1, "close_run": "queued", "expected": len(queued)},
        )  # fmt: skip
        time.sleep(MINUTE_S)
        after_a_minute = prompts(driver)
        assert after_a_minute < len(called)
        time.sleep(3 * MINUTE_S)
        assert prompts(driver) == after_a_minute
    switch.resume(None)
    for name, requests in (("called", called), ("batched", batched), ("queued", queued)):
        run = driver.settled(names.get(name, name), within_s=150)
        check(run, len(requests))
        assert (run.receipt["succeeded"], run.receipt["repeats"]) == (len(requests), 0)
        assert set(driver.paid(requests)) == {1}
    assert not any(driver.dead_letters().values())


@pytest.mark.promise(1)
def test_a_file_costs_no_more_than_its_cap_and_names_it_on_every_line_that_it_does_not_reach(driver: Driver) -> None:
    lines = [converse(f"capped {n}", id=f"k{n}", max_tokens=100) for n in range(300)]
    run = driver.settled(driver.drop("capped", lines, lane="on_demand", deadline="6h", max_cost_usd="0.003"))
    check(run, 300)
    assert 0 < run.receipt["cost_usd"] <= 0.003
    assert run.receipt["failed"] > 0 and {row["error"]["code"] for row in run.errors} == {"budget"}
    assert all("max-cost-usd of the file, 0.003 USD" in row["error"]["message"] for row in run.errors)
    assert sum(driver.paid(lines)) == run.receipt["succeeded"]


def test_batch_jobs_under_a_cap_that_holds_one_at_a_time_run_one_after_the_other_and_answer_all(driver: Driver) -> None:
    lines = [converse(f"slow {n}", id=f"s{n}", max_tokens=100) for n in range(400)]
    cap_usd = 0.08  # all together may cost 0.11 USD, by what the requests allow; their answers are short
    run = driver.settled(driver.drop("slow", lines, lane="batch", deadline="24h", max_cost_usd=str(cap_usd)))
    check(run, 400)
    assert (run.receipt["failed"], run.receipt["lanes"]["batch"]["jobs"]) == (0, 400), run.receipt["errors"]
    assert 0 < run.receipt["cost_usd"] < cap_usd
    assert set(driver.paid(lines)) == {1}
