"""The runtime adapter: what leaves it of an answer and of an error."""

from dataclasses import replace
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, ParamValidationError, ReadTimeoutError
from botocore.stub import Stubber

from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane
from slackwater.policy.classify import Fault
from tests.unit.rig import ROUTES

REQUEST = {"messages": [{"role": "user", "content": [{"text": "my secret prompt"}]}]}


@pytest.fixture
def runtime(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return BedrockRuntime(boto3.Session(), connections=4)


@pytest.fixture
def client(runtime):
    return runtime._client(ROUTES[0].region, 60.0)


def ask(runtime, lane=Lane.ON_DEMAND, request=REQUEST):
    return runtime.converse(ROUTES[0], lane, request, read_timeout_s=60.0)


def response(**more):
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
        "metrics": {"latencyMs": 5},
        **more,
    }


def test_a_client_makes_one_attempt_and_waits_as_long_as_it_is_told(client):
    assert client.meta.config.retries["total_max_attempts"] == 1
    assert client.meta.config.read_timeout == 60
    assert client.meta.region_name == ROUTES[0].region


def test_a_route_of_the_priority_tier_asks_for_it_and_a_usual_one_asks_for_none(runtime, client):
    model = ROUTES[0].model_id
    with Stubber(client) as stub:
        stub.add_response("converse", response(), {**REQUEST, "modelId": model, "serviceTier": {"type": "priority"}})
        stub.add_response("converse", response(), {**REQUEST, "modelId": model})
        priority = replace(ROUTES[0], tier="priority")
        assert runtime.converse(priority, Lane.ON_DEMAND, REQUEST, read_timeout_s=60.0).tier == "priority"
        assert ask(runtime).tier == "default"


@pytest.mark.parametrize(("lane", "served", "tier"), [
    (Lane.ON_DEMAND, None, "default"),
    (Lane.FLEX, None, "flex"),
    (Lane.FLEX, "default", "default"),
])  # fmt: skip
def test_billing_follows_the_served_tier(runtime, client, lane, served, tier):
    with Stubber(client) as stub:
        stub.add_response("converse", response(**({"serviceTier": {"type": served}} if served else {})))
        assert ask(runtime, lane).tier == tier


@pytest.mark.promise(6)
@pytest.mark.parametrize(("code", "status", "fault"), [
    ("ThrottlingException", 429, Fault.QUOTA),
    ("ServiceUnavailableException", 503, Fault.CAPACITY),
    ("ValidationException", 400, Fault.JOB),
    ("AccessDeniedException", 403, Fault.US),
])  # fmt: skip
def test_a_service_error_keeps_its_code_and_loses_its_text(runtime, client, code, status, fault):
    with Stubber(client) as stub:
        stub.add_client_error("converse", code, "you wrote: my secret prompt", http_status_code=status)
        with pytest.raises(CallFailed) as caught:
            ask(runtime)
    assert (caught.value.code, caught.value.fault) == (code, fault)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.promise(6)
@pytest.mark.parametrize(("error", "fault"), [
    (ReadTimeoutError(endpoint_url="u"), Fault.UNKNOWN),
    (ConnectTimeoutError(endpoint_url="u"), Fault.CAPACITY),
    (ParamValidationError(report="my secret prompt"), Fault.JOB),
])  # fmt: skip
def test_an_error_of_the_sdk_is_told_by_its_name(runtime, client, error, fault):
    with patch.object(client, "_make_api_call", side_effect=error), pytest.raises(CallFailed) as caught:
        ask(runtime)
    assert (caught.value.code, caught.value.fault) == (type(error).__name__, fault)
    assert "secret" not in repr(caught.value)


def test_a_request_that_botocore_refuses_is_the_jobs_fault(runtime):
    with pytest.raises(CallFailed) as caught:
        ask(runtime, request={"messages": "not a list"})
    assert caught.value.fault == Fault.JOB


def test_media_travel_as_base64_text_in_files_and_as_bytes_in_calls(runtime, client):
    image = {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}
    request = {"messages": [{"role": "user", "content": [{"text": "what is it?"}, image]}]}
    expected = {"messages": [{"role": "user", "content": [
        {"text": "what is it?"}, {"image": {"format": "png", "source": {"bytes": b"hello"}}}]}]}  # fmt: skip
    picture = {"image": {"format": "png", "source": {"bytes": b"world"}}}
    with Stubber(client) as stub:
        reply = response(output={"message": {"role": "assistant", "content": [picture]}})
        stub.add_response("converse", reply, {"modelId": ROUTES[0].model_id, **expected})
        answered = ask(runtime, request=request)
    content = answered.response["output"]["message"]["content"]
    assert content == [{"image": {"format": "png", "source": {"bytes": "d29ybGQ="}}}]
    assert image["image"]["source"]["bytes"] == "aGVsbG8="  # the request is not changed


def test_media_that_are_no_base64_are_the_jobs_fault(runtime):
    image = {"image": {"format": "png", "source": {"bytes": "***"}}}
    with pytest.raises(CallFailed) as caught:
        ask(runtime, request={"messages": [{"role": "user", "content": [image]}]})
    assert caught.value.fault == Fault.JOB
