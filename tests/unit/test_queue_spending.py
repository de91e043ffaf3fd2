"""Queue jobs under a switch and a budget: each gets its reply, waits as a fresh message, and is called once."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from slackwater.adapters.ledger.budgets import Budgets
from slackwater.adapters.ledger.pauses import Pauses
from slackwater.model.money import pico_from_usd_float
from slackwater.model.profile import Budget
from slackwater.policy.pause import ALL
from slackwater.usecases.limits import RunLimits
from slackwater.usecases.paused import Paused, Switch
from slackwater.usecases.spending import Gate, Spending
from tests.unit.queue_rig import PRICES, REPLY_ARN, QueueWorld, first
from tests.unit.rig import answer


class World(QueueWorld):
    """A job queue's worker, its engine under the limits of the profile `default`."""

    def __init__(self, table: Any, bucket: Any, clock: Any, **budget: Any) -> None:
        super().__init__(table, bucket, clock)
        self.applied.apply(budget=Budget(**budget))
        self.switch = Switch(Pauses(table), clock)
        paused = Paused(Pauses(table), clock)
        engine = self.router._engine
        engine._admission = gate = Gate(engine._admission, paused)
        self.router._engine = Spending(
            engine=engine,
            gate=gate,
            paused=paused,
            limits=RunLimits(runs=self.runs, profiles=self.applied, clock=clock),
            accounts=Budgets(table, clock, random.Random(1), retain_days=30),
            prices=PRICES,
            clock=clock,
            cancelled=self.cancelled,
        )


@pytest.fixture
def world(table: Any, bucket: Any, clock: Any) -> Callable[..., World]:
    return lambda **budget: World(table, bucket, clock, **budget)


@pytest.mark.promise(1)
def test_jobs_that_a_budget_does_not_hold_get_a_row_and_a_reply_that_names_it(world: Any) -> None:
    w = world(run_usd="0.002")
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=50)
    done = w.work(*(first(w.clock, f"j{n}", f"text {n}", reply_to=REPLY_ARN) for n in range(20)))
    rows = w.rows()
    assert sorted(row["id"] for row in rows) == sorted(f"j{n}" for n in range(20)) and not done.back
    refused = [row for row in rows if row["status"] == "failed"]
    assert refused and {row["error"]["code"] for row in refused} == {"budget"}
    assert len(w.model.calls) == 20 - len(refused) > 0
    assert sum(pico_from_usd_float(row["cost_usd"]) or 0 for row in rows) <= 2 * 10**9
    assert len(w.replies.sent) == 20 and w.run()["failed"] == len(refused)


@pytest.mark.promise(4)
def test_in_a_pause_jobs_go_round_as_fresh_messages_and_are_called_once_after_it(world: Any) -> None:
    w = world()
    w.switch.pause(ALL, "")
    done = w.work(*(first(w.clock, f"j{n}", f"text {n}", deadline="20h", lane="on_demand") for n in range(10)))
    for _ in range(30):  # more rounds than a queue's redrive limit has receives
        assert not done.back and not w.model.calls
        assert all(30 <= one.delay_s <= 450 for one in w.queue.sent)
        messages = w.sent_on()
        assert len(messages) == 10 and {one.receives for one in messages} == {1}
        w.clock.advance(450)
        done = w.work(*messages)
    w.switch.resume(None)
    w.clock.advance(450)
    w.work(*w.sent_on())
    assert not w.sent_on()
    assert sorted(w.asked_texts()) == sorted(f"text {n}" for n in range(10))
    assert {row["status"] for row in w.rows()} == {"succeeded"} and w.run()["repeats"] == 0


def test_jobs_still_gather_for_the_batch_lane_in_a_pause(world: Any) -> None:
    w = world()
    w.switch.pause(ALL, "")
    done = w.work(*(first(w.clock, f"j{n}", f"text {n}", deadline="2d") for n in range(3)))
    assert done.counts["pooled"] == 3 and not w.queue.sent


def test_a_job_whose_deadline_passes_in_a_pause_fails_by_name(world: Any) -> None:
    w = world()
    w.switch.pause("default", "")
    w.work(first(w.clock, "late", deadline="10m"))
    w.clock.advance(601)
    w.work(*w.sent_on())
    (row,) = w.rows()
    assert row["error"]["code"] == "deadline_missed" and not w.model.calls


def test_a_patient_job_is_called_out_of_the_next_days_budget(world: Any) -> None:
    w = world(day_usd="0.0003")
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=50)
    w.work(*(first(w.clock, f"j{n}", f"text {n}", deadline="20h", lane="on_demand") for n in range(2)))
    assert len(w.model.calls) == 1  # a second one does not fit into this day
    (waiting,) = w.queue.sent
    assert waiting.delay_s == 900  # SQS delays no longer; it goes round until midnight
    w.clock.advance(13 * 3600)
    w.work(*w.sent_on())
    assert len(w.model.calls) == 2 and {row["status"] for row in w.rows()} == {"succeeded"}
