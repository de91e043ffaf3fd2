"""Native answers in Converse's words, for the output files of dialects other than their own.

Response bodies: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html. What an answer has beside
content and stop reason stays in `results.jsonl`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from slackwater.model.native import INVOKE_MODEL

_CLAUDE_STOPS: Final = {"refusal": "content_filtered", "pause_turn": "end_turn"}
_CHAT_STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}


UNTRANSLATABLE: Final = "untranslatable"

Translate = Callable[[Mapping[str, Any]], dict[str, Any]]


def translated(translate: Translate, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result line in another dialect. An answer of a shape that nobody documented harms only its own line there."""
    try:
        return translate(result)
    except (LookupError, TypeError, AttributeError, ValueError):
        message = "the answer has a shape that this dialect cannot say: it is in results.jsonl"
        error = {"code": UNTRANSLATABLE, "message": message, "line": result["line"], "pointer": None}
        return translate({**result, "status": "failed", "response": None, "error": error})


def converse_response(result: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a succeeded result line as far as Converse can say it: `output.message.content` and
    `stopReason`."""
    response: dict[str, Any] = result["response"]
    if result.get("request_type") != INVOKE_MODEL or "output" in response:  # Nova's own bodies look like Converse's
        return response
    if isinstance(response.get("content"), list):
        content = [block for part in response["content"] for block in _claude_block(part)]
        stop = response.get("stop_reason") or "end_turn"
        return _said(content, _CLAUDE_STOPS.get(stop, stop))
    if "generation" in response:  # Llama
        return _said([{"text": response["generation"]}], _CHAT_STOPS.get(response.get("stop_reason", ""), "end_turn"))
    choices = response.get("choices") or response.get("outputs") or [{}]
    choice = choices[0]
    stop = choice.get("finish_reason") or choice.get("stop_reason")
    return _said(_chat_content(choice), _CHAT_STOPS.get(stop, "end_turn"))


def _said(content: list[dict[str, Any]], stop: str) -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop}


def _claude_block(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    match part.get("type"):
        case "text":
            return [{"text": part["text"]}]
        case "tool_use":
            return [{"toolUse": {"toolUseId": part["id"], "name": part["name"], "input": part["input"]}}]
        case "thinking":
            thought = {"text": part["thinking"]}
            if part.get("signature"):
                thought["signature"] = part["signature"]
            return [{"reasoningContent": {"reasoningText": thought}}]
        case "redacted_thinking":
            return [{"reasoningContent": {"redactedContent": part["data"]}}]
    return []


def _chat_content(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    message = choice.get("message") or {"content": choice.get("text")}
    content: list[dict[str, Any]] = []
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if thoughts:
        content.append({"reasoningContent": {"reasoningText": {"text": thoughts}}})
    words = message.get("content")
    if isinstance(words, list):
        words = "".join(part.get("text", "") for part in words)
    if words:
        content.append({"text": words})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        use = {"toolUseId": call["id"], "name": function["name"], "input": _arguments(function.get("arguments"))}
        content.append({"toolUse": use})
    return content


def _arguments(written: Any) -> Any:
    try:
        return orjson.loads(written or "{}")
    except (orjson.JSONDecodeError, TypeError):  # the model wrote no JSON: what it wrote is kept
        return written
