"""A stack that `sam deploy` made, from a build for this machine, in an embedded cloud that began with nothing.

Nothing here knows how it came to be: `make deploy-local` is run as a person runs it, and then `slackwater` is told the
stack's name and the endpoint, as on AWS. Only where it is asked for: `make test-e2e` does.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config

from tests.e2e.built import BUILD, make, shell_environment
from tests.integration.test_cli_local import COMMAND, converse, exported, slackwater, write

RATE = 60
pytestmark = pytest.mark.skipif(
    os.environ.get("SLACKWATER_TEST_DEPLOY") != "1", reason="takes some minutes: `make test-e2e` runs it"
)
PROBE = """
import sys
def handler(event, context):
    return {name: __import__(name).__file__ for name in event}
"""


class Deployed:
    """The stack, and the shell after `eval "$(slackwater local env)"`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shell = folder, exported(folder)
        self._session = boto3.session.Session("test", "test", region_name=self.shell["AWS_REGION"])

    def client(self, service: str) -> Any:
        endpoint = self.shell["AWS_ENDPOINT_URL"]
        return self._session.client(service, endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))

    def run(self, *arguments: str) -> str:
        """The command in that shell, which knows no folder of an embedded cloud."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env=shell_environment(**self.shell, TMPDIR=str(self.folder)),
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json"))
        return found

    def functions(self) -> dict[str, dict[str, Any]]:
        """The stack's functions by logical id."""
        resources = self.client("cloudformation").describe_stack_resources(StackName="slackwater")["StackResources"]
        lambdas = self.client("lambda")
        return {
            one["LogicalResourceId"]: lambdas.get_function_configuration(FunctionName=one["PhysicalResourceId"])
            for one in resources
            if one["ResourceType"] == "AWS::Lambda::Function"
        }

    def billed(self) -> dict[str, Any]:
        """What the Bedrock emulator has answered: `calls`, and `rows` of batch jobs."""
        url = self.shell["SLACKWATER_CONTROL_URL"] + "/_control/bill?totals=1"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())["totals"]
        return found

    def known(self, run: str) -> str:
        """The run, as soon as the ledger has it: its first worker may start slowly."""
        end = time.monotonic() + 120
        while run not in {one["run_id"] for one in self.json("runs")["runs"]}:
            assert time.monotonic() < end, f"no run {run}"
            time.sleep(1)
        return run


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    try:
        make("deploy-local", f"RATE={RATE}", SLACKWATER_LOCAL_DIR=str(folder / "cloud"))
        yield Deployed(folder)
    finally:
        slackwater(folder, "local", "down")


def test_check_finds_the_stack_by_its_name_and_has_nothing_to_object_to(deployed: Deployed):
    found = deployed.json("check")
    assert (found["ok"], found["stack"], found["region"]) == (True, "slackwater", "us-east-1")
    assert found["counts"]["failed"] == 0
    answers = {(one["what"], one["subject"]): one["state"] for one in found["findings"]}
    assert answers["satellite", "us-west-2"] == "ok"
    assert answers["permissions", "RouteFunction"] == "ok"


def test_the_functions_say_this_machines_processor_and_python(deployed: Deployed):
    processor = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    said = {(one["Runtime"], *one["Architectures"]) for one in deployed.functions().values()}
    assert said == {(python, processor)}


