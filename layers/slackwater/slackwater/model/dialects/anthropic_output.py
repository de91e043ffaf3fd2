"""Result lines as Anthropic's Message Batches API writes them:
https://platform.claude.com/docs/en/build-with-claude/batch-processing, *Retrieving batch results*."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from slackwater.model.dialects.answers import converse_response

_STOPS: Final[Mapping[str, str]] = MappingProxyType(
    {"guardrail_intervened": "refusal", "content_filtered": "refusal"}
)  # the other words are the same; those of malformed output have no counterpart and become `end_turn`
_KNOWN_STOPS: Final = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded", "pause_turn"}
)
_ERROR_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "refused": "invalid_request_error",
        "duplicate_id": "invalid_request_error",
        "id_conflict": "invalid_request_error",
        "lane_refused": "invalid_request_error",
        "no_lane": "invalid_request_error",
        "too_long_for_a_call": "invalid_request_error",
        "ValidationException": "invalid_request_error",
        "batch_400": "invalid_request_error",
        "access_denied": "permission_error",
        "ResourceNotFoundException": "not_found_error",
        "ThrottlingException": "rate_limit_error",
        "ModelTimeoutException": "timeout_error",
        "ServiceUnavailableException": "overloaded_error",
    }
)
"""https://platform.claude.com/docs/en/api/errors; every other code is an `api_error`."""


def output_line(result: Mapping[str, Any]) -> dict[str, Any]:
    """The output line of one result line, whether its job succeeded, failed or was refused."""
    return {"custom_id": result["id"], "result": _result(result)}


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    if result["status"] == "succeeded":
        return {"type": "succeeded", "message": _message(result)}
    error = result["error"]
    if error["code"] == "cancelled":
        return {"type": "canceled"}
    if error["code"] == "deadline_missed":
        return {"type": "expired"}
    at = f" ({error['pointer']})" if error.get("pointer") else ""
    kind = _ERROR_TYPES.get(error["code"], "api_error")
    inner = {"type": kind, "message": f"{error['code']}: {error['message']}{at}"}
    return {"type": "errored", "error": {"type": "error", "error": inner}}


def _message(result: Mapping[str, Any]) -> dict[str, Any]:
    response = result["response"]
    if response.get("type") == "message" and "content" in response:  # Claude's own answer
        return dict(response)
    said = converse_response(result)
    content = [block for part in said["output"]["message"]["content"] for block in _blocks(part)]
    stop = said.get("stopReason", "end_turn")
    stop = _STOPS.get(stop, stop)
    return {
        "id": f"msg_{result['job']}",
        "type": "message",
        "role": "assistant",
        "model": result["model"],
        "content": content,
        "stop_reason": stop if stop in _KNOWN_STOPS else "end_turn",
        "stop_sequence": None,
        "usage": _usage(result["usage"]),
    }


def _blocks(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "text" in part:
        return [{"type": "text", "text": part["text"]}]
    if "toolUse" in part:
        use = part["toolUse"]
        return [{"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": use["input"]}]
    thought = part.get("reasoningContent", {})
    if "reasoningText" in thought:
        said = thought["reasoningText"]
        return [{"type": "thinking", "thinking": said["text"], "signature": said.get("signature", "")}]
    if "redactedContent" in thought:
        return [{"type": "redacted_thinking", "data": thought["redactedContent"]}]
    if "citationsContent" in part:
        return [{"type": "text", "text": text["text"]} for text in part["citationsContent"].get("content", ())]
    return []


def _usage(usage: Mapping[str, int] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage["input_tokens"],
        "cache_creation_input_tokens": usage["cache_write_tokens"],
        "cache_read_input_tokens": usage["cache_read_tokens"],
        "output_tokens": usage["output_tokens"],
    }
