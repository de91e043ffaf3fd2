"""A container's side of the quota ledger: how much it draws, what it gives back, and where a call waits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.adapters.ledger.in_memory import QuotasInMemory
from slackwater.model.clock import Clock
from slackwater.model.errors import Contended
from slackwater.model.job import Route
from slackwater.model.usage import Usage
from slackwater.policy import health
from slackwater.policy.classify import Fault
from slackwater.policy.health import Closed, MayProbe, RouteState
from slackwater.policy.quota import Meter, Pool
from slackwater.usecases.admission import INPUT_MARGIN, Admission, Need, Ticket, Wait, pool_name
from tests.unit.rig import HAIKU, StillClock, route

PLAIN = Route("us-east-1", "amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0", "regional")
NEED = Need(100, 50)
RESERVED = 100 * INPUT_MARGIN + 50
WIDE = Pool(requests=Meter(told_per_s=1000), tokens=Meter(told_per_s=1e6))


class HealthInMemory:
    """The rules of `policy.health` without a table."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._states: dict[str, RouteState] = {}
        self._in_a_row: dict[str, int] = {}

    def gate(self, name: str) -> datetime | None:
        """Until when no call may go by the route; None if one may now."""
        state = self._states.get(name)
        if state is None:
            return None
        now_s = self._clock.now().timestamp()
        verdict = health.gate(state, now_s, self._rng.random())
        if isinstance(verdict, Closed):
            return datetime.fromtimestamp(verdict.until_s, UTC)
        if isinstance(verdict, MayProbe):
            self._states[name] = health.probing(state, now_s, "this one")
        return None

    def resting(self, names: Sequence[str]) -> Mapping[str, datetime]:
        """The routes among `names` that rest now, and until when."""
        now_s = self._clock.now().timestamp()
        ends = {name: self._states[name].rest_until_s for name in names if name in self._states}
        return {name: datetime.fromtimestamp(at_s, UTC) for name, at_s in ends.items() if at_s > now_s}

    def report(self, name: str, fault: str | None, started_at: datetime) -> None:
        """`fault` of a call over this route, None for an answer."""
        state = self._states.get(name, RouteState())
        now_s, started_s = self._clock.now().timestamp(), started_at.timestamp()
        if fault is None:
            self._in_a_row.pop(name, None)
            if name in self._states:
                self._states[name] = health.after_answer(state, now_s, started_s)
            return
        needed = health.faults_before_rest(fault)
        if needed is None:
            if name in self._states:
                self._states[name] = health.after_nothing(state, "this one", started_s)
            return
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        if state.strikes or self._in_a_row[name] >= needed:
            self._states[name] = health.after_fault(state, fault, now_s, started_s, self._rng)


class Ledger(QuotasInMemory):
    """Counts updates; contended when it is told to be."""

    def __init__(self, pool: Pool | None = None):
        super().__init__()
        self.updates, self.busy = 0, 0
        if pool is not None:
            self.pools[pool_name(PLAIN)] = pool

    def change(self, pool, change, now_s):
        if self.busy:
            self.busy -= 1
            raise Contended(pool)
        self.updates += 1
        return super().change(pool, change, now_s)

    @property
    def pool(self) -> Pool:
        return self.pools[pool_name(PLAIN)]


class World:
    def __init__(self, pool: Pool | None = None):
        self.clock, self.ledger = StillClock(), Ledger(pool)
        self.health = HealthInMemory(self.clock, Random(1))
        self.admission = Admission(quotas=self.ledger, health=self.health, clock=self.clock)

    def enter(self, waiting=1, need=NEED, by=PLAIN):
        return self.admission.enter(by, need, waiting)

    def ticket(self, waiting=1, need=NEED) -> Ticket:
        entered = self.enter(waiting, need)
        assert isinstance(entered, Ticket), entered
        return entered

    def full(self) -> Wait:
        """Starts calls until there is no room; those that were granted start one after the other."""
        for _ in range(1000):
            entered = self.enter(100)
            if isinstance(entered, Wait):
                if not entered.stay:
                    return entered
                self.clock.moment = max(entered.until, self.clock.moment)
        raise AssertionError("a call never goes elsewhere")

    def taken(self) -> tuple[float, float]:
        return self.ledger.pool.requests.taken, self.ledger.pool.tokens.taken


# ---------------------------------------------------------------------- draws


def test_several_calls_are_drawn_by_one_update_and_no_more_than_wait():
    world = World(WIDE)
    for _ in range(3):
        world.ticket(waiting=3)
    assert (world.ledger.updates, world.taken()[0]) == (1, 3)
    world.ticket(waiting=1000)
    assert (world.ledger.updates, world.taken()[0]) == (2, pytest.approx(3 + 180))  # as fast as it was used, and a bit


