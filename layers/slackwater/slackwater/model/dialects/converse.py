"""Converse bodies, one a line, with an optional `id` and an optional `modelId`."""

from typing import Any, Final

from slackwater.model.dialects.row import MAX_MODEL_CHARS, Row, Usual, checked_id, checked_model
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.request import inspect, plain_outline

ID_FIELD: Final = "id"
LIMIT_POINTER: Final = "/inferenceConfig/maxTokens"
TEXT_FIELD: Final = "text"


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "messages" in found


def usual(found: Any) -> Usual | None:
    """What `read` would say of a line of the usual kind; None: ask `read`. Takes the line apart only if it knows it."""
    if type(found) is not dict:
        return None
    caller_id, model = found.get("id"), found.get("modelId")
    if caller_id is not None:
        if type(caller_id) is not str or not 0 < len(caller_id) <= MAX_ID_CHARS:
            return None
        del found["id"]
    if model is not None:
        if type(model) is not str or not 0 < len(model) <= MAX_MODEL_CHARS:
            _put_back(found, "id", caller_id)
            return None
        del found["modelId"]
    outline = plain_outline(found)
    if outline is None:
        _put_back(found, "id", caller_id)
        _put_back(found, "modelId", model)
        return None
    return caller_id, found, outline, None if model is None else (model, None, None, None)


def _put_back(found: dict[str, Any], name: str, value: str | None) -> None:
    if value is not None:
        found[name] = value


def text_holder(found: Any) -> Any:
    """What holds the last text of a line of the usual kind, under TEXT_FIELD. Raises KeyError, IndexError, TypeError
    for another kind."""
    return found["messages"][-1]["content"][-1]


def read(found: dict[str, Any]) -> Row:
    """The job of one line; takes its id and model out of `found`, what stays is the request. Raises BadInput."""
    caller_id = checked_id(found.pop("id"), "/id") if "id" in found else None
    model = checked_model(found.pop("modelId"), "/modelId") if "modelId" in found else None
    return Row(caller_id, found, inspect(found), (model, None, None, None))
