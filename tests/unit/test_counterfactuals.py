"""Counterfactuals: the same tokens at other rows of the price book, exactly, and unknown where the book is silent."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model import names, result
from slackwater.model.job import Lane, Route
from slackwater.model.money import pico_from_usd_float
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.model.usage import Usage
from slackwater.policy.capability import load_capability
from slackwater.policy.counterfactuals import Account, Terms, otherwise
from slackwater.policy.prices import list_pico, load_price_book
from slackwater_cli.receipts import receipt_view
from slackwater_cli.screen import Screen
from tests.unit.rig import HAIKU, START, SettledShards, aggregator, job
from tests.unit.test_aggregate import Ledger, put_part, survey

BOOK = load_price_book()
CAPABILITY = load_capability()
PROFILES = Profiles.from_bytes(shipped_profiles()).profiles
TERMS = {PROFILES[name].model: Terms.of([PROFILES[name]]) for name in ("default", "open-eu")}
GLOBAL = Route("us-west-2", f"global.{HAIKU}", HAIKU, "global")
TYPICAL = Usage(1000, 100)
"""At the shipped prices of Haiku 4.5: 1.00 in and 5.00 out by the global profile, 1.10 and 5.50 at home, batch half."""


def row(line=1, usage=TYPICAL, *, lane=Lane.ON_DEMAND, route=GLOBAL, rescued=False, home="us-east-1"):
    """A result line as its lane writes it, priced by the book."""
    return result.succeeded(
        replace(job(line), rescued=rescued),
        lane=lane,
        route=route,
        tier="flex" if lane is Lane.FLEX else "default",
        response={},
        usage=usage,
        cost_pico=BOOK.cost_pico(route.base_model, route.region, route.kind, lane.value, None, usage=usage),
        list_pico=list_pico(BOOK, route.base_model, home, usage),
        price_version=BOOK.version,
        attempts=1,
        latency_ms=None if lane is Lane.BATCH else 3,
        finished_at=START,
    )


def judged(*rows):
    account = Account(BOOK.length_bracket)
    for one in rows:
        account.add(one, pico_from_usd_float(one["cost_usd"]), pico_from_usd_float(one["list_usd"]))
    return otherwise(account, BOOK, CAPABILITY, lambda model: TERMS.get(model, Terms.of([])))


def test_each_other_lane_is_priced_on_the_route_that_was_taken():
    found = judged(row(1), row(2, lane=Lane.BATCH)).counterfactuals
    one = 1000 * 1_000_000 + 100 * 5_000_000  # pico-dollars on demand by the global profile
    assert (found["on_demand"].cost_pico, found["on_demand"].paid_pico) == (2 * one, one + one // 2)
    assert found["batch"].cost_pico == one
    assert (found["flex"].jobs, found["flex"].unknown_jobs) == (0, 2)  # Claude has no flex tier: no price, no zero


def test_home_only_is_the_same_lane_at_the_home_regions_own_price():
    found = judged(row(1), row(2, lane=Lane.BATCH)).counterfactuals["home_only"]
    listed = 1000 * 1_100_000 + 100 * 5_500_000
    assert (found.jobs, found.cost_pico) == (2, listed + listed // 2)


def test_the_best_possible_way_is_the_cheapest_that_the_residency_allows():
    found = judged(row(1), row(2)).counterfactuals["best_possible"]
    assert found.cost_pico == found.paid_pico // 2  # by batch, through the global profile
    inside = Route("eu-north-1", "openai.gpt-oss-120b-1:0", "openai.gpt-oss-120b-1:0", "regional")
    european = row(3, lane=Lane.FLEX, route=inside, home="eu-west-2")
    best = judged(european).counterfactuals["best_possible"]
    assert best.cost_pico == best.paid_pico  # Stockholm is the cheapest of the EU; cheaper regions abroad do not count


def test_cached_tokens_are_plain_input_in_batch():
    cached = Usage(100, 100, cache_read_tokens=9_000)
    found = judged(row(1, cached)).counterfactuals
    assert found["batch"].cost_pico == 9_100 * 500_000 + 100 * 2_500_000
    assert (
        found["on_demand"].cost_pico == found["on_demand"].paid_pico == 100 * 1_000_000 + 9_000 * 100_000 + 500_000_000
    )


def test_what_rescue_cost_more_than_batch_is_told_apart():
    found = judged(row(1), row(2, rescued=True), row(3, rescued=True), row(4, lane=Lane.BATCH)).rescue
    one = 1000 * 1_000_000 + 100 * 5_000_000
    assert (found.jobs, found.paid_pico - found.cost_pico) == (2, 2 * (one - one // 2))


@pytest.mark.promise(7)
def test_what_is_unknown_is_counted_and_in_no_sum():
    found = judged(row(1), row(2, usage=None), row(3) | {"cost_usd": None}, row(4) | {"model": "gone"})
    assert (found.counterfactuals["batch"].jobs, found.counterfactuals["batch"].unknown_jobs) == (1, 3)
    assert (found.counterfactuals["home_only"].jobs, found.counterfactuals["home_only"].unknown_jobs) == (1, 3)
    assert found.baselines.home_on_demand_pico is None


usages = st.builds(
    Usage, st.integers(0, 5000), st.integers(0, 900), st.sampled_from((0, 700)), st.sampled_from((0, 90))
)


@given(st.lists(st.tuples(usages, st.sampled_from((Lane.ON_DEMAND, Lane.BATCH))), max_size=12))
def test_sums_by_group_are_the_sums_of_single_rows_to_the_pico_dollar(found):
    rows = [
        row(n, Usage(usage.prompt_tokens, usage.output_tokens) if lane is Lane.BATCH else usage, lane=lane)
        for n, (usage, lane) in enumerate(found)
    ]
    together = judged(*rows)
    for name in ("on_demand", "batch", "home_only"):
        alone = [judged(one).counterfactuals[name] for one in rows]
        assert together.counterfactuals[name].cost_pico == sum(one.cost_pico for one in alone)
        assert together.counterfactuals[name].paid_pico == sum(one.paid_pico for one in alone)
    assert together.baselines.home_on_demand_pico == sum(pico_from_usd_float(one["list_usd"]) for one in rows)


# ---------------------------------------------------------------------- on the receipt


def told(bucket, clock, rows, counts=None, units=()):
    survey(bucket, ("00000", len(rows), 0))
    put_part(bucket, "00000", "shard-s1", rows, wave=1)
    ledger = Ledger({"profiles_version": "shipped"}, units=units)
    aggregator(bucket, ledger, clock, SettledShards(counts))("r1")
    return orjson.loads(bucket.get(names.run_key("r1", "receipt.json")))


def test_the_receipt_says_what_each_way_would_have_cost_beside_what_was_paid(bucket, clock):
    receipt = told(bucket, clock, [row(1, lane=Lane.BATCH), row(2, rescued=True)])
    assert receipt["counterfactuals"]["batch"] == {
        "jobs": 2, "unknown_jobs": 0, "cost_usd": 0.0015, "paid_usd": 0.00225,
    }  # fmt: skip
    assert receipt["counterfactuals"]["flex"] == {"jobs": 0, "unknown_jobs": 2, "cost_usd": None, "paid_usd": None}
    assert set(receipt["counterfactuals"]) == {"on_demand", "flex", "batch", "home_only", "best_possible"}
    assert receipt["baselines"]["home_on_demand_usd"] == receipt["list_usd"] == 0.0033
    assert (receipt["rescued_jobs"], receipt["rescue_usd"]) == (1, 0.00075)


def test_profiles_of_one_model_with_other_homes_leave_home_unknown_and_like_ones_do_not(bucket, clock):
    def home(*used):
        survey(bucket, ("00000", 1, 0), classes=[{"profile": name, "blocks": {}} for name in used])
        put_part(bucket, "00000", "pack-p1", [row(1)])
        aggregator(bucket, Ledger({"profiles_version": "shipped"}), clock)("r1")
        return orjson.loads(bucket.get(names.run_key("r1", "receipt.json")))["counterfactuals"]["home_only"]

    same = [name for name, one in PROFILES.items() if one.model == HAIKU and one.home_region == "us-east-1"]
    assert len(same) > 1
    assert home(*same)["jobs"] == 1
    other = [name for name, one in PROFILES.items() if one.model == HAIKU and one.home_region != "us-east-1"]
    assert home("default", "open-eu")["jobs"] == 1  # of another model: of no account
    for name in other:
        assert home("default", name) == {"jobs": 0, "unknown_jobs": 1, "cost_usd": None, "paid_usd": None}


def test_a_batch_job_whose_manifest_counts_other_tokens_is_named_with_both_numbers(bucket, clock):
    same = {"row_input_tokens": 9, "row_output_tokens": 3, "manifest_input_tokens": 9, "manifest_output_tokens": 3}
    more = same | {"manifest_input_tokens": 1_009, "manifest_output_tokens": 103, "unanswered": 1}
    counts = {
        "s1": {"region": "us-west-2", **more},
        "s2": {"region": "us-east-1", **same},
        "s3": {"region": "us-east-1", "row_input_tokens": 5, "row_output_tokens": 1},
    }
    units = [{"unit": name, "kind": "shard"} for name in ("s1", "s2", "s3")]
    receipt = told(bucket, clock, [row(1, lane=Lane.BATCH)], counts, units)
    found = receipt["reconciliation"]
    assert (found["batch_jobs"], found["agreeing"], found["unreported"]) == (3, 1, 1)
    assert (found["row_input_tokens"], found["manifest_input_tokens"]) == (18, 1_018)
    assert found["differences"] == [
        {"shard": "s1", "region": "us-west-2", **{k: more[k] for k in more}, "doubled": 0, "foreign": 0,
         "unknown_usage": 0},
    ]  # fmt: skip
    assert [w for w in receipt["warnings"] if "s1" in w and "1,009 input" in w and "1 record without a line" in w]


def test_people_see_the_other_ways_the_rescue_and_the_manifests(bucket, clock, capsys):
    counts = {"s1": {"region": "us-west-2", "row_input_tokens": 9, "row_output_tokens": 3}}
    receipt = told(bucket, clock, [row(1, lane=Lane.BATCH), row(2, rescued=True)], counts)
    Screen().show(receipt_view(receipt))
    shown = " ".join(capsys.readouterr().out.split())
    assert "on demand $0.00300, batch $0.00150, at home only $0.00248" in shown
    assert "flex" not in shown.partition("otherwise")[2].partition("rescue")[0]  # no price: not said, and not zero
    assert "1 job left over by batch" in shown
    assert "0 of 1 batch job agree, 1 without a manifest" in shown


def test_batch_jobs_of_a_queue_run_are_found_by_its_parts(bucket, clock):
    survey(bucket)
    put_part(bucket, "00000", "shard-s9", [row(1, lane=Lane.BATCH)], wave=1)
    counts = {"s9": {"region": "us-east-1", "row_input_tokens": 1, "row_output_tokens": 1}}
    ledger = Ledger({"kind": "queue"}, [{"sk": "BLOCK#00000", "j_1": "job-1 id-1"}])
    aggregator(bucket, ledger, clock, SettledShards(counts))("r1")
    receipt = orjson.loads(bucket.get(names.run_key("r1", "receipt.json")))
    assert receipt["reconciliation"]["batch_jobs"] == receipt["reconciliation"]["unreported"] == 1
