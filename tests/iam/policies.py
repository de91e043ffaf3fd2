"""The functions' own statements, as they stand in the embedded IAM, and the decisions it has written down."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """The same policies without that action, in whichever statement it stands."""
    return {
        name: {**document, "Statement": [left for s in document["Statement"] if (left := _less(s, "Action", action))]}
        for name, document in documents.items()
    }


def _less(statement: dict[str, Any], key: str, value: str) -> dict[str, Any] | None:
    """The statement without an action or resource; None if that was all it had."""
    left = [one for one in _many(statement[key]) if one != value]
    return {**statement, key: left} if left else None


def grants(statement: Statement) -> Iterator[tuple[str, str]]:
    """What can be taken away from it, one by one: `Action` or `Resource`, and which."""
    yield from (("Action", action) for action in statement.actions)
    yield from (("Resource", resource) for resource in statement.resources)


class Judge:
    """Asks the embedded IAM about the decisions that were made, under other policies."""

    def __init__(self, cloud: Cloud, made: list[Decision]) -> None:
        self._iam = cloud.client("iam")
        self._documents = {logical: inline(cloud, physical) for logical, physical in roles(cloud).items()}
        self._made: dict[str, dict[str, Decision]] = {}
        for decision in made:
            if decision.allowed:
                self._made.setdefault(decision.role, {}).setdefault(str(decision), decision)

    def needs(self, statement: Statement, key: str, value: str) -> bool:
        """Whether some decision that was made would be a denial if this alone were taken from the statement."""
        documents = dict(self._documents[statement.role])
        document = documents[statement.policy]
        kept = list(document["Statement"])
        number = next(n for n, one in enumerate(kept) if one.get("Sid", f"#{n}") == statement.sid)
        kept[number] = _less(kept[number], key, value)
        documents[statement.policy] = {**document, "Statement": [one for one in kept if one is not None]}
        actions = (value,) if key == "Action" else statement.actions
        resources = (value,) if key == "Resource" else statement.resources
        concerned = [
            d
            for d in self._made.get(statement.role, {}).values()
            if any(statement.covers(d, action, resource) for action in actions for resource in resources)
        ]
        return any(not self._allows(documents, d) and self._allows(self._documents[d.role], d) for d in concerned)

    def _allows(self, documents: Mapping[str, dict[str, Any]], decision: Decision) -> bool:
        written = [json.dumps(one) for one in documents.values() if one["Statement"]]
        entries = [
            {"ContextKeyName": name, "ContextKeyValues": [str(value)], "ContextKeyType": "string"}
            for name, value in decision.condition.items()
        ]
        if not written:
            return False
        answer = self._iam.simulate_custom_policy(
            PolicyInputList=written,
            ActionNames=[decision.action],
            ResourceArns=[decision.resource],
            ContextEntries=entries,
        )
        return bool(answer["EvaluationResults"][0]["EvalDecision"] == "allowed")


@contextmanager
def taken_away(cloud: Cloud, role: str, action: str) -> Iterator[None]:
    """The role without one action, in the embedded IAM, for a while."""
    iam, name = cloud.client("iam"), roles(cloud)[role]
    before = inline(cloud, name)
    write(iam, name, without(before, action))
    try:
        yield
    finally:
        write(iam, name, before)


def denials(cloud: Cloud, since: int = 0, within_s: float = 120) -> set[tuple[str, str]]:
    """Role and action of what was denied after the first `since` decisions, as soon as there is something."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = {(d.role, d.action) for d in decisions(cloud)[since:] if not d.allowed}
        if found:
            return found
        time.sleep(0.2)
    return set()


def managed(cloud: Cloud) -> set[str]:
    """Names of the policies of AWS's that any role has."""
    iam = cloud.client("iam")
    return {
        policy["PolicyName"]
        for role in roles(cloud).values()
        for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    }


def write(iam: Any, role: str, documents: Mapping[str, dict[str, Any]]) -> None:
    """Puts the documents; one of which no statement is left goes."""
    for name, document in documents.items():
        if document["Statement"]:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        else:
            iam.delete_role_policy(RoleName=role, PolicyName=name)


def unused(written: list[Statement], made: list[Decision]) -> Iterator[tuple[str, str, str]]:
    """(role, statement, action or resource) that no decision needed."""
    for statement in written:
        for action in statement.actions:
            if not any(statement.covers(d, action, r) for d in made for r in statement.resources):
                yield statement.role, statement.sid, action
        for resource in statement.resources:
            if not any(statement.covers(d, a, resource) for d in made for a in statement.actions):
                yield statement.role, statement.sid, short(resource)


def _many(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def short(resource: str) -> str:
    """A resource without what differs from cloud to cloud: `DataBucket/config/*`, `PackQueue`."""
    name = re.sub(r"^arn:aws:[a-z0-9]+:[^:]*:[^:]*:", "", resource)
    name = re.sub(r"slackwater-databucket-[0-9a-f]{13}", "DataBucket", name)
    return re.sub(r"^(?:function:|table/|role/|stateMachine:)?(?:slackwater-(\w+)-[0-9A-F]{13})?", r"\1", name)
