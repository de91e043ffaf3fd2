"""Prompt caching before anything is sent: who shares a prefix, what it costs, and when batch is cheaper."""

from datetime import timedelta
from fractions import Fraction

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.job import Job, Lane
from slackwater.model.native import NativeBody
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.policy import cache
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import Rates, load_price_book
from slackwater.usecases.routing import Routing
from tests.unit.rig import START
from tests.unit.test_plan import Run, lanes, line, request

POINT = {"cachePoint": {"type": "default"}}
MANUAL = "What the manual says. " * 1_000  # about 6,100 tokens: above Haiku's 4,096
SHORT = "Be brief. " * 20


def shared(number, manual=MANUAL, **more):
    return {"request": {**request(f"question {number}", **more), "system": [{"text": manual}, POINT]}}


# ---------------------------------------------------------------------- prefixes


def test_prompts_that_begin_alike_have_one_prefix_whatever_follows_the_point():
    one, other = (cache.prefix_of(shared(n)["request"]) for n in (1, 2))
    assert one == other
    assert one.tokens == pytest.approx(len(MANUAL) / 3.6, abs=20)
    assert one.ttl_s == 300
    assert cache.prefix_of(shared(1, MANUAL + ".")["request"]).sha != one.sha
    assert cache.prefix_of(request("no point")) is None


def test_the_last_point_of_tools_and_system_counts_and_only_without_one_the_first_of_the_messages():
    tools = {"toolConfig": {"tools": [{"toolSpec": {"name": "t"}}, POINT]}}
    whole = cache.prefix_of({**shared(1)["request"], **tools})
    assert whole.sha != cache.prefix_of(shared(1)["request"]).sha  # the tool is a part of it
    in_message = request("x")
    in_message["messages"][0]["content"] = [{"text": MANUAL}, POINT, {"text": "first"}, POINT]
    other = request("x")
    other["messages"][0]["content"] = [{"text": MANUAL}, POINT, {"text": "second"}]
    assert cache.prefix_of(in_message).sha == cache.prefix_of(other).sha


def test_a_claude_bodys_cache_control_marks_its_own_block_and_its_lifetime():
    body = {"system": [{"type": "text", "text": MANUAL, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
    first = cache.prefix_of(NativeBody({**body, "messages": [{"role": "user", "content": "a"}]}))
    assert first == cache.prefix_of(NativeBody({**body, "messages": [{"role": "user", "content": "b"}]}))
    assert first.ttl_s == 3600
    assert first.tokens > 5_000


def test_no_text_is_in_a_prefix():
    assert "manual" not in str(cache.prefix_of(shared(1)["request"]))


def test_a_batch_record_loses_its_cache_points_and_nothing_else():
    marked = shared(1)["request"]
    assert cache.without_points(marked) == {**marked, "system": [{"text": MANUAL}]}
    assert marked["system"][1] == POINT  # the job's own request is left alone
    plain = request("x")
    assert cache.without_points(plain) is plain
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]}
    assert cache.without_points(NativeBody(body)).body["messages"][0]["content"] == [{"type": "text", "text": "a"}]


# ---------------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("inputs", "outputs", "read", "share"),
    [
        (4_000, 300, 300_000, 0.76),
        (10_000, 300, 300_000, 0.64),
        (20_000, 500, 300_000, 0.63),
        (4_000, 300, 150_000, 0.72),
    ],
)
def test_the_break_even_shares_of_sonnet(inputs, outputs, read, share):
    """At 3 and 15 USD a million tokens, batch at half, a cache read at a tenth or a twentieth of the input."""
    called, batch = Rates(3_000_000, 15_000_000, cache_read_pico=read), Rates(1_500_000, 7_500_000)
    assert float(cache.break_even_share(called, batch, inputs, outputs)) == pytest.approx(share, abs=0.006)


@given(st.integers(100, 50_000), st.integers(0, 5_000), st.integers(1, 2_900_000))
def test_at_the_break_even_share_both_cost_the_same(inputs, outputs, read):
    called, batch = Rates(3_000_000, 15_000_000, cache_read_pico=read), Rates(1_500_000, 7_500_000)
    share = cache.break_even_share(called, batch, inputs, outputs)
    cached = inputs * share * read + inputs * (1 - share) * called.input_pico + outputs * called.output_pico
    assert cached == inputs * Fraction(batch.input_pico) + outputs * batch.output_pico


