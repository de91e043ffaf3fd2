"""The bench of costs: what is counted has a price, and the idle sum follows the template."""

import re
from collections import Counter
from pathlib import Path

import pytest

from bench import costs
from local.package import load_template

TEMPLATE = load_template(Path(__file__).parents[2] / "template.yaml")


def idle(template=TEMPLATE) -> dict[str, float]:
    rows = costs.idle(
        template, tick_s=0.1, tick_calls=Counter({"dynamodb:Query": 8, "sqs:ReceiveMessage": 3}), metrics=3
    )
    return {what: usd for what, usd, _ in rows}


def test_one_alarm_more_costs_ten_cents_a_month():
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {}}
    more = {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], "Another": alarm}}
    assert idle(more)["alarms"] - idle()["alarms"] == pytest.approx(0.10)


def test_idle_ticks_are_priced_by_their_requests_and_memory():
    ticks = 43_200
    assert idle()["tick: Lambda"] == pytest.approx(ticks * (0.1 * 1 * 0.0000133334 + 0.2e-6))
    assert idle()["tick: table and dead-letter queues"] == pytest.approx(ticks * (8 * 0.125e-6 + 3 * 0.4e-6))


def test_a_transaction_costs_two_units_an_item_and_a_list_as_much_as_a_put():
    units = costs.requests({"dynamodb:PutItem transacted": 5, "s3:ListBucket": 1, "s3:PutObject": 2, "s3:GetObject": 7})
    assert units == {"dynamodb write unit": 10, "s3 put or list": 3, "s3 get": 7}


def test_what_has_no_price_is_no_zero():
    with pytest.raises(ValueError, match="lambda:InvokeFunction"):
        costs.requests({"lambda:InvokeFunction": 1})


def test_the_page_of_costs_is_of_this_template():
    """What follows from the template alone; what is counted changes with each run of `make costs`."""
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text()
    written = dict(re.findall(r"^\| ([\w ]+?) \| ([\d.]+) \|", page, re.MULTILINE))
    for what in ("queue polls by Lambda", "alarms", "dashboard"):
        assert written[what] == f"{idle()[what]:.2f}", f"{what}: run `make costs`"
