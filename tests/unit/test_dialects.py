import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.dialects import DIALECTS, recognise
from slackwater.model.dialects.openai_output import output_line
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.request import check_slowly, shape

SECRET = "my-secret-prompt"
REQUEST = {"messages": [{"role": "user", "content": [{"text": SECRET}]}], "inferenceConfig": {"maxTokens": 5}}
HI = [{"role": "user", "content": SECRET}]


def openai(body: Any = None, **changes: Any) -> dict[str, Any]:
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": HI} if body is None else body,
    }
    return line | changes


def read(name: str, line: dict[str, Any]) -> Any:
    return DIALECTS[name].read(copy.deepcopy(line))


def refusal(name: str, line: dict[str, Any]) -> BadInput:
    assert DIALECTS[name].usual(copy.deepcopy(line)) is None
    with pytest.raises(BadInput) as caught:
        read(name, line)
    assert SECRET not in caught.value.message
    return caught.value


# --- recognition


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("slackwater", {"v": 1, "request": REQUEST}),
        ("converse", REQUEST),
        ("converse", {"id": "a", "modelId": "m", **REQUEST}),
        ("openai", openai()),
        ("openai", {"custom_id": "a", "url": "/v1/embeddings", "body": {}}),
        ("slackwater", {"nothing": "known"}),
    ],
)
def test_a_file_is_recognised_by_its_telltale_keys(name: str, line: dict[str, Any]) -> None:
    assert recognise([line]).name == name


def test_a_few_broken_lines_do_not_decide_what_a_file_is() -> None:
    assert recognise([{"x": 1}, {"v": 1, "request": {}}, REQUEST, {"y": 1}, REQUEST]).name == "converse"


# --- our own


def test_a_slackwater_line_is_a_job_message() -> None:
    row = read(
        "slackwater",
        {
            "v": 1,
            "job_id": "a",
            "profile": "p",
            "deadline": "6h",
            "lane": "flex",
            "tags": {"t": "x"},
            "request": REQUEST,
        },
    )
    assert row == ("a", REQUEST, frozenset(), (None, "p", "6h", Lane.FLEX), {"t": "x"}, None)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"run_id": "night"}, "/run_id"),
        ({"reply_to": "arn:aws:sqs:us-east-1:123456789012:q"}, "/reply_to"),
        ({"result_dialect": "openai"}, "/result_dialect"),
        ({"id": "a"}, "/id"),
        ({"v": 3}, "/v"),
        ({"request": {**REQUEST, "modelId": "m"}}, "/request/modelId"),
    ],
)
def test_what_a_file_cannot_carry_is_refused(changes: dict[str, Any], pointer: str) -> None:
    assert refusal("slackwater", {"v": 1, "job_id": "a", "request": REQUEST} | changes).pointer == pointer


# --- Converse


def test_a_converse_line_is_its_request_with_id_and_model_taken_out() -> None:
    assert read("converse", {"id": "a", "modelId": "m", **REQUEST}) == (
        "a",
        REQUEST,
        frozenset(),
        ("m", None, None, None),
        None,
        None,
    )
    assert read("converse", REQUEST).id is None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"id": 5}, "/id"),
        ({"id": ""}, "/id"),
        ({"modelId": 5}, "/modelId"),
        ({"serviceTier": {"type": "flex"}}, "/serviceTier"),
        ({"deadline": "6h"}, "/deadline"),
    ],
)
def test_a_converse_line_is_refused_by_pointer(changes: dict[str, Any], pointer: str) -> None:
    assert refusal("converse", REQUEST | changes).pointer == pointer


# --- OpenAI


def test_an_openai_line_is_carried_over_to_converse() -> None:
    body = {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": [{"type": "text", "text": "and kind"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "auto"}},
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            {"role": "user", "content": "sure?"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": "END",
        "n": 1,
        "stream": False,
        "seed": None,
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "d", "parameters": {"type": "object"}, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}},
        },
        "metadata": {"team": "x"},
    }
    row = read("openai", openai(body))
    assert row.id == "a"
    assert row.label == ("gpt-x", None, None, None)
    assert row.request == {
        "messages": [
            {
                "role": "user",
                "content": [{"text": "what is this?"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}],
            },
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "look", "input": {"x": 1}}}]},
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "a cat"}]}}, {"text": "sure?"}],
            },
        ],
        "system": [{"text": "be brief"}, {"text": "and kind"}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "look",
                        "description": "d",
                        "inputSchema": {"json": {"type": "object"}},
                        "strict": True,
                    }
                }
            ],
            "toolChoice": {"tool": {"name": "look"}},
        },
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "s"}},
            }
        },
        "requestMetadata": {"team": "x"},
    }
    check_slowly(row.request)
    assert row.traits == {"tools", "media", "structured_output", "multi_turn"}


