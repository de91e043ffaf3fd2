"""Native InvokeModel bodies: what each family's model refuses, and the shape of its answer.

Written from docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response,
docs.aws.amazon.com/nova/latest/userguide/complete-request-schema, …/model-parameters-meta, …/model-parameters-openai,
…/model-parameters-mistral-chat-completion. Token counts come in the body where the family has a place for them, and
always in the headers of InvokeModel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from . import tokens
from .answers import Answer
from .errors import invalid

Kind = Literal["claude", "nova", "llama", "chat"]

CLAUDE_FIELDS: Final = frozenset(
    {
        "anthropic_version",
        "anthropic_beta",
        "max_tokens",
        "system",
        "messages",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "stop_sequences",
        "thinking",
        "output_config",
        "context_management",
    }
)
NOVA_FIELDS: Final = frozenset(
    {"schemaVersion", "messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields"}
)
NOVA_CONFIG: Final = frozenset(
    {"maxTokens", "max_new_tokens", "temperature", "topP", "top_p", "topK", "top_k", "stopSequences", "reasoningConfig"}
)
LLAMA_FIELDS: Final = frozenset({"prompt", "temperature", "top_p", "max_gen_len", "images"})
MEDIA: Final = frozenset({"image", "image_url", "document", "video", "audio", "input_audio"})
STOP_OF_CHAT: Final = {"max_tokens": "length", "tool_use": "tool_calls", "content_filtered": "content_filter"}


@dataclass(frozen=True, slots=True)
class Native:
    """A native body, understood. `cacheable`: the same as a Converse body with cache points, if it marks any."""

    kind: Kind
    base: str
    messages: Any
    system: Any
    text: str
    input_tokens: int
    max_tokens: int | None
    stop_sequences: tuple[str, ...]
    json_schema: str | None = None
    forced_tool: dict[str, Any] | None = None
    cacheable: dict[str, Any] | None = None
    tools: bool = False


def kind_of(base: str) -> Kind:
    """The family of a base model id."""
    if base.startswith("anthropic."):
        return "claude"
    if base.startswith("amazon.nova"):
        return "nova"
    return "llama" if base.startswith("meta.llama") else "chat"


def read(base: str, body: Any) -> Native:
    """Understand a body. Raises ApiError (ValidationException)."""
    if not isinstance(body, dict):
        raise invalid("The request body is not a JSON object.")
    kind = kind_of(base)
    {"claude": _check_claude, "nova": _check_nova, "llama": _check_llama, "chat": _check_chat}[kind](body)
    messages = body.get("messages")
    if messages is None:
        messages = [{"role": "user", "content": body["prompt"]}]
    system = body.get("system")
    stops = _stops(body, kind)
    count = sum(_tokens(message.get("content")) for message in messages) + (_tokens(system) if system else 0)
    tools = body.get("tools") or (body.get("toolConfig") or {}).get("tools") or []
    count += tokens.text_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0
    text = next((_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    return Native(
        kind,
        base,
        messages,
        system,
        text,
        max(1, count),
        _limit(body, kind),
        tuple(stop for stop in stops if isinstance(stop, str)),
        _schema(body),
        _forced_tool(body, tools),
        _cacheable(body) if kind == "claude" else None,
        bool(tools),
    )


# ---------------------------------------------------------------------- what is refused


def _extraneous(name: str, where: str = "#") -> Any:
    return invalid(
        f"Malformed input request: {where}: extraneous key [{name}] is not permitted, please reformat your input and "
        "try again."
    )


def _check_claude(body: dict[str, Any]) -> None:
    for name in ("anthropic_version", "max_tokens", "messages"):
        if name not in body:
            raise invalid(f"{name}: Field required")
    if body["anthropic_version"] != "bedrock-2023-05-31":
        raise invalid("anthropic_version: Input should be 'bedrock-2023-05-31'")
    for name in body:
        if name not in CLAUDE_FIELDS:
            raise invalid(f"{name}: Extra inputs are not permitted")
    _messages(body)
    if body["messages"][0].get("role") != "user":
        raise invalid('messages: first message must use the "user" role')
    for place, message in enumerate(body["messages"]):
        content = message.get("content")
        if content in ("", [], None):
            raise invalid(f"messages.{place}: all messages must have non-empty content")
        if isinstance(content, list) and any(not isinstance(b, dict) or "type" not in b for b in content):
            raise invalid(f"messages.{place}.content.0.type: Field required")


def _check_nova(body: dict[str, Any]) -> None:
    for name in body:
        if name not in NOVA_FIELDS:
            raise _extraneous(name)
    for name in body.get("inferenceConfig") or {}:
        if name not in NOVA_CONFIG:
            raise _extraneous(name, "#/inferenceConfig")
    _messages(body)
    if any(not isinstance(message.get("content"), list) for message in body["messages"]):
        raise invalid("Malformed input request: #/messages/0/content: expected type: JSONArray, found: String")


def _check_llama(body: dict[str, Any]) -> None:
    if not isinstance(body.get("prompt"), str) or not body["prompt"]:
        raise invalid("Malformed input request: #: required key [prompt] not found, please reformat your input.")
    for name in body:
        if name not in LLAMA_FIELDS:
            raise _extraneous(name)


def _check_chat(body: dict[str, Any]) -> None:
    if not isinstance(body.get("prompt"), str):
        _messages(body)


def _messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise invalid("messages: at least one message is required")


def _limit(body: dict[str, Any], kind: Kind) -> int | None:
    names = {
        "claude": ("max_tokens",),
        "nova": ("maxTokens", "max_new_tokens"),
        "llama": ("max_gen_len",),
        "chat": ("max_tokens", "max_completion_tokens"),
    }[kind]
    source = body.get("inferenceConfig") or {} if kind == "nova" else body
    for name in names:
        value = source.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise invalid(f"{name}: must be an integer of at least 1")
        return value
    return None


# ---------------------------------------------------------------------- what is asked


def _stops(body: dict[str, Any], kind: Kind) -> Any:
    if kind == "nova":
        return (body.get("inferenceConfig") or {}).get("stopSequences") or ()
    found = body.get("stop_sequences") or body.get("stop") or ()
    return (found,) if isinstance(found, str) else found


def _schema(body: dict[str, Any]) -> str | None:
    claude = (body.get("output_config") or {}).get("format") or {}
    chat = (body.get("response_format") or {}).get("json_schema") or {}
    schema = claude.get("schema") or chat.get("schema")
    return None if schema is None else json.dumps(schema)


def _forced_tool(body: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The tool that the request insists on, as a Converse tool specification (Claude's way only)."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") not in ("any", "tool"):
        return None
    for tool in tools:
        if choice["type"] == "any" or tool.get("name") == choice.get("name"):
            return {"name": tool.get("name"), "inputSchema": {"json": tool.get("input_schema", {})}}
    return None


def _blocks(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        yield {"text": content}
    elif isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def _cacheable(body: dict[str, Any]) -> dict[str, Any] | None:
    def marked(found: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> list[dict[str, Any]]:
        blocks = []
        for block in found:
            blocks.append({name: value for name, value in block.items() if name != "cache_control"})
            if block.get("cache_control"):
                blocks.append({"cachePoint": {"type": "default", "ttl": block["cache_control"].get("ttl", "5m")}})
        return blocks

    system = marked(_blocks(body.get("system")))
    messages = [{"content": marked(_blocks(message.get("content")))} for message in body["messages"]]
    tools = marked([{"toolSpec": tool, **tool} for tool in body.get("tools") or []])
    found = {"system": system, "messages": messages, "toolConfig": {"tools": tools}}
    points = [*tools, *system, *(block for message in messages for block in message["content"])]
    return found if any("cachePoint" in block for block in points) else None


def _text(content: Any) -> str:
    return "\n".join(block["text"] for block in _blocks(content) if isinstance(block.get("text"), str))


def _tokens(content: Any) -> int:
    return sum(
        tokens.MEDIA_TOKENS if block.get("type") in MEDIA else tokens.block_tokens(block) for block in _blocks(content)
    )


# ---------------------------------------------------------------------- what comes back


def write(native: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    """The native response body."""
    return {"claude": _claude, "nova": _nova, "llama": _llama, "chat": _chat}[native.kind](native, answer, usage)


def token_headers(usage: dict[str, Any]) -> dict[str, str]:
    """The headers of InvokeModel that count tokens, whatever the model."""
    named = {"input": "inputTokens", "output": "outputTokens"}
    if usage["cacheReadInputTokens"] or usage["cacheWriteInputTokens"]:
        named |= {"cache-read-input": "cacheReadInputTokens", "cache-write-input": "cacheWriteInputTokens"}
    return {f"X-Amzn-Bedrock-{name}-Token-Count": str(usage[field]) for name, field in named.items()}


def _claude(native: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    content = []
    for block in answer.content:
        if "toolUse" in block:
            use = block["toolUse"]
            content.append(
                {"type": "tool_use", "id": "toolu_bdrk_emulated", "name": use["name"], "input": use["input"]}
            )
        else:
            content.append({"type": "text", "text": block["text"]})
    return {
        "model": native.base.removeprefix("anthropic.").removesuffix("-v1:0"),
        "id": "msg_bdrk_emulated",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": answer.stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage["inputTokens"],
            "cache_creation_input_tokens": usage["cacheWriteInputTokens"],
            "cache_read_input_tokens": usage["cacheReadInputTokens"],
            "output_tokens": usage["outputTokens"],
        },
    }


def _nova(_: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    counts = {name: usage[name] for name in ("inputTokens", "outputTokens", "totalTokens")}
    counts |= {"cacheReadInputTokenCount": 0, "cacheWriteInputTokenCount": 0}
    message = {"role": "assistant", "content": [{"text": answer.text}]}
    return {"output": {"message": message}, "stopReason": answer.stop_reason, "usage": counts}


def _llama(_: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "generation": answer.text,
        "prompt_token_count": usage["inputTokens"],
        "generation_token_count": usage["outputTokens"],
        "stop_reason": "length" if answer.stop_reason == "max_tokens" else "stop",
    }


def _chat(native: Native, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-emulated",
        "object": "chat.completion",
        "created": 0,
        "model": native.base.partition(".")[2],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": STOP_OF_CHAT.get(answer.stop_reason, "stop"),
            }
        ],
        "usage": {
            "prompt_tokens": usage["inputTokens"],
            "completion_tokens": usage["outputTokens"],
            "total_tokens": usage["totalTokens"],
        },
    }
