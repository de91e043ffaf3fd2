"""Slackwater's own dialect: a line is a job message (`model.message.JobMessage`) without what concerns queues only."""

from typing import Any, Final

from slackwater.model.checks import fail
from slackwater.model.dialects.row import Row, Usual, native_fit
from slackwater.model.message import MAX_DEADLINE_CHARS, MAX_ID_CHARS, MAX_PROFILE_CHARS, job_frame
from slackwater.model.native import INVOKE_MODEL, NativeBody
from slackwater.model.request import PLAIN, inspect, plain_outline

ID_FIELD: Final = "job_id"
LIMIT_POINTER: Final = "/request/inferenceConfig/maxTokens"
TEXT_FIELD: Final = "text"

_FOR_QUEUES: Final = {
    "run_id": "the jobs of a file are one run: take it out",
    "reply_to": "the results of a file are delivered together: take it out",
    "result_dialect": "results of a file have one dialect: name it in the object's metadata (`result-dialect`)",
}


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "request" in found


def usual(found: Any) -> Usual | None:  # noqa: PLR0911
    """What `read` would say of a line of the usual kind, without pydantic; None: ask `read`."""
    if type(found) is not dict:
        return None
    outline = plain_outline(found.get("request"))
    if outline is None or found.get("v", 1) != 1:
        return None
    left = len(found) - 1 - ("v" in found)
    job_id = found.get("job_id")
    if job_id is not None:
        left -= 1
        if type(job_id) is not str or not 0 < len(job_id) <= MAX_ID_CHARS:
            return None
    if not left:
        return job_id, found["request"], outline, None
    profile, deadline = found.get("profile"), found.get("deadline")
    if profile is not None:
        left -= 1
        if type(profile) is not str or not 0 < len(profile) <= MAX_PROFILE_CHARS:
            return None
    if deadline is not None:
        left -= 1
        if type(deadline) is not str or not 0 < len(deadline) <= MAX_DEADLINE_CHARS:
            return None
    return None if left else (job_id, found["request"], outline, (None, profile, deadline, None))


def text_holder(found: Any) -> Any:
    """What holds the last text of a line of the usual kind, under TEXT_FIELD. Raises KeyError, IndexError, TypeError
    for another kind."""
    return found["request"]["messages"][-1]["content"][-1]


def read(found: dict[str, Any]) -> Row:
    """The job of one line. Raises BadInput with the pointer into the line."""
    for name, remedy in _FOR_QUEUES.items():
        if found.get(name) is not None:
            fail(f"`{name}` does not belong in a file: {remedy}", f"/{name}")
    message = job_frame(found)
    label = (None, message.profile, message.deadline, message.lane)
    tags = message.tags or None
    if message.request_type == INVOKE_MODEL:
        fit = native_fit(message.request, "/request")
        return Row(message.job_id, NativeBody(message.request), PLAIN, label, tags, fit)
    return Row(message.job_id, message.request, inspect(message.request, "/request"), label, tags)
