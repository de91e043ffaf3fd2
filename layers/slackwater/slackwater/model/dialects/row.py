"""What a dialect makes of one line."""

from typing import Any, NamedTuple

from slackwater.model.checks import fail
from slackwater.model.job import Lane
from slackwater.model.message import MAX_ID_CHARS


class Row(NamedTuple):
    """A line whose request was checked. None: the line does not say, the file's default applies.

    A NamedTuple because a survey makes millions: a frozen dataclass takes four times as long.
    """

    id: str | None
    request: dict[str, Any]
    traits: frozenset[str]
    model: str | None = None
    profile: str | None = None
    deadline: str | None = None  # as written: resolved from the file's LastModified
    lane: Lane | None = None
    tags: dict[str, str] | None = None


def checked_id(value: Any, at: str) -> str:
    """A caller's id. Raises BadInput for what is no text, empty or too long."""
    if type(value) is not str:
        fail("must be text", at)
    if not 0 < len(value) <= MAX_ID_CHARS:
        fail(f"must have 1 to {MAX_ID_CHARS} characters", at)
    return str(value)


def checked_model(value: Any, at: str) -> str:
    """A line's model name. Raises BadInput."""
    if type(value) is not str or not 0 < len(value) <= 2048:
        fail("must be the name of a model or a profile", at)
    return str(value)
