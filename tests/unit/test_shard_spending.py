"""Batch jobs under a switch and a budget: none is created in a pause or beyond a cap, and each is settled once."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from slackwater.adapters.ledger.budgets import Budgets
from slackwater.adapters.ledger.pauses import Pauses
from slackwater.model.clock import later
from slackwater.model.profile import Budget
from slackwater.model.shard import OwnerKind, ShardState
from slackwater.policy.budget import Account
from slackwater.policy.pause import ALL
from slackwater.usecases.limits import RunLimits
from slackwater.usecases.paused import Paused, Switch, stop_running
from slackwater.usecases.shard_spending import CollectAndSettle, ShardMoney, SubmitUnderLimits
from tests.unit.batch_rig import PRICES, BatchWorld, all_answered, record

RUN = ("RUN#r1", "BUDGET#default")
DAY = ("BUDGET#default", "DAY#2026-11-25")


class World(BatchWorld):
    """The world of batch jobs, its worker under the limits of the profile `default`."""

    def __init__(self, table: Any, clock: Any, **budget: Any) -> None:
        super().__init__(table, clock)
        self.applied.apply(budget=Budget(**budget))
        self.accounts = Budgets(table, clock, random.Random(1), retain_days=30)
        self.switch = Switch(Pauses(table), clock)
        money = ShardMoney(
            files=self.files,
            limits=RunLimits(runs=self.runs, profiles=self.applied, clock=clock),
            accounts=self.accounts,
            prices=PRICES,
            clock=clock,
        )
        paused = Paused(Pauses(table), clock)
        self.work._submit = SubmitUnderLimits(
            submit=self.work._submit, shards=self.shards, money=money, paused=paused, clock=clock
        )
        self.work._collect = CollectAndSettle(collect=self.work._collect, shards=self.shards, money=money)

    def file_run(self, jobs: int = 250, **more: Any) -> str:
        shard = super().file_run(jobs, **more)
        self.runs.update(more.get("run", "r1"), profiles_version="v2")
        return shard

    def most(self, shard_id: str) -> int:
        """What is held for a shard under a budget that is large enough."""
        return self.accounts.get(RUN).holds[shard_id].pico

    def said(self, do: str) -> list[str]:
        return [one.outcome for one in self.outcomes if one.do == do]

    def paid(self, run: str = "r1") -> int:
        return round(sum(row["cost_usd"] or 0 for row in self.rows(run)) * 10**12)


@pytest.fixture
def world(table: Any, clock: Any) -> Any:
    return lambda **budget: World(table, clock, **budget)


@pytest.mark.promise(4)
def test_in_a_pause_no_batch_job_is_created_and_after_resume_it_is_created_once(world: Any) -> None:
    w = world()
    shard = w.file_run()
    w.switch.pause(ALL, "")
    for _ in range(5):
        w.beat()
        w.clock.advance(61)
    assert not w.bedrock.created and w.shard(shard).state is ShardState.STAGED
    assert set(w.said("submit")) == {"paused"}
    w.switch.resume(None)
    w.clock.advance(300)
    w.opened(shard)
    w.bedrock.ends()
    w.beat()
    assert len(w.bedrock.created) == 1
    assert {row["line"] for row in w.rows()} == set(range(1, 251)) and len(w.rows()) == 250


def test_a_job_that_runs_when_the_pause_begins_goes_on_and_is_collected(world: Any) -> None:
    w = world()
    shard = w.file_run()
    w.opened(shard)
    w.switch.pause(ALL, "")
    w.bedrock.ends()
    w.beat()
    assert w.shard(shard).state is ShardState.SETTLED and len(w.rows()) == 250


def test_running_jobs_are_stopped_in_a_pause_where_that_is_asked_for_and_only_the_rest_goes_again(world: Any) -> None:
    w = world()
    shard = w.file_run()
    w.opened(shard)
    w.switch.pause(ALL, "")
    assert stop_running([w.shard(shard)], w.shards, "other", w.clock.now()) == 0
    assert stop_running([w.shard(shard)], w.shards, ALL, w.clock.now()) == 1
    w.beat()
    assert [call[0] for call in w.bedrock.calls].count("stop") == 1
    w.bedrock.ends("Stopped", output=lambda records: all_answered(records)[:100], processed_records=100)
    w.clock.advance(61)
    w.beat()
    assert len(w.rows()) == 100
    for _ in range(3):
        w.clock.advance(61)
        w.beat()
    assert len(w.bedrock.created) == 1  # the rest waits
    w.switch.resume(None)
    w.clock.advance(300)
    w.beat()
    w.bedrock.ends()
    w.clock.advance(61)
    w.beat()
    assert len(w.bedrock.created) == 2
    assert sorted(row["line"] for row in w.rows()) == list(range(1, 251)) and w.meta()["repeats"] == 0


def test_a_create_whose_reply_was_lost_is_not_sent_again_in_a_pause_but_adopted(world: Any) -> None:
    w = world()
    shard = w.file_run()
    w.bedrock.after["create"] = ["ReadTimeout"]
    w.beat()
    assert w.shard(shard).state is ShardState.INTENT
    w.switch.pause(ALL, "")
    w.clock.advance(61)
    w.beat()
    assert w.shard(shard).state is ShardState.OPEN and len(w.bedrock.created) == 1
    assert len([call for call in w.bedrock.calls if call[0] == "create"]) == 1


def test_money_is_held_while_a_job_runs_and_settled_by_what_its_answers_cost(world: Any) -> None:
    w = world(run_usd="100", day_usd="100")
    shard = w.file_run()
    w.opened(shard)
    held = w.accounts.get(RUN)
    assert held.spent_pico == 0 and set(held.holds) == {shard}
    w.bedrock.ends()
    w.beat()
    assert 0 < w.paid() < held.held_pico
    assert w.accounts.get(RUN) == w.accounts.get(DAY) == Account(w.paid())
    ended = w.collects(shard, status="Completed")
    w.do(ended)  # the message of a killed worker comes again
    assert w.accounts.get(RUN) == Account(w.paid())


def test_what_a_job_processed_and_did_not_hand_back_counts_as_spent(world: Any) -> None:
    w = world(run_usd="100")
    shard = w.file_run()
    w.opened(shard)
    most = w.most(shard)
    w.bedrock.ends(output=lambda records: all_answered(records)[:200], processed_records=250)
    w.beat()
    assert w.accounts.get(RUN) == Account(w.paid() + -(-most * 50 // 250))


def test_a_shard_beyond_its_runs_cap_is_not_sent_and_its_jobs_are_judged_one_by_one(world: Any) -> None:
    w = world(run_usd="0.000001")
    shard = w.file_run()
    for _ in range(3):
        w.beat()
        w.clock.advance(61)
    assert not w.bedrock.created
    assert w.said("submit")[0].startswith("no budget: budget.run_usd of profile default")
    assert w.shard(shard).state is ShardState.SETTLED
    assert set().union(*w.waiting().values()) == set(range(1, 251))  # in packs, where calls are refused by name
    assert w.accounts.get(RUN) == Account()


def test_a_shard_beyond_the_days_budget_waits_for_the_next_day(world: Any) -> None:
    w = world(day_usd="10")
    w.accounts.change(DAY, lambda _: (Account(9 * 10**12), None))
    shard = w.file_run(deadline_s=2 * 86_400)
    w.beat()
    assert w.said("submit")[0].startswith("waits for the next day's budget")
    assert w.shard(shard).next_check_at == datetime(2026, 11, 26, tzinfo=UTC)
    w.clock.moment = later(datetime(2026, 11, 26, tzinfo=UTC), 1)
    w.opened(shard)
    assert len(w.bedrock.created) == 1
    assert set(w.accounts.get(("BUDGET#default", "DAY#2026-11-26")).holds) == {shard}


def test_a_shard_that_would_wait_beyond_its_guard_is_rescued_in_time(world: Any) -> None:
    w = world(day_usd="10")
    w.accounts.change(DAY, lambda _: (Account(9 * 10**12), None))
    shard = w.file_run(deadline_s=10 * 3600)
    w.beat()
    assert w.shard(shard).next_check_at == w.shard(shard).guard_at < datetime(2026, 11, 26, tzinfo=UTC)
    w.clock.moment = later(w.shard(shard).guard_at, 1)
    w.beat()
    assert w.shard(shard).state is ShardState.SETTLED and w.waiting()


def test_a_shard_that_no_days_budget_holds_does_not_wait_for_one(world: Any) -> None:
    w = world(day_usd="0.01")
    shard = w.file_run(deadline_s=2 * 86_400)
    w.beat()
    w.beat()
    assert w.shard(shard).state is ShardState.SETTLED and w.waiting()


def test_two_shards_under_one_cap_that_holds_one_of_them_run_one_after_the_other(world: Any) -> None:
    w = world(run_usd="100")
    first = w.file_run()
    w.opened(first)
    most = w.most(first)
    w.accounts.change(RUN, lambda account: (Account(100 * 10**12 - most - most // 2, account.holds), None))
    records = [record(line) for line in range(251, 501)]
    second = w.staged(records, run="r1", deadline=w.shard(first).deadline_at, profiles_version="v2")
    w.beat()
    assert w.said("submit")[-1] == "others hold the money" and w.shard(second).state is ShardState.STAGED
    w.clock.advance(61)
    w.bedrock.ends()
    w.beat()
    w.clock.advance(61)
    w.opened(second)
    assert len(w.bedrock.created) == 2


def test_a_pools_shard_counts_against_each_run_by_its_records(world: Any) -> None:
    w = world(run_usd="100")
    for run in ("r1", "r2"):
        w.runs.open(run, {"kind": "file", "profile": "default", "profiles_version": "v2"}, next_check_at=w.clock.now())
    records = [record(line, run="r1" if line <= 150 else "r2") for line in range(1, 201)]
    deadline = later(w.clock.now(), 86_400)
    shard = w.staged(records, run="p1", deadline=deadline, owner_kind=OwnerKind.POOL, owner="p1")
    w.opened(shard)
    first, second = w.accounts.get(RUN).held_pico, w.accounts.get(("RUN#r2", "BUDGET#default")).held_pico
    assert abs(first - 3 * second) <= 3


def test_a_model_without_a_batch_price_gets_no_job_under_a_budget(world: Any) -> None:
    w = world(run_usd="100")
    shard = w.file_run()
    w.shards.change(w.shard(shard), base_model="nobody.knows-v1:0")
    w.beat()
    assert w.said("submit") == ["no known price"] and not w.bedrock.created
