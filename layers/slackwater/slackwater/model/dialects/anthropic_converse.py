"""Anthropic's Messages requests, carried over to Converse field by field for models that are not Claude.

https://platform.claude.com/docs/en/api/messages/create against *Converse*. What Converse cannot say is refused with its
pointer, never dropped. Neighbouring messages of one role become one message, because Converse alternates.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from slackwater.model.checks import base64_text, fail, flag, free_object, number, one_of, shortened, step, text, whole
from slackwater.model.request import MAX_INT

Put = Callable[[dict[str, Any], Any, str], None]

_IMAGES: Final = {f"image/{name}": name for name in ("png", "jpeg", "gif", "webp")}
_METADATA: Final = r"[a-zA-Z0-9\s:_@$#=/+,-.]*"  # Converse: requestMetadata
_UNNAMED: Final = "document"  # Converse wants a name, Anthropic's `title` is optional
_REMEDIES: Final = {
    "top_k": "Converse has no such field for every model",
    "container": "Bedrock has no such thing",
    "mcp_servers": "Bedrock has no such thing",
    "context_management": "only Claude's own bodies have it",
    "anthropic_beta": "only Claude's own bodies have it",
    "anthropic_version": "only Claude's own bodies have it",
}


def to_converse(params: dict[str, Any], at: str) -> dict[str, Any]:
    """The Converse request that says the same. Raises BadInput with the pointer below `at`."""
    request: dict[str, Any] = {}
    for name in ("max_tokens", "messages"):
        if name not in params:
            fail("is missing", f"{at}/{name}")
    for name, value in params.items():
        if name not in _FIELDS:
            fail(
                f"`{shortened(name)}` cannot be carried over: {_REMEDIES.get(name, 'take it out')}",
                step(at, name),
            )
        _FIELDS[name](request, value, f"{at}/{name}")
    if "toolConfig" in request and "tools" not in request["toolConfig"]:
        fail("`tool_choice` needs `tools`", f"{at}/tool_choice")
    return request


def members(value: Any, at: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    """An object with these members and no other; null counts as absent."""
    if type(value) is not dict:
        fail("must be an object", at)
    for name in value:
        if name not in required and name not in optional:
            fail(f"`{shortened(name)}` cannot be carried over to Converse: take it out", step(at, name))
    for name in sorted(required):
        if value.get(name) is None:
            fail("is missing", step(at, name))
    return {name: entry for name, entry in value.items() if entry is not None}


# ---------------------------------------------------------------------- settings


def _put_setting(name: str, check: Callable[[Any, str], None]) -> Put:
    def put(request: dict[str, Any], value: Any, at: str) -> None:
        check(value, at)
        request.setdefault("inferenceConfig", {})[name] = value

    return put


def _put_stops(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not list:
        fail("must be a list of texts", at)
    for index, stop in enumerate(value):
        text(1)(stop, f"{at}/{index}")
    if value:
        request.setdefault("inferenceConfig", {})["stopSequences"] = value


def _put_system(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is str:
        request["system"] = [{"text": value}] if value else []
    elif type(value) is list:
        request["system"] = [
            made for i, block in enumerate(value) for made in _block(block, f"{at}/{i}", {"text": _text})
        ]
    else:
        fail("must be text or a list of text blocks", at)
    if not request["system"]:
        del request["system"]


def _put_thinking(_: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not dict or value.get("type") != "disabled" or len(value) > 1:
        fail("must be disabled: Converse has no such field for every model", at)


def _put_metadata(request: dict[str, Any], value: Any, at: str) -> None:
    user = members(value, at, set(), {"user_id"}).get("user_id")
    if user is not None:
        text(0, 256, _METADATA, "letters, digits, spaces and any of :_@$#=/+,-.")(user, f"{at}/user_id")
        request["requestMetadata"] = {"user_id": user}


def _put_output_config(request: dict[str, Any], value: Any, at: str) -> None:
    found = members(value, at, set(), {"format", "effort"})
    config: dict[str, Any] = {}
    if "effort" in found:
        text(0, 16)(found["effort"], f"{at}/effort")
        config["effort"] = found["effort"]
    if "format" in found:
        wanted = members(found["format"], f"{at}/format", {"type", "schema"}, set())
        one_of("json_schema")(wanted["type"], f"{at}/format/type")
        free_object(wanted["schema"], f"{at}/format/schema")
        schema = {"schema": orjson.dumps(wanted["schema"]).decode()}
        config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    if config:
        request["outputConfig"] = config


# ---------------------------------------------------------------------- tools


def _put_tools(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not list:
        fail("must be a list of tools", at)
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(value):
        tools += _tool(tool, f"{at}/{index}")
    if tools:
        request.setdefault("toolConfig", {})["tools"] = tools


def _tool(tool: Any, at: str) -> list[dict[str, Any]]:
    if type(tool) is dict and tool.get("type") not in (None, "custom"):
        fail("must be custom: Converse has none of Anthropic's own tools", f"{at}/type")
    found = members(tool, at, {"name", "input_schema"}, {"type", "description", "cache_control", "strict"})
    free_object(found["input_schema"], f"{at}/input_schema")
    text(1)(found["name"], f"{at}/name")
    spec = {"name": found["name"], "inputSchema": {"json": found["input_schema"]}}
    if found.get("description"):
        text()(found["description"], f"{at}/description")
        spec["description"] = found["description"]
    if "strict" in found:
        flag(found["strict"], f"{at}/strict")
        spec["strict"] = found["strict"]
    return [{"toolSpec": spec}, *_cache_point(found, at)]


def _put_tool_choice(request: dict[str, Any], value: Any, at: str) -> None:
    kind = value.get("type") if type(value) is dict else None
    found = members(value, at, {"type", "name"} if kind == "tool" else {"type"}, {"disable_parallel_tool_use"})
    if found.get("disable_parallel_tool_use", False) is not False:
        fail("must be false: Converse cannot turn it off", f"{at}/disable_parallel_tool_use")
    if kind == "none":
        fail("cannot be carried over: Converse has no `none`, take the tools out", f"{at}/type")
    one_of("auto", "any", "tool")(kind, f"{at}/type")
    choice = {"tool": {"name": found["name"]}} if kind == "tool" else {str(kind): {}}
    request.setdefault("toolConfig", {})["toolChoice"] = choice


# ---------------------------------------------------------------------- messages

Made = list[dict[str, Any]]
Blocks = dict[str, Callable[[dict[str, Any], str], dict[str, Any]]]


def _put_messages(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not list or not value:
        fail("must be a list of messages", at)
    turns: Made = []
    for index, message in enumerate(value):
        where = f"{at}/{index}"
        found = members(message, where, {"role", "content"}, set())
        one_of("user", "assistant")(found["role"], f"{where}/role")
        content = _content(found["content"], f"{where}/content", _ANY_BLOCK)
        if not content:
            fail("must not be empty", f"{where}/content")
        if turns and turns[-1]["role"] == found["role"]:
            turns[-1]["content"] += content
        else:
            turns.append({"role": found["role"], "content": content})
    if turns[0]["role"] != "user":
        fail("the first message must be the user's", f"{at}/0/role")
    request["messages"] = turns


def _content(value: Any, at: str, allowed: Blocks) -> Made:
    if type(value) is str:
        return [{"text": value}] if value else []
    if type(value) is not list:
        fail("must be text or a list of content blocks", at)
    return [made for index, block in enumerate(value) for made in _block(block, f"{at}/{index}", allowed)]


def _block(block: Any, at: str, allowed: Blocks) -> Made:
    """A content block, and the cache point that it marks."""
    if type(block) is not dict:
        fail("must be an object", at)
    kind = block.get("type")
    if type(kind) is not str or kind not in allowed:
        fail(f"cannot be carried over to Converse: must be one of {', '.join(allowed)}", f"{at}/type")
    return [allowed[kind](block, at), *_cache_point(block, at)]


def _cache_point(block: dict[str, Any], at: str) -> Made:
    if block.get("cache_control") is None:
        return []
    found = members(block["cache_control"], f"{at}/cache_control", {"type"}, {"ttl"})
    one_of("ephemeral")(found["type"], f"{at}/cache_control/type")
    point = {"type": "default"}
    if "ttl" in found:
        one_of("5m", "1h")(found["ttl"], f"{at}/cache_control/ttl")
        point["ttl"] = found["ttl"]
    return [{"cachePoint": point}]


def _text(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "text"}, {"cache_control", "citations"})
    if found.get("citations"):
        fail("cannot be carried over to Converse: take it out", f"{at}/citations")
    text(1)(found["text"], f"{at}/text")
    return {"text": found["text"]}


def _image(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "source"}, {"cache_control"})
    source = _source(found["source"], f"{at}/source", {"base64"})
    one_of(*_IMAGES)(source["media_type"], f"{at}/source/media_type")
    base64_text(source["data"], f"{at}/source/data")
    return {"image": {"format": _IMAGES[source["media_type"]], "source": {"bytes": source["data"]}}}


def _source(source: Any, at: str, kinds: set[str]) -> dict[str, Any]:
    kind = source.get("type") if type(source) is dict else None
    if kind not in kinds:
        fail(f"cannot be carried over to Converse: must be {' or '.join(sorted(kinds))}", f"{at}/type")
    return members(source, at, {"type", "content"} if kind == "content" else {"type", "media_type", "data"}, set())


def _document(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "source"}, {"title", "context", "citations", "cache_control"})
    source = _source(found["source"], f"{at}/source", {"base64", "text", "content"})
    document: dict[str, Any] = {"name": found.get("title") or _UNNAMED}
    text(1, 200)(document["name"], f"{at}/title")
    if source["type"] == "content":
        document["source"] = {"content": _content(source["content"], f"{at}/source/content", {"text": _plain_text})}
    elif source["type"] == "base64":
        one_of("application/pdf")(source["media_type"], f"{at}/source/media_type")
        base64_text(source["data"], f"{at}/source/data")
        document |= {"format": "pdf", "source": {"bytes": source["data"]}}
    else:
        one_of("text/plain")(source["media_type"], f"{at}/source/media_type")
        text(1)(source["data"], f"{at}/source/data")
        document |= {"format": "txt", "source": {"text": source["data"]}}
    if "context" in found:
        text()(found["context"], f"{at}/context")
        document["context"] = found["context"]
    return {"document": document | _citations(found, at)}


def _citations(found: dict[str, Any], at: str) -> dict[str, Any]:
    if "citations" not in found:
        return {}
    enabled = members(found["citations"], f"{at}/citations", set(), {"enabled"}).get("enabled", False)
    flag(enabled, f"{at}/citations/enabled")
    return {"citations": {"enabled": enabled}}


def _plain_text(block: dict[str, Any], at: str) -> dict[str, Any]:
    """A text where Converse has no room for a cache point."""
    if block.get("cache_control") is not None:
        fail("cannot be carried over to Converse: take it out", f"{at}/cache_control")
    return _text(block, at)


def _search_result(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "source", "title", "content"}, {"citations", "cache_control"})
    for name in ("source", "title"):
        text()(found[name], f"{at}/{name}")
    content = _content(found["content"], f"{at}/content", {"text": _plain_text})
    made = {"source": found["source"], "title": found["title"], "content": content}
    return {"searchResult": made | _citations(found, at)}


def _tool_use(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "id", "name", "input"}, {"cache_control"})
    free_object(found["input"], f"{at}/input")
    use = {"toolUseId": _call_id(found["id"], f"{at}/id"), "name": found["name"], "input": found["input"]}
    text(1, 64, r"[a-zA-Z0-9_-]+", "letters, digits, `_` and `-`")(found["name"], f"{at}/name")
    return {"toolUse": use}


def _tool_result(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "tool_use_id"}, {"content", "is_error", "cache_control"})
    result: dict[str, Any] = {"toolUseId": _call_id(found["tool_use_id"], f"{at}/tool_use_id")}
    result["content"] = _content(found.get("content", []), f"{at}/content", _IN_RESULT)
    if "is_error" in found:
        flag(found["is_error"], f"{at}/is_error")
        result["status"] = "error" if found["is_error"] else "success"
    return {"toolResult": result}


def _call_id(value: Any, at: str) -> str:
    text(1, 64, r"[a-zA-Z0-9_.:-]+", "letters, digits, `_`, `.`, `:` and `-`")(value, at)
    return str(value)


def _thinking(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "thinking"}, {"signature"})
    for name in ("thinking", "signature"):
        if name in found:
            text()(found[name], f"{at}/{name}")
    thought = {"text": found["thinking"]}
    return {"reasoningContent": {"reasoningText": thought | {k: found[k] for k in ("signature",) if k in found}}}


def _redacted(block: dict[str, Any], at: str) -> dict[str, Any]:
    found = members(block, at, {"type", "data"}, set())
    base64_text(found["data"], f"{at}/data")
    return {"reasoningContent": {"redactedContent": found["data"]}}


def _without_point(make: Callable[[dict[str, Any], str], dict[str, Any]]) -> Any:
    """A block inside a tool result, where Converse has no room for a cache point."""

    def made(block: dict[str, Any], at: str) -> dict[str, Any]:
        if block.get("cache_control") is not None:
            fail("cannot be carried over to Converse: take it out", f"{at}/cache_control")
        return make(block, at)

    return made


_IN_RESULT: Final[Blocks] = {
    name: _without_point(make)
    for name, make in (
        ("text", _text),
        ("image", _image),
        ("document", _document),
        ("search_result", _search_result),
    )
}
_ANY_BLOCK: Final[Blocks] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
}
_FIELDS: Final[dict[str, Put]] = {
    "messages": _put_messages,
    "max_tokens": _put_setting("maxTokens", whole(1, MAX_INT)),
    "system": _put_system,
    "temperature": _put_setting("temperature", number(0, 1)),
    "top_p": _put_setting("topP", number(0, 1)),
    "stop_sequences": _put_stops,
    "tools": _put_tools,
    "tool_choice": _put_tool_choice,
    "thinking": _put_thinking,
    "metadata": _put_metadata,
    "output_config": _put_output_config,
}
