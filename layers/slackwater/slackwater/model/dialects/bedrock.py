"""Bedrock's own batch records, one a line: `recordId` (optional, the caller's own) and `modelInput`.

https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html. A record does not say whether its
`modelInput` is a Converse body or a native one (a batch job's `modelInvocationType` does): by the file's option
`request-type`, else by the fields that only one of the two has.
"""

from functools import partial
from typing import Any, Final

from slackwater.model.checks import fail, shortened, step
from slackwater.model.dialects.row import Row, Usual, checked_id, native_fit
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.native import NativeBody, RequestType, looks_native
from slackwater.model.request import PLAIN, inspect, plain_outline

ID_FIELD: Final = "recordId"
LIMIT_POINTER: Final = "/modelInput/inferenceConfig/maxTokens"
TEXT_FIELD: Final = "text"

_LINE_MEMBERS: Final = frozenset({"recordId", "modelInput"})


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "modelInput" in found


def usual(found: Any) -> Usual | None:
    """What `read` would say of a record with a plain Converse body; None: ask `read`."""
    if type(found) is not dict:
        return None
    outline = plain_outline(found.get("modelInput"))
    if outline is None:
        return None
    record_id = found.get("recordId")
    if record_id is not None and (type(record_id) is not str or not 0 < len(record_id) <= MAX_ID_CHARS):
        return None
    if len(found) != 1 + (record_id is not None):
        return None
    return record_id, found["modelInput"], outline, None


def text_holder(found: Any) -> Any:
    """What holds the last text of a line of the usual kind, under TEXT_FIELD. Raises KeyError, IndexError, TypeError
    for another kind."""
    return found["modelInput"]["messages"][-1]["content"][-1]


def read(found: dict[str, Any], request_type: RequestType | None = None) -> Row:
    """The job of one record. Raises BadInput with the pointer into the line."""
    for name in found:
        if name not in _LINE_MEMBERS:
            fail(f"unknown field `{shortened(name)}`: take it out", step("", name))
    record_id = checked_id(found["recordId"], "/recordId") if "recordId" in found else None
    body = found.get("modelInput")
    if type(body) is not dict:
        fail("must be an object", "/modelInput")
    native = looks_native(body) if request_type is None else request_type is RequestType.INVOKE_MODEL
    if native:
        return Row(record_id, NativeBody(body), PLAIN, fit=native_fit(body, "/modelInput"))
    return Row(record_id, body, inspect(body, "/modelInput"))


def reader_of(request_type: RequestType) -> Any:
    """`read` for a file whose records are all of one type."""
    return partial(read, request_type=request_type)
