"""Every function with every sample event through Lambda's real runtime interface, without Docker.

AWS's runtime interface emulator (the program inside `aws-sam-cli`) serves the runtime API, AWS's `awslambdaric` asks it
for events and calls the handler that the built template names, in a process of its own for each function. That process
sees the function's folder, its layer and the runtime client: nothing of the environment of the tests. Its variables are
those of the same function in an embedded cloud, which it reaches. Skipped with the reason where sam is missing and
where there is no such program (macOS).
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import cloud as clouds
from local.invoke import environments
from local.processes import REPOSITORY, free_port
from tests.e2e.built import build_local
from tests.e2e.events import NO_SUCH_RUN, RUN_SAMPLES, SAMPLES, Sample, run_samples, settle_a_run

TOOLS = REPOSITORY / ".venv-tools"
RUNTIME_CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
FUNCTIONS = sorted({sample.function for sample in SAMPLES})


@dataclass(frozen=True)
class Function:
    """What the built template says of one function."""

    name: str
    handler: str
    code: Path
    layers: tuple[Path, ...]
    memory_mb: int
    timeout_s: int


def functions_of(build: Path) -> dict[str, Function]:
    """The functions of a built template, by logical id."""
    template = yaml.safe_load((build / "template.yaml").read_text())
    shared = template["Globals"]["Function"]
    found = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            own = {**shared, **resource["Properties"]}
            layers = [template["Resources"][layer["Ref"]]["Properties"]["ContentUri"] for layer in own["Layers"]]
            found[name] = Function(
                name, own["Handler"], build / own["CodeUri"], tuple(build / layer for layer in layers),
                own["MemorySize"], own["Timeout"],
            )  # fmt: skip
    return found


def emulator() -> Path:
    """AWS's runtime interface emulator for this processor; skips with the reason where there is none."""
    if sys.platform != "linux":
        pytest.skip("the runtime interface emulator is a program for Linux")
    processor = "arm64" if platform.machine() == "aarch64" else "x86_64"
    found = next(TOOLS.glob(f"lib/python3.*/site-packages/samcli/local/rapid/aws-lambda-rie-{processor}"), None)
    if found is None:
        pytest.skip("no runtime interface emulator here: `make test-e2e` installs it with sam (.venv-tools)")
    return found


def client_alone(folder: Path) -> Path:
    """A folder with the runtime client and what it needs, and nothing else of this environment."""
    folder.mkdir()
    for name in RUNTIME_CLIENT:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{name} is not installed: make setup-test"
        place = Path(spec.origin)
        source = place.parent if place.stem == "__init__" else place
        (folder / source.name).symlink_to(source)
    return folder


class Environment:
    """One execution environment of one function: the emulator, and the runtime that it starts."""

    def __init__(self, function: Function, variables: dict[str, str], client: Path, log: Path) -> None:
        self.function, self.log = function, log
        self._port = free_port("127.0.0.1")
        path = [function.code, *(layer / "python" for layer in function.layers), client]
        env = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": ":UTC", **variables,
            "AWS_LAMBDA_FUNCTION_NAME": function.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout_s),
            "LAMBDA_TASK_ROOT": str(function.code), "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        command = [
            *(emulator(), "--log-level", "error"),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
            *("--runtime-api-address", f"127.0.0.1:{free_port('127.0.0.1')}"),
            *(sys.executable, "-S", "-m", "awslambdaric", function.handler),  # -S: no site-packages
        ]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, env=env, cwd=function.code, stdout=out, stderr=out, start_new_session=True
            )
        self._await_port()

    def _await_port(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail(f"the emulator did not start: {self.log.read_text()}")

    def invoke(self, event: Any) -> tuple[Any, str]:
        """The answer, and what was logged meanwhile. One at a time: the emulator can no more."""
        begin = self.log.stat().st_size
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.function.timeout_s + 30)
        connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body + self.log.read_bytes()
        connection.close()
        return json.loads(body), self.log.read_bytes()[begin:].decode(errors="replace")

    def stop(self) -> None:
        """Ends both; the emulator ends its runtime."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def build() -> Path:
    emulator()
    return build_local()


@pytest.fixture(scope="module")
def cloud(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.Cloud]:
    outside = {k: v for k, v in os.environ.items() if not k.startswith("AWS_ENDPOINT_URL")}
    with clouds.start(state_dir=tmp_path_factory.mktemp("cloud"), clock_rate=20, environ=outside) as running:
        yield running


class Lambda:
    """The functions, each in its environment as soon as it is asked for."""

    def __init__(self, build: Path, cloud: clouds.Cloud, folder: Path) -> None:
        self.functions = functions_of(build)
        self._variables = environments(cloud, "127.0.0.1")
        self._client, self._folder = client_alone(folder / "client"), folder
        self._running: dict[str, Environment] = {}

    def invoke(self, function: str, event: Any) -> tuple[Any, str]:
        if function not in self._running:
            self._running[function] = Environment(
                self.functions[function], self._variables[function], self._client, self._folder / f"{function}.log"
            )
        return self._running[function].invoke(event)

    def stop(self) -> None:
        for each in self._running.values():
            each.stop()


@pytest.fixture(scope="module")
def lambdas(build: Path, cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambda]:
    running = Lambda(build, cloud, tmp_path_factory.mktemp("runtimes"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def settled_run(cloud: clouds.Cloud) -> str:
    """A run that the cloud's own workers have brought to its end."""
    return settle_a_run(cloud)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_each_event_is_answered_by_its_function_through_the_runtime_interface(sample: Sample, lambdas: Lambda):
    sample.judge(*lambdas.invoke(sample.function, sample.event(now_s=time.time())))


@pytest.mark.parametrize("name", RUN_SAMPLES)
def test_each_step_of_a_workflow_says_of_a_settled_run_what_it_said_before(
    name: str, lambdas: Lambda, settled_run: str
):
    sample = next(sample for sample in run_samples(settled_run) if sample.name == name)
    sample.judge(*lambdas.invoke(sample.function, sample.event(now_s=time.time(), run_id=settled_run)))


def test_every_function_of_the_template_is_among_them(lambdas: Lambda):
    assert sorted(lambdas.functions) == FUNCTIONS


def test_a_function_without_its_layer_answers_nothing(build: Path, tmp_path: Path):
    """The other side of it: what answers above is the built layer, not the environment of the tests."""
    bare = functions_of(build)["WaitFunction"]
    bare = Function(bare.name, bare.handler, bare.code, (), bare.memory_mb, bare.timeout_s)
    environment = Environment(bare, {}, client_alone(tmp_path / "client"), tmp_path / "bare.log")
    try:
        with pytest.raises(AssertionError, match="Unable to import module"):
            environment.invoke({"run_id": NO_SUCH_RUN})
    finally:
        environment.stop()
