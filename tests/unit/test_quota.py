"""The quota ledger's arithmetic, against a Bedrock that knows its limits and does not tell them."""

import heapq
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.policy.quota import FORGET_S, MINUTE_S, SEARCH_DRAW_S, Dealings, Meter, Pool, Seen, Throttle, deal

RTT_S = 0.03


# ------------------------------------------------------------------ a small world: one region's bucket, some containers


@dataclass
class Bucket:
    """What the provider counts: refills evenly, holds `holds_s` seconds of it."""

    per_s: float
    holds_s: float
    level: float = -1.0
    at_s: float = 0.0

    def refill(self, now_s: float) -> float:
        size = max(1.0, self.per_s * self.holds_s)
        before = size if self.level < 0 else self.level
        self.level, self.at_s = min(size, before + (now_s - self.at_s) * self.per_s), now_s
        return self.level


@dataclass
class Container:
    """Draws, calls and settles as `usecases.admission` does, without its threads."""

    grants: int = 0
    owed: float = 0.0
    refused: list[Throttle] = field(default_factory=list)
    in_flight: int = 0
    next_draw_s: float = 0.0
    next_start_s: float = 0.0
    spacing_s: float = 0.0


@dataclass
class World:
    """Jobs arrive at `demand` a second and wait until somebody takes them."""

    requests: Bucket | None
    tokens: Bucket | None = None
    demand: float = 20.0
    containers: int = 1
    call: tuple[int, int, int, int] = (500, 500, 100, 1)  # input, max_tokens, output, burn-down
    told: Meter = field(default_factory=Meter)
    seed: int = 1
    concurrency: int = 256
    log: list[tuple[float, bool]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        self.rng = random.Random(self.seed)
        self.pool = Pool(requests=self.told)
        self.each = float(self.call[0] + self.call[1])
        self.used = float(self.call[0] + self.call[2] * self.call[3])
        fleet = [Container() for _ in range(self.containers)]
        self.events: list[tuple[float, int, str, Container, float]] = []
        self.count = self.started = 0
        for container in fleet:
            self.at(self.rng.random() * 0.1, "tick", container)
        while self.events:
            now_s, _, kind, container, began_s = heapq.heappop(self.events)
            if now_s > seconds:
                return
            getattr(self, f"on_{kind}")(now_s, container, began_s)

    def at(self, when_s: float, kind: str, container: Container, began_s: float = 0.0) -> None:
        self.count += 1
        heapq.heappush(self.events, (when_s, self.count, kind, container, began_s))

    def on_tick(self, now_s: float, container: Container, _: float) -> None:
        self.at(now_s + 0.01, "tick", container)
        self.act(now_s, container)

    def on_arrive(self, now_s: float, container: Container, began_s: float) -> None:
        enough = (self.requests is None or self.requests.refill(now_s) >= 1, True)
        enough = (enough[0], self.tokens is None or self.tokens.refill(now_s) >= self.each)
        self.log.append((now_s, all(enough)))
        if not all(enough):
            container.refused.append(Throttle(enough[0], 1000 + began_s, self.each))
            self.at(now_s + RTT_S / 2, "refusal", container, began_s)
            return
        if self.requests:
            self.requests.level -= 1
        if self.tokens:
            self.tokens.level -= self.each
        self.at(now_s + self.rng.uniform(0.5, 1.5), "finish", container, began_s)

    def on_finish(self, now_s: float, container: Container, began_s: float) -> None:
        if self.tokens:
            self.tokens.refill(now_s)
            self.tokens.level += self.each - self.used
        self.at(now_s + RTT_S / 2, "answer", container, began_s)

    def on_answer(self, now_s: float, container: Container, _: float) -> None:
        container.in_flight -= 1
        container.owed += self.used - self.each
        self.act(now_s, container)

    def on_refusal(self, now_s: float, container: Container, _: float) -> None:
        container.in_flight -= 1
        self.act(now_s, container)

    def act(self, now_s: float, container: Container) -> None:
        if container.refused:
            self.deal(now_s, container, 0)
            container.next_draw_s = now_s + SEARCH_DRAW_S
        while container.in_flight < self.concurrency and self.started < self.demand * now_s:
            if not container.grants:
                if now_s < container.next_draw_s:
                    return
                a_second = max(8, int(1.2 * self.demand / self.containers))
                wanted = min(int(self.demand * now_s - self.started) + 1, a_second)
                container.grants = self.deal(now_s, container, wanted)
                if container.grants < wanted:
                    pause_s = self.pool.pause_s(1000 + now_s, min(wanted, 8), self.each, 0.0)
                    pause_s *= self.rng.uniform(0.9, 1.1)
                    container.next_draw_s = now_s + pause_s
                    container.spacing_s = pause_s / max(1, container.grants) if self.pool.spread else 0.0
                else:
                    container.spacing_s = 0.0
                if not container.grants:
                    return
            if now_s < container.next_start_s - 0.01:
                return
            container.next_start_s = max(now_s, container.next_start_s) + container.spacing_s
            container.grants -= 1
            container.in_flight += 1
            self.started += 1
            self.at(now_s + RTT_S / 2, "arrive", container, now_s)

    def deal(self, now_s: float, container: Container, calls: int) -> int:
        dealings = Dealings(
            requests=-container.grants,
            tokens=container.owed - container.grants * self.each,
            throttles=tuple(container.refused),
            calls=calls,
            tokens_each=self.each,
        )
        self.pool, granted = deal(self.pool, 1000 + now_s, dealings, 0.0)
        container.grants, container.owed, container.refused = 0, 0.0, []
        return granted

    def refused_share(self, from_s: float, to_s: float) -> float:
        calls = [ok for at_s, ok in self.log if from_s <= at_s < to_s]
        return calls.count(False) / max(1, len(calls))

    def admitted(self, from_s: float, to_s: float) -> int:
        return sum(ok for at_s, ok in self.log if from_s <= at_s < to_s)


# ------------------------------------------------------------------ limits that nobody told


@pytest.mark.promise(4)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("per_s", "holds_s", "containers"),
    [(10, 60, 1), (50, 60, 1), (50, 10, 1), (50, 2, 1), (200, 2, 1), (100, 60, 20), (100, 2, 20), (20, 5, 20)],
)
def test_an_unknown_request_quota_is_found_and_filled_and_hardly_ever_run_into(per_s, holds_s, containers, seed):
    world = World(Bucket(per_s, holds_s), demand=2.0 * per_s, containers=containers, seed=seed)
    world.run(60)
    assert world.refused_share(0, 5) <= 0.05
    assert world.refused_share(5, 60) <= 0.01
    room = min(world.demand * 60, per_s * 60 + per_s * holds_s)
    assert world.admitted(0, 60) >= 0.88 * room
    assert world.admitted(20, 60) >= 0.9 * min(per_s, world.demand) * 40


