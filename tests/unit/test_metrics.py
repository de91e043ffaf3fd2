"""Metrics by region and lane: embedded format, few dimensions, throttles counted where the calls are made."""

import json

import pytest
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from functions.aggregate import app
from slackwater.adapters.metrics import emit
from slackwater.adapters.throttles import CountingThrottles
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane, Route
from slackwater.model.receipt import Share


class Refusing:
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def converse(self, route, lane, request, *, read_timeout_s):
        raise CallFailed("Code", self.fault)


def route(region: str) -> Route:
    return Route(region, "m", "m", "regional")


def test_each_region_is_a_metric_of_its_own_beside_the_service(capsys):
    metrics = Metrics(namespace="Slackwater", service="stack")
    emit(metrics, "Throttles", MetricUnit.Count, "region", {"us-east-1": 3, "us-west-2": 1})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["service"], line["region"], line["Throttles"]) for line in lines] == [
        ("stack", "us-east-1", [3.0]),
        ("stack", "us-west-2", [1.0]),
    ]
    assert {tuple(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) for line in lines} == {("service", "region")}


def test_a_dimension_with_many_values_is_refused():
    with pytest.raises(ValueError, match="run_id"):
        emit(Metrics(namespace="Slackwater", service="stack"), "Jobs", MetricUnit.Count, "run_id", {"r1": 1})


@pytest.mark.parametrize(("fault", "counted"), [("quota_requests", 2), ("quota", 2), ("capacity", 0), ("job", 0)])
def test_only_what_a_quota_refused_is_a_throttle_and_it_is_given_once(fault, counted):
    caller = CountingThrottles(Refusing(fault))
    for _ in range(2):
        with pytest.raises(CallFailed):
            caller.converse(route("eu-west-1"), Lane.ON_DEMAND, {}, read_timeout_s=1)
    assert caller.take() == ({"eu-west-1": counted} if counted else {})
    assert caller.take() == {}


def test_a_run_is_measured_by_the_exact_sums_of_its_receipt(capsys, monkeypatch):
    metrics = Metrics(namespace="Slackwater", service="stack")
    monkeypatch.setattr(app, "metrics", metrics)
    share = Share(jobs=5, cost_pico=55_000_000)
    lanes = {"on_demand": share.as_json(), "flex": Share().as_json(), "batch": Share().as_json()}
    listed = Share(cost_pico=60_500_000).as_json()["cost_usd"]
    app.measure({"lanes": lanes, "failed": 1, "refused_lines": 2, "unknown_price_jobs": 0, "list_usd": listed})
    metrics.flush_metrics()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["lane"], line.get("Jobs"), line.get("CostUsd")) for line in lines[:-1]] == [
        ("on_demand", [5.0], None),
        ("on_demand", None, [0.000055]),
    ]
    assert (lines[-1]["ListUsd"], lines[-1]["RecordsFailed"], lines[-1]["LinesRefused"]) == ([0.0000605], [1.0], [2.0])
