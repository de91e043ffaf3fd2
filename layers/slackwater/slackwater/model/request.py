"""The one request that every lane accepts: a Converse body without its model.

Members and limits are those of the service model of `bedrock-runtime` *Converse* (botocore), written as JSON: bytes
are base64 text. `modelId` and `serviceTier` are no part of it, because the profile chooses the model and the lane the
tier.
"""

import hashlib
from typing import Any, Final

import orjson

from slackwater.model.checks import (
    Check,
    anything,
    base64_text,
    fail,
    flag,
    free_object,
    items,
    mapping,
    number,
    one_key,
    one_of,
    record,
    text,
    whole,
)

TOOLS: Final = "tools"
CACHE: Final = "cache"
GUARDRAIL: Final = "guardrail"
MULTI_TURN: Final = "multi_turn"
STRUCTURED_OUTPUT: Final = "structured_output"
MEDIA: Final = "media"

PLAIN: Final[frozenset[str]] = frozenset()
CONVERSATION: Final = frozenset({MULTI_TURN})

MAX_INT: Final = 2**31 - 1  # `integer` of the service model is 32 bits wide

Outline = tuple[frozenset[str], int, int | None]
"""Traits, UTF-8 bytes of text, `maxTokens` (None: not said) of a plain request. A bare tuple: it is made for every
line of a file."""

_PLAIN_MEMBERS: Final = frozenset({"messages", "system", "inferenceConfig"})
_MEDIA_BLOCKS: Final = frozenset({"image", "document", "video", "audio"})


def _bytes_or_s3(**more: Check) -> Check:
    uri = text(1, 1024, r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/.*)?", "an s3:// URI")
    place = record({"uri": uri}, {"bucketOwner": text(12, 12, r"[0-9]{12}", "an account number")})
    return one_key({"bytes": base64_text, "s3Location": place, **more})


