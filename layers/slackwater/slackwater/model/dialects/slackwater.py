"""Slackwater's own dialect: a line is a job message (`model.message.JobMessage`) without what concerns queues only."""

from typing import Any, Final

from slackwater.model.checks import fail
from slackwater.model.dialects.row import Row
from slackwater.model.message import MAX_ID_CHARS, job_message
from slackwater.model.request import inspect

ID_FIELD: Final = "job_id"

_COMMON: Final = frozenset({"v", "job_id", "request"})
_FOR_QUEUES: Final = {
    "run_id": "the jobs of a file are one run: take it out",
    "reply_to": "the results of a file are delivered together: take it out",
    "result_dialect": "results of a file have one dialect: name it in the object's metadata (`result-dialect`)",
}


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "request" in found


def read(found: dict[str, Any]) -> Row:
    """The job of one line. Raises BadInput with the pointer into the line."""
    if found.keys() <= _COMMON and found.get("v", 1) == 1 and "request" in found:  # the usual line, without pydantic
        job_id = found.get("job_id")
        request = found["request"]
        if type(job_id) is str and 0 < len(job_id) <= MAX_ID_CHARS and type(request) is dict:
            return Row(job_id, request, inspect(request, "/request"))
    for name, remedy in _FOR_QUEUES.items():
        if found.get(name) is not None:
            fail(f"`{name}` does not belong in a file: {remedy}", f"/{name}")
    message = job_message(found)
    return Row(
        message.job_id,
        message.request,
        inspect(message.request, "/request"),
        profile=message.profile,
        deadline=message.deadline,
        lane=message.lane,
        tags=message.tags or None,
    )
