"""Lines of Anthropic's Message Batches: `custom_id`, and `params` as the Messages API takes them.

https://platform.claude.com/docs/en/api/messages/batches and …/api/messages. What becomes of `params` follows from the
model of the line's profile: for Claude a native body (InvokeModel), in which every field stays what it is; for any
other model a Converse request, into which each field is carried over, or refused with its pointer. null counts as
absent.
"""

from typing import Any, Final

from slackwater.model.checks import fail, shortened, step
from slackwater.model.dialects.anthropic_converse import to_converse
from slackwater.model.dialects.row import Fit, Row, Usual, checked_id, checked_model
from slackwater.model.errors import BadInput
from slackwater.model.native import ANTHROPIC_VERSION, Family, NativeBody, Request, check, family_of, shape
from slackwater.model.request import PLAIN, inspect

ID_FIELD: Final = "custom_id"
LIMIT_POINTER: Final = "/params/max_tokens"
TEXT_FIELD: Final = "content"

_LINE_MEMBERS: Final = frozenset({"custom_id", "params"})
_NATIVE_FIELDS: Final = frozenset(
    {
        "anthropic_beta",
        "anthropic_version",
        "context_management",
        "max_tokens",
        "messages",
        "output_config",
        "stop_sequences",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html"""

_SETTLED: Final = frozenset({"model", "stream", "service_tier"})
"""Read here: they have one value that means what happens anyway, and go no further."""


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "custom_id" in found and "params" in found


def usual(_: Any) -> Usual | None:
    """No line is of a usual kind: what it becomes is not known before its profile is."""
    return None


def text_holder(found: Any) -> Any:
    """What holds the last text of a line, under TEXT_FIELD. Raises KeyError, IndexError, TypeError for another kind."""
    return found["params"]["messages"][-1]


def read(found: dict[str, Any]) -> Row:
    """The job of one line. Raises BadInput with the pointer into the line."""
    for name in found:
        if name not in _LINE_MEMBERS:
            fail(f"unknown field `{shortened(name)}`: take it out", step("", name))
    if "custom_id" not in found:
        fail("is missing", "/custom_id")
    caller_id = checked_id(found["custom_id"], "/custom_id")
    params = found.get("params")
    if type(params) is not dict:
        fail("must be an object", "/params")
    params = {name: value for name, value in params.items() if value is not None}
    model = checked_model(params["model"], "/params/model") if "model" in params else None
    if params.get("stream", False) is not False:
        fail("must be false: results are delivered whole", "/params/stream")
    if params.get("service_tier", "auto") not in ("auto", "standard_only"):
        fail("must be auto or standard_only: choose the lane instead", "/params/service_tier")
    if params.get("metadata") in ({}, {"user_id": None}):
        del params["metadata"]
    said = {name: value for name, value in params.items() if name not in _SETTLED}
    return Row(caller_id, NativeBody(said), PLAIN, (model, None, None, None), fit=_fit(said))


def _fit(params: dict[str, Any]) -> Fit:
    def fit(model_id: str) -> tuple[Request, frozenset[str]]:
        return _native(params, model_id) if family_of(model_id) is Family.CLAUDE else _converse(params)

    return fit


def _native(params: dict[str, Any], model_id: str) -> tuple[Request, frozenset[str]]:
    for name in params:
        if name not in _NATIVE_FIELDS:
            fail(f"`{shortened(name)}` cannot be carried over: InvokeModel has no such field", step("/params", name))
    request = NativeBody({"anthropic_version": ANTHROPIC_VERSION, **params})
    check(request, model_id, "/params")
    return request, shape(request)


def _converse(params: dict[str, Any]) -> tuple[Request, frozenset[str]]:
    request = to_converse(params, "/params")
    try:
        return request, inspect(request)
    except BadInput as exc:  # a limit of Converse that Anthropic does not have; its pointer is Converse's
        raise BadInput(f"cannot be carried over to Converse: {exc.pointer} {exc.message}", "/params") from None
