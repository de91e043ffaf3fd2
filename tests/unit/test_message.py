from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.message import BadMessage, CloseRun, Envelope, JobMessage, Known, NotAnObject, parse_body

SECRET = "my-secret-prompt"
REQUEST = {"messages": [{"role": "user", "content": [{"text": SECRET}]}]}
ARN = "arn:aws:sqs:us-east-1:123456789012:replies"
FULL = {
    "v": 1,
    "job_id": "a",
    "profile": "default",
    "deadline": "6h",
    "run_id": "night",
    "request": REQUEST,
    "request_type": "converse",
    "lane": "flex",
    "tags": {"team": "x"},
    "reply_to": ARN,
    "result_dialect": "openai",
}
ENVELOPE = {
    "v": 1,
    "hop": 3,
    "first_sent_at": "2026-11-25T12:00:00.000Z",
    "deadline_at": "2026-11-25T18:00:00.000Z",
    "job": "j",
    "run": "r",
}


def refusal(body: Any) -> BadMessage:
    with pytest.raises(BadInput) as caught:
        parse_body(orjson.dumps(body))
    assert isinstance(caught.value, BadMessage)
    assert SECRET not in f"{caught.value}{caught.value.pointer}"
    return caught.value


def test_a_message_says_all_that_a_job_can_say() -> None:
    message = parse_body(orjson.dumps(FULL).decode())
    assert isinstance(message, JobMessage)
    assert message.model_dump(mode="json") == FULL
    assert message.lane is Lane.FLEX


def test_a_message_needs_nothing_but_its_request() -> None:
    message = parse_body(orjson.dumps({"request": REQUEST}))
    assert isinstance(message, JobMessage)
    assert message.deadline is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b'"text"', b"null", b"5", '{"a": "\ud800"}', b"{'request': 1}"]
)
def test_what_is_no_json_object_is_left_to_the_redrive(body: Any) -> None:
    with pytest.raises(NotAnObject):
        parse_body(body)


@pytest.mark.parametrize(
    ("changes", "pointer", "says"),
    [
        ({"v": 2}, "/v", "must be 1"),
        ({"v": "1"}, "/v", "must be 1"),
        ({"job_id": ""}, "/job_id", "must not be empty"),
        ({"job_id": 5}, "/job_id", "must be text"),
        ({"deadline": 5}, "/deadline", "must be text"),
        ({"lane": "fast"}, "/lane", "must be 'on_demand', 'flex' or 'batch'"),
        ({"tags": {"a": 1}}, "/tags/a", "must be text"),
        ({"tags": []}, "/tags", "must be an object"),
        ({"reply_to": "https://sqs.example/q"}, "/reply_to", "ARN"),
        ({"result_dialect": "xml"}, "/result_dialect", "'slackwater', 'openai',"),
        ({"request": "x"}, "/request", "must be an object"),
        ({"request": {}}, "/request/messages", "is missing"),
        ({"request_type": "chat"}, "/request_type", "must be 'converse' or 'invoke_model'"),
        ({"request_type": "invoke_model", "request": {}}, "/request", "the body of an InvokeModel call"),
        ({"request_type": "invoke_model", "request": {"model": "m"}}, "/request/model", "the profile names the model"),
        ({"request": {**REQUEST, "serviceTier": {}}}, "/request/serviceTier", "choose the lane"),
        ({"prompt": SECRET}, "/prompt", "unknown field `prompt`"),
    ],
)
def test_a_bad_message_is_refused_by_field_and_remedy(changes: dict[str, Any], pointer: str, says: str) -> None:
    refused = refusal(FULL | changes)
    assert refused.pointer == pointer
    assert says in refused.message


def test_a_refused_message_still_says_whom_to_tell() -> None:
    known = refusal(FULL | {"request": 5, "run_id": 7, "profile": ""}).known
    assert known == Known(job_id="a", profile=None, run_id=None, reply_to=ARN, result_dialect="openai")
    assert refusal({"v": 1}).known == Known()


def test_a_run_is_closed_by_name() -> None:
    assert parse_body(b'{"v":1,"close_run":"night","expected":120}') == CloseRun(close_run="night", expected=120)
    assert refusal({"v": 1, "close_run": "night", "expected": -1}).pointer == "/expected"


def test_an_envelope_holds_the_job_or_its_key() -> None:
    whole = parse_body(orjson.dumps(ENVELOPE | {"body": FULL, "lane": "on_demand"}))
    assert isinstance(whole, Envelope)
    assert whole.lane is Lane.ON_DEMAND
    assert whole.first_sent_at.isoformat() == "2026-11-25T12:00:00+00:00"
    message = whole.message()
    assert message is not None
    assert message.job_id == "a"
    by_key = parse_body(orjson.dumps(ENVELOPE | {"body_key": "v1/runs/r/jobs/j.json"}))
    assert isinstance(by_key, Envelope)
    assert by_key.message() is None


def test_an_envelope_with_both_or_neither_is_refused() -> None:
    assert refusal(ENVELOPE).message == refusal(ENVELOPE | {"body": FULL, "body_key": "k"}).message
    assert refusal(ENVELOPE | {"body": FULL, "hop": -1}).known.reply_to == ARN


fields = st.sampled_from([*FULL, "close_run", "hop", "body", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(fields, inner, max_size=5),
    max_leaves=8,
)


@given(values)
def test_any_json_is_a_message_or_refused(value: Any) -> None:
    with suppress(BadMessage, NotAnObject):
        parse_body(orjson.dumps(value))
