"""Small checks of JSON values that compose into the check of a whole document.

A check takes a value and the JSON pointer of its place, and raises BadInput that names the place and the remedy. It
never quotes the value: that may be somebody's prompt. Names of unknown fields are quoted, shortened.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Never

from slackwater.model.errors import BadInput

Check = Callable[[Any, str], None]

MAX_DEPTH: Final = 100
"""How deep free JSON may be nested: orjson writes at most 254 levels, and a request is wrapped several times on its
way."""

_NAME_CHARS: Final = 64
_BASE64: Final = r"[A-Za-z0-9+/]+={0,2}"


def fail(message: str, at: str) -> Never:
    """Raises the BadInput of one place."""
    raise BadInput(message, at)


def step(at: str, name: str) -> str:
    """The pointer of the member `name` below `at` (RFC 6901), shortened if the name is very long."""
    return f"{at}/{shortened(name).replace('~', '~0').replace('/', '~1')}"


def shortened(name: str) -> str:
    """A field's name as far as it belongs in a message."""
    return name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "…"


def text(low: int = 0, high: int | None = None, pattern: str | None = None, says: str = "") -> Check:
    """Text of `low` to `high` characters that matches `pattern` as a whole; `says` puts the pattern into words."""

    def check(value: Any, at: str) -> None:
        if type(value) is not str:
            fail("must be text", at)
        if len(value) < low:
            fail("must not be empty" if low == 1 else f"must have at least {low} characters", at)
        if high is not None and len(value) > high:
            fail(f"must have at most {high} characters", at)
        if pattern is not None and re.fullmatch(pattern, value) is None:  # compiled at first use, not at import
            fail(f"must be {says}", at)

    return check


def whole(low: int, high: int) -> Check:
    """A whole number from `low` to `high`."""

    def check(value: Any, at: str) -> None:
        if type(value) is not int or not low <= value <= high:
            fail(f"must be a whole number from {low} to {high}", at)

    return check


def number(low: float, high: float) -> Check:
    """A number from `low` to `high`."""

    def check(value: Any, at: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high:
            fail(f"must be a number from {low} to {high}", at)

    return check


def flag(value: Any, at: str) -> None:
    """true or false."""
    if type(value) is not bool:
        fail("must be true or false", at)


def one_of(*words: str) -> Check:
    """One of these words."""
    listed = ", ".join(words)

    def check(value: Any, at: str) -> None:
        if type(value) is not str or value not in words:
            fail(f"must be {listed}" if len(words) == 1 else f"must be one of {listed}", at)

    return check


def base64_text(value: Any, at: str) -> None:
    """Bytes, in JSON written as base64."""
    if type(value) is not str or not value or len(value) % 4 or re.fullmatch(_BASE64, value) is None:
        fail("must be bytes, written as base64", at)


def anything(value: Any, at: str) -> None:
    """Free JSON, nested at most MAX_DEPTH deep."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            fail(f"must not be nested more than {MAX_DEPTH} deep", at)
        below: list[Any] = []
        for entry in level:
            if type(entry) is dict:
                below.extend(entry.values())
            elif type(entry) is list:
                below.extend(entry)
        level, depth = below, depth + 1


def free_object(value: Any, at: str) -> None:
    """A JSON object of any content."""
    if type(value) is not dict:
        fail("must be an object", at)
    anything(value, at)


def items(check_item: Check, low: int = 0, high: int | None = None) -> Check:
    """A list of `low` to `high` entries that each pass."""

    def check(value: Any, at: str) -> None:
        if type(value) is not list:
            fail("must be a list", at)
        if len(value) < low:
            fail("must not be empty" if low == 1 else f"must have at least {low} entries", at)
        if high is not None and len(value) > high:
            fail(f"must have at most {high} entries", at)
        for index, entry in enumerate(value):
            check_item(entry, f"{at}/{index}")

    return check


def mapping(check_name: Check, check_value: Check, low: int = 0, high: int | None = None) -> Check:
    """An object with names of the caller's choice."""

    def check(value: Any, at: str) -> None:
        if type(value) is not dict:
            fail("must be an object", at)
        if len(value) < low or (high is not None and len(value) > high):
            fail(f"must have {low} to {high} entries" if high is not None else f"must have at least {low} entries", at)
        for name, entry in value.items():
            check_name(name, step(at, name))
            check_value(entry, step(at, name))

    return check


def record(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, refused: Mapping[str, str] | None = None
) -> Check:
    """An object with these members and no other; `refused` holds the remedy for members that people are likely to
    try."""
    members = {**required, **(optional or {})}
    remedies = dict(refused or {})

    def check(value: Any, at: str) -> None:
        if type(value) is not dict:
            fail("must be an object", at)
        for name in value:
            if name not in members:
                if name in remedies:
                    fail(f"`{name}` does not belong here: {remedies[name]}", step(at, name))
                fail(f"unknown field `{shortened(name)}`: take it out", step(at, name))
        for name in required:
            if name not in value:
                fail("is missing", step(at, name))
        for name, entry in value.items():
            members[name](entry, step(at, name))

    return check


def one_key(kinds: Mapping[str, Check]) -> Check:
    """A union as AWS writes it: an object with exactly one of these members."""
    listed = ", ".join(kinds)

    def check(value: Any, at: str) -> None:
        if type(value) is not dict:
            fail("must be an object", at)
        for name in value:
            if name not in kinds:
                fail(f"unknown field `{shortened(name)}`: must be one of {listed}", step(at, name))
        if len(value) != 1:
            fail(f"must have exactly one field, one of {listed}", at)
        for name, entry in value.items():
            kinds[name](entry, step(at, name))

    return check
