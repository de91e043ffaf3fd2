"""What the receipts say was paid against the emulator's own bill, to the pico-dollar."""

from collections.abc import Iterator
from typing import Any

import pytest

from local import cloud as clouds
from slackwater.model.money import pico_from_usd_float
from slackwater.policy.prices import load_price_book
from slackwater_cli.billed import billed_pico
from tests.integration.driver import Driver, Settled, check, converse

RATE = 200.0
PREFIX = "This manual is long enough for a cache of Haiku's. " * 400  # 5,100 of the emulator's tokens: above 4,096


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with clouds.start(state_dir=tmp_path_factory.mktemp("bill"), clock_rate=RATE) as running:
        yield Driver(running)


def totals(driver: Driver) -> dict[str, Any]:
    return dict(driver.control("bill?totals=1")["totals"])


def paid_pico(*runs: Settled) -> int:
    return sum(pico_from_usd_float(run.receipt["cost_usd"]) for run in runs)


def cached(text: str, **more: Any) -> dict[str, Any]:
    system = [{"text": PREFIX}, {"cachePoint": {"type": "default"}}]
    return {"system": system, **converse(text, **more)}


def test_the_receipts_of_every_lane_are_the_bill_and_agree_with_the_manifests_to_the_token(driver: Driver):
    driver.control("reset", {})
    given = {
        "batched": ([converse(f"batch {n}", id=f"{n}") for n in range(120)], {"deadline": "24h"}),
        "called": ([converse(f"call {n}", id=f"{n}") for n in range(40)], {"lane": "on_demand"}),
        "cached": ([cached(f"cached {n}", id=f"{n}") for n in range(20)], {"lane": "on_demand"}),
        "flexed": ([converse(f"flex {n}", id=f"{n}") for n in range(20)], {"profile": "open-eu", "deadline": "24h"}),
    }
    keys = {name: driver.drop(name, lines, **options) for name, (lines, options) in given.items()}
    runs = {name: driver.settled(key) for name, key in keys.items()}
    for name, run in runs.items():
        check(run, len(given[name][0]))
        assert (run.receipt["succeeded"], run.receipt["repeats"]) == (run.receipt["lines"], 0), run.receipt["errors"]
    assert runs["cached"].receipt["cache_read_tokens"] > runs["cached"].receipt["cache_write_tokens"] > 0
    assert billed_pico(totals(driver)["by_way"], load_price_book()) == paid_pico(*runs.values())
    found = runs["batched"].receipt["reconciliation"]
    assert (found["batch_jobs"], found["agreeing"], found["differences"]) == (1, 1, [])
    assert found["manifest_input_tokens"] == found["row_input_tokens"] == runs["batched"].receipt["input_tokens"]


@pytest.mark.promise(2)
def test_with_lost_replies_and_rows_the_difference_is_exactly_what_the_receipts_name(driver: Driver):
    driver.control("reset", {})
    faults = {"*": {"*": {"reset_after": 0.06}}}
    outcome = {"status": "Completed", "missing_rows": 0.2, "missing_billed": True, "times": 1}
    with driver.emulator(faults=faults, batch={"outcomes": [outcome]}):
        called = driver.drop("unlucky", [converse(f"lost {n}", id=f"{n}") for n in range(120)], lane="on_demand")
        batched = driver.drop("gaps", [converse(f"gap {n}", id=f"{n}") for n in range(120)], deadline="24h")
        runs = [driver.settled(key, within_s=200) for key in (called, batched)]
    for run in runs:
        assert run.receipt["succeeded"] == run.receipt["lines"], run.receipt["errors"]
    ways, book = totals(driver)["by_way"], load_price_book()
    lost = billed_pico(ways, book, "lost")
    assert lost > 0
    assert billed_pico(ways, book) - lost == paid_pico(*runs)
    assert sum(way["lost"]["count"] for way in ways.values()) == sum(run.receipt["repeats"] for run in runs)
    (gap,) = runs[1].receipt["reconciliation"]["differences"]
    batch = next(way["lost"] for name, way in ways.items() if "|batch|" in name and way["lost"]["count"])
    assert gap["unanswered"] == batch["count"] > 0
    assert gap["manifest_input_tokens"] - gap["row_input_tokens"] == batch["input_tokens"]
    assert gap["manifest_output_tokens"] - gap["row_output_tokens"] == batch["output_tokens"]
    assert runs[1].receipt["rescued_jobs"] == batch["count"]
    assert runs[1].receipt["rescue_usd"] > 0


def test_a_long_common_prefix_is_cached_where_that_is_cheaper_and_a_short_one_goes_by_batch(driver: Driver):
    driver.control("reset", {})
    brief = [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]
    given = {
        "long": [cached(f"long prefix {n}", id=f"{n}") for n in range(120)],
        "short": [{"system": brief, **converse(f"short prefix {n}", id=f"{n}")} for n in range(120)],
    }
    keys = {name: driver.drop(name, lines, deadline="24h") for name, lines in given.items()}
    long, short = (driver.settled(keys[name], within_s=200) for name in given)
    for run in (long, short):
        check(run, 120)
        assert run.receipt["succeeded"] == 120, run.receipt["errors"]
    assert long.receipt["lanes"]["on_demand"]["jobs"] == 120
    assert long.receipt["cache_read_tokens"] > 0.8 * long.receipt["input_tokens"]
    assert long.receipt["cost_usd"] < long.receipt["counterfactuals"]["batch"]["cost_usd"]
    assert short.receipt["lanes"]["batch"]["jobs"] == 120  # the emulator refuses records with a cache point
    assert billed_pico(totals(driver)["by_way"], load_price_book()) == paid_pico(long, short)
