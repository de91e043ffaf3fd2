"""A plan under a budget: batch jobs are cut so that the cap holds each; nothing is refused before the money is gone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model.profile import Budget, Profiles, shipped_profiles
from tests.unit.test_plan import Run, line


def profiles(**budget: Any) -> Profiles:
    shipped = Profiles.from_bytes(shipped_profiles())
    default = shipped.named("default").model_copy(update={"budget": Budget(**budget)})
    return shipped.model_copy(update={"profiles": {**shipped.profiles, "default": default}})


def shards(run: Any) -> list[int]:
    return [item["records"] for item in run.items if item["kind"] == "shard"]


@pytest.mark.promise(1)
def test_a_cap_makes_more_and_smaller_batch_jobs_of_the_same_records() -> None:
    lines = [line(number) for number in range(1_000)]
    without, under = Run(lines), Run(lines, profiles=profiles(run_usd="0.3"))
    assert sum(shards(without)) == sum(shards(under)) == 1_000
    assert max(shards(under)) < max(shards(without))
    assert min(shards(under)) >= 100


@given(st.integers(100, 900))
@settings(max_examples=15)
def test_a_small_cap_leaves_no_record_over_for_which_batch_was_asked(number: int) -> None:
    lines = [line(n, lane="batch") for n in range(number)]
    under = Run(lines, profiles=profiles(run_usd="0.000001")).place()
    assert sum(shards(under)) == number and min(shards(under)) >= 100
    assert sorted(n for n, _ in under.lines()) == list(range(1, number + 1))


def test_a_plan_warns_of_each_cap_that_may_not_hold_it_and_of_no_other() -> None:
    lines = [line(number) for number in range(200)]
    assert Run(lines, profiles=profiles(run_usd="100", day_usd="100")).plan["warnings"] == []
    (said,) = Run(lines, profiles=profiles(run_usd="0.01", day_usd="100")).plan["warnings"]
    assert said.startswith("budget.run_usd of profile default, 0.01 USD: all jobs together may cost 0.0")
    assert said.endswith("what the money does not reach fails as budget")
