"""Which cloud a command talks to: the SDK's usual environment, or the embedded cloud that runs here."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local.cloud import Cloud
from local.processes import REPOSITORY
from slackwater.model.clock import ScaledClock
from slackwater_cli import embedded
from slackwater_cli.errors import Complaint
from slackwater_cli.screen import Screen

ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLOUDFORMATION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_DYNAMODB",
)
STACK: Final = "SLACKWATER_STACK"


@dataclass(frozen=True)
class Connection:
    """A deployed stack and how to reach it. `client(service, region)` is a boto3 client; without region the stack's."""

    client: Callable[[str, str | None], Any]
    stack: str
    region: str
    outputs: Mapping[str, str]
    clock: ScaledClock

    def output(self, name: str) -> str:
        """An output of the stack. Raises Complaint where the deployed template has none of that name."""
        value = self.outputs.get(name)
        if value is None:
            raise Complaint(
                f"stack {self.stack} in {self.region} has no output {name}: deploy Slackwater's template there, "
                "or name its stack by --stack",
                code="no_stack",
            )
        return value


def connect(screen: Screen, stack: str | None, environ: Mapping[str, str] | None = None) -> Connection:
    """The stack that `--stack`, SLACKWATER_STACK, `local up` or samconfig.toml names.

    Raises Complaint, and botocore's errors.
    """
    environ = os.environ if environ is None else environ
    name = stack or environ.get(STACK)
    if name is None and not any(environ.get(variable) for variable in ENDPOINTS):
        cloud = embedded.running()
        if cloud is not None:
            screen.note(f"(the embedded cloud at {cloud.endpoint})", "dim")
            return of_cloud(cloud)
    return _deployed(name or _from_samconfig(), environ)


def of_cloud(cloud: Cloud) -> Connection:
    """The stack in an embedded cloud."""
    return Connection(
        client=cloud.client,
        stack=cloud.stack,
        region=cloud.region,
        outputs=cloud.outputs,
        clock=ScaledClock(cloud.clock_rate, cloud.clock_origin),
    )


def _deployed(name: str | None, environ: Mapping[str, str]) -> Connection:
    import boto3  # noqa: PLC0415  (a third of a second, not for --help)
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import ClientError  # noqa: PLC0415

    if name is None:
        raise Complaint(
            "no stack: start the embedded cloud with `slackwater local up`, or name your stack "
            f"(--stack NAME, {STACK}, or stack_name in samconfig.toml)",
            code="no_stack",
        )
    session = boto3.session.Session(region_name=environ.get("AWS_REGION") or None)
    path_style = Config(s3={"addressing_style": "path"}) if environ.get("AWS_ENDPOINT_URL") else None

    def client(service: str, region: str | None = None) -> Any:
        return session.client(service, region_name=region, config=path_style)

    cloudformation = client("cloudformation")
    region = cloudformation.meta.region_name
    try:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise Complaint(
            f"there is no stack {name} in {region}: deploy it with `sam deploy`, or set AWS_REGION and --stack",
            code="no_stack",
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    rate, origin = environ.get("SLACKWATER_CLOCK_RATE"), environ.get("SLACKWATER_CLOCK_ORIGIN")
    return Connection(client, name, region, outputs, ScaledClock(float(rate or 1), float(origin or 0)))


def _from_samconfig() -> str | None:
    """`stack_name` of the default environment in samconfig.toml, here or in the checkout."""
    for folder in (Path.cwd(), REPOSITORY):
        try:
            document = tomllib.loads((folder / "samconfig.toml").read_text())
        except FileNotFoundError:
            continue
        except tomllib.TOMLDecodeError as error:
            raise Complaint(f"{folder / 'samconfig.toml'} cannot be read: {error}") from None
        sections = document.get("default", {})
        for section in ("deploy", "global"):
            name = sections.get(section, {}).get("parameters", {}).get("stack_name")
            if name:
                return str(name)
    return None
