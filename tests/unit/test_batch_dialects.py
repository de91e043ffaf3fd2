"""Bedrock's batch records and Anthropic's Message Batches: every field is carried or refused by its pointer, and
results come back in either dialect."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model.dialects import (
    DIALECTS,
    anthropic_output,
    bedrock_output,
    converse_output,
    openai_output,
    recognise,
)
from slackwater.model.dialects.answers import translated
from slackwater.model.errors import BadInput
from slackwater.model.native import ANTHROPIC_VERSION, INVOKE_MODEL, NativeBody, RequestType
from slackwater.model.request import check_slowly
from slackwater.usecases import surveyor
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.survey import survey

SECRET = "my-secret-prompt"
HI = [{"role": "user", "content": SECRET}]
CLAUDE, OTHER = "anthropic.claude-haiku-4-5-20251001-v1:0", "openai.gpt-oss-120b-1:0"
NATIVE = {"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 7, "messages": HI}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": SECRET}]}], "inferenceConfig": {"maxTokens": 7}}


def params(**changes: Any) -> dict[str, Any]:
    return {"max_tokens": 7, "messages": HI} | changes


def line(**changes: Any) -> dict[str, Any]:
    return {"custom_id": "a", "params": params(**changes)}


def fitted(name: str, found: dict[str, Any], model: str = CLAUDE) -> Any:
    """The request that a line becomes for a model."""
    row = DIALECTS[name].read(copy.deepcopy(found))
    return row.request if row.fit is None else row.fit(model)[0]


def refusal(name: str, found: dict[str, Any], model: str = CLAUDE) -> BadInput:
    with pytest.raises(BadInput) as caught:
        fitted(name, found, model)
    assert SECRET not in caught.value.message
    return caught.value


# ---------------------------------------------------------------------- recognised


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"recordId": "a", "modelInput": CONVERSE}, "bedrock"),
        ({"modelInput": NATIVE}, "bedrock"),
        (line(), "anthropic"),
        ({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}, "openai"),
        ({"request": NATIVE, "request_type": "invoke_model"}, "slackwater"),
    ],
)
def test_a_file_is_known_by_a_key_that_only_its_dialect_has(found: dict[str, Any], name: str) -> None:
    assert recognise([found]).name == name


# ---------------------------------------------------------------------- Bedrock's records


def test_a_record_is_converse_or_native_as_its_body_looks_or_as_the_file_says() -> None:
    assert fitted("bedrock", {"recordId": "a", "modelInput": CONVERSE}) == CONVERSE
    assert fitted("bedrock", {"recordId": "a", "modelInput": NATIVE}) == NativeBody(NATIVE)
    said = recognise([{"modelInput": CONVERSE}], RequestType.INVOKE_MODEL)
    assert said.usual({"modelInput": copy.deepcopy(CONVERSE)}) is None
    assert said.read({"modelInput": CONVERSE}).request == NativeBody(CONVERSE)
    said = recognise([{"modelInput": NATIVE}], RequestType.CONVERSE)
    with pytest.raises(BadInput) as caught:
        said.read({"modelInput": NATIVE})
    assert caught.value.pointer == "/modelInput/anthropic_version"


@pytest.mark.parametrize(
    ("found", "pointer"),
    [
        ({"recordId": 5, "modelInput": CONVERSE}, "/recordId"),
        ({"recordId": "", "modelInput": CONVERSE}, "/recordId"),
        ({"recordId": "a", "modelInput": []}, "/modelInput"),
        ({"recordId": "a"}, "/modelInput"),
        ({"recordId": "a", "modelInput": CONVERSE, "modelId": "m"}, "/modelId"),
        ({"recordId": "a", "modelInput": CONVERSE | {"serviceTier": {}}}, "/modelInput/serviceTier"),
        ({"recordId": "a", "modelInput": NATIVE | {"stream": True}}, "/modelInput/stream"),
        ({"recordId": "a", "modelInput": {"prompt": SECRET}}, "/modelInput/anthropic_version"),
    ],
)
def test_a_bad_record_is_refused_by_pointer(found: dict[str, Any], pointer: str) -> None:
    assert refusal("bedrock", found).pointer == pointer


def test_a_record_needs_no_id() -> None:
    assert DIALECTS["bedrock"].read({"modelInput": CONVERSE}).id is None
    assert DIALECTS["bedrock"].usual({"modelInput": CONVERSE})[0] is None


# ---------------------------------------------------------------------- Anthropic's lines


def test_on_claude_the_params_stay_what_they_are() -> None:
    said = params(thinking={"type": "enabled", "budget_tokens": 5}, top_k=3, system=[{"type": "text", "text": "x"}])
    found = line(**said, model="claude-haiku-4-5", stream=False, service_tier="auto", temperature=None)
    assert fitted("anthropic", found) == NativeBody({"anthropic_version": ANTHROPIC_VERSION, **said})
    assert DIALECTS["anthropic"].read(found).label[0] == "claude-haiku-4-5"


def test_on_another_model_they_become_converse() -> None:
    found = line(
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        stop_sequences=["x"],
        top_p=0.5,
        metadata={"user_id": "u1"},
        tools=[{"name": "t", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": "t"},
        messages=[
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "t", "input": {"a": 1}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "yes", "is_error": False}],
            },
        ],
    )
    assert fitted("anthropic", found, OTHER) == {
        "inferenceConfig": {"maxTokens": 7, "stopSequences": ["x"], "topP": 0.5},
        "system": [{"text": "be brief"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "requestMetadata": {"user_id": "u1"},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "t", "description": "d", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"tool": {"name": "t"}},
        },
        "messages": [
            {"role": "user", "content": [{"text": "one"}, {"text": "two"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "t", "input": {"a": 1}}}]},
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "yes"}], "status": "success"}}],
            },
        ],
    }


@pytest.mark.parametrize("model", [CLAUDE, OTHER])
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"max_tokens": 0}, "/params/max_tokens"),
        ({"max_tokens": None}, "/params/max_tokens"),
        ({"messages": []}, "/params/messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "/params/messages/0/role"),
        ({"messages": [{"role": "user", "content": 5}]}, "/params/messages/0/content"),
        ({"container": "c"}, "/params/container"),
        ({"mcp_servers": []}, "/params/mcp_servers"),
        ({"stream": True}, "/params/stream"),
        ({"service_tier": "priority"}, "/params/service_tier"),
        ({"model": 5}, "/params/model"),
        ({"a/b": 1}, "/params/a~1b"),
    ],
)
def test_a_bad_line_is_refused_by_pointer_whatever_the_model(changes: Any, pointer: str, model: str) -> None:
    assert refusal("anthropic", line(**changes), model).pointer == pointer


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"top_k": 5}, "/params/top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "/params/thinking"),
        ({"temperature": 1.5}, "/params/temperature"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "/params/tools/0/type"),
        ({"tool_choice": {"type": "auto"}}, "/params/tool_choice"),
        ({"tool_choice": {"type": "none"}}, "/params/tool_choice/type"),
        ({"metadata": {"user_id": "ü"}}, "/params/metadata/user_id"),
        ({"metadata": {"other": "x"}}, "/params/metadata/other"),
        ({"output_config": {"format": {"type": "text"}}}, "/params/output_config/format/schema"),
    ],
)
def test_what_converse_cannot_say_is_refused_by_pointer(changes: Any, pointer: str) -> None:
    assert refusal("anthropic", line(**changes), OTHER).pointer == pointer


def test_a_line_is_checked_around_its_params_too() -> None:
    assert refusal("anthropic", {"params": params()}).pointer == "/custom_id"
    assert refusal("anthropic", line() | {"body": 1}).pointer == "/body"
    assert refusal("anthropic", {"custom_id": "a", "params": 5}).pointer == "/params"


# ---------------------------------------------------------------------- every field, carried or refused

WORDS = st.text(st.characters(categories=("L", "N")), min_size=8, max_size=12)
NAMES = st.text("abcdefgh", min_size=8, max_size=12)
CACHED = st.fixed_dictionaries({}, optional={"cache_control": st.just({"type": "ephemeral"})})


def block(kind: str, cached: bool = True, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    made = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.tuples(made, CACHED).map(lambda pair: pair[0] | pair[1]) if cached else made


def base64_source(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    made = {"type": st.just("base64"), "media_type": st.just(kind), "data": NAMES.map(lambda name: (name * 4)[:32])}
    return st.fixed_dictionaries(made)


def texts(cached: bool) -> st.SearchStrategy[Any]:
    return WORDS | st.lists(block("text", cached, text=WORDS), min_size=1, max_size=2)


MEDIA = block("image", source=base64_source("image/png")) | block(
    "document", source=base64_source("application/pdf"), title=WORDS, context=WORDS
)
USER_BLOCK = (
    block("text", text=WORDS)
    | MEDIA
    | block("tool_result", tool_use_id=NAMES, content=texts(cached=False), is_error=st.booleans())
    | block("search_result", source=WORDS, title=WORDS, content=st.lists(block("text", False, text=WORDS), max_size=2))
)
ASSISTANT_BLOCK = block("text", text=WORDS) | block(
    "tool_use", id=NAMES, name=NAMES, input=st.dictionaries(NAMES, WORDS)
)
ASSISTANT_BLOCK |= block("thinking", cached=False, thinking=WORDS, signature=WORDS)
TURNS = st.tuples(
    st.fixed_dictionaries({"role": st.just("user"), "content": WORDS | st.lists(USER_BLOCK, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": WORDS | st.lists(ASSISTANT_BLOCK, min_size=1, max_size=3)}
    ),
).map(list)
TOOL = st.fixed_dictionaries(
    {"name": NAMES, "input_schema": st.dictionaries(NAMES, WORDS)},
    optional={"description": WORDS, "type": st.just("custom"), "cache_control": st.just({"type": "ephemeral"})},
)
PARAMS = st.fixed_dictionaries(
    {"messages": TURNS, "max_tokens": st.integers(10_000, 99_999)},
    optional={
        "system": texts(cached=True),
        "temperature": st.floats(0.001, 0.999),
        "top_p": st.floats(0.001, 0.999),
        "stop_sequences": st.lists(WORDS, min_size=1, max_size=2),
        "tools": st.lists(TOOL, min_size=1, max_size=2),
        "metadata": st.fixed_dictionaries({"user_id": NAMES}),
        "output_config": st.fixed_dictionaries({"effort": st.just("low")}),
    },
)
SAID_OTHERWISE = frozenset({"text", "image", "document", "tool_result", "tool_use", "thinking", "search_result"}) | {
    "custom",
    "ephemeral",
    "base64",
    "image/png",
    "application/pdf",
}
"""Words for which Converse has a structure of its own."""


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry)
    elif not isinstance(value, bool):
        yield value


def objects(value: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object below, with its pointer; not those of the caller's own making (schemas, tool input)."""
    if isinstance(value, dict):
        yield at, value
        for name, entry in value.items():
            if name not in ("input", "input_schema"):
                yield from objects(entry, f"{at}/{name}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from objects(entry, f"{at}/{index}")


@settings(max_examples=60)
@given(PARAMS)
def test_every_value_of_an_accepted_line_is_in_its_converse_request(said: dict[str, Any]) -> None:
    request = fitted("anthropic", {"custom_id": "a", "params": said}, OTHER)
    check_slowly(request)
    found = list(leaves(request))
    for leaf in leaves(said):
        if leaf in SAID_OTHERWISE:
            continue
        assert leaf in found, leaf
        found.remove(leaf)
    points = sum("cache_control" in entry for _, entry in objects(said))
    assert sum("cachePoint" in entry for _, entry in objects(request)) == points


@settings(max_examples=60)
@given(PARAMS)
def test_on_claude_every_value_stays_in_its_place(said: dict[str, Any]) -> None:
    said.pop("metadata", None)
    request = fitted("anthropic", {"custom_id": "a", "params": copy.deepcopy(said)})
    assert request.body == {"anthropic_version": ANTHROPIC_VERSION, **said}


@settings(max_examples=60)
@given(PARAMS, st.data())
def test_an_unknown_field_anywhere_is_refused_at_its_pointer(said: dict[str, Any], data: Any) -> None:
    said = orjson.loads(orjson.dumps(said))  # hypothesis shares its constants
    at, place = data.draw(st.sampled_from(list(objects(said, "/params"))))
    place["surprise"] = 1
    refused = refusal("anthropic", {"custom_id": "a", "params": said}, OTHER)
    assert refused.pointer == f"{at}/surprise"


# ---------------------------------------------------------------------- a file of them

NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Blocks:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []

    def put_input(self, _: str, rows: bytes) -> None:
        self.rows += [orjson.loads(row) for row in rows.splitlines()]

    def put_refused(self, _: str, rows: bytes) -> None:
        self.refused += [orjson.loads(row) for row in rows.splitlines()]


def surveyed(lines: list[Any], model: str, bounds: Any = None, **options: Any) -> tuple[Any, Blocks]:
    sink, data = Blocks(), b"\n".join(orjson.dumps(each) for each in lines)
    done = survey(
        [data],
        sink,
        run_id="r",
        options=FileOptions("default", NOW, **options),
        profiles={"default": 100},
        models={"default": model},
        bounds=bounds,
        size_bytes=len(data),
        now=NOW,
    )
    return done, sink


def kinds(n: int) -> dict[str, dict[str, Any]]:
    text = [{"role": "user", "content": f"{SECRET} {n}"}]
    blocks = [{"role": "user", "content": [{"type": "text", "text": f"{SECRET} {n}"}]}]
    return {
        "anthropic": {"custom_id": f"i{n}", "params": {"max_tokens": 5, "messages": text}},
        "anthropic blocks": {"custom_id": f"i{n}", "params": {"max_tokens": 5, "messages": blocks, "system": "x"}},
        "bedrock native": {"recordId": f"i{n}", "modelInput": NATIVE | {"messages": text}},
        "bedrock": {
            "recordId": f"i{n}",
            "modelInput": CONVERSE | {"messages": [{"role": "user", "content": blocks[0]["content"]}]},
        },
        "slackwater": {"job_id": f"i{n}", "request_type": "invoke_model", "request": NATIVE | {"messages": blocks}},
    }


@pytest.mark.parametrize("model", [CLAUDE, OTHER])
@pytest.mark.parametrize("kind", [*kinds(0)])
def test_lines_alike_are_read_as_each_by_itself(kind: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [kinds(n)[kind] for n in range(40)]
    lines[7] = lines[7] | {"surprise": 1}
    fast, fast_rows = surveyed(lines, model)
    monkeypatch.setattr(surveyor, "MAX_LESSONS", 0)
    slow, slow_rows = surveyed(lines, model)
    assert (fast_rows.rows, fast_rows.refused) == (slow_rows.rows, slow_rows.refused)
    assert [entry.key for entry in fast.classes] == [entry.key for entry in slow.classes]
    for ours, theirs in zip(fast.classes, slow.classes, strict=True):
        counts = [(load.jobs, load.bytes, load.max_output_tokens) for load in (ours.total, theirs.total)]
        assert counts[0] == counts[1]
        assert ours.total.input_tokens == pytest.approx(theirs.total.input_tokens, rel=0.1)  # rounded once, or by line
    fits = model == CLAUDE or kind in ("anthropic", "anthropic blocks")
    assert fast.accepted == (39 if fits and kind != "bedrock" else 0)


@pytest.mark.parametrize(
    ("kind", "pointer"),
    [
        ("anthropic", "/params/max_tokens"),
        ("bedrock native", "/modelInput/max_tokens"),
        ("slackwater", "/request/max_tokens"),
    ],
)
def test_a_profiles_bound_is_named_where_the_line_sets_its_limit(kind: str, pointer: str) -> None:
    def refuse(_: int | None) -> None:
        raise BadInput("too many")

    _, sink = surveyed([kinds(0)[kind]], CLAUDE, {"default": refuse})
    assert [row["error"]["pointer"] for row in sink.refused] == [pointer]


def test_metadata_that_says_nothing_is_no_obstacle_and_else_refused_on_claude() -> None:
    assert fitted("anthropic", line(metadata={"user_id": None})) == fitted("anthropic", line())
    assert refusal("anthropic", line(metadata={"user_id": "u"})).pointer == "/params/metadata"


def test_a_native_line_is_one_class_and_says_its_type() -> None:
    done, sink = surveyed([kinds(0)["bedrock native"], {"recordId": "c", "modelInput": CONVERSE}], CLAUDE)
    assert [row.get("request_type") for row in sink.rows] == [INVOKE_MODEL, None]
    assert [sorted(entry.key.traits) for entry in done.classes] == [[INVOKE_MODEL], []]


# ---------------------------------------------------------------------- results


def result(response: Any = None, code: str = "", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 5, "cache_read_tokens": 2, "cache_write_tokens": 1}
    return {
        "id": "a",
        "job": "j1",
        "run_id": "r",
        "line": 1,
        "status": "failed" if code else "succeeded",
        "model": CLAUDE,
        "response": response,
        "usage": None if code else usage,
        "finished_at": "2026-12-01T00:00:00.000Z",
        "error": {"code": code, "message": "why", "line": 1, "pointer": "/x"} if code else None,
        **more,
    }


ANSWERS: dict[str, Any] = {
    "converse": (
        None,
        {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [{"text": "hi"}, {"toolUse": {"toolUseId": "c", "name": "t", "input": {"a": 1}}}],
                }
            },
            "stopReason": "tool_use",
        },
    ),
    "claude": (
        INVOKE_MODEL,
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "tool_use", "id": "c", "name": "t", "input": {"a": 1}},
            ],
            "stop_reason": "tool_use",
            "usage": {},
        },
    ),
    "chat": (
        INVOKE_MODEL,
        {
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "hi",
                        "tool_calls": [
                            {"id": "c", "type": "function", "function": {"name": "t", "arguments": '{"a":1}'}}
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": {"prompt_tokens": 3},
        },
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_one_answer_says_the_same_in_every_dialect(kind: str) -> None:
    request_type, response = ANSWERS[kind]
    row = result(response, **({"request_type": request_type} if request_type else {}))
    message = anthropic_output.output_line(row)["result"]["message"]
    assert message["content"] == ANSWERS["claude"][1]["content"]
    assert (message["role"], message["stop_reason"]) == ("assistant", "tool_use")
    answer = converse_output.output_line(row)
    assert (answer["id"], answer["output"]) == ("a", ANSWERS["converse"][1]["output"])
    choice = openai_output.output_line(row)["response"]["body"]["choices"][0]
    assert choice["message"]["tool_calls"] == ANSWERS["chat"][1]["choices"][0]["message"]["tool_calls"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hi", "tool_calls")
    record = bedrock_output.output_line(row, NATIVE)
    assert record == {"recordId": "a", "modelInput": NATIVE, "modelOutput": response}


@pytest.mark.parametrize(
    ("response", "text", "stop"),
    [
        ({"generation": "hi", "stop_reason": "length"}, "hi", "max_tokens"),
        ({"outputs": [{"text": "hi", "stop_reason": "stop"}]}, "hi", "end_turn"),
        ({"choices": [{"text": "hi", "stop_reason": "length"}]}, "hi", "max_tokens"),
        ({"output": {"message": {"content": [{"text": "hi"}]}}, "stopReason": "max_tokens"}, "hi", "max_tokens"),
    ],
)
def test_answers_of_other_families_become_messages_too(response: Any, text: str, stop: str) -> None:
    message = anthropic_output.output_line(result(response, request_type=INVOKE_MODEL))["result"]["message"]
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": text}], stop)
    assert message["usage"]["output_tokens"] == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "choices", "message", "output", "type", "text", "tool_calls", "stop_reason"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@pytest.mark.promise(5)
@given(st.dictionaries(st.sampled_from(["content", "choices", "output", "outputs", "generation", "usage"]), JSON))
def test_an_answer_of_any_shape_has_a_line_in_every_dialect(response: dict[str, Any]) -> None:
    row = result(response, request_type=INVOKE_MODEL)
    for output in (anthropic_output, openai_output, converse_output):
        assert "a" in translated(output.output_line, row).values()


@pytest.mark.parametrize(
    ("code", "kind", "error_type", "status"),
    [
        ("refused", "errored", "invalid_request_error", 400),
        ("duplicate_id", "errored", "invalid_request_error", 400),
        ("batch_400", "errored", "invalid_request_error", 400),
        ("access_denied", "errored", "permission_error", 403),
        ("ModelErrorException", "errored", "api_error", 424),
        ("outcome_unknown", "errored", "api_error", 500),
        ("deadline_missed", "expired", None, 408),
        ("cancelled", "canceled", None, 499),
    ],
)
def test_a_failure_has_each_dialects_own_shape(code: str, kind: str, error_type: str | None, status: int) -> None:
    row = result(code=code)
    outcome = anthropic_output.output_line(row)["result"]
    assert outcome["type"] == kind
    if error_type is None:
        assert set(outcome) == {"type"}
    else:
        inner = {"type": error_type, "message": f"{code}: why (/x)"}
        assert outcome["error"] == {"type": "error", "error": inner}
    record = bedrock_output.output_line(row, None)
    assert record["error"] == {"errorCode": status, "errorMessage": f"{code}: why (/x)"}
    assert "modelOutput" not in record
    assert converse_output.output_line(row) == {"id": "a", "Error": {"Code": code, "Message": "why (/x)"}}
