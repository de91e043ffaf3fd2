"""Result lines as OpenAI's Batch API writes them: https://platform.openai.com/docs/guides/batch, *output file*."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from slackwater.model.dialects.answers import converse_response

FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
    }
)
"""Converse's `stopReason` in OpenAI's words; the malformed ones have no counterpart there and become `stop`."""


def output_line(result: Mapping[str, Any]) -> dict[str, Any]:
    """The output line of one result line, whether its job succeeded, failed or was refused."""
    name = result["job"] or f"{result['run_id']}-{result['line']}"
    line: dict[str, Any] = {"id": f"batch_req_{name}", "custom_id": result["id"], "response": None, "error": None}
    if result["status"] == "succeeded":
        line["response"] = {"status_code": 200, "request_id": name, "body": _completion(result, name)}
    else:
        error = result["error"]
        at = f" ({error['pointer']})" if error.get("pointer") else ""
        line["error"] = {"code": error["code"], "message": f"{error['message']}{at}"}
    return line


def _completion(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    created = int(datetime.fromisoformat(result["finished_at"]).timestamp())
    frame = {"id": f"chatcmpl-{name}", "object": "chat.completion", "created": created, "model": result["model"]}
    native: dict[str, Any] = result["response"]
    if _is_completion(native):  # an open-weight model's own answer
        return frame | native
    response = converse_response(result)
    reason = FINISH_REASONS.get(response.get("stopReason", ""), "stop")
    message = _message(response["output"]["message"]["content"])
    return {
        **frame,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": _usage(result["usage"]),
    }


def _is_completion(response: Mapping[str, Any]) -> bool:
    choices = response.get("choices")
    return isinstance(choices, list) and bool(choices) and "message" in choices[0] and "usage" in response


def _message(content: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [block["text"] for block in content if "text" in block]
    thoughts = [
        block["reasoningContent"]["reasoningText"]["text"]
        for block in content
        if "reasoningText" in block.get("reasoningContent", ())
    ]
    calls = [_call(block["toolUse"]) for block in content if "toolUse" in block]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)  # not OpenAI's own, but what compatible servers call it
    if calls:
        message["tool_calls"] = calls
    return message


def _call(use: Mapping[str, Any]) -> dict[str, Any]:
    arguments = orjson.dumps(use["input"]).decode()
    return {"id": use["toolUseId"], "type": "function", "function": {"name": use["name"], "arguments": arguments}}


def _usage(usage: Mapping[str, int] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    prompt = usage["input_tokens"] + usage["cache_read_tokens"] + usage["cache_write_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cache_read_tokens"]},
    }
