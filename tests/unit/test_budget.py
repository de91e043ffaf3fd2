"""Budgets as pure functions: what is held and spent never passes the cap, whoever draws, settles, repeats or dies."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.profile import Budget
from slackwater.policy.budget import (
    CALLS_A_DRAW,
    Account,
    Cap,
    Hold,
    Limit,
    Verdict,
    Want,
    affordable,
    draw,
    limits_of,
    refusal,
    settle,
)

NOW = datetime(2026, 11, 26, 22, 30, tzinfo=UTC)
CAP = 1_000


def drawn(account: Account, *wants: Want, cap: int = CAP, holder: str = "a", now_s: float = 0) -> Any:
    return draw(account, wants, limit_pico=cap, holder=holder, now_s=now_s, until_s=now_s + 100)


def want(most: int, least: int | None = None) -> Want:
    return Want(most if least is None else least, most)


@st.composite
def histories(draws: Any) -> list[tuple[Any, ...]]:
    """What workers do, in any order: draw for some work, settle by what it cost, draw once more (a reply of the ledger
    was lost), settle twice, or die after having spent some of it."""
    steps = []
    for _ in range(draws(st.integers(1, 40))):
        worker = draws(st.integers(0, 4))
        kind = draws(st.sampled_from(("draw", "draw", "again", "settle", "settle", "twice", "die", "wait")))
        wants = draws(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=8))
        steps.append((kind, worker, [Want(min(pair), max(pair)) for pair in wants], draws(st.floats(0, 1))))
    return steps


class Fleet:
    """Workers under one cap, and the bill that they do not see."""

    def __init__(self, cap: int, beyond: int) -> None:
        self.cap, self.beyond = cap, beyond
        self.account, self.now_s, self.bill, self.overruns = Account(), 0.0, 0, 0
        self.holding: dict[int, tuple[str, float, list[Want]]] = {}
        self.draws = 0

    def wait(self, *_: Any) -> None:
        self.now_s += 60
        alive = {w: held for w, held in self.holding.items() if held[1] >= self.now_s}  # nobody outlives his hold
        self.holding = alive

    def draw(self, worker: int, wants: list[Want], _: float) -> None:
        if worker in self.holding:
            return
        self.draws += 1
        self._draw(f"{worker}.{self.draws}", wants, until_s := self.now_s + 100)
        if f"{worker}.{self.draws}" in self.account.holds:
            self.holding[worker] = (f"{worker}.{self.draws}", until_s, wants)

    def again(self, worker: int, *_: Any) -> None:
        """The reply of the ledger was lost."""
        if worker in self.holding:
            holder, until_s, wants = self.holding[worker]
            self._draw(holder, wants, until_s)
            if holder not in self.account.holds:
                del self.holding[worker]

    def settle(self, worker: int, _: list[Want], part: float, times: int = 1) -> None:
        if worker in self.holding:
            holder, _, _ = self.holding.pop(worker)
            held = self.account.holds[holder].pico
            cost = round(held * part) + self.beyond  # a repeated call, or a prompt longer than was estimated
            self.overruns += max(0, cost - held)
            self.bill += cost
            for _ in range(times):
                self.account, _ = settle(self.account, holder, cost)

    def twice(self, worker: int, wants: list[Want], part: float) -> None:
        self.settle(worker, wants, part, times=2)

    def die(self, worker: int, _: list[Want], part: float) -> None:
        """Some of what it held was spent, and nobody will tell."""
        if worker in self.holding:
            holder, _, _ = self.holding.pop(worker)
            self.bill += round(self.account.holds[holder].pico * part)

    def _draw(self, holder: str, wants: list[Want], until_s: float) -> None:
        self.account, _ = draw(
            self.account, wants, limit_pico=self.cap, holder=holder, now_s=self.now_s, until_s=until_s
        )


@given(histories(), st.integers(0, 1_500), st.integers(0, 300))
def test_whatever_workers_do_the_bill_passes_the_cap_by_no_more_than_work_costs_beyond_what_was_reckoned(
    steps: list[tuple[Any, ...]], cap: int, beyond: int
) -> None:
    fleet = Fleet(cap, beyond)
    for kind, *arguments in steps:
        getattr(fleet, kind)(*arguments)
        counted = fleet.account.spent_pico + fleet.account.held_pico
        assert fleet.bill <= counted <= cap + fleet.overruns  # and what is spent is never forgotten


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_once_all_is_settled_the_account_says_exactly_what_was_spent(costs: list[int]) -> None:
    account, spent = Account(), 0
    for number, cost in enumerate(costs):
        account, (one,) = drawn(account, want(cost), holder=str(number))
        if one.verdict is Verdict.TAKEN:
            account, _ = settle(account, str(number), cost // 2)
            spent += cost // 2
        else:
            assert account.spent_pico + cost > CAP
    assert account == Account(spent)


def test_what_is_not_spent_does_not_suffice_is_refused_and_what_others_only_hold_is_waited_for() -> None:
    account = Account(600, {"other": Hold(300, 100)})
    account, found = drawn(account, want(500), want(350), want(100))
    assert [one.verdict for one in found] == [Verdict.REFUSED, Verdict.WAIT, Verdict.TAKEN]
    assert account.holds["a"].pico == 100


def test_near_the_cap_work_goes_by_its_cheaper_routes_and_far_from_it_by_any() -> None:
    _, (near,) = drawn(Account(900), want(150, least=80))
    _, (far,) = drawn(Account(0), want(150, least=80))
    assert (near.verdict, near.pico) == (Verdict.TAKEN, 80)
    assert (far.verdict, far.pico) == (Verdict.TAKEN, 150)


def test_one_worker_holds_no_more_than_its_share_at_once_and_the_rest_keeps_its_choice_of_routes() -> None:
    wants = [want(10, least=1)] * 200
    _, found = draw(Account(), wants, limit_pico=3_000, holder="a", now_s=0, until_s=1)
    taken = [one for one in found if one.verdict is Verdict.TAKEN]
    assert len(taken) == CALLS_A_DRAW and {one.pico for one in taken} == {10}
    assert {one.verdict for one in found[CALLS_A_DRAW:]} == {Verdict.WAIT}
    _, found = draw(Account(), wants, limit_pico=10**6, holder="a", now_s=0, until_s=1)
    assert all(one.verdict is Verdict.TAKEN for one in found)


def test_the_hold_of_a_dead_worker_counts_as_spent_once_its_time_is_over() -> None:
    account, _ = drawn(Account(), want(400), holder="dead")
    same, _ = drawn(account, want(700), now_s=99)
    assert same.held_pico == 400 and same.spent_pico == 0
    later, (one,) = drawn(account, want(700), now_s=101)
    assert one.verdict is Verdict.REFUSED
    assert later == Account(400)


def test_what_nobody_knows_of_a_batch_job_counts_by_its_part_of_the_hold() -> None:
    account = Account(0, {"shard": Hold(1_000)})
    account, _ = settle(account, "shard", 200, unknown_part=(1, 4))
    assert account == Account(450)


def test_the_day_is_that_of_utc_and_ends_at_its_midnight() -> None:
    budget = Budget(run_usd="5", day_usd="100")
    east = NOW.astimezone(datetime.strptime("+0300", "%z").tzinfo)  # where it is tomorrow already
    file, run, day = limits_of("news", budget, run_id="r1", max_cost_pico=7, now=east)
    assert [file.cap, run.cap, day.cap] == [Cap.FILE, Cap.RUN, Cap.DAY]
    assert day.account == ("BUDGET#news", "DAY#2026-11-26")
    assert day.renews_at == datetime(2026, 11, 27, tzinfo=UTC)
    assert run.account == ("RUN#r1", "BUDGET#news") and file.account == ("RUN#r1", "BUDGET")
    assert limits_of("news", Budget(), run_id="r1", max_cost_pico=None, now=NOW) == ()


def test_a_refusal_names_the_cap_what_is_left_and_what_was_needed() -> None:
    limit = Limit(Cap.RUN, ("RUN#r1", "BUDGET#news"), 5 * 10**12, "news")
    assert refusal(limit, Account(4_999_000_000_000), 2_000_000_000).startswith(
        "budget.run_usd of profile news, 5 USD: 0.001 USD are left, and this job may cost 0.002 USD"
    )


def test_a_batch_job_is_cut_so_that_the_smallest_cap_holds_two_of_it() -> None:
    assert affordable((None, None), 50, max_tokens=4096, most=100_000) == 100_000
    assert affordable((None, 10_000, 7_000), 50, max_tokens=4096, most=100_000) == 70
    assert affordable((10_000,), 50, max_tokens=1024, most=100_000) == 25  # what sets no limit may say 4096 tokens
    assert affordable((10_000,), 0, max_tokens=1024, most=100_000) == 100_000