_TEXT = text()
_SOME_TEXT = text(1)
_TOOL_NAME = text(1, 64, r"[a-zA-Z0-9_-]+", "letters, digits, `_` and `-`")
_TOOL_USE_ID = text(1, 64, r"[a-zA-Z0-9_.:-]+", "letters, digits, `_`, `.`, `:` and `-`")
_METADATA_SAYS = "letters, digits, spaces and any of :_@$#=/+,-."
_CITED = record({"enabled": flag})
_CACHE_POINT = record({"type": one_of("default")}, {"ttl": one_of("5m", "1h")})
_ERROR = record({}, {"message": _TEXT})
_IMAGE = record(
    {"format": one_of("png", "jpeg", "gif", "webp"), "source": _bytes_or_s3()},
    {"error": _ERROR},
)
_DOCUMENT = record(
    {"name": text(1, 200), "source": _bytes_or_s3(text=_TEXT, content=items(one_key({"text": _TEXT})))},
    {
        "format": one_of("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
        "context": _TEXT,
        "citations": _CITED,
    },
)
_VIDEO = record(
    {
        "format": one_of("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"),
        "source": _bytes_or_s3(),
    }
)
_AUDIO_FORMATS = (
    "mp3",
    "opus",
    "wav",
    "aac",
    "flac",
    "mp4",
    "ogg",
    "mkv",
    "mka",
    "x-aac",
    "m4a",
    "mpeg",
    "mpga",
    "pcm",
    "webm",
)
_AUDIO = record({"format": one_of(*_AUDIO_FORMATS), "source": _bytes_or_s3()}, {"error": _ERROR})
_SEARCH_RESULT = record(
    {"source": _TEXT, "title": _TEXT, "content": items(record({"text": _TEXT}))}, {"citations": _CITED}
)
_GUARD_CONTENT = one_key(
    {
        "text": record({"text": _TEXT}, {"qualifiers": items(one_of("grounding_source", "query", "guard_content"))}),
        "image": record({"format": one_of("png", "jpeg"), "source": one_key({"bytes": base64_text})}),
    }
)
_TOOL_USE = record(
    {"toolUseId": _TOOL_USE_ID, "name": _TOOL_NAME, "input": anything}, {"type": one_of("server_tool_use")}
)
_TOOL_RESULT = record(
    {
        "toolUseId": _TOOL_USE_ID,
        "content": items(
            one_key(
                {
                    "text": _TEXT,
                    "json": anything,
                    "image": _IMAGE,
                    "document": _DOCUMENT,
                    "video": _VIDEO,
                    "searchResult": _SEARCH_RESULT,
                }
            )
        ),
    },
    {"status": one_of("success", "error"), "type": _TEXT},
)
_REASONING = one_key({"reasoningText": record({"text": _TEXT}, {"signature": _TEXT}), "redactedContent": base64_text})
_INDEX = whole(0, MAX_INT)
_LOCATION = one_key(
    {
        "web": record({}, {"url": _TEXT, "domain": _TEXT}),
        **{
            name: record({}, {index: _INDEX, "start": _INDEX, "end": _INDEX})
            for name, index in (
                ("documentChar", "documentIndex"),
                ("documentPage", "documentIndex"),
                ("documentChunk", "documentIndex"),
                ("searchResultLocation", "searchResultIndex"),
            )
        },
    }
)
_CITATION = record(
    {},
    {"title": _TEXT, "source": _TEXT, "sourceContent": items(one_key({"text": _TEXT})), "location": _LOCATION},
)
_CITATIONS = record({}, {"content": items(one_key({"text": _TEXT})), "citations": items(_CITATION)})
_TOOL_REFERENCE = record({"tool": record({}, {"type": text(1, 64), "name": text(1, 128), "serverName": text(1, 128)})})
_CONTENT_BLOCK = one_key(
    {
        "text": _TEXT,
        "image": _IMAGE,
        "document": _DOCUMENT,
        "video": _VIDEO,
        "audio": _AUDIO,
        "toolUse": _TOOL_USE,
        "toolResult": _TOOL_RESULT,
        "guardContent": _GUARD_CONTENT,
        "cachePoint": _CACHE_POINT,
        "reasoningContent": _REASONING,
        "citationsContent": _CITATIONS,
        "searchResult": _SEARCH_RESULT,
        "toolAddition": _TOOL_REFERENCE,
        "toolRemoval": _TOOL_REFERENCE,
    }
)
_MESSAGE = record({"role": one_of("user", "assistant", "system"), "content": items(_CONTENT_BLOCK, 1)})
_TOOL = one_key(
    {
        "toolSpec": record(
            {"name": _TOOL_NAME, "inputSchema": one_key({"json": free_object})},
            {"description": _SOME_TEXT, "strict": flag},
        ),
        "systemTool": record({"name": _TOOL_NAME}),
        "cachePoint": _CACHE_POINT,
    }
)
_TOOL_CHOICE = one_key({"auto": record({}), "any": record({}), "tool": record({"name": _TOOL_NAME})})
_JSON_SCHEMA = record({"schema": _SOME_TEXT}, {"name": _TEXT, "description": _TEXT})
_REQUEST = record(
    {"messages": items(_MESSAGE, 1)},
    {
        "system": items(one_key({"text": _SOME_TEXT, "guardContent": _GUARD_CONTENT, "cachePoint": _CACHE_POINT})),
        "inferenceConfig": record(
            {},
            {
                "maxTokens": whole(1, MAX_INT),
                "temperature": number(0, 1),
                "topP": number(0, 1),
                "stopSequences": items(_SOME_TEXT, 0, 2500),
            },
        ),
        "toolConfig": record({"tools": items(_TOOL, 1)}, {"toolChoice": _TOOL_CHOICE}),
        "guardrailConfig": record(
            {},
            {
                "guardrailIdentifier": text(
                    0,
                    2048,
                    r"(|([a-z0-9]+)|(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+))",
                    "a guardrail's id or ARN",
                ),
                "guardrailVersion": text(0, None, r"(|([1-9][0-9]{0,7})|(DRAFT))", "a version number or DRAFT"),
                "trace": one_of("enabled", "disabled", "enabled_full"),
            },
        ),
        "additionalModelRequestFields": anything,
        "additionalModelResponseFieldPaths": items(text(1, 256), 0, 10),
        "promptVariables": mapping(_TEXT, one_key({"text": _TEXT})),
        "requestMetadata": mapping(
            text(1, 256, r"[a-zA-Z0-9\s:_@$#=/+,-.]{1,256}", _METADATA_SAYS),
            text(0, 256, r"[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}", _METADATA_SAYS),
            1,
            16,
        ),
        "performanceConfig": record({}, {"latency": one_of("standard", "optimized")}),
        "outputConfig": record(
            {},
            {
                "textFormat": record(
                    {"type": one_of("json_schema"), "structure": one_key({"jsonSchema": _JSON_SCHEMA})}
                ),
                "effort": text(0, 16),
            },
        ),
    },
    {
        "serviceTier": "the tier follows from the lane: choose the lane instead (`lane`: on_demand, flex or batch)",
        "modelId": "the profile names the model",
        "stream": "results are delivered whole",
    },
)


def check(request: Any, at: str = "") -> None:
    """Whether this is a Converse body. Raises BadInput with the JSON pointer below `at` and the remedy; no value is
    quoted."""
    inspect(request, at)


def inspect(request: Any, at: str = "") -> frozenset[str]:
    """`check`, and the request's traits (see `shape`). Raises BadInput."""
    outline = plain_outline(request)
    if outline is not None:
        return outline[0]
    check_slowly(request, at)
    return shape(request)


def check_slowly(request: Any, at: str = "") -> None:
    """The whole check, member by member. Raises BadInput."""
    _REQUEST(request, at)
    if request["messages"][0]["role"] != "user":
        fail("the first message must be the user's", f"{at}/messages/0/role")


def plain_outline(request: Any) -> Outline | None:  # noqa: C901, PLR0911, PLR0912
    """The outline of a request that is surely valid (text messages, text system, the usual settings); None: look
    closer.

    Accepts a part of what `check_slowly` accepts, at a tenth of its price. Written out flat, since it runs for every
    line of a file.
    """
    if type(request) is not dict or not request.keys() <= _PLAIN_MEMBERS:
        return None
    messages = request.get("messages")
    if type(messages) is not list or not messages:
        return None
    size = 0
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        content = message.get("content")
        if type(content) is not list or not content:
            return None
        for block in content:
            if type(block) is not dict or len(block) != 1:
                return None
            words = block.get("text")
            if type(words) is not str:
                return None
            size += len(words) if words.isascii() else len(words.encode())  # isascii only reads a flag
        role = message.get("role")
        if role != "user" and (role != "assistant" or message is messages[0]):
            return None
    limit = None
    left = len(request) - 1
    if "inferenceConfig" in request:
        left -= 1
        config = request["inferenceConfig"]
        if type(config) is not dict:
            return None
        unknown = len(config)
        if "maxTokens" in config:
            unknown -= 1
            limit = config["maxTokens"]
            if type(limit) is not int or not 1 <= limit <= MAX_INT:
                return None
        if "temperature" in config:
            unknown -= 1
            value = config["temperature"]
            if (type(value) is not float and type(value) is not int) or not 0 <= value <= 1:
                return None
        if unknown:
            return None
    if left:
        system_size = _plain_system_bytes(request["system"])
        if system_size is None:
            return None
        size += system_size
    return PLAIN if len(messages) == 1 else CONVERSATION, size, limit


def _plain_system_bytes(system: Any) -> int | None:
    if type(system) is not list:
        return None
    size = 0
    for block in system:
        if type(block) is not dict or len(block) != 1:
            return None
        words = block.get("text")
        if type(words) is not str or not words:
            return None
        size += len(words) if words.isascii() else len(words.encode())
    return size


def shape(request: dict[str, Any]) -> frozenset[str]:
    """The traits of a checked request that decide which lanes it may go: `tools`, `cache`, `guardrail`, `multi_turn`,
    `structured_output`, `media`."""
    traits = set()
    tool_config = request.get("toolConfig")
    if tool_config is not None:
        traits.add(TOOLS)
        if any("cachePoint" in tool for tool in tool_config["tools"]):
            traits.add(CACHE)
    if "guardrailConfig" in request:
        traits.add(GUARDRAIL)
    if "outputConfig" in request and "textFormat" in request["outputConfig"]:
        traits.add(STRUCTURED_OUTPUT)
    if len(request["messages"]) > 1:
        traits.add(MULTI_TURN)
    for block in request.get("system", ()):
        _add_block_traits(block, traits)
    for message in request["messages"]:
        for block in message["content"]:
            _add_block_traits(block, traits)
    return frozenset(traits)


def _add_block_traits(block: dict[str, Any], traits: set[str]) -> None:
    (kind,) = block
    if kind == "cachePoint":
        traits.add(CACHE)
    elif kind in _MEDIA_BLOCKS:
        traits.add(MEDIA)
    elif kind == "guardContent":
        traits.add(GUARDRAIL)
        if "image" in block[kind]:
            traits.add(MEDIA)
    elif kind in ("toolUse", "toolResult", "toolAddition", "toolRemoval"):
        traits.add(TOOLS)
        if kind == "toolResult" and any(not _MEDIA_BLOCKS.isdisjoint(part) for part in block[kind]["content"]):
            traits.add(MEDIA)


def request_sha(request: dict[str, Any]) -> str:
    """The hex SHA-256 of the sorted, compact UTF-8 JSON: equal for equal requests, however they were written."""
    return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()
