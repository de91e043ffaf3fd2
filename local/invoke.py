"""`sam local invoke` in an embedded cloud: a built function in Lambda's own image, with the environment that the same
function has in that cloud, its addresses as a container sees them.

sam gives a container only variables that the template declares for the function. So it is handed the built template
with the names of the missing ones added (where AWS is, who we are), and all values in its `--env-vars` file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import docker
from local.cloud import Cloud
from local.errors import CloudError
from local.package import Template, load_template
from local.settings import CREDENTIALS

Environments = dict[str, dict[str, str]]
_LOOPBACK = re.compile(r"(https?://)(?:127\.0\.0\.1|localhost)(?=[:/]|$)")
_TIMEOUT_S = 960.0  # a function's own limit, and a minute for its container


@dataclass(frozen=True)
class Answer:
    """What came back: the function's answer (or its error document), and everything that was logged on the way."""

    body: Any
    log: str


@dataclass(frozen=True)
class Built:
    """What `sam build` made: the folder with its template, and what it was built for."""

    folder: Path
    runtime: str
    architecture: str

    @property
    def template(self) -> Path:
        return self.folder / "template.yaml"

    @property
    def image(self) -> str:
        return docker.lambda_image(self.runtime, self.architecture)


def container_host(cloud: Cloud) -> str:
    """Where containers find `cloud`. Raises CloudError when it was not started for them."""
    if cloud.container_host is None:
        raise CloudError(
            "the embedded cloud that runs here cannot be reached from containers: "
            "`slackwater local down`, then `slackwater local up --docker`"
        )
    return cloud.container_host


def environments(cloud: Cloud, host: str) -> Environments:
    """The variables of each function of the stack by its logical id, for containers that find `cloud` at `host`."""
    found: Environments = {}
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=cloud.stack)["StackResources"]
    for resource in resources:
        if resource["ResourceType"] == "AWS::Lambda::Function":
            name = resource["PhysicalResourceId"]
            settings = cloud.client("lambda").get_function_configuration(FunctionName=name)
            variables = settings.get("Environment", {}).get("Variables", {}) | _surroundings(cloud)
            found[resource["LogicalResourceId"]] = {k: _as_seen_from(v, host) for k, v in sorted(variables.items())}
    if not found:
        raise CloudError(f"the stack {cloud.stack} has no functions yet")
    return found


def _surroundings(cloud: Cloud) -> dict[str, str]:
    """What the workers of the embedded cloud have from their process: where everything is, as whom, what time it is."""
    return {
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_ENDPOINT_URL_BEDROCK": cloud.bedrock_url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": cloud.runtime_url,
        **CREDENTIALS,
        "AWS_REGION": cloud.region,
        "AWS_DEFAULT_REGION": cloud.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SLACKWATER_CLOCK_RATE": f"{cloud.clock_rate:g}",
        "SLACKWATER_CLOCK_ORIGIN": str(cloud.clock_origin),
        "POWERTOOLS_TRACE_DISABLED": "true",  # there is no X-Ray daemon here
    }


def _as_seen_from(value: str, host: str) -> str:
    return _LOOPBACK.sub(rf"\g<1>{host}", value)


def declare(template: Template, known: Environments) -> Template:
    """The template in which every function declares every variable that `known` has for it."""
    resources = dict(template["Resources"])
    for function, variables in known.items():
        if function not in resources:
            continue
        properties = dict(resources[function]["Properties"])
        environment = dict(properties.get("Environment", {}))
        environment["Variables"] = dict.fromkeys(variables, "") | environment.get("Variables", {})
        resources[function] = {**resources[function], "Properties": properties | {"Environment": environment}}
    return {**template, "Resources": resources}


def sent_now(event: Any, now_s: float) -> Any:
    """The event with its SQS messages sent at `now_s` (epoch seconds): a job's deadline runs from there."""
    if not isinstance(event, dict) or not isinstance(event.get("Records"), list):
        return event
    moment = str(int(now_s * 1000))
    return {
        **event,
        "Records": [
            {**record, "attributes": {**record["attributes"], "SentTimestamp": moment}}
            if "SentTimestamp" in record.get("attributes", {})
            else record
            for record in event["Records"]
        ],
    }


def invoke(cloud: Cloud, built: Built, sam: Path, function: str, event: Any, *, live: bool = False) -> Answer:
    """Runs `function` with `event` in a container and gives what it answered; `live` sends the log to standard error
    while it is written, and none is given back.

    The image is pulled only where the engine does not hold it yet. Raises CloudError when sam brings no answer.
    """
    local_image = docker.has_image(built.image)
    host = container_host(cloud)
    known = environments(cloud, docker.resolve(host, built.image))
    # the template lies beside the built one: sam looks for the code from there
    with (
        tempfile.TemporaryDirectory() as scratch,
        tempfile.NamedTemporaryFile("w", dir=built.folder, prefix="invoke-", suffix=".json") as template,
    ):
        json.dump(declare(load_template(built.template), known), template, default=str)
        template.flush()
        values, given = Path(scratch) / "env.json", Path(scratch) / "event.json"
        values.write_text(json.dumps(known))
        given.write_text(json.dumps(event))
        arguments = [
            *(str(sam), "local", "invoke", function, "--template", template.name),
            *("--event", str(given), "--env-vars", str(values)),
            *("--parameter-overrides", f"Architecture={built.architecture}", f"Runtime={built.runtime}"),
            *(["--skip-pull-image"] if local_image else []),
        ]
        done = _run(arguments, live=live)
    log = done.stderr or ""
    return Answer(_answer(done.stdout, log), log)


def _run(arguments: list[str], *, live: bool) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  (arguments are ours)
            arguments,
            stdout=subprocess.PIPE,
            stderr=None if live else subprocess.PIPE,
            text=True,
            env=_sams_environment(),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise CloudError(f"there is no sam at {arguments[0]}: `make build` installs it") from None
    except subprocess.TimeoutExpired:
        raise CloudError(f"the container gave no answer within {_TIMEOUT_S:.0f} s") from None


def _answer(out: str, log: str) -> Any:
    """sam's exit status is 0 even where the function failed: the answer is what counts, and that there is one."""
    lines = [line for line in out.splitlines() if line.strip()]
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        raise CloudError(f"sam brought no answer:\n{out[-2000:]}{log[-4000:]}") from None


def _sams_environment() -> Mapping[str, str]:
    """The caller's, without AWS settings: sam would hand real credentials to the container, and ask STS for them."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAM_"))}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DOCKER_HOST": docker.engine_address(),
        "SAM_CLI_TELEMETRY": "0",
    }