def test_a_busy_container_updates_the_ledger_about_once_a_second():
    world = World(WIDE)
    for _ in range(1000):
        world.ticket(waiting=500)
        world.clock.advance(0.01)
    assert world.ledger.updates <= 2 * 10 + 3
    assert world.taken()[0] <= 1000 + 1.2 * 100 + 1


def test_a_container_that_finds_no_room_asks_again_about_once_a_second():
    world = World(Pool(requests=Meter(told_per_s=0.5, full_at_s=StillClock().wall_s() + 600)))
    for _ in range(500):
        assert isinstance(world.enter(waiting=50), Wait)
        world.clock.advance(0.01)
    assert 5 <= world.ledger.updates <= 8


# ---------------------------------------------------------------------- settling

CALLS = st.lists(
    st.tuples(
        st.integers(1, 5000),  # estimated input
        st.integers(1, 2000),  # max_tokens
        st.integers(0, 6000),  # true input
        st.integers(0, 500),  # cache writes
        st.integers(0, 2000),  # output
        st.floats(0, 3),  # seconds until the next
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(CALLS, st.integers(1, 40), st.sampled_from([1, 5]))
def test_after_the_end_the_ledger_has_taken_what_was_used(calls, waiting, factor):
    by = PLAIN if factor == 1 else route("us-east-1")
    world = World()
    world.ledger.pools[pool_name(by)] = Pool(requests=Meter(told_per_s=1e4), tokens=Meter(told_per_s=1e8))
    open_, used = [], 0
    for estimated, allowed, prompt, written, output, pause_s in calls:
        entered = world.enter(waiting, Need(estimated, allowed), by)
        assert isinstance(entered, Ticket)
        open_.append((entered, Usage(prompt, output, cache_read_tokens=7, cache_write_tokens=written)))
        used += prompt + written + factor * output
        world.clock.advance(pause_s)
        if len(open_) > 2:
            world.admission.leave(*open_.pop(0), None)
    for ticket, usage in open_:
        world.admission.leave(ticket, usage, None)
    world.admission.close()
    pool = world.ledger.pools[pool_name(by)]
    assert pool.requests.taken == pytest.approx(len(calls))
    assert pool.tokens.taken == pytest.approx(used, abs=1e-3)
    assert pool.answers == len(calls)


def test_what_was_drawn_and_not_used_is_given_back_at_the_end():
    world = World(WIDE)
    ticket = world.ticket(waiting=8)
    assert world.taken() == (8, pytest.approx(8 * RESERVED))
    world.admission.leave(ticket, Usage(90, 20), None)
    world.admission.close()
    assert world.taken() == (1, pytest.approx(110))
    world.admission.close()
    assert world.ledger.updates == 2


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Fault.UNKNOWN, RESERVED),  # it may have been answered
        (Fault.TIMEOUT, RESERVED),
        (Fault.QUOTA_REQUESTS, RESERVED),  # nothing is left, so nothing is given back
        (Fault.QUOTA_DAILY, RESERVED),
        (Fault.CAPACITY, 0),
        (Fault.JOB, 0),
        (Fault.INTERNAL, 0),
        (Fault.US, 0),
    ],
)
def test_a_lost_call_and_a_refused_one_keep_their_reservation_others_give_it_back(fault, kept):
    world = World(WIDE)
    world.admission.leave(world.ticket(), None, fault)
    world.admission.close()
    assert world.taken()[1] == pytest.approx(kept)


def test_an_answer_without_a_count_of_tokens_keeps_its_reservation():
    world = World(WIDE)
    world.admission.leave(world.ticket(), None, None)
    world.admission.close()
    assert world.taken() == (1, pytest.approx(RESERVED))


def test_what_one_container_reports_of_a_throttle_the_fleet_knows_at_once():
    world = World(WIDE)
    world.admission.leave(world.ticket(), None, Fault.QUOTA_REQUESTS)
    assert world.ledger.pool.requests.throttles == 1
    other = Admission(quotas=world.ledger, health=world.health, clock=world.clock)
    assert isinstance(other.enter(PLAIN, NEED, 1), Wait)


def test_a_throttle_for_tokens_counts_against_tokens():
    world = World(WIDE)
    world.admission.leave(world.ticket(), None, Fault.QUOTA_TOKENS)
    assert (world.ledger.pool.requests.throttles, world.ledger.pool.tokens.throttles) == (0, 1)


