"""Binary members of requests and responses: base64 text in our files (as on the wire), bytes for the SDK."""

import base64
import binascii
from typing import Any

from slackwater.model.errors import BadInput


def for_sdk(shape: Any, value: Any) -> Any:
    """`value` with the text of every blob of botocore's `shape` decoded. Raises BadInput for what is no base64."""
    return _walk(shape, value, _decoded)


def for_files(shape: Any, value: Any) -> Any:
    """`value` with every blob of botocore's `shape` as base64 text."""
    return _walk(shape, value, _encoded)


def _walk(shape: Any, value: Any, blob: Any) -> Any:
    kind = shape.type_name
    if kind == "blob":
        return blob(value)
    if kind == "structure" and isinstance(value, dict) and not shape.is_document_type:
        return {k: _walk(shape.members[k], v, blob) if k in shape.members else v for k, v in value.items()}
    if kind == "list" and isinstance(value, list):
        return [_walk(shape.member, v, blob) for v in value]
    if kind == "map" and isinstance(value, dict):
        return {k: _walk(shape.value, v, blob) for k, v in value.items()}
    return value


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise BadInput("binary content is base64 text") from None


def _encoded(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else value
