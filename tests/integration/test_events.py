"""Every sample event through the real handler it is meant for, deployed in the embedded cloud and called by Lambda's
API. What each must be answered with: tests/e2e/events.py.
"""

import json
import time
from pathlib import Path

import pytest

from tests.e2e.events import EVENTS, RUN_SAMPLES, SAMPLES, Sample, run_samples, settle_a_run
from tests.integration.driver import Driver

ROOT = Path(__file__).parents[2]


def ask(driver: Driver, sample: Sample, **about: str):
    """The function's answer, or its error document."""
    lambdas = driver.cloud.client("lambda")
    name = next(
        f["FunctionName"]
        for page in lambdas.get_paginator("list_functions").paginate()
        for f in page["Functions"]
        if f"-{sample.function}-" in f["FunctionName"]
    )
    event = sample.event(now_s=time.time(), **about)
    return json.loads(lambdas.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"].read())


@pytest.fixture(scope="module")
def settled_run(cloud) -> str:
    """A run that has ended in the session's cloud."""
    return settle_a_run(cloud)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_sample_event_is_understood(driver: Driver, sample: Sample):
    sample.check(ask(driver, sample))


@pytest.mark.parametrize("name", RUN_SAMPLES)
def test_a_step_of_a_workflow_says_of_a_settled_run_what_it_said_before(driver: Driver, settled_run: str, name: str):
    sample = next(sample for sample in run_samples(settled_run) if sample.name == name)
    sample.check(ask(driver, sample, run_id=settled_run))


def test_every_event_has_an_answer_it_must_get_and_every_function_an_event():
    assert [sample.name for sample in SAMPLES] == sorted(path.stem for path in EVENTS.glob("*.json"))
    assert {sample.name.partition(".")[0] for sample in SAMPLES} == {
        path.parent.name for path in (ROOT / "functions").glob("*/app.py")
    }
