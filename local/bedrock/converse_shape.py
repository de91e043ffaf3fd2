"""Converse bodies: what Bedrock refuses, and the shape of its answer (botocore bedrock-runtime, operation Converse)."""

from __future__ import annotations

from typing import Any

from .answers import Answer
from .errors import invalid
from .wire_check import Check

USER_FIRST = (
    "A conversation must start with a user message. Try again with a conversation that starts with a user message."
)


def check_converse(body: Any, check: Check) -> dict[str, Any]:
    """The body, if Converse would take it. Raises ApiError (ValidationException)."""
    if not isinstance(body, dict):
        raise invalid("The request body is not a JSON object.")
    check(body, "")
    messages = body.get("messages")
    if not messages:
        raise invalid("The messages field is required and must not be empty.")
    if messages[0]["role"] != "user":
        raise invalid(USER_FIRST)
    for position, message in enumerate(messages):
        if not message["content"]:
            raise invalid(f"The content field in the Message object at messages.{position} is empty.")
        where = f"The text field in the ContentBlock object at messages.{position}"
        for place, block in enumerate(message["content"]):
            if isinstance(block.get("text"), str) and not block["text"].strip():
                raise invalid(f"{where}.content.{place} is blank.")
    return body


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text blocks of the last user message, joined by line ends."""
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(block["text"] for block in message["content"] if isinstance(block.get("text"), str))
    return ""


def converse_response(
    answer: Answer, usage: dict[str, Any], latency_ms: float, tier: str | None, optimized: bool = False
) -> dict[str, Any]:
    """The Converse response; `tier` is the served tier, None where the request named none."""
    response: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": answer.content}},
        "stopReason": answer.stop_reason,
        "usage": usage,
        "metrics": {"latencyMs": max(1, round(latency_ms))},
    }
    if tier is not None:
        response["serviceTier"] = {"type": tier}
    if optimized:
        response["performanceConfig"] = {
            "latency": "standard"
        }  # over quota, or a model without it, is served as standard
    return response


def usage_of(input_tokens: int, output_tokens: int, cache_read: int = 0, cache_write: int = 0) -> dict[str, Any]:
    """`usage`; `inputTokens` leaves out what was read from or written to the cache, the total holds all."""
    return {
        "inputTokens": input_tokens - cache_read - cache_write,
        "outputTokens": output_tokens,
        "totalTokens": input_tokens + output_tokens,
        "cacheReadInputTokens": cache_read,
        "cacheWriteInputTokens": cache_write,
    }
