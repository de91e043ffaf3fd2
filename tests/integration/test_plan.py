"""A plan before against the receipt after, through the whole product."""

from random import Random

import orjson
import pytest

from slackwater.policy.capability import load_capability
from slackwater.policy.learned import History
from slackwater.policy.prices import load_price_book
from slackwater.usecases.estimate import Estimator
from slackwater.usecases.estimated import document
from slackwater.usecases.learn import learn
from slackwater.usecases.planner import Planner
from slackwater_cli.connection import of_cloud
from slackwater_cli.plan_stack import told_by
from tests.integration.driver import Driver, check, converse

WORDS = ("how", "many", "apples", "does", "Ada", "have", "if", "each", "of", "her", "seven", "friends", "takes", "two")


def questions(name: str, count: int) -> list[dict]:
    """Of the same kind and of varied length: from 8 to 80 words, with room to answer."""
    random = Random(name)
    texts = (" ".join(random.choices(WORDS, k=random.randint(8, 80))) for _ in range(count))
    return [converse(f"{name} {n}: {text}?", max_tokens=300, id=f"{name}-{n}") for n, text in enumerate(texts)]


def plan(driver: Driver, lines: list[dict], history: History) -> dict:
    """As `slackwater plan --stack`, but for what the stack's own calls taught it."""
    capability, prices = load_capability(), load_price_book()
    told = told_by(of_cloud(driver.cloud), capability, prices)
    planner = Planner(
        profiles=told.profiles,
        prices=prices,
        capability=capability,
        stack=told.stack,
        forecasts=told.forecasts,
        drains=told.drains,
        canaries=told.canaries,
    )
    estimator = Estimator(planner=planner, profiles=told.profiles, prices=prices, history=history)
    body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    found = estimator.file([body], profile="default", now=told.now, deadline="24h")
    return orjson.loads(orjson.dumps(document(found)))


@pytest.mark.promise(7)
def test_a_plan_with_history_is_within_five_percent_of_the_receipt(driver: Driver):
    earlier = driver.settled(driver.drop("earlier", questions("earlier", 200), deadline="24h"))
    results = b"".join(orjson.dumps(row) + b"\n" for row in earlier.rows)
    history = learn([results], earlier.receipt)

    lines = questions("later", 200)
    planned, blind = plan(driver, lines, history), plan(driver, lines, History())
    run = driver.settled(driver.drop("later", lines, deadline="24h"))
    check(run, 200)

    assert planned["token_method"] == "history"
    assert {name: way["jobs"] for name, way in planned["lanes"].items()} == {
        name: lane["jobs"] for name, lane in run.receipt["lanes"].items()
    }
    assert set(planned["ways"][0]["regions"]) == set(run.receipt["regions"])
    for name in ("cost_usd", "input_tokens", "output_tokens"):
        assert planned[name] == pytest.approx(run.receipt[name], rel=0.05), name
    assert planned["baselines"]["home_on_demand_usd"] == pytest.approx(run.receipt["list_usd"], rel=0.05)
    for side in ("input", "output"):
        bar = planned["tokens"][side]
        assert bar["low"] <= run.receipt[f"{side}_tokens"] <= bar["high"]

    # without history the same plan says that it knows the bound alone, and the bound holds
    assert blind["tokens"]["output"]["method"] == "max_tokens"
    assert run.receipt["output_tokens"] < blind["output_tokens"] == 200 * 300
    assert run.receipt["cost_usd"] <= blind["cost_high_usd"]