@pytest.mark.promise(4)
@pytest.mark.parametrize("call", [(500, 500, 100, 1), (500, 300, 250, 5)])
@pytest.mark.parametrize("holds_s", [2, 60])
def test_an_unknown_token_quota_too_with_all_that_is_reserved_and_given_back_and_burnt(call, holds_s):
    world = World(None, Bucket(20_000, holds_s), demand=40, containers=3, call=call)
    world.run(90)
    assert world.refused_share(0, 5) <= 0.05
    assert world.refused_share(5, 90) <= 0.015
    a_second = 20_000 / world.used
    assert world.admitted(30, 90) >= 0.9 * min(a_second, 40) * 60


def test_a_limit_that_was_raised_is_found_again():
    bucket = Bucket(20, 5)
    world = World(bucket, demand=200, containers=4)
    world.run(60)
    learned = world.pool.requests.learned_per_s
    assert learned == pytest.approx(20, rel=0.15)
    now_s = 1060.0
    later = world.pool.requests.rate(now_s + 600)
    assert later > 100  # the cubic grows on, faster and faster, while nobody is refused


# ------------------------------------------------------------------ limits that were told


@pytest.mark.promise(4)
@pytest.mark.parametrize("containers", [1, 20])
def test_a_told_limit_is_used_from_the_first_second_and_never_passed(containers):
    world = World(Bucket(10, 60), demand=30, containers=containers, told=Meter(told_per_s=10))
    world.run(60)
    assert world.refused_share(0, 60) <= 0.002
    assert world.admitted(0, 60) >= 0.95 * (600 + 600)
    assert world.admitted(0, 19) >= 0.95 * 30 * 19  # the minute that a bucket holds is there at once


