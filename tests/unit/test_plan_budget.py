"""A plan under a budget: batch jobs are cut so that the cap holds each; nothing is refused before the money is gone."""

from typing import Any

import pytest

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


def test_a_cap_that_holds_not_even_a_hundred_records_refuses_nothing_before_the_money_is_gone() -> None:
    under = Run([line(number) for number in range(300)], profiles=profiles(run_usd="0.000001")).place()
    assert min(shards(under)) >= 100
    went = under.lines()
    assert sorted(number for number, _ in went) == list(range(1, 301))
    assert "budget" not in {where for _, where in went}
