"""The estimate of what a run's infrastructure costs: exact arithmetic, and nothing that grows the wrong way."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import costs, infrastructure
from local.package import load_template
from slackwater.policy.infrastructure import PICO, WORKER_MEMORY_MB, Counts, Units, cost_pico, estimate_pico, units
from slackwater.policy.prices import load_price_book

THOUSAND = Counts(called=1000, called_ms=3_000_000, batched=0, queued=0, calls_in_flight=32)
NUMBER = st.integers(0, 10**7)
COUNTS = st.builds(
    Counts, called=NUMBER, called_ms=NUMBER, batched=NUMBER, queued=NUMBER, calls_in_flight=st.integers(1, 64)
)


def test_a_gigabyte_second_and_a_request_cost_their_list_price_in_whole_pico_dollars():
    assert cost_pico(Units(lambda_mb_ms=1024 * 1000)) == 13_333_400
    assert cost_pico(Units(table_writes=1_000_000)) == 625_000 * 10**6
    assert cost_pico(Units()) == 0


def test_a_part_of_a_pico_dollar_is_rounded_up():
    assert cost_pico(Units(lambda_mb_ms=1)) == 14  # 13.02


def test_every_unit_has_a_price_and_it_is_the_one_of_the_bench_of_costs():
    for field in fields(Units):
        if field.name != "lambda_mb_ms":
            dollars = costs.PRICES[infrastructure._UNIT[field.name]]
            assert getattr(PICO, field.name) == round(dollars * 10**12)


def test_the_wait_for_a_call_is_shared_by_the_calls_in_flight():
    waits = [
        units(replace(THOUSAND, calls_in_flight=n)).lambda_mb_ms - units(replace(THOUSAND, called_ms=0)).lambda_mb_ms
        for n in (1, 10)
    ]
    assert waits == [3_000_000 * WORKER_MEMORY_MB, 300_000 * WORKER_MEMORY_MB]


def test_no_call_in_flight_is_refused():
    with pytest.raises(ValueError, match="in flight"):
        units(replace(THOUSAND, calls_in_flight=0))


def test_a_queue_runs_calls_are_not_counted_twice():
    queued = replace(THOUSAND, queued=1000)
    more = replace(queued, called=2000)
    assert estimate_pico(replace(queued, called=0, called_ms=0)) == estimate_pico(replace(queued, called_ms=0))
    assert estimate_pico(more) > estimate_pico(queued)


@given(COUNTS, st.sampled_from(["called", "called_ms", "batched", "queued"]), NUMBER)
def test_more_work_never_costs_less_except_where_a_call_turns_out_to_be_a_message(counts, name, more):
    bigger = replace(counts, **{name: getattr(counts, name) + more})
    assert estimate_pico(bigger) >= estimate_pico(counts) > 0


def test_the_memory_of_the_calling_functions_is_the_templates():
    template = load_template(Path(__file__).parents[2] / "template.yaml")
    for name in ("DispatchFunction", "RouteFunction"):
        assert template["Resources"][name]["Properties"]["MemorySize"] == WORKER_MEMORY_MB


def test_a_thousand_calls_of_haiku_from_a_file_cost_less_than_a_hundredth_of_the_models_price():
    book = load_price_book()
    model = 1000 * infrastructure.model_usd(book, "anthropic.claude-haiku-4-5-20251001-v1:0", "global")
    assert estimate_pico(THOUSAND) / 1e12 < model / 100
