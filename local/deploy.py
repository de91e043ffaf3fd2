"""Puts the very template that goes to AWS into the embedded cloud, through CloudFormation and the SAM transform."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.client import Clients
from local.errors import CloudError
from local.package import Template, artifact_key, load_template, package
from local.settings import STACK

MAX_INLINE_TEMPLATE_BYTES = 51_200  # CreateStack's limit for TemplateBody; larger ones go by TemplateURL
_TIMEOUT_S = 120.0


def deploy(clients: Clients, region: str, stack: str, template: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Creates `stack` in `region` and answers its outputs. Raises CloudError with CloudFormation's reasons.

    Of `parameters` only those are given that the template declares.
    """
    s3 = clients.get("s3", region)
    bucket = f"slackwater-artifacts-{region}"
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **where)

    def upload(body: bytes) -> str:
        key = artifact_key(body)
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        return f"s3://{bucket}/{key}"

    packed = package(load_template(template), template.parent, upload)
    body = json.dumps(packed, default=str).encode()  # `Version: 2012-10-17` reaches us as a date
    source: dict[str, str] = {"TemplateBody": body.decode()}
    if len(body) > MAX_INLINE_TEMPLATE_BYTES:
        key = f"{stack}.template.json"
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        source = {"TemplateURL": f"{clients.endpoint}/{bucket}/{key}"}
    cloudformation = clients.get("cloudformation", region)
    try:
        cloudformation.create_stack(
            StackName=stack,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=_declared(packed, parameters),
            **source,
        )
    except cloudformation.exceptions.ClientError as error:
        raise CloudError(f"{template} was refused: {error.response['Error']['Message']}") from error
    return _wait_created(cloudformation, stack)


def _declared(template: Template, parameters: Mapping[str, str]) -> list[dict[str, str]]:
    known = template.get("Parameters", {})
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items() if k in known]


def _wait_created(cloudformation: Any, stack: str) -> dict[str, str]:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.1)
    else:
        raise CloudError(f"stack {stack} was not ready after {_TIMEOUT_S:.0f} s")
    if found["StackStatus"] != "CREATE_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [
            f"  {e['LogicalResourceId']}: {e.get('ResourceStatusReason')}"
            for e in events
            if "FAILED" in e["ResourceStatus"]
        ]
        raise CloudError("\n".join([f"stack {stack} is {found['StackStatus']}", *reasons]))
    return {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}


def stop_schedules(clients: Clients, region: str) -> None:
    """Disables every rule with a schedule: it would beat at the wall clock's speed, beside our ticker."""
    events = clients.get("events", region)
    for page in events.get_paginator("list_rules").paginate():
        for rule in page["Rules"]:
            if rule.get("ScheduleExpression"):
                events.disable_rule(Name=rule["Name"])


def deploy_satellite(
    clients: Clients, region: str, home_template: Path, parameters: Mapping[str, str]
) -> dict[str, str]:
    """Deploys `satellite.yaml`, which lies beside the home template, in one further batch region; answers its outputs.

    The home stack's parameter SatelliteRegions must name the region. Events stay there: the emulated EventBridge
    delivers nothing across regions, so that the tick finds the ends of those batch jobs, as it must be able to.
    """
    return deploy(clients, region, STACK, home_template.parent / "satellite.yaml", parameters)


def function_name(clients: Clients, region: str, stack: str, logical_id: str) -> str | None:
    """The physical name of a function of the stack, None where the template has no such resource."""
    cloudformation = clients.get("cloudformation", region)
    for resource in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]:
        if resource["LogicalResourceId"] == logical_id:
            return str(resource["PhysicalResourceId"])
    return None
