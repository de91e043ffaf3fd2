"""The yardsticks of bench/on_demand.py: a fake that keeps its own rules, and an oracle that nobody can beat by them."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import on_demand
from bench.on_demand_lib import fake, oracle
from bench.on_demand_lib.scenarios import scenarios
from bench.on_demand_lib.world import Bucket, Meter, Offer, Region, Scenario, World, steady


def world(**more):
    fields = {"regions": {"a": Region(requests_per_s=10, latency_s=0.3)}, "burst_s": 1.0}
    return World(**{**fields, **more})


# ---------------------------------------------------------------------- buckets


def test_a_bucket_holds_no_more_than_its_burst_and_refills_evenly():
    bucket = Bucket(rate=2.0, burst_s=5.0)
    assert bucket.level == 10
    bucket.level = 0
    bucket.refill(1.5)
    assert bucket.level == 3
    bucket.refill(100)
    assert bucket.level == 10


def test_a_refused_call_takes_nothing():
    meter = Meter(Region(requests_per_s=1, tokens_per_s=100), burst_s=1)
    assert not meter.admit(0, 101)
    assert meter.requests and meter.requests.level == 1
    assert meter.admit(0, 100)


def test_a_settlement_gives_the_rest_of_a_reservation_back_and_may_leave_a_debt():
    meter = Meter(Region(tokens_per_s=100), burst_s=10)
    assert meter.admit(0, 1000)
    meter.settle(0, 1000, 400)
    assert meter.tokens and meter.tokens.level == 600
    meter.admit(0, 600)
    meter.settle(0, 600, 900)
    assert meter.tokens.level == -300


# ---------------------------------------------------------------------- the oracle


def test_the_oracle_gets_the_burst_and_the_refill_of_every_region():
    two = world(regions={"a": Region(requests_per_s=10), "b": Region(requests_per_s=5)})
    assert len(oracle.admissions(two, steady(100, 4), 4)) == pytest.approx(15 * (1 + 4), abs=2)  # part calls at the end


def test_the_oracle_gets_all_where_there_is_room_for_all():
    found = oracle.admissions(world(), steady(8, 5), 5)
    assert [one.at_s for one in found] == [offer.at_s for offer in steady(8, 5)]


def test_the_oracle_takes_jobs_in_the_order_of_their_arrival():
    found = oracle.admissions(world(), steady(40, 2), 2)
    assert [one.job for one in found] == sorted(one.job for one in found)


def test_the_oracle_waits_for_a_reservation_to_be_given_back():
    tight = world(regions={"a": Region(tokens_per_s=1, latency_s=1)}, burst_s=200, max_tokens=100, output_tokens=(1, 1))
    first, second = oracle.admissions(tight, [Offer(0, 0), Offer(1, 0)], 100)
    assert first.at_s == 0
    assert second.at_s == pytest.approx(tight.latency_s("a", 0), abs=0.001)


def test_the_oracle_calls_no_region_that_is_down():
    out = world(regions={"a": Region(requests_per_s=10, down=((0.0, 2.0),)), "b": Region(requests_per_s=10)})
    found = oracle.admissions(out, steady(100, 4), 4)
    assert all(one.region == "b" for one in found if one.at_s < 2)
    assert any(one.region == "a" for one in found if one.at_s >= 2)


def test_a_reservation_that_is_larger_than_the_bucket_is_never_admitted():
    small = world(regions={"a": Region(tokens_per_s=10)}, burst_s=1, max_tokens=100)
    assert oracle.admissions(small, steady(10, 1), 10) == []


REGIONS = st.builds(
    Region,
    requests_per_s=st.one_of(st.none(), st.floats(1, 20)),
    tokens_per_s=st.one_of(st.none(), st.floats(100, 2000)),
    latency_s=st.floats(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REGIONS, min_size=1, max_size=3), st.integers(0, 5), st.integers(1, 40), st.integers(1, 10))
def test_what_the_oracle_gets_admitted_the_fakes_own_meters_admit(regions, seed, rate, burn_down):
    """Replayed against fresh meters with settlements at their times, no call is refused."""
    given_world = World({str(n): r for n, r in enumerate(regions)}, seed=seed, burst_s=2.0, burn_down=burn_down)
    offers = steady(rate, 3)
    found = oracle.admissions(given_world, offers, 3)
    meters = {name: Meter(region, 2.0) for name, region in given_world.regions.items()}
    events = []
    for order, one in enumerate(found):
        reserved = given_world.input_tokens(one.job) + given_world.max_tokens
        used = given_world.input_tokens(one.job) + given_world.answer_tokens(one.job) * burn_down
        ends_s = one.at_s + given_world.latency_s(one.region, one.job)
        events.append((one.at_s, 2 * order, True, one.region, reserved, used))
        events.append((ends_s, 2 * order + 1, False, one.region, reserved, used))
    for at_s, _, starts, region, reserved, used in sorted(events):
        if starts:
            assert meters[region].admit(at_s + 1e-9, reserved)
        else:
            meters[region].settle(at_s, reserved, used)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50), st.integers(1, 3), st.floats(0.05, 1.0))
def test_no_blind_caller_gets_more_admitted_than_the_oracle(seed, regions, patience_s):
    """Callers that ask at fixed intervals, region after region, in the fake's own meters."""
    given_world = world(regions={str(n): Region(requests_per_s=3 + n) for n in range(regions)}, seed=seed)
    offers = steady(30, 3)
    meters = {name: Meter(region, 1.0) for name, region in given_world.regions.items()}
    admitted, moments = 0, sorted((offer.at_s + k * patience_s, offer.job) for offer in offers for k in range(60))
    done = set()
    for at_s, job in moments:
        if at_s < 3 and job not in done and any(meter.admit(at_s, 0) for meter in meters.values()):
            done.add(job)
            admitted += 1
    # each of the oracle's moments is a hair late, for the rounding of divisions
    assert admitted <= len(oracle.admissions(given_world, offers, 3 + 1e-4))


