"""Requests of the second type: a model's own body, as *InvokeModel* takes it.

A Converse request is a plain dict everywhere; a native body is wrapped in `NativeBody`, so that no reader can take one
for the other. A body goes to the model as it came: what is checked is what this product reads of it (prompt, output
limit) and what would break a promise (streaming, a model of its own). Families and their fields:
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from slackwater.model import request as converse
from slackwater.model.checks import Check, anything, fail, items, one_of, record, text, whole

INVOKE_MODEL: Final = "invoke_model"
ANTHROPIC_VERSION: Final = "bedrock-2023-05-31"


class RequestType(StrEnum):
    """Which operation a request is for."""

    CONVERSE = "converse"
    INVOKE_MODEL = "invoke_model"


class Family(StrEnum):
    """How a model's native bodies look."""

    CLAUDE = "claude"
    NOVA = "nova"
    LLAMA = "llama"
    CHAT = "chat"  # OpenAI's chat completions: open-weight models


@dataclass(frozen=True, slots=True)
class NativeBody:
    """An InvokeModel body. Checked by `check` against the family of its profile's model before anything is paid."""

    body: dict[str, Any]


Request = dict[str, Any] | NativeBody
"""A job's request: a Converse body (a dict), or a native one."""

_CHAT_PROVIDERS: Final = frozenset(
    {"openai", "qwen", "deepseek", "mistral", "google", "moonshotai", "moonshot", "minimax", "nvidia", "zai", "xai"}
)
_ONLY_NATIVE: Final = frozenset(
    {
        "anthropic_version",
        "anthropic_beta",
        "max_tokens",
        "max_completion_tokens",
        "max_gen_len",
        "prompt",
        "schemaVersion",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "response_format",
        "reasoning_effort",
        "seed",
    }
)
_MEDIA: Final = frozenset({"image", "image_url", "document", "video", "audio", "input_audio", "file"})
_TOOLS: Final = frozenset(
    {"tool_use", "tool_result", "server_tool_use", "toolUse", "toolResult", "web_search_tool_result"}
)
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_gen_len")
_LIMIT_FIELD: Final = {
    Family.CLAUDE: "/max_tokens",
    Family.NOVA: "/inferenceConfig/maxTokens",
    Family.LLAMA: "/max_gen_len",
    Family.CHAT: "/max_tokens",
}
_REFUSED: Final = {
    "model": "the profile names the model",
    "modelId": "the profile names the model",
    "service_tier": "the tier follows from the lane: choose the lane instead (`lane`: on_demand, flex or batch)",
    "serviceTier": "the tier follows from the lane: choose the lane instead (`lane`: on_demand, flex or batch)",
}

_MARKS: Final = {
    "anthropic_version": Family.CLAUDE,
    "inferenceConfig": Family.NOVA,
    "schemaVersion": Family.NOVA,
    "max_gen_len": Family.LLAMA,
}
"""Fields that only one family has."""

_TOKENS: Final = whole(1, converse.MAX_INT)


def family_of(model_id: str) -> Family | None:
    """The family of a base model id; None for one whose native bodies are not known here."""
    provider, _, name = model_id.partition(".")
    if provider == "anthropic" and name.startswith("claude"):
        return Family.CLAUDE
    if provider == "amazon" and name.startswith("nova"):
        return Family.NOVA
    if provider == "meta" and name.startswith("llama"):
        return Family.LLAMA
    return Family.CHAT if provider in _CHAT_PROVIDERS else None


def looks_native(body: dict[str, Any]) -> bool:
    """Whether only an InvokeModel body looks like this: by a field that Converse does not have, or by messages whose
    content is text or has blocks with a `type`. A Nova body without `schemaVersion` looks like Converse, and means the
    same."""
    if not _ONLY_NATIVE.isdisjoint(body):
        return True
    messages = body.get("messages")
    if type(messages) is not list or not messages or type(messages[0]) is not dict:
        return False
    content = messages[0].get("content")
    if type(content) is str:
        return True
    return type(content) is list and bool(content) and type(content[0]) is dict and "type" in content[0]


# ---------------------------------------------------------------------- checks


def check_any(body: Any, at: str = "") -> None:
    """What holds for native bodies of every family. Raises BadInput."""
    if type(body) is not dict or not body:
        fail("must be an object: the body of an InvokeModel call", at)
    for name, remedy in _REFUSED.items():
        if name in body:
            fail(f"`{name}` does not belong here: {remedy}", f"{at}/{name}")
    if body.get("stream") not in (None, False):
        fail("`stream` does not belong here: results are delivered whole", f"{at}/stream")
    anything(body, at)


