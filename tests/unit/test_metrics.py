"""Metrics by region and lane: embedded format, few dimensions, throttles counted where the calls are made."""

import json

import pytest
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from slackwater.adapters.metrics import emit
from slackwater.adapters.throttles import CountingThrottles
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane, Route


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
