"""The lane of jobs: the rules one by one, then over everything at once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model.job import Lane, Route
from slackwater.model.profile import Mode
from slackwater.policy.capability import load_capability
from slackwater.policy.choose import Drain, JobLoad, Ways, choose
from slackwater.policy.durations import length_traits, longest_answer_tokens
from slackwater.policy.forecast import PRIOR, Forecast, latest_start
from slackwater.policy.prices import Rates, load_price_book
from slackwater.policy.routes import batch_routes, flex_routes, resolve_routes

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TRAITS = ("tools", "cache", "guardrail", "multi_turn", "structured_output", "media")
LONG = length_traits(64_000)  # more than most models can be called for


class Prices:
    """Prices by lane and region; what is not listed is unknown."""

    def __init__(self, **by_lane):
        self.by_lane = by_lane

    def rates(self, model_id, region, kind, lane, tier=None, *, input_tokens=None):
        price = self.by_lane.get(lane)
        if isinstance(price, dict):
            price = price.get(region)
        return None if price is None else Rates(price, 5 * price)


def routes(*regions, tier="default"):
    return tuple(Route(name, "m", "m", "regional", weight, tier) for name, weight in regions)


HALF = Prices(on_demand=100, flex=50, batch=50)
ALL = Ways(
    lanes=tuple(Lane),
    mode=Mode.WEIGHTED,
    calling=routes(("a", 5), ("b", 3)),
    flex=routes(("a", 5), ("b", 3), tier="flex"),
    batch=routes(("a", 5), ("b", 3)),
)


def ways(**changes):
    return Ways(**{name: getattr(ALL, name) for name in ALL.__slots__} | changes)


def decide(hours=24.0, *, load=None, prices=HALF, of=ALL, call_s=60.0, rescue_s=60.0, forecast=PRIOR):
    return choose(
        load or JobLoad(1000, 100_000, 50_000),
        deadline=NOW + timedelta(hours=hours),
        now=NOW,
        ways=of,
        prices=prices,
        forecast=forecast,
        drain=Drain(call_s, rescue_s),
    )


def jobs(traits=(), forced=None):
    return JobLoad(1000, 100_000, 50_000, frozenset(traits), forced)


def without_flex(**changes):
    return ways(lanes=(Lane.ON_DEMAND, Lane.BATCH), **changes)


def test_patient_jobs_go_by_batch():
    decision = decide(of=without_flex())
    assert decision.lane is Lane.BATCH
    assert decision.routes == ALL.batch
    assert decision.fallback is Lane.ON_DEMAND
    assert decision.expected_finish == NOW + timedelta(hours=2)
    assert decision.reasons[0] == "batch: the cheapest that meets the deadline"


def test_urgent_jobs_go_on_demand_and_say_why_not_by_batch():
    decision = decide(10 / 60, of=without_flex())
    assert decision.lane is Lane.ON_DEMAND
    assert any(reason.startswith("batch: had to begin by") and "prior" in reason for reason in decision.reasons)
    assert decision.warning is None


def test_at_one_price_flex_is_taken_if_its_drain_is_in_time_and_batch_if_not():
    assert decide().lane is Lane.FLEX
    assert decide(call_s=13 * 3600).lane is Lane.BATCH  # flex, and everything again on demand: 26 h


def test_batch_counts_the_chance_of_a_rescue():
    batch = next(way for way in decide().ways if way.lane is Lane.BATCH)
    flex = next(way for way in decide().ways if way.lane is Lane.FLEX)
    assert flex.cost_pico == 50 * 100_000 + 250 * 50_000
    assert flex.cost_pico < batch.cost_pico < flex.cost_pico * 1.01


@pytest.mark.promise(3)
def test_batch_is_chosen_only_if_all_that_it_might_leave_behind_could_still_be_called():
    hour = 3600.0
    assert drained(hours=15, call_s=6 * hour, rescue_s=6 * hour, one_s=hour).lane is Lane.BATCH
    tight = drained(hours=12, call_s=6 * hour, rescue_s=6 * hour, one_s=hour)
    assert tight.lane is Lane.ON_DEMAND
    assert tight.warning is None


def test_where_calling_all_would_be_late_as_well_batch_may_be_risked_and_says_so():
    hour = 3600.0
    risked = drained(hours=12, call_s=13 * hour, rescue_s=13 * hour, one_s=hour)
    assert risked.lane is Lane.BATCH
    assert "should more than one of its batch jobs be late" in risked.warning
    assert drained(hours=9, call_s=13 * hour, rescue_s=13 * hour, one_s=hour).lane is Lane.ON_DEMAND  # too late even so


def drained(hours, **drain):
    return choose(
        JobLoad(1000, 100_000, 50_000),
        deadline=NOW + timedelta(hours=hours),
        now=NOW,
        ways=without_flex(),
        prices=HALF,
        forecast=PRIOR,
        drain=Drain(**drain),
    )


def test_batch_that_is_no_cheaper_is_not_worth_the_wait():
    assert decide(of=without_flex(), prices=Prices(on_demand=100, batch=100)).lane is Lane.ON_DEMAND


def test_an_unknown_price_is_never_preferred_to_a_known_one_and_is_said():
    assert decide(prices=Prices(on_demand=100, batch=None), of=without_flex()).lane is Lane.ON_DEMAND
    decision = decide(prices=Prices())
    assert decision.lane is Lane.FLEX
    assert decision.cost_pico is None
    assert "flex: its price is unknown" in decision.reasons


def test_nothing_in_time_takes_the_fastest_with_a_warning():
    decision = decide(1, call_s=7200)
    assert decision.lane is Lane.ON_DEMAND
    assert "nothing meets the deadline" in decision.reasons[0]
    assert "2026-12-01T02:00:00.000Z" in decision.warning


@pytest.mark.parametrize("trait", TRAITS)
def test_what_batch_cannot_do_is_not_sent_there(trait):
    decision = decide(load=jobs([trait]), of=without_flex())
    assert decision.lane is Lane.ON_DEMAND
    assert len([reason for reason in decision.reasons if reason.startswith("batch: ")]) == 1


def test_structured_output_goes_by_batch_where_the_profile_asks_for_it():
    load = jobs(["structured_output"])
    assert decide(load=load, of=without_flex(batch_structured_output=True)).lane is Lane.BATCH
    load = jobs(["structured_output", "tools"])
    assert decide(load=load, of=without_flex(batch_structured_output=True)).lane is Lane.ON_DEMAND


def test_a_cached_prefix_has_no_known_flex_price():
    assert decide(load=jobs(["cache"])).lane is Lane.ON_DEMAND


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_enabled": False}, "switched off"),
        ({"batch": ()}, "bucket"),
        ({"lanes": (Lane.ON_DEMAND,)}, "the profile does not allow it"),
    ],
)
def test_batch_is_refused_with_the_reason(changes, reason):
    decision = decide(of=ways(flex=(), **changes))
    assert decision.lane is Lane.ON_DEMAND
    assert any("batch: " in r and reason in r for r in decision.reasons)


@pytest.mark.parametrize("lane", list(Lane))
def test_a_forced_lane_is_honoured(lane):
    decision = decide(load=jobs(forced=lane))
    assert decision.lane is lane
    assert decision.routes == ALL.of(lane)
    assert decision.reasons[0] == f"{lane}: asked for by the caller"


def test_a_forced_lane_that_cannot_be_taken_is_refused_with_the_reason():
    for decision in (
        decide(load=jobs(["tools"], Lane.BATCH)),
        decide(1, load=jobs(forced=Lane.BATCH)),
        decide(load=jobs(forced=Lane.FLEX), of=ways(flex=())),
        decide(load=jobs(forced=Lane.ON_DEMAND), of=ways(lanes=(Lane.FLEX,))),
    ):
        assert decision.lane is None
        assert "was asked for and cannot be taken: " in decision.reasons[0]


def test_a_forced_call_that_will_be_late_is_made_with_a_warning():
    decision = decide(1, load=jobs(forced=Lane.ON_DEMAND), call_s=7200)
    assert decision.lane is Lane.ON_DEMAND
    assert decision.warning is not None


def test_the_mode_decides_what_a_lane_costs():
    prices = Prices(on_demand={"a": 100, "b": 20})
    only = {"lanes": (Lane.ON_DEMAND,)}
    cost = 100_000 + 5 * 50_000
    assert decide(prices=prices, of=ways(mode=Mode.WEIGHTED, **only)).cost_pico == cost * (5 * 100 + 3 * 20) // 8
    assert decide(prices=prices, of=ways(mode=Mode.CHEAPEST, **only)).cost_pico == cost * 20
    assert decide(prices=prices, of=ways(mode=Mode.PRIMARY, **only)).cost_pico == cost * 100
    half_known = Prices(on_demand={"b": 20})
    assert decide(prices=half_known, of=ways(mode=Mode.WEIGHTED, **only)).cost_pico is None
    assert decide(prices=half_known, of=ways(mode=Mode.CHEAPEST, **only)).cost_pico == cost * 20


def test_real_prices_send_eu_jobs_by_flex_and_claude_by_batch():
    from slackwater.model.profile import load_profiles

    capability, prices = load_capability(), load_price_book()
    chosen = {}
    for name in ("default", "open-eu"):
        profile = load_profiles().named(name)
        calling = resolve_routes(profile, capability, prices)
        deployed = {"us-east-1", "us-west-2", "eu-north-1"}
        offer = Ways(
            lanes=profile.lanes,
            mode=profile.mode,
            calling=calling,
            flex=flex_routes(calling, capability),
            batch=batch_routes(profile, calling, capability, prices, deployed=deployed),
        )
        chosen[name] = decide(of=offer, prices=prices).lane
    assert chosen == {"default": Lane.BATCH, "open-eu": Lane.FLEX}


price = st.none() | st.integers(0, 300)
prices_of_all = st.builds(Prices, on_demand=price, flex=price, batch=price)
offers = st.builds(
    ways,
    lanes=st.lists(st.sampled_from(list(Lane)), min_size=1, unique=True).map(tuple),
    mode=st.sampled_from(list(Mode)),
    flex=st.sampled_from([(), ALL.flex]),
    batch=st.sampled_from([(), ALL.batch]),
    batch_enabled=st.booleans(),
)
loads = st.builds(
    JobLoad,
    jobs=st.integers(1, 10**6),
    input_tokens=st.integers(0, 10**9),
    max_output_tokens=st.integers(0, 10**9),
    traits=st.frozensets(st.sampled_from((*TRAITS, *LONG)), max_size=1),
    forced=st.none() | st.sampled_from(list(Lane)),
)
forecasts = st.just(PRIOR) | st.builds(
    lambda p50, more: Forecast(p50, p50 + more, "history", 20), st.integers(1, 10**5), st.integers(0, 10**5)
)
scenes = {
    "hours": st.floats(-1, 200),
    "load": loads,
    "prices": prices_of_all,
    "of": offers,
    "call_s": st.floats(0, 10**6),
    "rescue_s": st.floats(0, 10**5),
    "forecast": forecasts,
}


@settings(max_examples=300, deadline=None)
@given(**scenes)
def test_the_rules_hold_everywhere(**scene):
    hours, load, of = scene["hours"], scene["load"], scene["of"]
    decision = decide(**scene)
    assert decision == decide(**scene)
    assert decision.reasons
    assert all(decision.reasons)
    assert len(decision.ways) == len(Lane)
    if load.forced is not None:
        assert decision.lane in (load.forced, None)
    if decision.lane is None:
        return
    assert decision.lane in of.lanes
    assert decision.routes == of.of(decision.lane) != ()
    if decision.lane is Lane.BATCH:
        assert of.batch_enabled
        assert not load.traits & set(TRAITS)
        assert latest_start(NOW + timedelta(hours=hours), scene["forecast"], scene["rescue_s"]) >= NOW
    chosen = next(way for way in decision.ways if way.lane is decision.lane)
    if load.forced is None:
        assert chosen.in_time or not any(way.in_time for way in decision.ways)
        for way in decision.ways:
            if way.in_time and way.cost_pico is not None and chosen.in_time:
                assert chosen.cost_pico is not None
                assert chosen.cost_pico <= way.cost_pico
    assert (decision.warning is None) == chosen.in_time


@settings(max_examples=100, deadline=None)
@given(hours=st.floats(0.2, 200), more=st.floats(0, 100), load=loads, prices=prices_of_all, of=offers)
def test_patience_never_costs_more(hours, more, load, prices, of):
    if load.forced is not None:
        return
    sooner = decide(hours, load=load, prices=prices, of=of)
    later = decide(hours + more, load=load, prices=prices, of=of)
    if sooner.cost_pico is not None and not sooner.warning:
        assert later.cost_pico <= sooner.cost_pico


def test_an_answer_that_could_outlast_a_call_goes_by_batch_and_has_no_fallback():
    decision = decide(load=jobs(LONG))
    assert (decision.lane, decision.fallback) == (Lane.BATCH, None)
    refused = {way.lane: way.refused for way in decision.ways if way.refused}
    assert all("outlast a call" in refused[lane] for lane in (Lane.ON_DEMAND, Lane.FLEX) if lane in refused)
    assert Lane.ON_DEMAND in refused


@pytest.mark.parametrize("changes", [{"batch": ()}, {"batch_enabled": False}])
def test_an_answer_that_could_outlast_a_call_is_refused_where_there_is_no_batch(changes):
    decision = decide(load=jobs(LONG), of=ways(**changes))
    assert decision.lane is None
    assert any("outlast a call" in reason and "at most" in reason for reason in decision.reasons)


def test_a_calling_lane_that_is_asked_for_is_refused_where_the_answer_could_outlast_a_call():
    decision = decide(load=jobs(LONG, forced=Lane.ON_DEMAND))
    assert decision.lane is None and "outlast a call" in decision.reasons[0]


def test_an_answer_of_the_longest_callable_length_may_still_be_called():
    most = longest_answer_tokens(ALL.calling[0].base_model)
    assert decide(load=jobs(length_traits(most), forced=Lane.ON_DEMAND)).lane is Lane.ON_DEMAND
    assert decide(load=jobs(length_traits(most + 1), forced=Lane.ON_DEMAND)).lane is None