def check(request: NativeBody, model_id: str, at: str = "") -> None:
    """Whether a profile whose model is `model_id` can send this body. Raises BadInput with the pointer below `at`; no
    value is quoted."""
    family = family_of(model_id)
    if family is None:
        fail(f"the native bodies of {model_id} are not known here: send a Converse request", at)
    check_any(request.body, at)
    body = request.body
    for name, owner in _MARKS.items():
        if name in body and owner is not family:
            fail(f"belongs to the bodies of other models than {model_id}", f"{at}/{name}")
    if family is Family.CHAT:
        _check_chat(body, at)
    else:
        for name in _REQUIRED[family]:
            if name not in body:
                remedy = f": write {ANTHROPIC_VERSION}" if name == "anthropic_version" else ""
                fail(f"is missing, and {model_id} needs it{remedy}", f"{at}/{name}")
    for name, check_field in _FIELDS[family].items():
        if name in body:
            check_field(body[name], f"{at}/{name}")
    messages = body.get("messages")
    if messages and family in (Family.CLAUDE, Family.NOVA) and messages[0]["role"] != "user":
        fail("the first message must be the user's", f"{at}/messages/0/role")


def limit_pointer(model_id: str) -> str:
    """Where a body for this model sets its output limit."""
    family = family_of(model_id)
    return "" if family is None else _LIMIT_FIELD[family]


def _check_chat(body: dict[str, Any], at: str) -> None:
    if ("messages" in body) == ("prompt" in body):
        fail("must have either `messages` or `prompt`", f"{at}/messages")
    if len([name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]) > 1:
        fail("`max_tokens` says the same: write one of them", f"{at}/max_completion_tokens")


def _words_or(check_block: Check) -> Check:
    blocks = items(check_block, 1)

    def check_content(value: Any, at: str) -> None:
        if type(value) is str:
            if not value:
                fail("must not be empty", at)
            return
        blocks(value, at)

    return check_content


def _open(required: dict[str, Check]) -> Check:
    """An object with these members; others are the model's business."""

    def check_object(value: Any, at: str) -> None:
        if type(value) is not dict:
            fail("must be an object", at)
        for name, check_member in required.items():
            if name not in value:
                fail("is missing", f"{at}/{name}")
            check_member(value[name], f"{at}/{name}")

    return check_object


def _nova_config(value: Any, at: str) -> None:
    _open({})(value, at)
    for name in ("maxTokens", "max_new_tokens"):
        if name in value:
            _TOKENS(value[name], f"{at}/{name}")


def _chat_message(value: Any, at: str) -> None:
    """Assistant messages may have tool calls instead of content."""
    _open({"role": text(1)})(value, at)
    content = value.get("content")
    if content is not None and type(content) not in (str, list):
        fail("must be text or a list of parts", f"{at}/content")
    if type(content) is list:
        items(_open({"type": text(1)}), 1)(content, f"{at}/content")
    if content is None and value["role"] != "assistant":
        fail("is missing", f"{at}/content")


def _one(value: Any, at: str) -> None:
    if type(value) is not int or value != 1:
        fail("must be 1: a job has one answer", at)


_TYPED: Final = _open({"type": text(1)})
_ONE_MEMBER: Final = _open({})
_REQUIRED: Final = {
    Family.CLAUDE: ("anthropic_version", "max_tokens", "messages"),
    Family.NOVA: ("messages",),
    Family.LLAMA: ("prompt",),
}
_FIELDS: Final[dict[Family, dict[str, Check]]] = {
    Family.CLAUDE: {
        "anthropic_version": one_of(ANTHROPIC_VERSION),
        "max_tokens": _TOKENS,
        "system": _words_or(_TYPED),
        "messages": items(_open({"role": one_of("user", "assistant"), "content": _words_or(_TYPED)}), 1),
        "tools": items(_ONE_MEMBER),
    },
    Family.NOVA: {
        "messages": items(_open({"role": one_of("user", "assistant"), "content": items(_ONE_MEMBER, 1)}), 1),
        "system": items(_ONE_MEMBER),
        "inferenceConfig": _nova_config,
        "toolConfig": record({"tools": items(_ONE_MEMBER)}, {"toolChoice": anything}),
    },
    Family.LLAMA: {"prompt": text(1), "max_gen_len": _TOKENS},
    Family.CHAT: {
        "messages": items(_chat_message, 1),
        "prompt": text(1),
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "n": _one,
        "tools": items(_ONE_MEMBER),
    },
}


# ---------------------------------------------------------------------- what a request says


