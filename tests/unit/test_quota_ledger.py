"""The quota ledger's rows: nothing is lost between two writers, and told limits are nobody's to overwrite."""

from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slackwater.adapters.ledger.quota import ATTEMPTS, KEEP_S, QuotaLedger
from slackwater.model.clock import iso
from slackwater.model.errors import Contended
from slackwater.policy.quota import Dealings, Meter, Pool, Throttle, deal
from slackwater.policy.quota_limits import Told
from tests.unit.rig import START

NOW_S = START.timestamp()
POOL = "us-west-2|global|some.model"
ROW = ("QUOTA#us-west-2|global|some.model", "LEDGER")
HAND = Told(600, 60_000, "hand", iso(START))


def taking(requests: float, tokens: float = 0.0):
    return lambda pool: (pool.take(NOW_S, requests, tokens), None)


def test_two_containers_that_take_in_turn_lose_no_update(table):
    ours, theirs = QuotaLedger(table), QuotaLedger(table)
    for _ in range(10):
        ours.change(POOL, taking(1, 10), NOW_S)
        theirs.change(POOL, taking(2, 20), NOW_S)
    pool, _ = QuotaLedger(table).get(POOL)
    assert (pool.requests.taken, pool.tokens.taken) == (pytest.approx(30), pytest.approx(300))
    assert table.get(ROW)["version"] == 20


def test_a_change_is_made_again_on_what_another_container_wrote_in_between(table):
    ours, theirs = QuotaLedger(table), QuotaLedger(table)
    seen = []

    def interrupted(pool: Pool):
        if not seen:
            theirs.change(POOL, taking(5), NOW_S)
        seen.append(pool.requests.taken)
        return pool.take(NOW_S, 1, 0), "answer"

    pool, answer = ours.change(POOL, interrupted, NOW_S)
    assert (seen, answer) == ([0, 5], "answer")
    assert pool.requests.taken == pytest.approx(6) == QuotaLedger(table).get(POOL)[0].requests.taken


def test_a_container_that_others_overtake_every_time_gives_up_and_has_changed_nothing(table):
    ours, theirs = QuotaLedger(table), QuotaLedger(table)
    tried = []

    def overtaken(pool: Pool):
        tried.append(pool)
        theirs.change(POOL, taking(1), NOW_S)
        return pool.take(NOW_S, 100, 0), None

    with pytest.raises(Contended, match=r"some\.model"):
        ours.change(POOL, overtaken, NOW_S)
    assert len(tried) == ATTEMPTS
    assert QuotaLedger(table).get(POOL)[0].requests.taken == pytest.approx(ATTEMPTS)
    ours.change(POOL, taking(1), NOW_S)  # it reads the row anew
    assert QuotaLedger(table).get(POOL)[0].requests.taken == pytest.approx(ATTEMPTS + 1)


def test_told_limits_survive_updates_and_are_known_at_the_next_one(table):
    ours, theirs = QuotaLedger(table), QuotaLedger(table)
    ours.change(POOL, taking(1), NOW_S)
    theirs.tell(POOL, HAND)
    pool, _ = ours.change(POOL, taking(1), NOW_S)  # from a cache that knows of no limits
    assert (pool.requests.told_per_s, pool.tokens.told_per_s) == (10, 1000)
    for _ in range(3):
        ours.change(POOL, lambda pool: deal(pool, NOW_S, Dealings(throttles=(Throttle(False, NOW_S, 5),)), 0.04), NOW_S)
    pool, told = theirs.get(POOL)
    assert told == HAND
    assert (pool.requests.told_per_s, pool.requests.throttles > 0) == (10, True)


def test_a_limit_told_while_a_container_makes_up_its_mind_counts_for_it(table):
    ours, theirs = QuotaLedger(table), QuotaLedger(table)
    seen = []

    def told_in_between(pool: Pool):
        if not seen:
            theirs.tell(POOL, HAND)
        seen.append(pool.requests.told_per_s)
        return pool.take(NOW_S, 1, 0), None

    ours.change(POOL, told_in_between, NOW_S)
    assert seen == [None, 10]


def test_what_was_told_stays_for_good_and_what_was_only_learned_expires(table):
    ledger = QuotaLedger(table)
    ledger.change(POOL, taking(1), NOW_S)
    assert table.get(ROW)["ttl"] == int(NOW_S + KEEP_S)
    ledger.tell(POOL, HAND)
    ledger.change(POOL, taking(1), NOW_S)
    assert "ttl" not in table.get(ROW)
    ledger.untell(POOL, NOW_S)
    pool, told = ledger.get(POOL)
    assert (told, pool.requests.told_per_s, pool.requests.taken) == (None, None, pytest.approx(2))
    assert table.get(ROW)["ttl"] == int(NOW_S + KEEP_S)


def test_one_limit_may_be_told_without_the_other(table):
    ledger = QuotaLedger(table)
    ledger.tell(POOL, HAND)
    ledger.tell(POOL, replace(HAND, rpm=None, tpm=5))
    pool, told = ledger.get(POOL)
    assert (told.rpm, told.tpm) == (None, 5)
    assert (pool.requests.told_per_s, pool.tokens.told_per_s) == (None, 5 / 60)


def test_a_pool_that_nobody_knows_is_empty(table):
    assert QuotaLedger(table).get(POOL) == (Pool(), None)


AMOUNTS = st.floats(0, 1e9)
MOMENTS = st.one_of(st.just(0.0), st.floats(1.7e9, 2.5e9))
METERS = st.builds(
    Meter, full_at_s=MOMENTS, recent=AMOUNTS, recent_at_s=MOMENTS, throttles=st.integers(0, 10**9),
    learned_per_s=st.none() | AMOUNTS, throttled_at_s=MOMENTS, taken=AMOUNTS, since_s=MOMENTS, hold_s=AMOUNTS,
    dip=st.floats(0, 1), burst_s=st.floats(1, 60), ceiling_per_s=st.none() | AMOUNTS,
)  # fmt: skip


POOLS = st.builds(
    Pool, METERS, METERS, input_ratio=st.floats(0, 1e3), output_ratio=st.floats(0, 1e3), answers=st.integers(0, 10**12)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(POOLS)
def test_a_row_keeps_every_number_to_a_millionth(table, pool):
    QuotaLedger(table).change(POOL, lambda _: (pool, None), NOW_S)
    found, _ = QuotaLedger(table).get(POOL)
    assert found.answers == pool.answers
    for name in ("input_ratio", "output_ratio"):
        assert getattr(found, name) == pytest.approx(getattr(pool, name), rel=0, abs=1e-6)
    for before, after in ((pool.requests, found.requests), (pool.tokens, found.tokens)):
        for field in fields(Meter):
            one, other = getattr(before, field.name), getattr(after, field.name)
            assert (other is None) if one is None else other == pytest.approx(one, rel=1e-15, abs=1e-6), field.name
