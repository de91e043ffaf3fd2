from collections.abc import Callable
from typing import Any

import botocore.session
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.errors import BadInput
from slackwater.model.request import check, check_slowly, inspect, plain_outline, request_sha, shape

SECRET = "my-secret-prompt"
USER = {"role": "user", "content": [{"text": SECRET}]}


def body(**more: Any) -> dict[str, Any]:
    return {"messages": [USER], **more}


def with_block(block: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


TOOL = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
IMAGE = {"image": {"format": "png", "source": {"bytes": "aGk="}}}

GOOD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "text": (body(), set()),
    "settings": (body(inferenceConfig={"maxTokens": 1, "temperature": 1, "topP": 0.5, "stopSequences": ["x"]}), set()),
    "system": (body(system=[{"text": "s"}]), set()),
    "turns": ({"messages": [USER, {"role": "assistant", "content": [{"text": ""}]}, USER]}, {"multi_turn"}),
    "tools": (body(toolConfig={"tools": [TOOL], "toolChoice": {"any": {}}}), {"tools"}),
    "cached tools": (body(toolConfig={"tools": [TOOL, {"cachePoint": {"type": "default"}}]}), {"tools", "cache"}),
    "cached system": (body(system=[{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]), {"cache"}),
    "image": (with_block(IMAGE), {"media"}),
    "image in a tool's result": (
        with_block({"toolResult": {"toolUseId": "a", "content": [IMAGE, {"json": [1]}]}}),
        {"tools", "media"},
    ),
    "guardrail": (body(guardrailConfig={"guardrailIdentifier": "abc", "guardrailVersion": "DRAFT"}), {"guardrail"}),
    "guarded content": (with_block({"guardContent": {"text": {"text": "x"}}}), {"guardrail"}),
    "schema": (
        body(outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}}),
        {"structured_output"},
    ),
    "the rest": (
        body(
            additionalModelRequestFields={"top_k": 5},
            additionalModelResponseFieldPaths=["/x"],
            promptVariables={"a": {"text": "b"}},
            requestMetadata={"team": "a b"},
            performanceConfig={"latency": "standard"},
        ),
        set(),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_request_passes_and_shows_its_traits(name: str) -> None:
    request, traits = GOOD[name]
    check(request)
    check_slowly(request)
    assert inspect(request) == shape(request) == traits


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({}, "/messages"),
        ({"messages": []}, "/messages"),
        ({"messages": {}}, "/messages"),
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "/messages/0/role"),
        ({"messages": [{"role": "robot", "content": [{"text": "x"}]}]}, "/messages/0/role"),
        ({"messages": [{"role": "user", "content": SECRET}]}, "/messages/0/content"),
        ({"messages": [{"role": "user", "content": []}]}, "/messages/0/content"),
        ({"messages": [{"role": "user", "content": [SECRET]}]}, "/messages/0/content/0"),
        (with_block({"text": 5}), "/messages/0/content/0/text"),
        (with_block({"text": None}), "/messages/0/content/0/text"),
        (with_block({"type": "text", "text": SECRET}), "/messages/0/content/0/type"),
        (with_block({"text": SECRET, **IMAGE}), "/messages/0/content/0"),
        (with_block({}), "/messages/0/content/0"),
        (
            with_block({"image": {"format": "png", "source": {"bytes": SECRET}}}),
            "/messages/0/content/0/image/source/bytes",
        ),
        (body(inferenceConfig=None), "/inferenceConfig"),
        (body(system=None), "/system"),
        (body(system=[{"text": ""}]), "/system/0/text"),
        (body(inferenceConfig={"maxTokens": 0}), "/inferenceConfig/maxTokens"),
        (body(inferenceConfig={"maxTokens": True}), "/inferenceConfig/maxTokens"),
        (body(inferenceConfig={"maxTokens": 1.0}), "/inferenceConfig/maxTokens"),
        (body(inferenceConfig={"maxTokens": 2**31}), "/inferenceConfig/maxTokens"),
        (body(inferenceConfig={"temperature": 1.01}), "/inferenceConfig/temperature"),
        (body(inferenceConfig={"temperature": False}), "/inferenceConfig/temperature"),
        (body(inferenceConfig={"topK": 1}), "/inferenceConfig/topK"),
        (body(toolConfig={"tools": []}), "/toolConfig/tools"),
        (body(serviceTier={"type": "flex"}), "/serviceTier"),
        (body(modelId="m"), "/modelId"),
        (body(requestMetadata={"a": "ä"}), "/requestMetadata/a"),
        (body(**{"a/b~c": 1}), "/a~1b~0c"),
        ([], ""),
    ],
)
def test_a_bad_request_is_refused_where_it_is_bad(request_: Any, pointer: str) -> None:
    assert plain_outline(request_) is None
    with pytest.raises(BadInput) as refused:
        check(request_, "/request")
    assert refused.value.pointer == f"/request{pointer}"
    assert SECRET not in refused.value.message


def test_a_service_tier_is_refused_with_the_lane_as_remedy() -> None:
    with pytest.raises(BadInput, match="choose the lane"):
        check(body(serviceTier={"type": "flex"}))


