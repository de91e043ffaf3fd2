"""A plan before anything is sent: the same decisions as a run's own Plan step, sums that add up, nothing silently 0."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model.errors import BadInput, ConfigurationError
from slackwater.model.job import Lane
from slackwater.model.money import pico_per_token
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.policy.canary import CANARIES, Asked, Canary
from slackwater.policy.capability import load_capability
from slackwater.policy.learned import Answers, History
from slackwater.policy.prices import PriceBook, read_table, shipped_table
from slackwater.usecases.estimate import MAX_JOBS, MAX_REFUSALS, Estimator
from slackwater.usecases.estimated import document, sums
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.planner import Planner, Stack
from slackwater.usecases.survey import survey
from tests.unit.rig import START

CAPABILITY = load_capability()
PROFILES = Profiles.from_bytes(shipped_profiles())
PRICES = PriceBook.from_bytes(shipped_table())
STACK = Stack(("us-east-1", "us-west-2", "eu-west-1", "eu-central-1"), batch_enabled=True, drain_jobs_per_s=20.0)
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
TOOLS = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}


def planner(prices=PRICES, profiles=PROFILES, **more):
    return Planner(profiles=profiles, prices=prices, capability=CAPABILITY, stack=STACK, **more)


def estimator(prices=PRICES, history=None, profiles=PROFILES):
    found = planner(prices, profiles)
    return Estimator(planner=found, profiles=profiles, prices=prices, history=history or History())


def line(number, **more):
    request = {"messages": [{"role": "user", "content": [{"text": f"question {number}"}]}],
               "inferenceConfig": {"maxTokens": 100}, **more.pop("request", {})}  # fmt: skip
    return {"job_id": f"q{number}", "request": request, **more}


def encoded(lines):
    return b"".join(orjson.dumps(one) + b"\n" for one in lines)


def estimated(lines, *, profile="default", deadline="24h", **more):
    return estimator(**more).file([encoded(lines)], profile=profile, now=START, deadline=deadline)


def without(field, *regions):
    """The price table without a field of Haiku's rows in some regions."""
    table = read_table(shipped_table())
    rows = [
        {**row, field: None} if row["model_id"] == HAIKU and row["region"] in regions else row for row in table["rows"]
    ]
    return PriceBook({**table, "rows": rows})


KINDS = st.sampled_from(
    [
        {},
        {"profile": "open-eu"},
        {"profile": "open-eu", "deadline": "3h"},
        {"deadline": "1h"},
        {"lane": "on_demand"},
        {"lane": "batch"},
        {"lane": "flex"},
        {"request": {"toolConfig": TOOLS}},
        {"request": {"inferenceConfig": {"maxTokens": 90_000}}},
    ]
)


class Nowhere:
    def put_input(self, block, rows):
        pass

    def put_refused(self, block, rows):
        pass


# ---------------------------------------------------------------------- decisions


@settings(max_examples=25, deadline=None)
@given(kinds=st.lists(st.tuples(KINDS, st.integers(1, 260)), min_size=1, max_size=5), deadline=st.sampled_from(
    ["30m", "12h", "24h"]))  # fmt: skip
