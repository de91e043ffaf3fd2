"""Lines of OpenAI's Batch API for chat completions, carried over to Converse field by field.

https://platform.openai.com/docs/guides/batch and /docs/api-reference/chat/create. What Converse cannot say is
refused, not dropped; null is what OpenAI takes for absent. Neighbouring messages of one role become one message,
because Converse alternates.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from slackwater.model.checks import fail, flag, free_object, number, shortened, step, text, whole
from slackwater.model.dialects.row import MAX_MODEL_CHARS, Row, Usual, checked_id, checked_model
from slackwater.model.errors import BadInput
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.request import MAX_INT, inspect, plain_outline

ID_FIELD: Final = "custom_id"
LIMIT_POINTER: Final = "/body/max_tokens"
TEXT_FIELD: Final = "content"
URL: Final = "/v1/chat/completions"

_DATA_URI: Final = r"data:image/(png|jpeg|jpg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})"
_USUAL_SETTINGS: Final = (
    ("max_tokens", "maxTokens"),
    ("max_completion_tokens", "maxTokens"),
    ("temperature", "temperature"),
)
_LINE_MEMBERS: Final = frozenset({"custom_id", "method", "url", "body"})
_REMEDIES: Final = {
    "user": "Converse has no such field: write it under `metadata`",
    "reasoning_effort": "Converse has no such field for every model: take it out",
    "seed": "Converse has no seed: take it out",
    "functions": "write `tools`",
    "function_call": "write `tool_choice`",
}


def is_telltale(found: dict[str, Any]) -> bool:
    """Whether only this dialect writes such a line."""
    return "custom_id" in found and ("body" in found or "url" in found or "method" in found)


def usual(found: Any) -> Usual | None:
    """What `read` would say of a line of the usual kind (texts, a limit, a temperature); None: ask `read`."""
    if type(found) is not dict or len(found) != 4 or found.get("method") != "POST" or found.get("url") != URL:
        return None
    caller_id, body = found.get("custom_id"), found.get("body")
    if type(caller_id) is not str or not 0 < len(caller_id) <= MAX_ID_CHARS or type(body) is not dict:
        return None
    left = len(body) - 1
    config = {}
    for name, wanted in _USUAL_SETTINGS:
        if name in body:
            if wanted in config:
                return None
            left -= 1
            config[wanted] = body[name]
    model = body.get("model")
    if model is not None:
        left -= 1
        if type(model) is not str or not 0 < len(model) <= MAX_MODEL_CHARS:
            return None
    request = None if left else _usual_request(body.get("messages"))
    if request is None:
        return None
    if config:
        request["inferenceConfig"] = config
    outline = plain_outline(request)
    return (
        None if outline is None else (caller_id, request, outline, None if model is None else (model, None, None, None))
    )


def _usual_request(messages: Any) -> dict[str, Any] | None:
    """Messages of text that take turns, system messages first."""
    if type(messages) is not list:
        return None
    system: list[Any] = []
    turns: list[Any] = []
    last = None
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or not content:
            return None
        if role in ("user", "assistant"):
            if role == last:
                return None
            turns.append({"role": role, "content": [{"text": content}]})
            last = role
        elif role in ("system", "developer") and last is None:
            system.append({"text": content})
        else:
            return None
    return {"messages": turns, "system": system} if system else {"messages": turns}


def text_holder(found: Any) -> Any:
    """What holds the last text of a line of the usual kind, under TEXT_FIELD. Raises KeyError, IndexError, TypeError
    for another kind."""
    return found["body"]["messages"][-1]


def read(found: dict[str, Any]) -> Row:
    """The job of one line. Raises BadInput with the pointer into the line."""
    for name in found:
        if name not in _LINE_MEMBERS:
            fail(f"unknown field `{shortened(name)}`: take it out", step("", name))
    if "custom_id" not in found:
        fail("is missing", "/custom_id")
    caller_id = checked_id(found["custom_id"], "/custom_id")
    if found.get("method") != "POST":
        fail("must be POST", "/method")
    if found.get("url") != URL:
        fail(f"must be {URL}", "/url")
    body = found.get("body")
    if type(body) is not dict:
        fail("must be an object", "/body")
    model = checked_model(body["model"], "/body/model") if body.get("model") is not None else None
    request = _request(body)
    try:
        return Row(caller_id, request, inspect(request), (model, None, None, None))
    except BadInput as exc:  # a limit of Converse that OpenAI does not have; its pointer is Converse's
        raise BadInput(f"cannot be carried over to Converse: {exc.pointer} {exc.message}", "/body") from None


def _request(body: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {}
    for name, value in body.items():
        if value is None:
            continue
        if name not in _FIELDS:
            remedy = _REMEDIES.get(name, "take it out")
            fail(f"`{shortened(name)}` cannot be carried over: {remedy}", step("/body", name))
        _FIELDS[name](request, value, f"/body/{name}")
    if "messages" not in request:
        fail("is missing", "/body/messages")
    if "toolConfig" in request and "tools" not in request["toolConfig"]:
        fail("`tool_choice` needs `tools`", "/body/tool_choice")
    return request


# --- settings


def _put_setting(name: str, check: Callable[[Any, str], None]) -> Callable[[dict[str, Any], Any, str], None]:
    def put(request: dict[str, Any], value: Any, at: str) -> None:
        check(value, at)
        config = request.setdefault("inferenceConfig", {})
        if config.setdefault(name, value) != value:
            fail("`max_tokens` and `max_completion_tokens` differ: write one of them", at)

    return put


def _put_stop(request: dict[str, Any], value: Any, at: str) -> None:
    stops = [value] if type(value) is str else value
    if type(stops) is not list or not all(type(stop) is str and stop for stop in stops):
        fail("must be text or a list of texts", at)
    if stops:
        request.setdefault("inferenceConfig", {})["stopSequences"] = stops


def _only(*allowed: Any, says: str) -> Callable[[dict[str, Any], Any, str], None]:
    def put(_: dict[str, Any], value: Any, at: str) -> None:
        if not any(type(value) is type(good) and value == good for good in allowed):
            fail(says, at)

    return put


def _put_response_format(request: dict[str, Any], value: Any, at: str) -> None:
    kind = value.get("type") if type(value) is dict else None
    if kind == "text" and len(value) == 1:
        return
    if kind != "json_schema" or len(value) != 2:
        fail("must be of type text or json_schema: Converse has no other", at)
    wanted = value.get("json_schema")
    at += "/json_schema"
    _members(wanted, at, {"schema", "name"}, {"description", "strict"})
    free_object(wanted["schema"], f"{at}/schema")
    schema = {"schema": orjson.dumps(wanted["schema"]).decode()}
    for name in ("name", "description"):
        if wanted.get(name) is not None:
            text(1)(wanted[name], f"{at}/{name}")
            schema[name] = wanted[name]
    request["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _put_metadata(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not dict:
        fail("must be an object", at)
    allowed = r"[a-zA-Z0-9\s:_@$#=/+,-.]*"  # Converse: requestMetadata
    for name, entry in value.items():
        text(0, 256, allowed, "letters, digits, spaces and any of :_@$#=/+,-.")(entry, step(at, name))
        if not 0 < len(name) <= 256 or re.fullmatch(allowed, name) is None:
            fail("a name in `metadata` is 1 to 256 letters, digits, spaces and any of :_@$#=/+,-.", step(at, name))
    if len(value) > 16:
        fail("must have at most 16 entries", at)
    if value:
        request["requestMetadata"] = value


# --- tools


def _put_tools(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not list or not value:
        fail("must be a list of tools", at)
    tools = [{"toolSpec": _tool_spec(tool, f"{at}/{index}")} for index, tool in enumerate(value)]
    request.setdefault("toolConfig", {})["tools"] = tools


def _tool_spec(tool: Any, at: str) -> dict[str, Any]:
    _members(tool, at, {"type", "function"}, set())
    if tool["type"] != "function":
        fail("must be function", f"{at}/type")
    function = tool["function"]
    at += "/function"
    _members(function, at, {"name"}, {"description", "parameters", "strict"})
    spec: dict[str, Any] = {"name": _tool_name(function["name"], f"{at}/name")}
    if function.get("description"):
        text()(function["description"], f"{at}/description")
        spec["description"] = function["description"]
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    free_object(parameters, f"{at}/parameters")
    spec["inputSchema"] = {"json": parameters}
    if function.get("strict") is not None:
        flag(function["strict"], f"{at}/strict")
        spec["strict"] = function["strict"]
    return spec


def _put_tool_choice(request: dict[str, Any], value: Any, at: str) -> None:
    choice: dict[str, Any]
    if value == "auto":
        choice = {"auto": {}}
    elif value == "required":
        choice = {"any": {}}
    elif type(value) is dict:
        _members(value, at, {"type", "function"}, set())
        if value["type"] != "function":
            fail("must be function", f"{at}/type")
        _members(value["function"], f"{at}/function", {"name"}, set())
        choice = {"tool": {"name": _tool_name(value["function"]["name"], f"{at}/function/name")}}
    else:
        fail("must be auto, required or a function: Converse has no other", at)
    request.setdefault("toolConfig", {})["toolChoice"] = choice


def _tool_name(value: Any, at: str) -> str:
    text(1, 64, r"[a-zA-Z0-9_-]+", "letters, digits, `_` and `-`")(value, at)
    return str(value)


# --- messages


def _put_messages(request: dict[str, Any], value: Any, at: str) -> None:
    if type(value) is not list or not value:
        fail("must be a list of messages", at)
    system: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for index, message in enumerate(value):
        here = f"{at}/{index}"
        role = message.get("role") if type(message) is dict else None
        if role in ("system", "developer"):
            if messages:
                fail("a system message comes before all others", here)
            system.extend(_system_blocks(message, here))
            continue
        if role not in ("user", "assistant", "tool"):
            fail("must be a message of the role system, developer, user, assistant or tool", here)
        content = _READERS[role](message, here)
        speaker = "assistant" if role == "assistant" else "user"
        if not messages and speaker != "user":
            fail("the first message must be the user's", here)
        if messages and messages[-1]["role"] == speaker:
            messages[-1]["content"].extend(content)
        else:
            messages.append({"role": speaker, "content": content})
    if not messages:
        fail("must have a message of the user", at)
    request["messages"] = messages
    if system:
        request["system"] = system


def _system_blocks(message: dict[str, Any], at: str) -> list[dict[str, Any]]:
    _members(message, at, {"role", "content"}, set())
    return [block for block in _texts(message["content"], f"{at}/content") if block["text"]]


def _user(message: dict[str, Any], at: str) -> list[dict[str, Any]]:
    if len(message) == 2 and type(message.get("content")) is str:  # nearly all messages of nearly all files
        return [{"text": message["content"]}]
    _members(message, at, {"role", "content"}, set())
    content = message["content"]
    if type(content) is not list or not content:
        fail("must be text or a list of parts", f"{at}/content")
    return [_part(part, f"{at}/content/{index}") for index, part in enumerate(content)]


def _part(part: Any, at: str) -> dict[str, Any]:
    kind = part.get("type") if type(part) is dict else None
    if kind == "text":
        return _text_part(part, at)
    if kind != "image_url":
        fail("must be a part of the type text or image_url: no other can be carried over", at)
    _members(part, at, {"type", "image_url"}, set())
    _members(part["image_url"], f"{at}/image_url", {"url"}, {"detail"})
    if part["image_url"].get("detail") not in (None, "auto"):
        fail("cannot be carried over to Converse: take it out", f"{at}/image_url/detail")
    url = part["image_url"]["url"]
    found = re.fullmatch(_DATA_URI, url) if type(url) is str else None
    if found is None or len(found[2]) % 4:
        fail("must be a data: URI of a PNG, JPEG, GIF or WebP image in base64", f"{at}/image_url/url")
    form = "jpeg" if found[1] == "jpg" else found[1]
    return {"image": {"format": form, "source": {"bytes": found[2]}}}


def _text_part(part: Any, at: str) -> dict[str, Any]:
    _members(part, at, {"type", "text"}, set())
    if part["type"] != "text":
        fail("must be text", f"{at}/type")
    text()(part["text"], f"{at}/text")
    return {"text": part["text"]}


def _texts(content: Any, at: str) -> list[dict[str, Any]]:
    if type(content) is str:
        return [{"text": content}]
    if type(content) is not list or not content:
        fail("must be text or a list of parts", at)
    blocks = []
    for index, part in enumerate(content):
        blocks.append(_text_part(part, f"{at}/{index}"))
    return blocks


def _assistant(message: dict[str, Any], at: str) -> list[dict[str, Any]]:
    _members(message, at, {"role"}, {"content", "tool_calls", "refusal", "audio"})
    for name in ("refusal", "audio"):
        if message.get(name) is not None:
            fail("cannot be carried over to Converse: take it out", f"{at}/{name}")
    calls = message.get("tool_calls")
    if calls is not None and type(calls) is not list:
        fail("must be a list", f"{at}/tool_calls")
    blocks = []
    if message.get("content") is not None:
        blocks = [block for block in _texts(message["content"], f"{at}/content") if block["text"] or not calls]
    blocks += [_tool_use(call, f"{at}/tool_calls/{index}") for index, call in enumerate(calls or ())]
    if not blocks:
        fail("must have `content` or `tool_calls`", at)
    return blocks


def _tool_use(call: Any, at: str) -> dict[str, Any]:
    _members(call, at, {"id", "type", "function"}, set())
    if call["type"] != "function":
        fail("must be function", f"{at}/type")
    _members(call["function"], f"{at}/function", {"name", "arguments"}, set())
    arguments = call["function"]["arguments"]
    try:
        arguments = orjson.loads(arguments or "{}") if type(arguments) is str else None
    except orjson.JSONDecodeError:
        arguments = None
    if type(arguments) is not dict:
        fail("must be a JSON object, written as text", f"{at}/function/arguments")
    free_object(arguments, f"{at}/function/arguments")
    name = _tool_name(call["function"]["name"], f"{at}/function/name")
    return {"toolUse": {"toolUseId": _call_id(call["id"], f"{at}/id"), "name": name, "input": arguments}}


def _tool(message: dict[str, Any], at: str) -> list[dict[str, Any]]:
    _members(message, at, {"role", "content", "tool_call_id"}, set())
    call = _call_id(message["tool_call_id"], f"{at}/tool_call_id")
    return [{"toolResult": {"toolUseId": call, "content": _texts(message["content"], f"{at}/content")}}]


def _call_id(value: Any, at: str) -> str:
    text(1, 64, r"[a-zA-Z0-9_.:-]+", "letters, digits, `_`, `.`, `:` and `-`")(value, at)
    return str(value)


def _members(value: Any, at: str, required: set[str], optional: set[str]) -> None:
    if type(value) is not dict:
        fail("must be an object", at)
    for name in value:
        if name not in required and name not in optional:
            fail(f"`{shortened(name)}` cannot be carried over to Converse: take it out", step(at, name))
    for name in sorted(required - value.keys()):
        fail("is missing", step(at, name))


_READERS: Final = {"user": _user, "assistant": _assistant, "tool": _tool}

_FIELDS: Final[dict[str, Callable[[dict[str, Any], Any, str], None]]] = {
    "model": lambda _request, _value, _at: None,  # read before: it is no part of the request
    "messages": _put_messages,
    "max_tokens": _put_setting("maxTokens", whole(1, MAX_INT)),
    "max_completion_tokens": _put_setting("maxTokens", whole(1, MAX_INT)),
    "temperature": _put_setting("temperature", number(0, 1)),
    "top_p": _put_setting("topP", number(0, 1)),
    "stop": _put_stop,
    "tools": _put_tools,
    "tool_choice": _put_tool_choice,
    "response_format": _put_response_format,
    "metadata": _put_metadata,
    "n": _only(1, says="must be 1: a job has one answer"),
    "stream": _only(False, says="must be false: results are delivered whole"),
    "store": _only(False, says="must be false: there is nothing to store in"),
    "logprobs": _only(False, says="must be false: Converse has none"),
    "parallel_tool_calls": _only(True, says="must be true: Converse cannot turn it off"),
    "frequency_penalty": _only(0, 0.0, says="must be 0: Converse has no such setting"),
    "presence_penalty": _only(0, 0.0, says="must be 0: Converse has no such setting"),
    "logit_bias": _only({}, says="must be empty: Converse has no such setting"),
    "service_tier": _only("auto", "default", says="must be auto or default: choose the lane instead"),
}
