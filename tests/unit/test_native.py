"""Native InvokeModel bodies: whose they are, what they say, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model import native
from slackwater.model import request as converse
from slackwater.model.errors import BadInput
from slackwater.model.native import ANTHROPIC_VERSION, INVOKE_MODEL, Family, NativeBody, RequestType
from slackwater.model.native_usage import usage_of
from slackwater.model.usage import Usage
from slackwater.policy.capability import load_capability
from slackwater.policy.tokens import input_tokens, max_output_tokens

SECRET = "my-secret-prompt"
HI = [{"role": "user", "content": SECRET}]
CLAUDE = {"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 7, "messages": HI}
NOVA = {"messages": [{"role": "user", "content": [{"text": SECRET}]}], "inferenceConfig": {"maxTokens": 7, "topK": 3}}
LLAMA = {"prompt": SECRET, "max_gen_len": 7}
CHAT = {"messages": HI, "max_completion_tokens": 7}
MODELS = {
    "anthropic.claude-haiku-4-5-20251001-v1:0": CLAUDE,
    "amazon.nova-micro-v1:0": NOVA,
    "meta.llama3-1-8b-instruct-v1:0": LLAMA,
    "openai.gpt-oss-120b-1:0": CHAT,
}


def refusal(body: Any, model: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        native.check(NativeBody(body), model, "/request")
    assert SECRET not in caught.value.message
    return caught.value


@pytest.mark.parametrize("model", MODELS)
def test_each_family_takes_its_own_body_and_no_other(model: str) -> None:
    native.check(NativeBody(MODELS[model]), model)
    for other, body in MODELS.items():
        if other != model:
            refusal(body, model)


def test_every_model_of_the_price_table_has_a_family() -> None:
    assert {native.family_of(model) for model in load_capability().models()} == set(Family)


@pytest.mark.parametrize("model", ["amazon.titan-text-express-v1", "cohere.command-r-v1:0", "stability.sd3-large-v1:0"])
def test_a_model_of_an_unknown_family_is_refused_with_the_remedy(model: str) -> None:
    refused = refusal(CLAUDE, model)
    assert (refused.pointer, "send a Converse request" in refused.message) == ("/request", True)


@pytest.mark.parametrize(
    ("model", "changes", "pointer"),
    [
        ("anthropic.claude-x", {"anthropic_version": "2023-06-01"}, "/anthropic_version"),
        ("anthropic.claude-x", {"max_tokens": 0}, "/max_tokens"),
        ("anthropic.claude-x", {"max_tokens": None}, "/max_tokens"),
        ("anthropic.claude-x", {"messages": []}, "/messages"),
        ("anthropic.claude-x", {"messages": [{"role": "assistant", "content": "x"}]}, "/messages/0/role"),
        (
            "anthropic.claude-x",
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "/messages/0/content/0/type",
        ),
        ("anthropic.claude-x", {"system": 5}, "/system"),
        ("anthropic.claude-x", {"model": "m"}, "/model"),
        ("anthropic.claude-x", {"stream": True}, "/stream"),
        ("amazon.nova-x", {"inferenceConfig": {"maxTokens": "7"}}, "/inferenceConfig/maxTokens"),
        ("amazon.nova-x", {"messages": HI}, "/messages/0/content"),
        ("meta.llama-x", {"prompt": ""}, "/prompt"),
        ("meta.llama-x", {"max_gen_len": 1.5}, "/max_gen_len"),
        ("openai.gpt-oss-x", {"prompt": "x"}, "/messages"),
        ("openai.gpt-oss-x", {"max_tokens": 5}, "/max_completion_tokens"),
        ("openai.gpt-oss-x", {"n": 2}, "/n"),
        ("openai.gpt-oss-x", {"service_tier": "flex"}, "/service_tier"),
    ],
)
def test_a_body_is_refused_by_pointer(model: str, changes: dict[str, Any], pointer: str) -> None:
    body = next(body for name, body in MODELS.items() if name.startswith(model.removesuffix("-x")))
    assert refusal(body | changes, model).pointer == f"/request{pointer}"


def test_a_body_nested_too_deeply_to_be_written_is_refused() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    assert "nested" in refusal(CLAUDE | {"thinking": deep}, "anthropic.claude-x").message


@pytest.mark.parametrize("model", MODELS)
def test_the_output_limit_is_read_where_the_family_has_it(model: str) -> None:
    assert max_output_tokens(NativeBody(MODELS[model]), 99) == 7
    assert native.limit_pointer(model)
    without = {"messages": HI, "prompt": "x"}
    assert max_output_tokens(NativeBody(without), 99) == 99


@pytest.mark.parametrize(
    ("body", "traits"),
    [
        (CLAUDE, set()),
        (CLAUDE | {"messages": [*HI, {"role": "assistant", "content": "x"}, *HI]}, {converse.MULTI_TURN}),
        (CHAT | {"messages": [{"role": "system", "content": "x"}, *HI]}, set()),
        (CLAUDE | {"tools": [{"name": "t", "input_schema": {}}]}, {converse.TOOLS}),
        (NOVA | {"toolConfig": {"tools": [{"toolSpec": {}}]}}, {converse.TOOLS}),
        (
            CLAUDE | {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
            {converse.CACHE},
        ),
        (CLAUDE | {"output_config": {"format": {"type": "json_schema"}}}, {converse.STRUCTURED_OUTPUT}),
        (CHAT | {"response_format": {"type": "json_schema"}}, {converse.STRUCTURED_OUTPUT}),
        (CHAT | {"response_format": {"type": "text"}}, set()),
        (LLAMA | {"images": ["aGk="]}, {converse.MEDIA}),
        (
            CLAUDE | {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            {converse.MEDIA},
        ),
        (
            CLAUDE
            | {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}],
                    }
                ]
            },
            {converse.MEDIA, converse.TOOLS},
        ),
        (NOVA | {"messages": [{"role": "user", "content": [{"video": {}}]}]}, {converse.MEDIA}),
    ],
)
def test_traits_say_which_lanes_a_native_body_may_go(body: dict[str, Any], traits: set[str]) -> None:
    assert native.shape(NativeBody(body)) == traits | {INVOKE_MODEL}


@pytest.mark.parametrize("body", [CLAUDE, LLAMA, CHAT, {"messages": HI}, NOVA | {"schemaVersion": "messages-v1"}])
def test_a_native_body_is_known_by_what_converse_has_not(body: dict[str, Any]) -> None:
    assert native.looks_native(body)


@pytest.mark.parametrize("body", [NOVA, {"messages": [], "additionalModelRequestFields": {"top_k": 1}}, {}])
def test_a_body_that_converse_could_have_written_is_converses(body: dict[str, Any]) -> None:
    assert not native.looks_native(body)


def test_equal_bodies_of_two_types_are_two_requests() -> None:
    assert native.request_sha(NativeBody(NOVA)) != native.request_sha(NOVA)
    assert native.request_sha(NativeBody(NOVA)) == native.request_sha(NativeBody(dict(reversed(NOVA.items()))))
    assert native.request_type(NativeBody(NOVA)) is RequestType.INVOKE_MODEL
    assert native.typed(native.plain(NativeBody(NOVA)), INVOKE_MODEL) == NativeBody(NOVA)


def test_the_estimate_of_a_native_text_is_that_of_the_same_converse_text() -> None:
    assert input_tokens(NativeBody(CHAT)) == input_tokens({"messages": NOVA["messages"]})
    assert input_tokens(NativeBody(LLAMA)) == input_tokens({"messages": NOVA["messages"]})
    image = {"type": "image", "source": {"type": "base64", "data": "x" * 1_000_000}}
    with_image = CLAUDE | {"messages": [{"role": "user", "content": [image]}]}
    assert 1_000 < input_tokens(NativeBody(with_image)) < 5_000


# ---------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"input_tokens": 3, "output_tokens": 5}}, Usage(3, 5)),
        (
            {
                "usage": {
                    "input_tokens": 3,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 7,
                    "cache_creation_input_tokens": 20,
                    "cache_creation": {"ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 12},
                }
            },
            Usage(3, 5, 7, 20, 12),
        ),
        ({"usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}}, Usage(3, 5)),
        (
            {
                "usage": {
                    "inputTokens": 3,
                    "outputTokens": 5,
                    "cacheReadInputTokenCount": 2,
                    "cacheWriteInputTokenCount": 1,
                }
            },
            Usage(3, 5, 2, 1),
        ),
        ({"generation": "x", "prompt_token_count": 3, "generation_token_count": 5}, Usage(3, 5)),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}, Usage(3, 5)),
        (
            {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}},
            Usage(6, 5, 4),
        ),
    ],
)
def test_usage_is_read_where_each_family_tells_it(body: dict[str, Any], usage: Usage) -> None:
    assert usage_of(body) == usage


HEADERS = {"x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "5"}


def test_a_body_that_tells_nothing_is_read_by_its_headers() -> None:
    assert usage_of({"outputs": [{"text": "x"}]}, HEADERS) == Usage(3, 5)
    more = {"x-amzn-bedrock-cache-read-input-token-count": "2"}
    assert usage_of({}, HEADERS | more) == Usage(3, 5, 2)


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({}, {}),
        ({"usage": {}}, {}),
        ({"usage": None}, {"x-amzn-bedrock-input-token-count": "3"}),
        ({"usage": {"input_tokens": -1, "output_tokens": 5}}, {}),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}}, {}),
        ({}, {"x-amzn-bedrock-input-token-count": "many", "x-amzn-bedrock-output-token-count": "5"}),
    ],
)
def test_usage_that_is_not_told_or_impossible_is_unknown_never_zero(body: Any, headers: Any) -> None:
    assert usage_of(body, headers) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


FIELDS = st.sampled_from([*CLAUDE, *NOVA, *LLAMA, *CHAT, "system", "tools", "n", "output_config", "response_format"])


@given(st.dictionaries(FIELDS, JSON, max_size=3), st.sampled_from([*MODELS]))
def test_any_json_is_either_taken_and_readable_or_refused(changes: dict[str, Any], model: str) -> None:
    request = NativeBody(MODELS[model] | changes)
    try:
        native.check(request, model)
    except BadInput as exc:
        assert exc.pointer == "" or exc.pointer.startswith("/")
        return
    native.shape(request)
    assert max_output_tokens(request, 5) >= 1
    assert input_tokens(request) > 0
    native.plain_outline(request.body)


@given(st.dictionaries(st.sampled_from(["usage", "prompt_token_count", "generation_token_count"]), JSON))
def test_no_answer_breaks_the_reader_of_usage(body: dict[str, Any]) -> None:
    found = usage_of(body)
    assert found is None or found.prompt_tokens >= 0