def test_free_json_that_could_not_be_written_again_is_refused() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    with pytest.raises(BadInput, match="nested"):
        check(body(additionalModelRequestFields=deep))
    wrapped: Any = body(additionalModelRequestFields=deep[0])
    check(wrapped)
    for _ in range(20):
        wrapped = {"request": wrapped}
    orjson.dumps(wrapped)


def test_a_long_field_name_is_shortened_in_pointer_and_message() -> None:
    with pytest.raises(BadInput) as refused:
        check(body(**{"x" * 5000: 1}))
    assert len(refused.value.pointer) < 100
    assert len(refused.value.message) < 150


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**33) | st.floats(-1, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "role", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
odd = st.one_of  # a good value mostly, sometimes anything
texts = odd(st.fixed_dictionaries({"text": odd(st.text(max_size=4), json_values)}), json_values)
messages = st.fixed_dictionaries(
    {
        "role": odd(st.sampled_from(["user", "assistant", "system"]), json_values),
        "content": odd(st.lists(texts, max_size=2), json_values),
    },
    optional={"x": json_values},
)
settings = st.fixed_dictionaries(
    {},
    optional={
        "maxTokens": odd(st.integers(1, 5), json_values),
        "temperature": odd(st.floats(0, 1), json_values),
        "topP": json_values,
    },
)
requests = st.fixed_dictionaries(
    {"messages": odd(st.lists(messages, max_size=3), json_values)},
    optional={
        "system": odd(st.lists(texts, max_size=2), json_values),
        "inferenceConfig": odd(settings, json_values),
        "x": json_values,
    },
)


@given(requests)
def test_what_the_fast_check_accepts_the_slow_one_accepts_with_the_same_traits(request_: dict[str, Any]) -> None:
    outline = plain_outline(request_)
    if outline is not None:
        check_slowly(request_)
        traits, size, limit = outline
        assert traits == shape(request_)
        blocks = [b for m in request_["messages"] for b in m["content"]] + request_.get("system", [])
        assert size == sum(len(block["text"].encode()) for block in blocks)
        assert limit == request_.get("inferenceConfig", {}).get("maxTokens")


@given(json_values)
def test_any_json_is_accepted_or_refused(value: Any) -> None:
    try:
        check(value)
    except BadInput:
        return
    raise AssertionError("none of these values is a request")


def test_the_sha_knows_neither_order_nor_spacing_but_every_value() -> None:
    one = orjson.loads(
        '{"messages":[{"role":"user","content":[{"text":"ä"}]}],"inferenceConfig":{"maxTokens":5,"temperature":0.5}}'
    )
    other = orjson.loads(
        '{ "inferenceConfig": {"temperature": 0.50, "maxTokens": 5},'
        ' "messages": [{"content": [{"text": "\\u00e4"}], "role": "user"}]}'
    )
    assert request_sha(one) == request_sha(other)
    assert len(request_sha(one)) == 64
    other["inferenceConfig"]["maxTokens"] = 6
    assert request_sha(one) != request_sha(other)


def sample(shape_: Any) -> Any:
    """A value of a botocore shape in which every member is there (of a union the first)."""
    if shape_.type_name == "structure":
        if getattr(shape_, "is_document_type", False):
            return {}
        members = list(shape_.members.items())
        return {name: sample(member) for name, member in (members[:1] if shape_.is_tagged_union else members)}
    if shape_.type_name == "list":
        return [sample(shape_.member)]
    if shape_.type_name == "map":
        return {"a": sample(shape_.value)}
    if shape_.type_name == "string":
        known = {"NonEmptyString": "x", "S3Uri": "s3://bucket/x", "AccountId": "123456789012"}
        return shape_.enum[0] if shape_.enum else known.get(shape_.name, "DRAFT" if "Version" in shape_.name else "a")
    return {"integer": 1, "float": 1, "boolean": True, "blob": "aGk="}[shape_.type_name]


def test_every_member_of_converse_is_known() -> None:
    """Fails the day an SDK upgrade brings a new member."""
    session: Any = botocore.session.get_session()
    model = session.get_service_model("bedrock-runtime")
    converse = model.operation_model("Converse").input_shape
    whole = sample(converse)
    del whole["modelId"], whole["serviceTier"]
    check_slowly(whole)
    block = model.shape_for("ContentBlock")
    for name, member in block.members.items():
        check_slowly({"messages": [{"role": "user", "content": [{name: sample(member)}]}]})
    unions: tuple[tuple[str, Callable[[Any], Any]], ...] = (
        ("ToolResultContentBlock", lambda b: with_block({"toolResult": {"toolUseId": "a", "content": [b]}})),
        ("SystemContentBlock", lambda b: body(system=[b])),
        ("Tool", lambda b: body(toolConfig={"tools": [b]})),
        ("ToolChoice", lambda b: body(toolConfig={"tools": [TOOL], "toolChoice": b})),
        ("DocumentSource", lambda b: with_block({"document": {"name": "a", "source": b}})),
        ("ReasoningContentBlock", lambda b: with_block({"reasoningContent": b})),
        ("GuardrailConverseContentBlock", lambda b: with_block({"guardContent": b})),
        ("CitationLocation", lambda b: with_block({"citationsContent": {"citations": [{"location": b}]}})),
    )
    for union, wrap in unions:
        for name, member in model.shape_for(union).members.items():
            check_slowly(wrap({name: sample(member)}))
