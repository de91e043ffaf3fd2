"""Rows of a run's input blocks: `{"line", "id", "request"}`, and `request_type` where that is not `converse`,
`profile`, `deadline`, `lane`, `tags` where the file's default does not apply.

What is derived from a row is derived here, so that all readers derive alike."""

from collections.abc import Mapping
from typing import Any

from slackwater.model import ids
from slackwater.model.native import INVOKE_MODEL, NativeBody, Request, plain, typed


def default_id(line: int) -> str:
    """The id of a line that has none of its own."""
    return f"line-{line}"


def caller_id(row: Mapping[str, Any]) -> str | None:
    """The caller's own id, None for the default one. (A caller who writes `line-17` into line 17 means the same
    thing.)"""
    own: str = row["id"]
    return None if own == default_id(row["line"]) else own


def job_id(run_id: str, row: Mapping[str, Any]) -> str:
    """The job of a row."""
    return ids.job_of_line(run_id, caller_id(row), row["line"])


def request_of(row: Mapping[str, Any]) -> Request:
    """The request of a row (or of a job message: it says so alike)."""
    return typed(row["request"], row.get("request_type"))


def request_fields(request: Request) -> dict[str, Any]:
    """What a row says of its request."""
    if isinstance(request, NativeBody):
        return {"request": plain(request), "request_type": INVOKE_MODEL}
    return {"request": request}