def test_lanes_are_those_of_a_runs_own_plan_and_sum_to_the_whole(kinds, deadline):
    lines = [line(f"{k}-{n}", **dict(more)) for k, (more, count) in enumerate(kinds) for n in range(count)]
    found = estimated(lines, deadline=deadline)
    data = encoded(lines)
    every = PROFILES.profiles
    surveyed = survey(
        [data],
        Nowhere(),
        run_id="r",
        options=FileOptions("default", START),
        profiles={name: one.max_tokens for name, one in every.items()},
        models={name: one.model for name, one in every.items()},
        size_bytes=len(data),
        now=START,
    )
    planned = planner().plan(surveyed, deadline=found.deadline, now=START, profiles_version="v1")
    left = sum(piece["records"] for group in planned["groups"] for piece in group["leftover"])
    said = orjson.loads(orjson.dumps(document(found)))
    assert said["lanes"]["batch"]["jobs"] == planned["lanes"]["batch"]["jobs"] - left
    calling = sum(planned["lanes"][lane]["jobs"] for lane in ("on_demand", "flex"))
    assert sum(said["lanes"][lane]["jobs"] for lane in ("on_demand", "flex")) == calling + left
    assert said["unplaced_jobs"] == sum(1 for one in planned["classes"] if one["plan"]["lane"] is None for _ in range(
        one["plan"]["jobs"]))  # fmt: skip

    assert said["lines"] == said["refused_lines"] + said["jobs"] == len(lines)
    assert sum(one["jobs"] for one in said["lanes"].values()) == said["jobs"] - said["unplaced_jobs"]
    for name in ("input_tokens", "output_tokens"):
        assert sum(one[name] for one in said["lanes"].values()) == said[name]
        assert sum(one[name] for one in said["ways"]) == said[name]
    whole = sums(found.shares)
    assert whole.cost_pico == sum(share.cost_pico for share in found.shares)
    assert whole.low_pico <= whole.cost_pico <= whole.high_pico


def test_what_no_batch_job_can_hold_is_priced_where_it_is_called():
    found = estimated([line(n) for n in range(60)])
    assert [(share.lane, share.jobs) for share in found.shares] == [(Lane.ON_DEMAND, 60)]


def test_canaries_of_a_new_shape_are_priced_where_they_are_called():
    new = planner(canaries=lambda shape: Asked(Canary.UNKNOWN))
    found = Estimator(planner=new, profiles=PROFILES, prices=PRICES, history=History()).file(
        [encoded([line(n) for n in range(600)])], profile="default", now=START, deadline="24h"
    )
    assert {share.lane: share.jobs for share in found.shares} == {Lane.BATCH: 600 - CANARIES, Lane.ON_DEMAND: CANARIES}


def test_a_cached_beginning_is_written_once_and_read_by_the_others():
    system = [{"text": "Know this by heart. " * 2_000}, {"cachePoint": {"type": "default"}}]
    (share,) = estimated([line(n, lane="on_demand", request={"system": system}) for n in range(300)]).shares
    row = PRICES.row(HAIKU, "us-east-1", "global")
    names = ("cache_read", "cache_write_5m", "input", "output")
    read, write, plain, out = (pico_per_token(row[name]) for name in names)
    alone = share.read.tokens * plain + share.written.tokens * out
    assert share.cost_pico < alone / 2
    each, odd = divmod(alone - share.cost_pico, 299 * (plain - read) - (write - plain))  # what the cache saves a token
    assert (odd, each > 10_000) == (0, True)
    assert not share.uncached
    assert share.compared.home_on_demand_pico < share.read.tokens * pico_per_token(
        PRICES.row(HAIKU, "us-east-1", "regional")["input"]
    )


def test_shares_name_the_regions_of_their_batch_jobs():
    (share,) = estimated([line(n) for n in range(400)]).shares
    assert (share.lane, set(share.regions)) == (Lane.BATCH, {"us-west-2", "us-east-1"})


def test_jobs_that_no_lane_takes_are_in_no_sum_and_are_told():
    lines = [line(n, lane="flex") for n in range(7)] + [line(n) for n in range(7, 10)]
    said = document(estimated(lines))
    assert (said["jobs"], said["unplaced_jobs"], said["lanes"]["on_demand"]["jobs"]) == (10, 7, 3)
    assert any(warning.startswith("7 jobs of profile default would fail") for warning in said["warnings"])


