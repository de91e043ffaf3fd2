"""The emulator's InvokeModel: bodies that each family takes, and answers as the documentation shows them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from local.bedrock import invoke_shape
from local.bedrock.answers import Answer, Answerer
from local.bedrock.batch_rows import RowWorker
from local.bedrock.config import parse
from local.bedrock.converse_shape import usage_of
from local.bedrock.errors import ApiError
from local.bedrock.models import parse_model
from local.bedrock.wire_check import body_checker

CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA, LLAMA, CHAT = "amazon.nova-micro-v1:0", "meta.llama3-1-8b-instruct-v1:0", "qwen.qwen3-32b-v1:0"
HI = [{"role": "user", "content": "12345678"}]
BODIES: dict[str, dict[str, Any]] = {
    CLAUDE: {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HI},
    NOVA: {"messages": [{"role": "user", "content": [{"text": "12345678"}]}], "inferenceConfig": {"maxTokens": 9}},
    LLAMA: {"prompt": "12345678", "max_gen_len": 9},
    CHAT: {"messages": HI, "max_tokens": 9},
}


@pytest.mark.parametrize("base", BODIES)
def test_each_family_is_understood_by_its_own_fields(base: str) -> None:
    native = invoke_shape.read(base, BODIES[base])
    assert (native.text, native.input_tokens, native.max_tokens) == ("12345678", 2, 9)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (CLAUDE, {"anthropic_version": "2023-06-01"}),
        (CLAUDE, {"metadata": {"user_id": "u"}}),
        (CLAUDE, {"messages": []}),
        (CLAUDE, {"messages": [{"role": "assistant", "content": "x"}]}),
        (CLAUDE, {"max_tokens": 0}),
        (NOVA, {"max_tokens": 5}),
        (NOVA, {"inferenceConfig": {"max_tokens": 5}}),
        (NOVA, {"messages": HI}),
        (LLAMA, {"prompt": ""}),
        (LLAMA, {"messages": HI}),
        (CHAT, {"messages": "x"}),
    ],
)
def test_what_a_family_does_not_have_is_refused(base: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        invoke_shape.read(base, BODIES[base] | changes)
    assert caught.value.code == "ValidationException"


def answered(base: str, stop: str = "end_turn") -> dict[str, Any]:
    native = invoke_shape.read(base, BODIES[base])
    return invoke_shape.write(native, Answer([{"text": "hi"}], stop, 3), usage_of(2, 3))


def test_answers_look_as_documented() -> None:
    claude = answered(CLAUDE)
    assert (claude["type"], claude["content"]) == ("message", [{"type": "text", "text": "hi"}])
    assert claude["usage"] == {
        "input_tokens": 2,
        "output_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    nova = answered(NOVA)
    assert nova["output"]["message"] == {"role": "assistant", "content": [{"text": "hi"}]}
    assert (nova["usage"]["inputTokens"], nova["usage"]["outputTokens"]) == (2, 3)
    assert answered(LLAMA, "max_tokens") == {
        "generation": "hi",
        "prompt_token_count": 2,
        "generation_token_count": 3,
        "stop_reason": "length",
    }
    chat = answered(CHAT, "max_tokens")
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": "hi"}
    assert (chat["choices"][0]["finish_reason"], chat["usage"]["total_tokens"]) == ("length", 5)


def test_tokens_are_in_the_headers_whatever_the_model() -> None:
    assert invoke_shape.token_headers(usage_of(2, 3)) == {
        "X-Amzn-Bedrock-input-Token-Count": "2",
        "X-Amzn-Bedrock-output-Token-Count": "3",
    }
    assert (
        invoke_shape.token_headers(usage_of(9, 3, cache_read=4))["X-Amzn-Bedrock-cache-read-input-Token-Count"] == "4"
    )


def test_claude_uses_the_tool_it_is_told_to_and_answers_in_the_schema_it_is_given() -> None:
    tool = {"name": "t", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    forced = invoke_shape.read(CLAUDE, BODIES[CLAUDE] | {"tools": [tool], "tool_choice": {"type": "any"}})
    assert forced.forced_tool == {"name": "t", "inputSchema": {"json": tool["input_schema"]}}
    format_ = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert invoke_shape.read(CLAUDE, BODIES[CLAUDE] | {"output_config": format_}).json_schema == '{"type": "object"}'


def row(base: str, body: Any, **batch: Any) -> dict[str, Any]:
    config = parse({"batch": batch})
    ref = parse_model(base)
    assert ref is not None
    check = body_checker("bedrock-runtime", "Converse")
    worker = RowWorker(config, check, Answerer(), "us-east-1", ref, "InvokeModel", "seed")
    return dict(orjson.loads(worker.process({"recordId": "R1", "modelInput": body}, 0).line))


@pytest.mark.parametrize("base", BODIES)
def test_a_batch_record_is_answered_in_its_familys_shape(base: str) -> None:
    assert json.dumps(row(base, BODIES[base])["modelOutput"]).count("echo: 12345678") == 1
    assert row(base, {"nonsense": 1})["error"]["errorCode"] == 400


def test_batch_refuses_native_tools_and_turns_if_it_is_told_to() -> None:
    turns = BODIES[CLAUDE] | {"messages": [*HI, {"role": "assistant", "content": "x"}, *HI]}
    tools = BODIES[CLAUDE] | {"tools": [{"name": "t", "input_schema": {}}]}
    assert "error" in row(CLAUDE, turns, multi_turn="refuse")
    assert "error" in row(CLAUDE, tools, tools="refuse")