@pytest.mark.parametrize(
    ("line", "pointer"),
    [
        (openai(method="GET"), "/method"),
        (openai(url="/v1/embeddings"), "/url"),
        ({k: v for k, v in openai().items() if k != "method"}, "/method"),
        (openai(custom_id=5), "/custom_id"),
        (openai(extra=1), "/extra"),
        (openai(body="x"), "/body"),
    ],
)
def test_an_openai_line_that_is_no_chat_completion_is_refused(line: dict[str, Any], pointer: str) -> None:
    assert refusal("openai", line).pointer == pointer


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages/0"),
        ({"messages": [*HI, {"role": "system", "content": "x"}]}, "messages/1"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages/0/name"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages/0/content/0"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
                ]
            },
            "messages/0/content/0/image_url/url",
        ),
        ({"messages": [*HI, {"role": "assistant", "content": None}]}, "messages/1"),
        (
            {
                "messages": [
                    *HI,
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "nonsense"}}
                        ],
                    },
                ]
            },
            "messages/1/tool_calls/0/function/arguments",
        ),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"stream": True}, "stream"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"user": "ann"}, "user"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools/0/function"),
        ({"stop": ["a", 5]}, "stop"),
        ({"model": 5}, "model"),
        ({"metadata": {"a": "ä"}}, "metadata/a"),
        ({"a/b": 1}, "a~1b"),
    ],
)
def test_an_openai_field_that_cannot_be_carried_over_is_refused_by_pointer(
    changes: dict[str, Any], pointer: str
) -> None:
    assert refusal("openai", openai({"messages": HI} | changes)).pointer == f"/body/{pointer}"


def test_what_says_nothing_is_no_reason_to_refuse() -> None:
    quiet = {
        "n": 1,
        "stream": False,
        "logprobs": False,
        "logit_bias": {},
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "response_format": {"type": "text"},
        "parallel_tool_calls": True,
        "store": False,
        "seed": None,
        "user": None,
        "stop": [],
        "service_tier": "auto",
        "metadata": {},
    }
    assert read("openai", openai({"messages": HI} | quiet)).request == {"messages": REQUEST["messages"]}


def test_neighbouring_messages_of_one_role_become_one() -> None:
    row = read("openai", openai({"messages": [*HI, *HI]}))
    assert row.request["messages"] == [{"role": "user", "content": [{"text": SECRET}, {"text": SECRET}]}]


# --- the fast way


anything: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=2) | st.just([]) | st.just({})
)
words = st.text(max_size=3) | anything
turn = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": words}, optional={"name": anything}
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(turn, max_size=3) | anything},
    optional={
        "model": words,
        "max_tokens": st.integers(0, 2) | anything,
        "max_completion_tokens": st.integers(0, 2) | anything,
        "temperature": st.floats(0, 1.5) | anything,
        "n": anything,
    },
)
requests = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.just("user"), "content": st.lists(st.fixed_dictionaries({"text": words}), max_size=2)}
            ),
            max_size=2,
        )
    },
    optional={"inferenceConfig": st.fixed_dictionaries({}, optional={"maxTokens": anything, "temperature": anything})},
)
LINES = {
    "slackwater": st.fixed_dictionaries(
        {"request": requests},
        optional={
            "v": st.just(1) | anything,
            "job_id": words,
            "profile": words,
            "deadline": words,
            "lane": words,
            "tags": anything,
            "run_id": anything,
        },
    ),
    "converse": st.builds(
        lambda request, more: {**request, **more},
        requests,
        st.fixed_dictionaries({}, optional={"id": words, "modelId": words, "x": anything}),
    ),
    "openai": st.fixed_dictionaries(
        {
            "custom_id": words,
            "method": st.just("POST") | anything,
            "url": st.just("/v1/chat/completions"),
            "body": bodies | anything,
        },
        optional={"x": anything},
    ),
}