def test_what_asked_for_batch_and_fits_in_no_batch_job_is_told():
    small = PROFILES.named("default").model_copy(update={"batch_max_bytes": 5_000_000})
    profiles = Profiles(v=1, profiles={"default": small})
    large = {"messages": [{"role": "user", "content": [{"text": "x" * 7_000}]}]}  # a block of them is above the limit
    lines = [line(n, lane="batch", request=large if n >= 1_000 else {}) for n in range(1_900)]
    said = document(estimated(lines, profiles=profiles))
    assert said["unplaced_jobs"] > 0
    assert said["lanes"]["batch"]["jobs"] + said["unplaced_jobs"] == said["jobs"] == 1_900
    assert f"{said['unplaced_jobs']} jobs would fail: the lane batch was asked for" in said["warnings"][0]


# ---------------------------------------------------------------------- money


def test_the_calculator_is_exact_to_the_pico():
    (share,) = estimator().jobs(
        profile="default", jobs=1_000, input_tokens=1_200, output_tokens=300, now=START, deadline="24h"
    ).shares  # fmt: skip
    glob, home = (PRICES.row(HAIKU, "us-east-1", kind) for kind in ("global", "regional"))

    def cost(row, prefix):
        return 1_000 * (1_200 * pico_per_token(row[f"{prefix}input"]) + 300 * pico_per_token(row[f"{prefix}output"]))

    assert share.lane is Lane.BATCH
    assert share.cost_pico == share.low_pico == share.high_pico == cost(glob, "batch_")
    assert share.compared.home_on_demand_pico == cost(home, "")
    assert share.compared.home_batch_pico == cost(home, "batch_")
    assert share.compared.article_pico == cost(home, "") * 40 // 100
    assert share.rescue_pico == cost(glob, "")
    assert (share.read.method, share.written.method) == ("given", "given")


def test_another_home_changes_the_baselines_alone():
    moved = Profiles(v=1, profiles={n: p.model_copy(update={"home_region": "eu-central-1"})
                                    for n, p in PROFILES.profiles.items()})  # fmt: skip
    lines = [line(n) for n in range(200)]
    here, there = sums(estimated(lines).shares), sums(estimated(lines, profiles=moved).shares)
    assert here.cost_pico == there.cost_pico
    dear = PRICES.row(HAIKU, "eu-central-1", "regional")
    assert there.compared.home_on_demand_pico == there.read.tokens * pico_per_token(dear["input"]) + (
        there.written.tokens * pico_per_token(dear["output"])
    )


@pytest.mark.promise(7)
def test_an_unknown_price_is_null_with_its_count_and_never_zero():
    lines = [line(n, lane="on_demand") for n in range(20)] + [line(n) for n in range(20, 220)]
    said = orjson.loads(orjson.dumps(document(estimated(lines, prices=without("input", "us-east-2")))))
    assert said["lanes"]["on_demand"]["cost_usd"] is None
    assert said["lanes"]["batch"]["cost_usd"] > 0
    assert said["cost_usd"] is None
    assert said["unknown_price_jobs"] == 20
    assert "20 jobs of profile default: the price of on_demand is unknown" in said["warnings"]


@pytest.mark.promise(7)
def test_an_unknown_list_price_leaves_the_baselines_null():
    said = document(estimated([line(n) for n in range(200)], prices=without("batch_input", "us-east-1")))
    assert said["baselines"]["home_batch_usd"] is None
    assert said["baselines"]["home_on_demand_usd"] is not None
    assert any("200 jobs have no batch price at home" in warning for warning in said["warnings"])


def test_where_no_price_is_known_at_all_it_says_which_model():
    with pytest.raises(BadInput, match=f"no price is known for any of 5 jobs \\({HAIKU}\\)"):
        estimated([line(n) for n in range(5)], prices=without("input", "us-west-2", "us-east-1", "us-east-2"))


# ---------------------------------------------------------------------- tokens


def test_without_history_the_output_is_the_bound_and_the_plan_says_so():
    said = document(estimated([line(n) for n in range(200)]))
    assert (said["output_tokens"], said["token_method"]) == (200 * 100, "estimated")
    assert said["tokens"]["output"]["low"] == 0
    assert any("not known" in warning for warning in said["warnings"])