# ---------------------------------------------------------------------- the fake


def body(job: int, max_tokens: int = 100) -> dict:
    text = world().text(job)
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": max_tokens}}


def test_calls_before_the_start_are_free_and_not_counted():
    bedrock = fake.Bedrock()
    bedrock.load(json.loads(json.dumps(world().as_json())))
    assert [bedrock.converse("a", body(n))[1] for n in range(30)] == [200] * 30
    assert bedrock.calls == []


def test_what_is_above_the_quota_is_throttled_with_429_and_counted():
    bedrock = fake.Bedrock()
    bedrock.load(world().as_json())
    bedrock.start()
    statuses = [bedrock.converse("a", body(n))[1] for n in range(15)]
    assert statuses == [200] * 10 + [429] * 5
    assert [kind for *_, kind in bedrock.calls] == [fake.ADMITTED] * 10 + [fake.THROTTLED] * 5


def test_a_region_that_is_down_answers_503_and_takes_no_quota():
    bedrock = fake.Bedrock()
    bedrock.load(world(regions={"a": Region(requests_per_s=1, down=((0.0, 60.0),))}).as_json())
    bedrock.start()
    assert [bedrock.converse("a", body(n))[1] for n in range(3)] == [503] * 3
    assert bedrock.meters["a"].requests and bedrock.meters["a"].requests.level == 1


def test_the_message_of_a_throttle_names_the_bucket_that_was_empty():
    bedrock = fake.Bedrock()
    bedrock.load(world(regions={"a": Region(requests_per_s=10, tokens_per_s=150)}).as_json())
    bedrock.start()
    bedrock.converse("a", body(1))
    assert b"Too many tokens" in bedrock.converse("a", body(2))[2]


def test_the_region_is_that_of_the_signature_and_an_unsigned_call_is_refused():
    async def ask(scope: bytes) -> bytes:
        bedrock = fake.Bedrock()
        bedrock.load(world(regions={"a": Region()}).as_json())
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: fake.Connection(bedrock), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sent = json.dumps(body(1)).encode()
        writer.write(b"POST /model/m/converse HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (scope, len(sent), sent))
        answer = await reader.readuntil(b"}")
        writer.close()
        server.close()
        return answer

    signed = b"Authorization: AWS4-HMAC-SHA256 Credential=K/20261125/%s/bedrock/aws4_request, Signature=0\r\n"
    assert asyncio.run(ask(signed % b"a")).startswith(b"HTTP/1.1 200")
    assert asyncio.run(ask(signed % b"elsewhere")).startswith(b"HTTP/1.1 400")
    assert asyncio.run(ask(b"")).startswith(b"HTTP/1.1 400")


def test_a_job_has_the_same_answer_and_prompt_wherever_and_whenever_it_is_tried():
    one, same, other = world(seed=3), world(seed=3), world(seed=4)
    assert [one.answer_tokens(n) for n in range(50)] == [same.answer_tokens(n) for n in range(50)]
    assert [one.answer_tokens(n) for n in range(50)] != [other.answer_tokens(n) for n in range(50)]
    assert one.text(7) == same.text(7) and "job 7 " in one.text(7)


# ---------------------------------------------------------------------- scenarios and figures


def test_a_scenario_survives_its_way_into_the_contenders_process():
    for scenario in scenarios(seed=1, quick=True):
        again = Scenario.from_json(scenario.as_json())
        assert again.world == scenario.world
        assert [(o.job, o.at_s) for o in again.offers] == [(o.job, o.at_s) for o in scenario.offers]


@pytest.mark.parametrize("name", ["overload 2 s", "overload 20 s", "short bucket", "token quota"])
def test_an_overload_is_about_twice_what_can_be_admitted(name):
    scenario = next(s for s in scenarios(seed=1, quick=False) if s.name == name)
    could = len(oracle.admissions(scenario.world, scenario.offers, scenario.window_s))
    assert len(scenario.offers) / could == pytest.approx(2, abs=0.15)


def figures(scenario, outcomes, calls):
    return on_demand.figures(scenario, "x", {"outcomes": outcomes, "cpu_s": 1.0, "wall_s": 2.0, "peak_mb": 50.0}, calls)


def test_a_job_without_an_answer_is_lost_and_one_that_was_admitted_twice_is_paid_twice():
    scenario = replace(scenarios(seed=1, quick=True)[2], offers=steady(10, 0.3))
    calls = [(0.1, "us-west-2", 0, "admitted"), (0.2, "us-east-1", 0, "admitted"), (0.2, "us-east-1", 1, "throttled")]
    found = figures(scenario, [(0, 0.0, 0.5, None), (1, 0.1, 0.6, "ThrottlingException")], calls)
    assert (found.lost, found.repeated) == (2, 1)
    assert found.throttled_share == pytest.approx(1 / 3)
    assert found.errors == {"ThrottlingException": 1}


def test_a_share_error_is_the_largest_distance_from_the_weights_among_regions_that_are_up():
    weights = next(s for s in scenarios(seed=1, quick=True) if s.name == "weights")
    dead = next(s for s in scenarios(seed=1, quick=True) if s.name == "dead region")
    assert on_demand.share_error(weights, {"us-west-2": 5, "us-east-1": 3, "us-east-2": 2}) == pytest.approx(0)
    assert on_demand.share_error(weights, {"us-west-2": 6, "us-east-1": 3, "us-east-2": 1}) == pytest.approx(0.1)
    assert on_demand.share_error(dead, {"us-east-1": 6, "us-east-2": 4}) == pytest.approx(0)
