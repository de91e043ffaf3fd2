"""What people see of the quotas, what they set, and what Service Quotas tells."""

import json
from dataclasses import replace
from random import Random

import pytest

from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.model.clock import iso
from slackwater.model.profile import load_profiles
from slackwater.policy.capability import load_capability
from slackwater.policy.classify import Fault
from slackwater.policy.prices import load_price_book
from slackwater.policy.profile_check import offer_of
from slackwater.policy.quota import Dealings, Seen, Throttle, deal
from slackwater.policy.quota_limits import Told
from slackwater.policy.quota_names import Quota
from slackwater.usecases.check_stack import CannotAsk
from slackwater.usecases.quotas import SetQuota, ShowQuotas, SyncQuotas, pools_in_force
from tests.unit.rig import HAIKU

GLOBAL = "Global cross-region model inference"
REQUESTS = Quota(f"{GLOBAL} requests per minute for Anthropic Claude Haiku 4.5", 1000.0)
TOKENS = Quota(f"{GLOBAL} tokens per minute for Anthropic Claude Haiku 4.5", 4_000_000.0)
WEST, EAST, EAST_2 = (f"{region}|global|{HAIKU}" for region in ("us-west-2", "us-east-1", "us-east-2"))


class Account:
    """Service Quotas by region; a region without an entry may not be asked."""

    def __init__(self, listed):
        self.listed = listed

    def quotas(self, region):
        if region not in self.listed:
            raise CannotAsk("AccessDeniedException")
        return self.listed[region]


class World:
    def __init__(self, table, clock):
        self.clock, self.ledger = clock, QuotaLedger(table)
        self.health = RouteHealth(table, clock, Random(1))
        self.show = ShowQuotas(ledger=self.ledger, health=self.health, clock=clock)
        self.hand = SetQuota(ledger=self.ledger, clock=clock)

    def sync(self, listed, *, force=False):
        use_case = SyncQuotas(
            account=Account(listed), ledger=self.ledger, about=load_capability().model, clock=self.clock
        )
        return use_case(pools(), force=force)

    def told(self, pool=WEST):
        return self.ledger.get(pool)[1]

    def deal(self, **dealings):
        now_s = self.clock.now().timestamp()
        self.ledger.change(WEST, lambda pool: deal(pool, now_s, Dealings(**dealings), 0.04), now_s)

    def shown(self, pool=WEST):
        (found,) = [one for one in self.show(pools()) if one.pool.name == pool]
        return found


@pytest.fixture
def world(table, clock):
    return World(table, clock)


def pools(*names):
    capability, prices, profiles = load_capability(), load_price_book(), load_profiles()
    return pools_in_force({n: offer_of(n, profiles.named(n), capability, prices) for n in names or ("default",)})


ALL = {region: [REQUESTS, TOKENS] for region in ("us-west-2", "us-east-1", "us-east-2")}


def test_the_pools_are_those_of_all_calls_and_tiers_share_them():
    assert [pool.name for pool in pools()] == [EAST, EAST_2, WEST]
    both = pools("open-eu", "cheapest-anywhere")
    shared = [pool for pool in both if len(pool.profiles) == 2]
    assert shared
    assert all({route.tier for route in pool.routes} == {"default", "flex"} for pool in shared)


# ---------------------------------------------------------------------- Service Quotas


def test_limits_of_every_region_reach_the_ledger_with_who_said_so_and_when(world):
    synced = world.sync(ALL)
    assert (set(synced.told), synced.kept, synced.missing, synced.unreadable) == ({WEST, EAST, EAST_2}, (), {}, {})
    assert world.told() == Told(1000, 4_000_000, "service quotas", iso(world.clock.now()))
    assert world.ledger.get(WEST)[0].requests.told_per_s == pytest.approx(1000 / 60)


def test_a_limit_set_by_hand_is_kept_unless_forced(world):
    by_hand = world.hand.set(WEST, rpm=7, tpm=None)
    assert world.sync(ALL).kept == (WEST,)
    assert world.told() == by_hand
    assert WEST in world.sync(ALL, force=True).told
    assert (world.told().rpm, world.told().by) == (1000, "service quotas")


def test_a_newer_limit_replaces_an_older_one_of_service_quotas(world):
    world.sync(ALL)
    world.sync(ALL | {"us-west-2": [replace(REQUESTS, value=2000.0), TOKENS]})
    assert world.told().rpm == 2000