def test_everything_that_the_functions_import_lies_in_the_deployed_layer(deployed: Deployed):
    lambdas = deployed.client("lambda")
    names = ["slackwater", "boto3", "botocore", "pydantic", "pydantic_core", "orjson", "aws_lambda_powertools"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", PROBE)
    layers = [layer["Arn"] for layer in deployed.functions()["RouteFunction"]["Layers"]]

    def imported(name: str, layers: list[str]) -> dict[str, str]:
        lambdas.create_function(
            FunctionName=name, Runtime="python3.13", Role="arn:aws:iam::000000000000:role/probe", Handler="app.handler",
            Code={"ZipFile": code.getvalue()}, Layers=layers, Timeout=60,
        )  # fmt: skip
        found: dict[str, str] = json.loads(
            lambdas.invoke(FunctionName=name, Payload=json.dumps(names).encode())["Payload"].read()
        )
        return found

    with_layer, without = imported("probe-layer", layers), imported("probe-none", [])
    assert with_layer.keys() == set(names)
    assert [name for name, file in with_layer.items() if "/layer_0/python/" not in file] == []
    # The other side of it: without the layer they come from the environment of the tests, and the probe sees that.
    assert [name for name, file in without.items() if "/layer_0/" in file] == []


def test_the_built_layer_is_complete_by_itself():
    """Without an environment around it: every module of the product, from the layer alone."""
    layer = BUILD / "LibraryLayer" / "python"
    if not layer.exists():
        pytest.skip("nothing is built: no sam here")
    script = (
        "import sys, pkgutil, importlib, slackwater\n"
        "for one in pkgutil.walk_packages(slackwater.__path__, 'slackwater.'): importlib.import_module(one.name)\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "outside = [file for file in files if 'site-packages' in file]\n"
        "assert not outside, outside\n"
    )
    environment = shell_environment(
        PYTHONPATH=str(layer), AWS_DEFAULT_REGION="us-east-1", POWERTOOLS_TRACE_DISABLED="1"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_submitted_files_come_back_by_batch_and_on_demand_from_our_bedrock(deployed: Deployed):
    before = deployed.billed()
    write(deployed.folder / "patient.jsonl", [converse(number) for number in range(120)])
    write(deployed.folder / "urgent.jsonl", [converse(1000 + number) for number in range(20)])
    patient = deployed.run("submit", "patient.jsonl", "--deadline", "24h").strip()
    urgent = deployed.run("submit", "urgent.jsonl", "--deadline", "2h").strip()
    receipts = {run: deployed.json("watch", deployed.known(run)) for run in (urgent, patient)}
    assert [(one["status"], one["succeeded"], one["failed"]) for one in receipts.values()] == [
        ("settled", 20, 0),
        ("settled", 120, 0),
    ]
    assert receipts[urgent]["lanes"]["on_demand"]["jobs"] == 20
    assert receipts[patient]["lanes"]["batch"]["jobs"] == 120
    rows = [json.loads(line) for line in deployed.run("results", patient).splitlines()]
    assert [row["id"] for row in rows] == [f"q-{number}" for number in range(120)]
    assert {row["status"] for row in rows} == {"succeeded"}
    after = deployed.billed()
    assert (after["calls"] - before["calls"], after["rows"] - before["rows"]) == (20, 120)


def test_the_template_that_was_deployed_holds_nothing_of_the_embedded_cloud(deployed: Deployed):
    """Endpoints and clock come from the cloud: the template's own are AWS's, and the functions' variables too."""
    parameters = yaml.safe_load((BUILD / "template.yaml").read_text())["Parameters"]
    assert (parameters["ClockRate"]["Default"], parameters["ClockOrigin"]["Default"]) == ("1", "0")
    for function in deployed.functions().values():
        variables = function["Environment"]["Variables"]
        assert variables["SLACKWATER_CLOCK_RATE"] == "1"
        assert [name for name in variables if name.startswith("AWS_")] == []


def test_the_embedded_cloud_knows_the_stack_that_came_into_it(deployed: Deployed):
    status = json.loads(slackwater(deployed.folder, "local", "status", "--json").stdout)
    assert status["outputs"]["BucketName"].startswith("slackwater-")
    assert exported(deployed.folder)["SLACKWATER_BUCKET"] == status["outputs"]["BucketName"]
    again = slackwater(deployed.folder, "local", "up", "--json")
    assert json.loads(again.stdout)["error"]["code"] == "already_running"
    assert "started with --empty" in again.stderr