def max_tokens(body: dict[str, Any]) -> int | None:
    """The output limit that a checked native body sets, by its family's field; None where it sets none."""
    for name in _LIMITS:
        limit = body.get(name)
        if type(limit) is int:
            return limit
    config = _object(body.get("inferenceConfig"))
    limit = config.get("maxTokens", config.get("max_new_tokens"))
    return limit if type(limit) is int else None


def output_limit(request: Request) -> int | None:
    """The output limit of a checked request of either type."""
    if isinstance(request, NativeBody):
        return max_tokens(request.body)
    limit: int | None = request.get("inferenceConfig", {}).get("maxTokens")
    return limit


def content_blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every content block of system and messages, those inside tool results too; text content as a text block."""
    contents = [body.get("system"), *(message.get("content") for message in _objects(body.get("messages")))]
    while contents:
        content = contents.pop(0)
        if type(content) is str:
            yield {"text": content}
        for block in _objects(content):
            yield block
            inner = block.get("content") or _object(block.get("toolResult")).get("content")
            if type(inner) is list:
                contents.append(inner)


def shape(request: Request) -> frozenset[str]:
    """The traits of a checked request of either type: `request.shape`'s, and for a native body `invoke_model`."""
    if not isinstance(request, NativeBody):
        return converse.shape(request)
    body = request.body
    traits = {INVOKE_MODEL}
    turns = [m for m in _objects(body.get("messages")) if m.get("role") not in ("system", "developer")]
    if len(turns) > 1:
        traits.add(converse.MULTI_TURN)
    if body.get("tools") or body.get("toolConfig") or any(m.get("tool_calls") for m in turns):
        traits.add(converse.TOOLS)
    if _object(body.get("output_config")).get("format") or _kind(body.get("response_format")) not in (None, "text"):
        traits.add(converse.STRUCTURED_OUTPUT)
    if "amazon-bedrock-guardrailConfig" in body:
        traits.add(converse.GUARDRAIL)
    if body.get("images"):
        traits.add(converse.MEDIA)
    for block in [*_tools(body), *content_blocks(body)]:
        _add_block_traits(block, traits)
    return frozenset(traits)


def _add_block_traits(block: dict[str, Any], traits: set[str]) -> None:
    kinds = {block["type"]} if type(block.get("type")) is str else block.keys()
    if not _MEDIA.isdisjoint(kinds):
        traits.add(converse.MEDIA)
    if not _TOOLS.isdisjoint(kinds):
        traits.add(converse.TOOLS)
    if "cache_control" in block or "cachePoint" in block:
        traits.add(converse.CACHE)
    if "guardContent" in block:
        traits.add(converse.GUARDRAIL)


def _kind(value: Any) -> Any:
    return value.get("type") if type(value) is dict else value


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [*_objects(body.get("tools")), *_objects(_object(body.get("toolConfig")).get("tools"))]


def _object(value: Any) -> dict[str, Any]:
    """What a family does not check may be anything."""
    return value if type(value) is dict else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def plain_outline(body: dict[str, Any]) -> converse.Outline | None:
    """Traits, bytes of text and output limit of a checked body of text messages; None for one with anything else in its
    prompt, or whose last message is no text."""
    traits = shape(NativeBody(body))
    messages = _objects(body.get("messages"))
    if not traits <= {INVOKE_MODEL, converse.MULTI_TURN} or not messages or not _last_text(messages[-1]):
        return None
    size = 0
    for block in content_blocks(body):
        if type(block.get("text")) is not str or block.get("type", "text") != "text":
            return None
        size += len(block["text"].encode())
    return traits, size, max_tokens(body)


def _last_text(message: dict[str, Any]) -> bool:
    content: Any = message.get("content")
    return bool(content) and (type(content) is str or "text" in content[-1])


def request_type(request: Request) -> RequestType:
    """Which operation a request is for."""
    return RequestType.INVOKE_MODEL if isinstance(request, NativeBody) else RequestType.CONVERSE


def plain(request: Request) -> dict[str, Any]:
    """The JSON object to write for a request: what a batch record holds as `modelInput`."""
    return request.body if isinstance(request, NativeBody) else request


def typed(body: dict[str, Any], kind: str | None) -> Request:
    """The request that `plain` wrote, from its body and what was noted of its type (None: converse)."""
    return NativeBody(body) if kind == INVOKE_MODEL else body


def request_sha(request: Request) -> str:
    """The hex SHA-256 of a request: equal for equal ones, and never equal for two types."""
    if not isinstance(request, NativeBody):
        return converse.request_sha(request)
    tagged = {"request_type": INVOKE_MODEL, "request": request.body}
    return hashlib.sha256(orjson.dumps(tagged, option=orjson.OPT_SORT_KEYS)).hexdigest()
