"""Converse bodies, one a line, with an optional `id` and an optional `modelId`."""

from typing import Any, Final

from slackwater.model.dialects.row import Row, checked_id, checked_model
from slackwater.model.request import inspect

ID_FIELD: Final = "id"


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "messages" in found


def read(found: dict[str, Any]) -> Row:
    """The job of one line; takes its id and model out of `found`, what stays is the request. Raises BadInput."""
    caller_id = checked_id(found.pop("id"), "/id") if "id" in found else None
    model = checked_model(found.pop("modelId"), "/modelId") if "modelId" in found else None
    return Row(caller_id, found, inspect(found), model)