@pytest.mark.promise(4)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("containers", [1, 20])
@pytest.mark.parametrize(("per_s", "holds_s"), [(6, 1), (15, 1), (10, 5), (3, 20)])
def test_a_bucket_smaller_than_a_minute_is_found_by_one_refusal_and_a_told_rate_still_believed(
    per_s, holds_s, containers, seed
):
    world = World(
        Bucket(per_s, holds_s), demand=2 * per_s, containers=containers, told=Meter(told_per_s=per_s), seed=seed
    )
    world.run(60)
    assert world.refused_share(0, 60) <= 0.01
    assert world.admitted(0, 60) >= 0.97 * per_s * (60 + holds_s)


def test_a_told_limit_of_which_others_take_their_part_is_lowered_and_raised_again():
    world = World(Bucket(5, 60), demand=30, told=Meter(told_per_s=10))
    world.run(300)
    assert world.refused_share(60, 300) <= 0.02
    assert world.admitted(120, 300) >= 0.85 * 5 * 180


@given(
    told=st.floats(0.1, 500),
    asks=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 100)), min_size=1, max_size=60),
)
def test_what_is_granted_never_passes_a_bucket_of_a_minute(told, asks):
    pool, bucket, now_s = Pool(requests=Meter(told_per_s=told)), Bucket(told, MINUTE_S), 1000.0
    bucket.at_s = now_s
    for pause_s, wanted in asks:
        now_s += pause_s
        pool, granted = deal(pool, now_s, Dealings(calls=wanted), 0.0)
        bucket.refill(now_s)
        assert granted <= max(1, bucket.level * (1 + 1e-6) + 1e-6)
        bucket.level -= granted


@given(st.floats(0.1, 100), st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_what_is_given_back_can_be_taken_again(told, takings):
    pool = Pool(requests=Meter(told_per_s=told, full_at_s=1000.0))
    before = pool.requests
    for units in takings:
        pool = pool.take(1000.0, units, 0)
    for units in takings:
        pool = pool.take(1000.0, -units, 0)
    assert pool.requests.full_at_s == pytest.approx(before.full_at_s, abs=1e-6)


def test_a_call_larger_than_a_learned_burst_passes_when_nothing_is_in_use():
    meter = Meter(learned_per_s=100, throttles=3, hold_s=10, dip=0.1, throttled_at_s=900, full_at_s=990)
    assert meter.room(1000, 5_000, 0.0) == 1
    assert meter.take(1000, 5_000).room(1001, 5_000, 0.0) == 0
    at_s = meter.take(1000, 5_000).ready_at(1001, 5_000, 0.0)
    assert meter.take(1000, 5_000).room(at_s + 1e-6, 5_000, 0.0) == 1


# ------------------------------------------------------------------ what is learned from what


def test_refusals_of_calls_that_had_started_before_anybody_could_know_count_once():
    pool = deal(Pool(), 1000.0, Dealings(calls=5), 0.0)[0]
    first = pool.throttled(1001.0, Throttle(False, 1000.9, 100), 0.0)
    again = first.throttled(1001.2, Throttle(False, 1000.95, 100), 0.0)
    assert first.requests.throttles == again.requests.throttles == 1
    assert again == first


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 2000),  # seconds later
            st.sampled_from(["draw", "give back", "requests refused", "tokens refused"]),
            st.integers(1, 300),
        ),
        max_size=60,
    ),
    st.sampled_from([None, 0.5, 20.0]),
    st.sampled_from([0.0, 24.0]),
)
def test_whatever_happens_a_limit_stays_a_positive_number_and_somebody_gets_in_at_last(history, told, grain_s):
    pool, now_s = Pool(requests=Meter(told_per_s=told)), 1000.0
    for later_s, what, number in history:
        now_s += later_s
        match what:
            case "draw":
                dealings = Dealings(calls=number, tokens_each=1000)
            case "give back":
                dealings = Dealings(requests=-number, tokens=-1000.0 * number)
            case _:
                dealings = Dealings(throttles=(Throttle(what.startswith("tokens"), now_s - 0.05, 1000),))
        pool, _ = deal(pool, now_s, dealings, grain_s)
        for meter in (pool.requests, pool.tokens):
            assert meter.learned_per_s is None or meter.learned_per_s > 0
            rate = meter.rate(now_s + 1, unmetered=True)
            assert rate is None or rate > 0
    at_s = pool.ready_at(now_s, 1, 1000, grain_s)
    assert at_s < now_s + 10 * 86_400
    assert deal(pool, at_s + 1, Dealings(calls=1, tokens_each=1000), grain_s)[1] == 1


