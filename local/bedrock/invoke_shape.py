"""Native InvokeModel bodies: Claude, Nova and a generic chat shape. Enough to answer and bill, no full checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from . import tokens
from .answers import Answer
from .errors import invalid

Kind = Literal["claude", "nova", "chat"]


@dataclass(frozen=True, slots=True)
class Native:
    """A native body, understood."""

    kind: Kind
    messages: Any
    system: Any
    text: str
    input_tokens: int
    max_tokens: int | None
    stop_sequences: tuple[str, ...]


def read(base: str, body: Any) -> Native:
    """Understand a body. Raises ApiError (ValidationException)."""
    if not isinstance(body, dict):
        raise invalid("The request body is not a JSON object.")
    kind: Kind = "claude" if base.startswith("anthropic.") else "nova" if base.startswith("amazon.nova") else "chat"
    if kind == "claude" and body.get("anthropic_version") != "bedrock-2023-05-31":
        raise invalid("anthropic_version: Field required")
    if kind == "claude" and not isinstance(body.get("max_tokens"), int):
        raise invalid("max_tokens: Field required")
    messages = body.get("messages")
    if messages is None and isinstance(body.get("prompt"), str):
        messages = [{"role": "user", "content": body["prompt"]}]
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise invalid("messages: at least one message is required")
    inference = body.get("inferenceConfig") if kind == "nova" else body
    limit = _limit(inference if isinstance(inference, dict) else {})
    system = body.get("system")
    stops = body.get("stop_sequences") or body.get("stop") or ()
    count = sum(_tokens(message.get("content")) for message in messages) + (_tokens(system) if system else 0)
    text = next((_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    return Native(kind, messages, system, text, max(1, count), limit, tuple(s for s in stops if isinstance(s, str)))


def _limit(source: dict[str, Any]) -> int | None:
    for name in ("max_tokens", "maxTokens", "max_completion_tokens", "max_gen_len"):
        value = source.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise invalid(f"{name}: must be an integer of at least 1")
        return value
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            block["text"] for block in content if isinstance(block, dict) and isinstance(block.get("text"), str)
        )
    return ""


def _tokens(content: Any) -> int:
    if isinstance(content, str):
        return tokens.text_tokens(content)
    if isinstance(content, list):
        return sum(tokens.block_tokens(block) for block in content if isinstance(block, dict))
    return 0


def write(native: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    """The native response body."""
    if native.kind == "claude":
        return {
            "id": "msg_bdrk_emulated",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": answer.stop_reason,
            "usage": {"input_tokens": usage["inputTokens"], "output_tokens": usage["outputTokens"]},
        }
    if native.kind == "nova":
        counts = {name: usage[name] for name in ("inputTokens", "outputTokens", "totalTokens")}
        message = {"role": "assistant", "content": [{"text": answer.text}]}
        return {"output": {"message": message}, "stopReason": answer.stop_reason, "usage": counts}
    finish = "length" if answer.stop_reason == "max_tokens" else "stop"
    message = {"role": "assistant", "content": answer.text}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": usage["inputTokens"],
            "completion_tokens": usage["outputTokens"],
            "total_tokens": usage["totalTokens"],
        },
    }
