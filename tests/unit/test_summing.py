"""Rows summed many at a time come to what they come to one by one: every count, and money to the pico-dollar."""

from dataclasses import asdict
from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model import result
from slackwater.model.job import Lane, Route
from slackwater.model.money import MoneyError, pico_from_usd_float, sum_pico, usd_float
from slackwater.model.timeline import Timeline
from slackwater.model.usage import Usage
from slackwater.policy.counterfactuals import Account
from slackwater.policy.prices import load_price_book
from slackwater.policy.summing import Summing, brief_of
from tests.unit.rig import HAIKU, ROUTES, START, job

BOOK = load_price_book()
LONG = "anthropic.claude-haiku-5-5"  # has prices of its own for long prompts
MODELS = (HAIKU, LONG)
PICO = st.integers(0, 10**15 - 1)

usages = st.builds(
    Usage,
    st.integers(0, 400_000),
    st.integers(0, 64_000),
    st.sampled_from((0, 0, 0, 2_000)),
    st.sampled_from((0, 0, 0, 3_000)),
)
answers = st.builds(
    dict,
    lane=st.sampled_from(list(Lane)),
    model=st.sampled_from(MODELS),
    region=st.sampled_from(("us-east-1", "us-west-2")),
    tier=st.sampled_from(("default", "flex")),
    usage=st.none() | usages,
    cost_pico=st.none() | PICO,
    list_pico=st.none() | PICO,
    price_version=st.sampled_from(("p1", "p2")),
    attempts=st.integers(1, 3),
    latency_ms=st.none() | st.integers(0, 90_000),
    at_s=st.integers(0, 200),
    rescued=st.booleans(),
)
failures = st.builds(dict, code=st.sampled_from(("deadline_missed", "lost")), at_s=st.integers(0, 200))
refusals = st.just({})


def row_of(line, told):
    """The result line as the product writes and reads it."""
    if not told:
        row = result.refused("r1", line, None, code="refused", message="m", pointer="/messages", at=START)
    elif "code" in told:
        at = START + timedelta(seconds=told["at_s"])
        row = result.failed(job(line), code=told["code"], message=f"m{line}", finished_at=at, lane=Lane.BATCH)
    else:
        more = {name: told[name] for name in ("lane", "tier", "usage", "cost_pico", "list_pico", "price_version")}
        row = result.succeeded(
            job(line),
            **more,
            route=Route(told["region"], told["model"], told["model"], "regional"),
            response={"output": {"message": {"content": [{"text": "x"}]}}},
            attempts=told["attempts"],
            latency_ms=told["latency_ms"],
            finished_at=START + timedelta(seconds=told["at_s"]),
        )
        if told["rescued"]:
            row["rescued"] = True
    return orjson.loads(orjson.dumps(row))


def as_aggregated(rows, block):
    sums, kinds = Summing(Account(BOOK.length_bracket)), {}
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        briefs = [brief_of(row, kinds) for row in some]
        sums.add_briefs(brief for brief in briefs if brief is not None)
        for row, brief in zip(some, briefs, strict=True):
            if brief is None:
                sums.add(row)
    return sums


def one_by_one(rows):
    sums = Summing(Account(BOOK.length_bracket))
    for row in rows:
        sums.add(row)
    return sums


def seen(sums):
    tally = {name: value for name, value in vars(sums.tally).items() if name != "spent"}
    line = sums.timeline
    groups = {spent: asdict(group) for spent, group in sums.account.groups.items()}
    return {
        **tally,
        "groups": groups,
        "unknown": sums.account.unknown_jobs,
        "cells": dict(line.cells),
        "grain": line.grain_s,
        "causes": line.causes,
        "last": line.last,
        "models": line.models,
    }


@given(st.lists(answers | answers | answers | failures | refusals, max_size=60), st.integers(1, 60))
def test_blocks_of_rows_come_to_the_same_as_their_rows(told, block):
    rows = [row_of(line, one) for line, one in enumerate(told, 1)]
    assert seen(as_aggregated(rows, block)) == seen(one_by_one(rows))


def test_prompts_on_both_sides_of_a_price_limit_are_counted_apart():
    about = {"lane": Lane.ON_DEMAND, "model": LONG, "region": "us-west-2", "tier": "default", "cost_pico": 5}
    about |= {"list_pico": 7, "price_version": "p", "attempts": 1, "latency_ms": 1, "at_s": 0, "rescued": False}
    rows = [row_of(line, about | {"usage": Usage(tokens, 1)}) for line, tokens in enumerate((10, 100_000, 100_001), 1)]
    sums = as_aggregated(rows, 10)
    assert {spent.bracket: group.input_tokens for spent, group in sums.account.groups.items()} == {
        0: 100_010,
        1: 100_001,
    }


def test_what_is_not_plain_is_not_made_brief():
    plain = {"lane": Lane.BATCH, "model": HAIKU, "region": "us-west-2", "tier": "default", "usage": Usage(1, 1)}
    plain |= {"cost_pico": 5, "list_pico": 7, "price_version": "p", "attempts": 1, "latency_ms": None, "at_s": 0}
    plain |= {"rescued": False}
    assert brief_of(row_of(1, plain), {}) is not None
    for other in ({"usage": None}, {"cost_pico": None}, {"list_pico": None}, {"rescued": True}):
        assert brief_of(row_of(1, plain | other), {}) is None
    assert brief_of(row_of(1, plain | {"usage": Usage(1, 1, 1)}), {}) is None
    assert brief_of(row_of(1, {"code": "lost", "at_s": 0}), {}) is None
    assert brief_of(row_of(1, {}), {}) is None


@given(st.lists(st.integers(0, 10**18), max_size=50))
def test_many_amounts_add_up_to_the_pico_whatever_their_size(amounts):
    edge = [usd_float(pico) for pico in amounts]
    assert sum_pico(edge) == sum(map(pico_from_usd_float, edge))
    assert sum_pico(tuple(usd_float(pico % 10**15) for pico in amounts)) == sum(pico % 10**15 for pico in amounts)


def test_an_amount_that_is_no_number_is_no_amount_among_many_either():
    with pytest.raises(MoneyError):
        sum_pico([1.0, float("inf")])


@given(st.lists(st.integers(0, 30 * 86_400), max_size=200), st.integers(3, 40), st.integers(1, 50))
def test_a_timeline_is_as_coarse_by_blocks_as_by_rows(offsets, bound, block):
    route = ROUTES[0]
    at = [row_of_time(offset, route) for offset in offsets]
    rows, blocks = Timeline(max_cells=bound), Timeline(max_cells=bound)
    for one in at:
        rows.add(one)
    for start in range(0, len(at), block):
        some = at[start : start + block]
        blocks.add_answers("batch", route.name, route.base_model, [one["finished_at"] for one in some])
    assert (dict(rows.cells), rows.grain_s, rows.last) == (dict(blocks.cells), blocks.grain_s, blocks.last)


def row_of_time(offset_s, route):
    row = result.failed(job(1), code="c", message="m", finished_at=START + timedelta(seconds=offset_s))
    return row | {"lane": "batch", "route": route.name, "model": route.base_model, "error": None}