@pytest.mark.parametrize("name", LINES)
@given(data=st.data())
def test_the_fast_way_says_what_the_careful_one_says_or_nothing(name: str, data: st.DataObject) -> None:
    line = data.draw(LINES[name])
    mine = copy.deepcopy(line)
    known = DIALECTS[name].usual(mine)
    if known is None:
        assert mine == line
        return
    id_, request, (traits, _, limit), label = known
    row = read(name, line)
    assert (id_, request, traits) == (row.id, row.request, row.traits)
    assert (label or (None,) * 4) == row.label
    assert row.tags is None
    assert traits == shape(request)
    assert limit == request.get("inferenceConfig", {}).get("maxTokens")


@pytest.mark.parametrize("name", LINES)
@given(data=st.data())
def test_a_template_matches_lines_that_differ_in_id_and_text_only(name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[name]
    first, second = data.draw(LINES[name]), data.draw(LINES[name])
    if data.draw(st.booleans()):
        second = copy.deepcopy(first)
        if dialect.id_field in second:
            second[dialect.id_field] = data.draw(words)
    known = dialect.usual(copy.deepcopy(first))
    if known is None or not dialect.text_holder(first)[dialect.text_field]:
        return
    template = dialect.template(copy.deepcopy(first), known)
    mine = copy.deepcopy(second)
    varied = template.match(mine)
    if varied is None:
        assert orjson.dumps(mine) == orjson.dumps(second)
        return
    template.written_text["text"] = varied[1]
    row = read(name, second)
    assert (varied[0], template.row["request"], template.traits, template.label or (None,) * 4) == (
        row.id,
        row.request,
        row.traits,
        row.label,
    )
    assert orjson.dumps(template.row["request"]) == orjson.dumps(row.request)  # down to the types of numbers


@pytest.mark.parametrize(
    "other", [b'{"maxTokens":true}', b'{"maxTokens":1.0}', b'{"maxTokens":2}', b'{"maxTokens":1,"x":1}']
)
def test_a_template_tells_numbers_by_their_type(other: bytes) -> None:
    line = b'{"messages":[{"role":"user","content":[{"text":"a"}]}],"inferenceConfig":%b}'
    known = DIALECTS["converse"].usual(orjson.loads(line % b'{"maxTokens":1}'))
    assert known is not None
    template = DIALECTS["converse"].template(orjson.loads(line % b'{"maxTokens":1}'), known)
    assert template.match(orjson.loads(line % b'{"maxTokens":1}')) == (None, "a")
    assert template.match(orjson.loads(line % other)) is None


# --- output


def result(**changes: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "id": "a",
        "job": "j1",
        "run_id": "r1",
        "line": 3,
        "status": "succeeded",
        "model": "m",
        "finished_at": "2026-11-25T12:00:00.000Z",
        "response": {
            "output": {"message": {"role": "assistant", "content": [{"text": "four"}]}},
            "stopReason": "end_turn",
        },
        "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_tokens": 10, "cache_write_tokens": 1},
        "error": None,
    } | changes


def test_a_result_becomes_an_openai_output_line() -> None:
    line = output_line(result())
    assert line["id"] == "batch_req_j1"
    assert line["custom_id"] == "a"
    assert line["error"] is None
    assert line["response"]["status_code"] == 200
    body = line["response"]["body"]
    assert body["created"] == 1795608000
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "four", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {
        "prompt_tokens": 14,
        "completion_tokens": 2,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 10},
    }


def test_a_tool_call_keeps_its_arguments() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}},
    ]
    line = output_line(
        result(response={"output": {"message": {"content": content}}, "stopReason": "tool_use"}, usage=None)
    )
    choice = line["response"]["body"]["choices"][0]
    assert choice["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    ]
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["finish_reason"] == "tool_calls"
    assert line["response"]["body"]["usage"] is None


def test_a_failed_or_refused_line_carries_our_code_and_words() -> None:
    error = {"code": "refused", "message": "is missing", "line": 3, "pointer": "/body/messages"}
    line = output_line(result(job=None, status="failed", response=None, usage=None, error=error))
    assert line == {
        "id": "batch_req_r1-3",
        "custom_id": "a",
        "response": None,
        "error": {"code": "refused", "message": "is missing (/body/messages)"},
    }
