"""Every function with every sample event in Lambda's own image: `sam build` and `sam local invoke`, against an embedded
cloud in which the same functions are deployed.

Wants a Docker engine and the image `public.ecr.aws/lambda/python:3.13-<processor>`, which a machine with a network
fetches once (`docker pull`); skipped with the reason elsewhere, and with SLACKWATER_TEST_DOCKER=0. `1` insists: then a
missing engine or image fails. One build, one cloud; each event is a container of its own, as `make invoke` does it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from local import cloud as clouds
from local import docker
from local.invoke import Answer, Built, invoke
from local.processes import REPOSITORY
from tests.e2e.events import NO_SUCH_RUN, RUN_SAMPLES, SAMPLES, Sample, run_samples, settle_a_run
from tests.integration.driver import Driver

RUNTIME = "python3.13"
IMAGE = docker.lambda_image(RUNTIME, docker.machine())
SWITCH = "SLACKWATER_TEST_DOCKER"


def why_not() -> str | None:
    """Why nothing can be invoked here; None where it can."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH} is 0"
    if (reason := docker.no_engine()) is not None:
        return reason
    if not docker.has_image(IMAGE):
        return f"the engine has no image {IMAGE}: docker pull {IMAGE}"
    if sam() is None:
        return "there is no sam: `make build` installs it"
    return None


def sam() -> Path | None:
    """The sam command of `make build`, else the one on the PATH."""
    ours, others = REPOSITORY / ".venv-tools" / "bin" / "sam", shutil.which("sam")
    return ours if ours.exists() else Path(others) if others else None


@pytest.fixture(scope="module")
def found_sam() -> Path:
    """sam, where there is everything else too; skips with the reason elsewhere."""
    reason, command = why_not(), sam()
    if reason is not None or command is None:
        if os.environ.get(SWITCH) == "1":
            pytest.fail(f"{SWITCH} is 1, but {reason}")
        pytest.skip(f"no sam local invoke here: {reason}")
    return command


@pytest.fixture(scope="module")
def built(found_sam: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The functions as they go to AWS, for this machine's processor."""
    folder, processor = tmp_path_factory.mktemp("built"), docker.machine()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
        "ARCH": processor,
        "RUNTIME": RUNTIME,
        "FOR_HOST": "0",
        "PYTHON": sys.executable,
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
    }
    done = subprocess.run(
        [
            *(found_sam, "build", "--template", REPOSITORY / "template.yaml"),
            *("--build-dir", folder / "build", "--cache-dir", folder / "cache"),
            *("--parameter-overrides", f"Architecture={processor}", f"Runtime={RUNTIME}"),
        ],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(folder / "build", RUNTIME, processor)


@pytest.fixture(scope="module")
def reachable_cloud(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.Cloud]:
    """The product in an embedded cloud that containers reach, in real time: some take half a minute to start."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith("AWS_ENDPOINT_URL")}
    folder = tmp_path_factory.mktemp("cloud")
    with clouds.start(state_dir=folder, clock_rate=1, docker=True, environ=outside) as running:
        yield running


@pytest.fixture(scope="module")
def settled_run(reachable_cloud: clouds.Cloud) -> str:
    """A run that the cloud's own workers have brought to its end."""
    return settle_a_run(reachable_cloud)


@pytest.fixture
def answer(found_sam: Path, built: Built, reachable_cloud: clouds.Cloud) -> Callable[..., Answer]:
    """Sends a sample to its function in a container of its own."""

    def ask(sample: Sample, run_id: str = NO_SUCH_RUN) -> Answer:
        event = sample.event(now_s=time.time(), run_id=run_id)
        return invoke(reachable_cloud, built, found_sam, sample.function, event)

    return ask


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_each_event_is_answered_by_its_function_in_lambdas_own_image(sample, answer):
    said = answer(sample)
    sample.judge(said.body, said.log)


@pytest.mark.parametrize("name", RUN_SAMPLES)
def test_each_step_of_a_workflow_says_of_a_settled_run_what_it_said_before(name, answer, settled_run):
    sample = next(sample for sample in run_samples(settled_run) if sample.name == name)
    said = answer(sample, settled_run)
    sample.judge(said.body, said.log)


def test_a_job_called_in_a_container_is_paid_once_and_counted_in_the_ledger(answer, reachable_cloud):
    job = next(sample for sample in SAMPLES if sample.name == "route.sqs.one_job")
    driver = Driver(reachable_cloud)
    request = json.loads(job.event(now_s=0)["Records"][0]["body"])["request"]
    for _ in range(2):  # SQS delivers at least once
        job.judge(*astuple(answer(job)))
        assert driver.paid([request]) == [1]
    meta = driver.meta(driver.run_of("triage"))
    assert int(meta["accepted"]["N"]) >= 1
