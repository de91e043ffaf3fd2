"""The embedded cloud for the integration tests: one for all of them with the product's template, one with a small rig.

    cloud            the product, clock at SLACKWATER_TEST_CLOCK_RATE (default 600) virtual seconds per real one
    rig_cloud        tests/integration/rig/template.yaml
    start_cloud      starts one more with the arguments of `local.cloud.start`; ends with the test

`eventually(ask, within_s)` asks until it is answered with something true.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from local import cloud as clouds
from tests.integration.driver import Driver

RIG = Path(__file__).parent / "rig" / "template.yaml"
Answer = TypeVar("Answer")


def poll(ask: Callable[[], Answer], within_s: float = 30.0, pause_s: float = 0.1) -> Answer:
    """The first true answer; fails the test with the last one when the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s; the last answer was {answer!r}")
        time.sleep(pause_s)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`poll`, for tests that cannot import from a conftest."""
    return poll


def _outside() -> dict[str, str]:
    """The environment without Bedrock endpoints that whoever runs the tests may have set."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AWS_ENDPOINT_URL")}


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.Cloud]:
    """The product in an embedded cloud."""
    rate = float(os.environ.get("SLACKWATER_TEST_CLOCK_RATE", "600"))
    with clouds.start(state_dir=tmp_path_factory.mktemp("cloud"), clock_rate=rate, environ=_outside()) as running:
        yield running


@pytest.fixture(scope="package")
def rig_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.Cloud]:
    """The small stack in an embedded cloud with a clock at 120."""
    folder = tmp_path_factory.mktemp("rig")
    with clouds.start(state_dir=folder, clock_rate=120, template=RIG, environ=_outside()) as running:
        yield running


@pytest.fixture
def start_cloud(tmp_path: Path) -> Iterator[Callable[..., clouds.Cloud]]:
    """Starts clouds that end with the test."""
    running: list[clouds.Cloud] = []

    def start(**arguments: Any) -> clouds.Cloud:
        given = {"state_dir": tmp_path / f"cloud-{len(running)}", "clock_rate": 120, "environ": _outside(), **arguments}
        running.append(clouds.start(**given))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def driver(cloud: clouds.Cloud) -> Driver:
    """The product in the session's cloud, as a user drives it."""
    return Driver(cloud)