@pytest.mark.promise(7)
def test_what_is_not_listed_is_said_and_left_and_never_taken_for_zero(world):
    world.sync(ALL)
    before = world.told(EAST)
    synced = world.sync({"us-west-2": [TOKENS], "us-east-1": []})
    assert synced.missing == {
        WEST: "requests a minute: not listed",
        EAST: "requests a minute: not listed, tokens a minute: not listed",
    }
    assert synced.unreadable == {"us-east-2": "AccessDeniedException"}
    assert (world.told().rpm, world.told().tpm) == (None, 4_000_000)
    assert world.told(EAST) == before
    assert world.told(EAST_2).rpm == 1000


def test_a_quota_of_zero_is_how_aws_keeps_an_account_from_a_model_and_no_rate(world):
    none = [replace(REQUESTS, value=0.0), replace(TOKENS, value=0.0)]
    synced = world.sync(ALL | {"us-west-2": none})
    assert synced.missing == {WEST: "requests a minute: 0, AWS allows none, tokens a minute: 0, AWS allows none"}
    assert world.told() is None


def test_where_nothing_can_be_asked_nothing_changes(world):
    world.hand.set(WEST, rpm=7, tpm=9)
    synced = world.sync({})
    assert (synced.told, synced.kept, set(synced.unreadable)) == ({}, (), {"us-west-2", "us-east-1", "us-east-2"})
    assert (world.told().rpm, world.told().tpm) == (7, 9)


# ---------------------------------------------------------------------- by hand


def test_a_limit_that_is_not_given_stays(world):
    world.hand.set(WEST, rpm=60, tpm=None)
    world.hand.set(WEST, rpm=None, tpm=6000)
    assert (world.told().rpm, world.told().tpm, world.told().by) == (60, 6000, "hand")


def test_cleared_limits_are_gone_and_service_quotas_may_tell_them_again(world):
    world.hand.set(WEST, rpm=60, tpm=6000)
    world.hand.clear(WEST)
    assert world.told() is None
    assert WEST in world.sync(ALL).told


@pytest.mark.parametrize("limits", [{"rpm": 0, "tpm": None}, {"rpm": 5, "tpm": -1}])
def test_a_limit_below_one_is_refused(world, limits):
    with pytest.raises(ValueError, match="at least 1"):
        world.hand.set(WEST, **limits)
    assert world.told() is None


# ---------------------------------------------------------------------- what is shown


def test_a_pool_that_nobody_used_is_searched_for_and_nothing_is_claimed_of_it(world):
    shown = world.shown().as_json()
    assert (shown["told"], shown["input_ratio"], shown["output_ratio"], shown["answers"]) == (None, None, None, 0)
    assert shown["requests"] == {
        "known": "searching", "per_minute": 600, "in_use": 0, "throttles": 0, "throttled_at": None,
    }  # fmt: skip
    assert (shown["tokens"]["known"], shown["tokens"]["per_minute"]) == ("none seen", None)
    json.dumps(shown)


def test_what_is_in_use_is_what_has_not_flowed_back(world):
    world.hand.set(WEST, rpm=600, tpm=60_000)
    world.deal(calls=10, tokens_each=100)
    shown = world.shown()
    assert (shown.requests.known, shown.requests.per_minute, shown.requests.in_use) == ("told", 600, 10)
    assert (shown.tokens.known, shown.tokens.per_minute, shown.tokens.in_use) == ("told", 60_000, 1000)
    world.clock.advance(0.5)
    assert (world.shown().requests.in_use, world.shown().tokens.in_use) == (5, 500)
    world.clock.advance(60)
    assert world.shown().requests.in_use == 0


def test_what_throttles_taught_is_shown_as_learned(world):
    now = world.clock.now()
    world.deal(calls=30, tokens_each=10)
    world.clock.advance(2)
    world.deal(throttles=(Throttle(False, now.timestamp() + 1, 10),))
    limit = world.shown().requests
    assert (limit.known, limit.throttles, limit.throttled_at) == ("learned", 1, iso(world.clock.now()))
    assert limit.per_minute > 0


def test_calibration_and_resting_routes_are_shown(world):
    world.deal(seen=Seen(10, estimated_tokens=1000, input_tokens=900, max_tokens=1000, output_tokens=250))
    route = world.shown().pool.routes[0].name
    world.health.report(route, Fault.QUOTA_DAILY, world.clock.now())
    world.clock.advance(1)
    shown = world.shown()
    assert (shown.input_ratio, shown.output_ratio, shown.answers) == (0.9, 0.25, 10)
    assert list(shown.resting) == [route]
    assert list(world.shown(EAST).resting) == []