def test_a_refusal_for_tokens_says_nothing_of_requests():
    pool = deal(Pool(), 1000.0, Dealings(calls=5, tokens_each=1000), 0.0)[0]
    after = pool.throttled(1001.0, Throttle(True, 1000.9, 1000), 0.0)
    assert (after.tokens.throttles, after.requests.throttles) == (1, 0)
    assert after.room(1001.1, 1000, 0.0) == 0


def test_where_tokens_are_told_and_requests_are_not_no_request_limit_is_searched_for():
    pool = Pool(tokens=Meter(told_per_s=100_000.0, seen_s=MINUTE_S))
    after, granted = deal(pool, 1000.0, Dealings(calls=500, tokens_each=1000), 0.0)
    assert granted == 500
    assert deal(Pool(), 1000.0, Dealings(calls=500, tokens_each=1000), 0.0)[1] < 10
    refused = after.throttled(1001.0, Throttle(False, 1000.9, 1000), 0.0)
    assert refused.room(1001.1, 1000, 0.0) == 0  # it has shown itself


def test_after_a_refusal_nothing_is_taken_until_some_has_flowed_in():
    pool = deal(Pool(), 1000.0, Dealings(calls=5), 0.0)[0].throttled(1001.0, Throttle(False, 1000.9, 1), 0.0)
    assert deal(pool, 1001.01, Dealings(calls=5), 0.0)[1] == 0
    assert deal(pool, 1030.0, Dealings(calls=5), 0.0)[1] >= 1


def test_what_was_learned_is_forgotten_after_a_day():
    old = Meter(learned_per_s=1.0, throttles=4, hold_s=8, throttled_at_s=1000, recent_at_s=1000, full_at_s=1010)
    assert old.fresh(1000 + FORGET_S / 2).learned_per_s == 1.0
    assert old.fresh(1001 + FORGET_S) == Meter()
    told = replace(old, told_per_s=5.0)
    assert told.fresh(1001 + FORGET_S) == Meter(told_per_s=5.0)


@given(
    estimated=st.integers(10, 10_000), ratio=st.floats(0.5, 2), share=st.floats(0.05, 1), batches=st.integers(30, 60)
)
@settings(max_examples=50)
def test_the_estimate_follows_the_answers(estimated, ratio, share, batches):
    pool = Pool()
    for _ in range(batches):
        seen = Seen(10, 10 * estimated, round(10 * estimated * ratio), 10_000, round(10_000 * share))
        pool = pool.answered(seen)
    assert pool.input_ratio == pytest.approx(ratio, rel=0.05)
    assert pool.output_ratio == pytest.approx(share, rel=0.05)
    assert pool.answers == batches * 10
