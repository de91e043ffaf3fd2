"""Calls under a switch and a budget: refused by name, waiting, or made; what is paid stays under the cap."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from threading import Lock, Thread
from typing import Any

import pytest

from slackwater.adapters.ledger.budgets import Budgets
from slackwater.adapters.ledger.pauses import Pauses
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.table import Table
from slackwater.model.clock import later
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane
from slackwater.model.money import pico_from_usd_float
from slackwater.model.profile import Budget, Profile, Profiles
from slackwater.policy import most_cost
from slackwater.policy.budget import Account, Hold, Want, draw
from slackwater.policy.pause import ALL
from slackwater.policy.prices import load_price_book
from slackwater.usecases.engine import Engine
from slackwater.usecases.limits import RunLimits
from slackwater.usecases.paused import Paused, Switch
from slackwater.usecases.spending import Gate, Spending
from slackwater.usecases.tries import Call, Unfinished
from tests.unit.rig import HAIKU, ROUTES, Doors, Model, Rested, StillClock, answer, call

PRICES = load_price_book()
DEAREST = max(most_cost.of_call(call(1).job.request, Lane.ON_DEMAND, ROUTES, PRICES).values())
DAY = ("BUDGET#default", "DAY#2026-11-25")
RUN = ("RUN#r1", "BUDGET#default")


class Sink:
    def __init__(self) -> None:
        self.rows: list[tuple[Call, dict[str, Any]]] = []
        self.started: list[str] = []

    def starting(self, calls: Any) -> None:
        self.started += [c.job.job for c in calls]

    def losing(self, call_: Call) -> None:
        pass

    def store(self, rows: Any) -> None:
        self.rows += rows


class Applied:
    """Profiles `default` and `other`, with the budget that a test gives them."""

    def __init__(self, budget: Budget) -> None:
        profile = Profile(model=HAIKU, home_region="us-east-1", budget=budget)
        self.profiles = Profiles(v=1, profiles={"default": profile, "other": profile})

    def pinned(self, version: str) -> Profiles:
        assert version == "v1"
        return self.profiles


class World:
    def __init__(self, table: Table, clock: StillClock, runs: Runs, budget: Budget, **meta: Any) -> None:
        self.table, self.clock, self.runs = table, clock, runs
        self.model, self.sink = Model(), Sink()
        self.accounts = Budgets(table, clock, random.Random(1), retain_days=30)
        self.switch = Switch(Pauses(table), clock)
        self.applied = Applied(budget)
        runs.open(
            "r1", {"kind": "file", "profile": "default", "profiles_version": "v1", **meta}, next_check_at=clock.now()
        )

    def spending(self, cancelled: Any = lambda run_id: False) -> Spending:
        paused = Paused(Pauses(self.table), self.clock)
        gate = Gate(Doors(Rested(self.clock)), paused)
        engine = Engine(
            caller=self.model,
            admission=gate,
            prices=PRICES,
            clock=self.clock,
            rng=random.Random(1),
            concurrency=8,
            cancelled=cancelled,
        )
        return Spending(
            engine=engine,
            gate=gate,
            paused=paused,
            limits=RunLimits(runs=self.runs, profiles=self.applied, clock=self.clock),
            accounts=self.accounts,
            prices=PRICES,
            clock=self.clock,
            cancelled=cancelled,
        )

    def run(self, calls: list[Call], **more: Any) -> list[Unfinished]:
        return self.spending(**more).run(calls, self.sink, stop_at_wall_s=self.clock.wall_s() + 800)

    @property
    def codes(self) -> list[str]:
        return [row["error"]["code"] for _, row in self.sink.rows if row["status"] == "failed"]

    @property
    def paid(self) -> int:
        return sum(pico_from_usd_float(row["cost_usd"]) or 0 for _, row in self.sink.rows)


@pytest.fixture
def world(table: Table, clock: StillClock, runs: Runs) -> Any:
    def made(budget: Budget | None = None, **meta: Any) -> World:
        return World(table, clock, runs, budget or Budget(), **meta)

    return made


def usd(pico: int) -> str:
    return f"{pico / 10**12:.12f}"


def calls(number: int, **more: Any) -> list[Call]:
    return [call(line, **more) for line in range(1, number + 1)]


# ---------------------------------------------------------------------- budgets


@pytest.mark.promise(1)
def test_a_cap_in_the_middle_of_a_run_refuses_the_rest_by_name_and_accounts_for_every_job(world: Any) -> None:
    cap = 30 * DEAREST
    w = world(Budget(run_usd=usd(cap)))
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=100)  # all that it may say
    assert w.run(calls(200)) == []
    assert sorted(c.job.line for c, _ in w.sink.rows) == list(range(1, 201))
    assert w.codes == ["budget"] * (200 - len(w.model.calls))
    assert 0 < w.paid <= cap
    assert cap - w.paid < DEAREST  # no job was refused that would have fitted
    message = next(row["error"]["message"] for _, row in w.sink.rows if row["status"] == "failed")
    assert message.startswith("budget.run_usd of profile default, ")
    assert w.accounts.get(RUN) == Account(w.paid)


def test_cheap_answers_leave_room_for_as_many_jobs_as_they_really_cost(world: Any) -> None:
    cap = 70 * DEAREST
    w = world(Budget(run_usd=usd(cap)))
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=1)  # a hundred were allowed
    assert w.run(calls(200)) == []
    assert w.codes == [] and len(w.model.calls) == 200
    assert w.accounts.get(RUN) == Account(w.paid)


def test_the_files_own_cap_holds_for_its_whole_run_and_the_day_for_all_runs(world: Any, runs: Runs) -> None:
    w = world(Budget(day_usd=usd(15 * DEAREST)), max_cost_pico=10 * DEAREST)
    runs.open("r2", {"kind": "file", "profile": "default", "profiles_version": "v1"}, next_check_at=w.clock.now())
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=100)
    assert w.run(calls(12)) == []
    first = len(w.model.calls)
    assert 10 <= first < 12  # an estimate of the prompt lies a little above the truth
    assert {row["error"]["message"].partition(",")[0] for _, row in w.sink.rows if row["error"]} == {
        "max-cost-usd of the file"
    }
    assert w.run(calls(12, run_id="r2")) == []
    assert 15 <= len(w.model.calls) < 18
    assert "budget.day_usd of profile default" in w.sink.rows[-1][1]["error"]["message"]
    assert w.accounts.get(DAY).spent_pico == w.paid <= 15 * DEAREST


def test_a_patient_job_waits_for_the_next_days_budget_and_is_called_then(world: Any) -> None:
    w = world(Budget(day_usd=usd(2 * DEAREST)))
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=100)
    back = w.run(calls(4, deadline_s=86_400))
    assert w.codes == [] and len(w.model.calls) + len(back) == 4
    midnight = datetime(2026, 11, 26, tzinfo=UTC)
    assert back and {u.not_before for u in back} == {midnight}
    w.clock.moment = later(midnight, 1)
    assert w.run([u.call for u in back]) == []
    assert w.codes == [] and len(w.model.calls) == 4


def test_a_job_that_cannot_wait_for_the_next_day_is_refused_for_it(world: Any) -> None:
    w = world(Budget(day_usd=usd(DEAREST // 2)))
    assert w.run(calls(3)) == []
    assert w.codes == ["budget"] * 3 and not w.model.calls


def test_money_that_others_hold_is_waited_for_not_refused(world: Any) -> None:
    w = world(Budget(run_usd=usd(10 * DEAREST)))
    held = Account(0, {"other": Hold(10 * DEAREST, int(w.clock.wall_s()) + 500)})
    w.accounts.change(RUN, lambda _: (held, None))
    back = w.run(calls(3))
    assert len(back) == 3 and w.codes == []
    assert all(u.not_before > w.clock.now() for u in back)
    w.accounts.change(RUN, lambda _: (Account(DEAREST), None))  # the other is done
    assert w.run([u.call for u in back]) == [] and len(w.model.calls) == 3


def test_a_price_that_nobody_knows_is_refused_under_a_budget_and_called_without_one(world: Any) -> None:
    strange = tuple(replace(route, base_model="nobody.knows-v1:0") for route in ROUTES)
    w = world(Budget(run_usd="5"))
    assert w.run(calls(2, routes=strange)) == []
    assert w.codes == ["budget"] * 2
    assert "price" in w.sink.rows[0][1]["error"]["message"]
    w.applied = Applied(Budget())
    assert w.run(calls(2, routes=strange)) == [] and len(w.model.calls) == 2


def test_of_routes_with_and_without_a_price_only_those_with_one_are_called_under_a_budget(world: Any) -> None:
    strange = replace(ROUTES[0], base_model="nobody.knows-v1:0")
    w = world(Budget(run_usd="5"))
    assert w.run(calls(4, routes=(strange, ROUTES[1]))) == []
    assert {region for region, _ in w.model.calls} == {ROUTES[1].region}


def test_near_the_cap_calls_go_by_the_cheaper_route(world: Any) -> None:
    regional = replace(ROUTES[1], model_id=HAIKU, kind="regional")  # 10 % dearer than the global profile
    costs = most_cost.of_call(call(1).job.request, Lane.ON_DEMAND, (regional, ROUTES[0]), PRICES)
    w = world(Budget(run_usd=usd(costs[ROUTES[0]])))
    assert w.run(calls(1, routes=(regional, ROUTES[0]))) == []
    assert [region for region, _ in w.model.calls] == [ROUTES[0].region]


def test_a_lost_reply_counts_as_spent_since_it_may_be_billed(world: Any) -> None:
    w = world(Budget(run_usd="5"))
    lost = iter([True, False])

    def script(route: Any, request: Any) -> Any:
        if next(lost):
            raise CallFailed("ReadTimeout", "unknown")
        return answer()

    w.model.script = script
    assert w.run(calls(1)) == []
    assert w.accounts.get(RUN).spent_pico == w.paid + DEAREST


def test_a_worker_that_broke_off_leaves_its_hold_and_it_counts_as_spent_once_the_worker_must_be_dead(
    world: Any,
) -> None:
    class Killed(BaseException):
        pass

    w = world(Budget(run_usd=usd(200 * DEAREST)))

    def starting(_: Any) -> None:
        raise Killed

    w.sink.starting = starting
    with pytest.raises(Killed):
        w.run(calls(150))
    held = w.accounts.get(RUN).held_pico
    assert 0 < held <= 64 * DEAREST  # no more than what a killed worker may have paid for
    w.clock.advance(900)
    w.sink = Sink()
    assert w.run(calls(1)) == []
    assert w.accounts.get(RUN) == Account(held + w.paid)


def test_workers_side_by_side_pay_no_more_than_the_cap(world: Any) -> None:
    cap = 50 * DEAREST
    w = world(Budget(run_usd=usd(cap)))
    one_at_a_time, write = Lock(), w.table.write

    def atomic(*arguments: Any, **more: Any) -> Any:  # as DynamoDB's updates are, and moto's are not
        with one_at_a_time:
            return write(*arguments, **more)

    w.table.write = atomic
    w.model.script = lambda route, request: answer(input_tokens=10, output_tokens=100)
    back: list[Unfinished] = []

    def work(first: int) -> None:
        back.extend(w.run([call(line) for line in range(first, first + 40)]))

    threads = [Thread(target=work, args=(first,)) for first in (1, 41, 81)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.paid <= cap
    assert w.run([u.call for u in back]) == []  # what waited for the others' holds
    assert sorted(c.job.line for c, _ in w.sink.rows) == list(range(1, 121))
    assert set(w.codes) == {"budget"} and w.paid <= cap
    assert w.accounts.get(RUN) == Account(w.paid)


def test_an_update_whose_reply_was_lost_holds_nothing_twice(world: Any) -> None:
    w = world(Budget(run_usd="5"))
    w.run(calls(1))
    spent = w.accounts.get(RUN).spent_pico

    def hold(account: Account) -> Any:
        wants = [Want(DEAREST, DEAREST)]
        return draw(account, wants, limit_pico=5 * 10**12, holder="a", now_s=w.clock.wall_s(), until_s=None)

    w.accounts.change(RUN, hold)
    w.accounts.change(RUN, hold)
    assert w.accounts.get(RUN) == Account(spent, {"a": Hold(DEAREST)})


def test_without_a_budget_the_ledger_is_not_asked(world: Any) -> None:
    w = world()
    w.accounts = None
    assert w.run(calls(3)) == [] and len(w.model.calls) == 3


# ---------------------------------------------------------------------- pause and resume


@pytest.mark.promise(4)
def test_paused_calls_wait_and_after_resume_each_is_made_once(world: Any) -> None:
    w = world()
    w.switch.pause(ALL, "the bill is too high")
    back = w.run(calls(10))
    assert len(back) == 10 and not w.model.calls and not w.sink.started
    assert {(u.not_before - w.clock.now()).total_seconds() for u in back} == {30}
    w.switch.resume(None)
    assert w.run([u.call for u in back]) == []
    assert len(w.model.calls) == 10 and len(w.sink.rows) == 10


def test_a_pause_in_the_middle_of_a_pass_stops_it_within_two_seconds(world: Any) -> None:
    w = world()
    one_at_a_time, answered = Lock(), count(1)

    def script(route: Any, request: Any) -> Any:
        with one_at_a_time:
            if next(answered) == 20:
                w.switch.pause("default", "")
                w.clock.advance(2)  # so long it may take until a worker looks again
        return answer()

    w.model.script = script
    back = w.run(calls(100))
    assert len(w.model.calls) <= 20 + 2 * 8  # what was in flight, and what had been let in
    assert len(back) + len(w.sink.rows) == 100 and len(w.sink.rows) == len(w.model.calls)
    w.switch.resume("default")
    w.clock.advance(2)
    w.model.script = lambda route, request: answer()
    assert w.run([u.call for u in back]) == []
    assert sorted(c.job.line for c, _ in w.sink.rows) == list(range(1, 101))
    assert len(w.model.calls) == 100


def test_a_paused_profile_does_not_hold_up_the_others(world: Any) -> None:
    w = world()
    w.switch.pause("other", "")
    mixed = [replace(c, job=replace(c.job, profile="other" if c.job.line % 2 else "default")) for c in calls(10)]
    back = w.run(mixed)
    assert {u.call.job.profile for u in back} == {"other"} and len(back) == 5
    assert len(w.model.calls) == 5


def test_a_deadline_that_passes_in_a_pause_fails_its_job_by_name_and_so_does_a_cancelled_run(world: Any) -> None:
    w = world()
    w.switch.pause(ALL, "")
    w.clock.advance(3600)
    assert w.run(calls(2)) == []
    assert w.codes == ["deadline_missed"] * 2
    later_ = [call(line, deadline_s=7200) for line in (3, 4)]
    assert w.run(later_, cancelled=lambda run_id: True) == []
    assert w.codes[2:] == ["cancelled"] * 2 and not w.model.calls


def test_a_long_pause_is_asked_about_less_and_less_often_but_every_five_minutes(world: Any) -> None:
    w = world()
    w.switch.pause(ALL, "")
    waits = []
    for passed_s in (0, 120, 480, 86_400):
        w.clock.advance(passed_s)
        (back,) = w.run([call(1, deadline_s=10**6)])
        waits.append((back.not_before - w.clock.now()).total_seconds())
    assert waits == [30, 30, 150, 300]


def test_pausing_again_keeps_the_time_and_resuming_one_leaves_the_others(world: Any) -> None:
    w = world()
    began = w.clock.now()
    w.switch.pause("default", "first")
    w.clock.advance(60)
    marks = w.switch.pause("default", "")
    assert (marks["default"].paused_at, marks["default"].reason) == (began, "first")
    w.switch.pause(ALL, "all")
    assert set(w.switch.resume("default")) == {ALL}
    assert w.switch.resume(None) == {}
