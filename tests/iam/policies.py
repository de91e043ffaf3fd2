"""The functions' own statements, as they stand in the embedded IAM, and the decisions it has written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from local.cloud import Cloud


@dataclass(frozen=True)
class Decision:
    """One answer of IAM's."""

    role: str
    action: str
    resource: str
    allowed: bool
    condition: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Statement:
    """One statement of a role of the template, by its logical name there."""

    role: str
    policy: str
    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]

    def covers(self, decision: Decision, action: str, resource: str) -> bool:
        return (
            decision.role == self.role
            and decision.action == action
            and fnmatchcase(decision.resource, resource.replace("[", "[[]"))
        )


def decisions(cloud: Cloud) -> list[Decision]:
    """Everything IAM has decided about roles of ours, named as in the template; satellites' roles by their name."""
    names = {physical: logical for logical, physical in roles(cloud).items()}
    found = []
    for line in Path(cloud.logs(), "iam.jsonl").read_text().splitlines():
        said = json.loads(line)
        role = names.get(said["role"], said["role"])
        found.append(Decision(role, said["action"], said["resource"], said["allowed"], said.get("condition", {})))
    return found


def roles(cloud: Cloud) -> dict[str, str]:
    """Physical names of the templates' roles, by logical name; a satellite's with its region."""
    found = _roles_of(cloud, cloud.region)
    for region in cloud.satellites:
        found |= {f"{logical} in {region}": physical for logical, physical in _roles_of(cloud, region).items()}
    return found


def _roles_of(cloud: Cloud, region: str) -> dict[str, str]:
    listed = cloud.client("cloudformation", region).describe_stack_resources(StackName=cloud.stack)["StackResources"]
    return {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in listed if r["ResourceType"] == "AWS::IAM::Role"}


def statements(cloud: Cloud) -> list[Statement]:
    """What we wrote ourselves; the policies that SAM attaches (logs, X-Ray, the mapping's receives) are AWS's."""
    found = []
    for logical, physical in roles(cloud).items():
        for policy, document in inline(cloud, physical).items():
            for number, statement in enumerate(document["Statement"]):
                sid = statement.get("Sid", f"#{number}")
                found.append(Statement(logical, policy, sid, _many(statement["Action"]), _many(statement["Resource"])))
    return found


def inline(cloud: Cloud, role: str) -> dict[str, dict[str, Any]]:
    iam = cloud.client("iam")
    return {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }


def without(documents: Mapping[str, dict[str, Any]], action: str) -> dict[str, dict[str, Any]]:
    """The same policies without that action; a statement of which nothing is left goes."""
    found = {}
    for name, document in documents.items():
        kept = [
            {**statement, "Action": left}
            for statement in document["Statement"]
            if (left := [a for a in _many(statement["Action"]) if a != action])
        ]
        found[name] = {**document, "Statement": kept}
    return found


def write(iam: Any, role: str, documents: Mapping[str, dict[str, Any]]) -> None:
    for name, document in documents.items():
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def unused(written: list[Statement], made: list[Decision]) -> Iterator[tuple[str, str, str]]:
    """(role, statement, action or resource) that no decision needed."""
    for statement in written:
        for action in statement.actions:
            if not any(statement.covers(d, action, r) for d in made for r in statement.resources):
                yield statement.role, statement.sid, action
        for resource in statement.resources:
            if not any(statement.covers(d, a, resource) for d in made for a in statement.actions):
                yield statement.role, statement.sid, _short(resource)


def _many(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _short(resource: str) -> str:
    """A resource without what differs from cloud to cloud: `DataBucket/config/*`, `PackQueue`."""
    name = re.sub(r"^arn:aws:[a-z0-9]+:[^:]*:[^:]*:", "", resource)
    name = re.sub(r"slackwater-databucket-[0-9a-f]{13}", "DataBucket", name)
    return re.sub(r"^(?:function:|table/|role/|stateMachine:)?(?:slackwater-(\w+)-[0-9A-F]{13})?", r"\1", name)