def test_history_replaces_the_bound_and_moves_no_lane():
    seen = Answers(100, 100 * 40, 100 * 25, 100 * 1_600, 100 * 625, 100 * 1_000, 100 * 50, 100 * 40)
    lines = [line(n) for n in range(200)]
    blind, told = estimated(lines), estimated(lines, history=History({(HAIKU, "default"): seen}))
    said = document(told)
    assert (said["output_tokens"], said["token_method"]) == (200 * 25, "history")
    assert said["input_tokens"] == round(blind.shares[0].read.tokens * 0.8)
    assert [share.lane for share in told.shares] == [share.lane for share in blind.shares]
    assert told.shares[0].cost_pico < blind.shares[0].cost_pico
    assert not said["warnings"]


# ---------------------------------------------------------------------- what is refused


def test_refused_lines_are_named_and_only_the_first_hundred_kept():
    body = encoded([line(1)]) + b"{broken\n" + b'"text"\n' * 2_500 + encoded([line(1), {"request": {"messages": 7}}])
    found = estimator().file([body[:100], body[100:]], profile="default", now=START, deadline="24h")
    assert (found.lines, found.jobs, found.refused_lines) == (2_504, 1, 2_503)
    assert len(found.refused) == MAX_REFUSALS
    assert [one.line for one in found.refused] == list(range(2, 2 + MAX_REFUSALS))
    assert found.refused[0].message == "the line is no valid JSON"


def test_a_repeated_id_and_a_wrong_field_say_why():
    found = estimated([line(1), line(1), line(2, request={"messages": 7})])
    assert [(one.line, one.code, one.pointer) for one in found.refused] == [
        (2, "duplicate_id", None),
        (3, "refused", "/request/messages"),
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "has no line"),
        (b"\n \n", "has no line"),
        (b"not json\nneither\n", "line 1: the line is no valid JSON"),
        (b'{"request": {"messages": []}}\n', "line 1, /request/messages: "),
    ],
)
def test_a_file_without_a_job_names_its_first_fault(body, said):
    with pytest.raises(BadInput, match=said):
        estimator().file([body], profile="default", now=START)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"profile": "nobody"}, "/profile"),
        ({"deadline": "soon"}, "/deadline"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "/deadline"),
        ({"jobs": 0}, "/jobs"),
        ({"jobs": -5}, "/jobs"),
        ({"jobs": MAX_JOBS + 1}, "/jobs"),
        ({"input_tokens": -1}, "/input_tokens"),
        ({"output_tokens": 0}, "/output_tokens"),
    ],
)
def test_the_calculator_names_the_wrong_field(given, pointer):
    order = {"profile": "default", "jobs": 10, "input_tokens": 5, "output_tokens": 5, "deadline": "1h", **given}
    with pytest.raises(BadInput) as refused:
        estimator().jobs(now=START, **order)
    assert refused.value.pointer == pointer


def test_a_model_that_aws_does_not_offer_is_named_with_those_it_does():
    odd = Profiles(v=1, profiles={"odd": PROFILES.named("default").model_copy(update={"model": "no.such-model"})})
    with pytest.raises(ConfigurationError, match=r"no\.such-model.*amazon\.nova"):
        estimator(profiles=odd).jobs(
            profile="odd", jobs=1, input_tokens=1, output_tokens=1, now=START, deadline="1h"
        )  # fmt: skip


def test_a_late_deadline_is_a_risk():
    found = estimated([line(n, lane="on_demand") for n in range(2_000)], deadline="30s")
    assert found.shares[0].expected_finish > START + timedelta(seconds=30)
    assert any("the deadline will probably be missed" in risk for risk in found.risks)


# ---------------------------------------------------------------------- speed


def test_the_bench_measures_plan_against_its_floors_in_bounded_memory():
    bench = Path(__file__).parents[2] / "bench" / "plan.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--lines", "3000", "--rounds", "1", "--json"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["plan"]["peak_mb"] < 200
    assert report["ratio"] > 0
