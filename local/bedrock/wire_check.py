"""Checks a JSON body against a botocore shape as the service would: enums and upper limits too, unlike the SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
from botocore.model import Shape, StructureShape

from .errors import invalid

Check = Callable[[Any, str], None]


def body_checker(service: str, operation: str) -> Check:
    """A checker of this operation's JSON body; it raises ApiError (ValidationException) that names the member."""
    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    if not isinstance(shape, StructureShape):
        raise TypeError(f"{operation} has no input")
    in_body = {name: member for name, member in shape.members.items() if "location" not in member.serialization}
    required = [name for name in shape.required_members if name in in_body]
    return _structure(in_body, required, False, {})


def _fail(path: str, rule: str) -> Exception:
    return invalid(f"1 validation error detected: Value at '{path or 'body'}' failed to satisfy constraint: {rule}")


def _compiled(shape: Shape, memo: dict[str, Check]) -> Check:
    """The checker of a shape, made once; recursive shapes find the one that is being made."""
    if shape.name in memo:
        return memo[shape.name]
    memo[shape.name] = lambda value, path: made(value, path)  # noqa: PLW0108  `made` is bound later
    made = _make(shape, memo)
    memo[shape.name] = made
    return made


def _make(shape: Any, memo: dict[str, Check]) -> Check:  # noqa: PLR0911  a table of kinds
    match shape.type_name:
        case "structure" if shape.is_document_type:
            return _anything
        case "structure":
            return _structure(shape.members, shape.required_members, shape.is_tagged_union, memo)
        case "list":
            return _list(_compiled(shape.member, memo), shape.metadata)
        case "map":
            return _map(_compiled(shape.key, memo), _compiled(shape.value, memo), shape.metadata)
        case "string":
            return _string(frozenset(shape.enum), shape.metadata)
        case "integer" | "long":
            return _number(int, shape.metadata)
        case "float" | "double":
            return _number((int, float), shape.metadata)
        case "boolean":
            return _of_type(bool, "Member must be a boolean")
        case "blob":
            return _of_type(str, "Member must be base64 text")
        case _:
            return _anything


def _anything(_value: Any, _path: str) -> None:
    """A document, or a kind that needs no check."""


def _of_type(kind: type, rule: str) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, kind):
            raise _fail(path, rule)

    return check


def _structure(members: Any, required: list[str], union: bool, memo: dict[str, Check]) -> Check:
    on_wire = {name: member.serialization.get("name", name) for name, member in members.items()}
    checks = {on_wire[name]: _compiled(member, memo) for name, member in members.items()}
    needed = [on_wire[name] for name in required]

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _fail(path, "Member must be an object")
        prefix = path + "." if path else ""
        for name in needed:
            if value.get(name) is None:
                raise _fail(prefix + name, "Member must not be null")
        for name, member in value.items():
            inner = checks.get(name)
            if inner is None:
                raise _fail(path, f"extraneous key [{name[:64]}] is not permitted")
            if member is not None:
                inner(member, prefix + name)
        if union and sum(member is not None for member in value.values()) != 1:
            raise _fail(path, "exactly one member of a union must be set")

    return check


def _size(size: float, limits: dict[str, Any], path: str, what: str) -> None:
    if size < limits.get("min", 0):
        raise _fail(path, f"Member must have {what} greater than or equal to {limits['min']}")
    if size > limits.get("max", size):
        raise _fail(path, f"Member must have {what} less than or equal to {limits['max']}")


def _list(member: Check, limits: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _fail(path, "Member must be a list")
        _size(len(value), limits, path, "length")
        for position, item in enumerate(value):
            member(item, f"{path}.{position}")

    return check


def _map(key: Check, value_check: Check, limits: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _fail(path, "Member must be a map")
        _size(len(value), limits, path, "length")
        for name, item in value.items():
            key(name, path)
            value_check(item, f"{path}.{name}")

    return check


def _string(enum: frozenset[str], limits: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _fail(path, "Member must be a string")
        _size(len(value), limits, path, "length")
        if enum and value not in enum:
            raise _fail(path, f"Member must satisfy enum value set: [{', '.join(sorted(enum))}]")

    return check


def _number(kind: type | tuple[type, ...], limits: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, kind) or not isinstance(value, int | float) or isinstance(value, bool):
            raise _fail(path, "Member must be a number of the right kind")
        _size(value, limits, path, "value")

    return check