def test_where_the_ledger_is_contended_nothing_is_forgotten():
    world = World(WIDE)
    ticket = world.ticket(waiting=2)
    world.ticket()
    world.admission.leave(ticket, Usage(90, 20), None)
    world.ledger.busy = 1
    assert isinstance(world.enter(), Wait)
    world.clock.advance(0.1)
    world.ticket(waiting=4)
    world.ledger.busy = 2
    world.admission.close()
    assert world.taken() == (3, pytest.approx(110 + 2 * RESERVED, abs=2 * RESERVED * INPUT_MARGIN))
    assert (world.ledger.pool.answers, world.ledger.busy) == (1, 0)


def test_reservations_follow_what_calls_came_to():
    world = World(WIDE)
    first = world.ticket()
    assert first.tokens == pytest.approx(RESERVED)
    world.admission.leave(first, Usage(200, 10), None)
    world.admission.close()
    world.ticket()  # its draw tells what the ledger knows
    assert world.ticket().tokens == pytest.approx(200 * INPUT_MARGIN + 50)  # AWS holds max_tokens at the start


# ---------------------------------------------------------------------- where a call waits


def test_a_call_waits_while_a_limit_is_only_searched_for():
    world, waits = World(), []
    for _ in range(300):
        entered = world.enter(waiting=100)
        if isinstance(entered, Wait):
            waits.append(entered)
        world.clock.advance(0.01)
    assert waits
    assert all(wait.stay for wait in waits)


@pytest.mark.parametrize(
    "pool",
    [
        Pool(requests=Meter(told_per_s=1)),
        Pool(requests=Meter(told_per_s=1e4), tokens=Meter(told_per_s=10)),
        Pool(tokens=Meter(told_per_s=10)),  # what is full is no search
        Pool(requests=Meter(throttles=1, throttled_at_s=StillClock().wall_s() - 5, learned_per_s=5, hold_s=8, dip=0.1)),
    ],
)
def test_a_call_goes_elsewhere_once_a_limit_was_told_or_has_shown_itself(pool):
    world = World(pool)
    assert world.full().until > world.clock.now()


def test_a_call_that_was_throttled_goes_elsewhere():
    world = World()
    world.admission.leave(world.ticket(waiting=8), None, Fault.QUOTA)
    wait = world.enter(waiting=8)
    assert isinstance(wait, Wait)
    assert not wait.stay


def test_a_resting_route_lets_no_call_in_and_its_pools_room_is_kept_for_the_others():
    world = World(WIDE)
    now = world.clock.now()
    world.health.report(PLAIN.name, Fault.QUOTA_DAILY, now)
    wait = world.enter(waiting=8)
    assert isinstance(wait, Wait)
    assert (wait.stay, wait.until > now) == (False, True)
    assert world.admission.room_at([PLAIN]) == wait.until
    assert world.admission.room_at([PLAIN, route()]) == now
    flex = Route(PLAIN.region, PLAIN.model_id, PLAIN.base_model, PLAIN.kind, 1, "flex")
    assert isinstance(world.enter(8, NEED, flex), Ticket)
    assert world.ledger.updates == 1


def test_room_is_expected_when_the_ledger_says_so():
    world = World(Pool(requests=Meter(told_per_s=0.5, bucket_s=4.0)))
    world.full()
    world.clock.advance(0.8)
    world.full()  # nothing is granted any more
    assert world.admission.room_at([PLAIN]) > world.clock.now()


# ---------------------------------------------------------------------- pools


def test_tiers_share_a_quota_and_kinds_of_routes_do_not():
    tiers = [Route("eu-west-1", HAIKU, HAIKU, "regional", 1, tier) for tier in ("default", "flex", "priority")]
    others = [Route("eu-west-1", f"{prefix}.{HAIKU}", HAIKU, "regional") for prefix in ("global", "eu")]
    assert list(dict.fromkeys(map(pool_name, [*tiers, *others]))) == [
        f"eu-west-1|{family}|{HAIKU}" for family in ("on_demand", "global", "cross_region")
    ]


def test_a_flex_refusal_rests_the_flex_route_and_says_nothing_of_the_quota_that_others_share():
    flex = Route("us-east-1", PLAIN.model_id, PLAIN.base_model, "regional", tier="flex")
    world = World(WIDE)
    for _ in range(2):
        entered = world.enter(by=flex)
        assert isinstance(entered, Ticket)
        world.clock.advance(0.1)
        world.admission.leave(entered, None, Fault.QUOTA_REQUESTS)
    assert world.ledger.pool.requests.throttles == 0
    assert isinstance(world.enter(by=flex), Wait)
    assert isinstance(world.enter(), Ticket)