def test_a_prefix_is_written_once_and_read_by_the_others():
    rates = Rates(1_000, 5_000, cache_read_pico=100, cache_write_5m_pico=1_250, cache_write_1h_pico=2_000)
    prefix = cache.Prefix("ab", 5_000, 300)
    assert cache.input_pico(rates, 10 * 5_200, 10, prefix) == 10 * 200 * 1_000 + 5_000 * 1_250 + 9 * 5_000 * 100
    assert cache.input_pico(rates, 5_000, 1, prefix._replace(ttl_s=3600)) == 5_000 * 2_000
    assert cache.input_pico(rates, 52_000, 10, cache.expected(prefix, 5_001)) == 52_000 * 1_000  # too short: plain
    assert cache.input_pico(Rates(1_000, 5_000), 52_000, 10, prefix) is None  # no price of caching: unknown, not plain
    assert cache.expected(prefix, None) is None


# ---------------------------------------------------------------------- plans


def test_many_jobs_with_a_long_common_prefix_are_called_with_the_cache_rather_than_by_batch():
    run = Run([shared(n) for n in range(200)])
    assert lanes(run)["on_demand"] == 200
    (found,) = [entry["plan"] for entry in run.plan["classes"]]
    prefix = found["cached_prefix"]
    assert (prefix["jobs"], prefix["is_cached"], prefix["minimum_tokens"]) == (200, True, 4096)
    assert prefix["share"] > prefix["break_even_share"] > 0.5
    assert any("cached calls cost less than batch from" in reason for reason in found["reasons"])
    costs = {way["lane"]: way["expected_cost_usd"] for way in found["ways"]}
    assert costs["on_demand"] < costs["batch"]


def test_a_prefix_that_the_model_does_not_cache_goes_by_batch_without_its_points():
    run = Run([shared(n, SHORT) for n in range(200)]).place()
    assert lanes(run)["batch"] == 200
    records = [record for batch, _ in run.shards for record in batch]
    assert len(records) == 200
    assert any("too short to be cached" in reason for reason in run.plan["classes"][0]["plan"]["reasons"])


def test_prefixes_are_counted_apart_and_priced_each_by_itself():
    few = [shared(n, "Another manual. " * 2_000) for n in range(2)]
    run = Run([*few, *(shared(n) for n in range(150)), line(7)])
    by_prefix = {
        entry.get("prefix", [None])[0]: entry["plan"]["jobs"] for entry in run.plan["classes"]
    }  # fmt: skip
    assert sorted(by_prefix.values()) == [1, 2, 150]
    assert None in by_prefix


def test_more_prefixes_than_are_told_apart_count_together_and_every_row_finds_its_class():
    run = Run([shared(n, f"{n} {SHORT}") for n in range(80)]).place()
    told = [entry for entry in run.plan["classes"] if "prefix" in entry]
    assert len(told) == 64
    assert sum(entry["plan"]["jobs"] for entry in run.plan["classes"]) == 80
    assert len(run.lines()) == 80


# ---------------------------------------------------------------------- routes


def calls(requests, lane=Lane.ON_DEMAND):
    profile = Profiles.from_bytes(shipped_profiles()).named("default")
    routing = Routing(capability=load_capability(), prices=load_price_book())
    due = START + timedelta(hours=1)
    jobs = [Job("r1", "00000", n, f"{n}", f"j{n}", "default", due, body) for n, body in enumerate(requests)]
    return [routing.call(job, lane, profile, "v1").routes for job in jobs]


def test_calls_of_one_prefix_try_the_same_routes_in_the_same_order():
    assert len(set(calls([shared(n)["request"] for n in range(20)]))) == 1


def test_over_many_prefixes_every_route_gets_some_and_without_one_the_shares_are_exact():
    firsts = [routes[0].region for routes in calls([shared(1, f"{n} {MANUAL}")["request"] for n in range(60)])]
    assert set(firsts) == {"us-west-2", "us-east-1", "us-east-2"}
    plain = [routes[0].region for routes in calls([request(f"{n}") for n in range(10)])]
    assert [plain.count(region) for region in ("us-west-2", "us-east-1", "us-east-2")] == [5, 3, 2]


def test_a_prefix_too_short_to_be_cached_does_not_hold_calls_together():
    assert len({routes[0].region for routes in calls([shared(n, SHORT)["request"] for n in range(10)])}) == 3


def test_a_plan_with_prefixes_is_read_back_as_it_was_written():
    run = Run([shared(n) for n in range(3)])
    text = orjson.dumps(run.plan)
    assert MANUAL[:20].encode() not in text
    assert b'"prefix":["' in text
