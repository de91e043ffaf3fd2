"""Every modelled error has a class, by who must act."""

from random import Random

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.classify import KNOWN_BATCH_CODES, KNOWN_CODES, BatchFault, Fault, classify, classify_batch
from slackwater.policy.health import rest_after

BATCH_OPERATIONS = {
    "create": "CreateModelInvocationJob",
    "get": "GetModelInvocationJob",
    "list": "ListModelInvocationJobs",
    "stop": "StopModelInvocationJob",
}


def errors_of(service, operation):
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    shapes = client.meta.service_model.operation_model(operation).error_shapes
    return {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in shapes}


STATUS_OF_FAULT = {
    Fault.JOB: {400, 424},
    Fault.US: {403, 404},
    Fault.TIMEOUT: {408},
    Fault.MODEL_ERROR: {424},
    Fault.QUOTA: {429},
    Fault.QUOTA_DAILY: {400},
    Fault.CAPACITY: {429, 503},
    Fault.INTERNAL: {500},
}


@pytest.mark.parametrize("operation", ["Converse", "InvokeModel", "ConverseStream", "InvokeModelWithResponseStream"])
def test_every_modelled_error_of_a_call_is_classified(operation):  # fails the day an SDK brings a new one
    errors = errors_of("bedrock-runtime", operation)
    assert set(errors) <= KNOWN_CODES
    for code, status in errors.items():
        assert status in STATUS_OF_FAULT[classify(code, status)]


def test_an_error_that_an_sdk_might_bring_would_be_noticed():
    assert "ModelOverloadedException" not in KNOWN_CODES and "ModelOverloadedException" not in KNOWN_BATCH_CODES


@pytest.mark.parametrize("operation", BATCH_OPERATIONS.values())
def test_every_modelled_error_on_batch_jobs_is_classified(operation):
    assert set(errors_of("bedrock", operation)) <= KNOWN_BATCH_CODES


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("ServiceUnavailableException", 503, Fault.CAPACITY),
        ("ServiceUnavailable", 503, Fault.CAPACITY),
        ("InternalServerException", 500, Fault.INTERNAL),
        ("InternalFailure", 500, Fault.INTERNAL),
        ("ModelNotReadyException", 429, Fault.CAPACITY),
        ("ModelTimeoutException", 408, Fault.TIMEOUT),
        ("ServiceQuotaExceededException", 400, Fault.QUOTA_DAILY),
        ("ValidationException", 400, Fault.JOB),
        ("ParamValidationError", None, Fault.JOB),
        ("AccessDeniedException", 403, Fault.US),
        ("ResourceNotFoundException", 404, Fault.US),
        ("ExpiredTokenException", 403, Fault.US),
        ("RequestExpired", 400, Fault.US),
        ("NotAuthorized", 400, Fault.US),
        ("FTUFormNotFilled", 404, Fault.US),
        ("MPAgreementBeingCreated", 403, Fault.US),
        ("ValidationError", 400, Fault.JOB),
        ("NoCredentialsError", None, Fault.US),
        ("ReadTimeoutError", None, Fault.UNKNOWN),
        ("ConnectionClosedError", None, Fault.UNKNOWN),
        ("ConnectTimeoutError", None, Fault.CAPACITY),
        ("EndpointConnectionError", None, Fault.CAPACITY),
    ],
)
def test_codes_say_who_must_act(code, status, fault):
    assert classify(code, status) is fault


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Too many requests, please wait before trying again.", Fault.QUOTA_REQUESTS),
        ("Your request rate is too high. Reduce the frequency of requests.", Fault.QUOTA_REQUESTS),
        ("Too many tokens, please wait before trying again.", Fault.QUOTA_TOKENS),
        ("Too many tokens per day, please wait before trying again.", Fault.QUOTA_DAILY),
        ("Daily limit reached", Fault.QUOTA_DAILY),
        ("Slow down", Fault.QUOTA),
        ("", Fault.QUOTA),
    ],
)
def test_throttles_of_requests_tokens_and_days_are_told_apart(message, fault):
    assert classify("ThrottlingException", 429, message) is fault
    assert fault.is_quota


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("ServiceUnavailableException", 503, "Too many connections, please wait before trying again."),
        ("ServiceUnavailableException", 503, "Model is getting throttled. Try your request again."),
        ("ModelNotReadyException", 429, "Too many requests, please wait before trying again."),
        ("OverloadedError", 529, "Too many tokens"),
        ("InternalServerException", 500, "Too many requests"),
    ],
)
def test_their_capacity_and_their_faults_are_never_our_quota_whatever_the_text_says(code, status, message):
    assert not classify(code, status, message).is_quota


def test_each_kind_of_throttle_rests_for_a_time_of_its_own():
    quotas = [f for f in Fault if f.is_quota]
    longest = {f: max(rest_after(f, 0, Random(seed)) for seed in range(200)) for f in quotas}
    assert longest[Fault.QUOTA_REQUESTS] < longest[Fault.QUOTA_TOKENS] < longest[Fault.QUOTA_DAILY]
    assert longest[Fault.QUOTA_TOKENS] <= 60 < longest[Fault.QUOTA_DAILY]


@pytest.mark.parametrize(
    ("original", "fault"),
    [
        (500, Fault.MODEL_ERROR),
        (503, Fault.MODEL_ERROR),
        (None, Fault.MODEL_ERROR),
        (429, Fault.CAPACITY),
        (400, Fault.JOB),
        (422, Fault.JOB),
        (408, Fault.MODEL_ERROR),
    ],
)
def test_a_model_error_is_judged_by_its_original_status(original, fault):
    assert classify("ModelErrorException", 424, original_status=original) is fault
    assert classify("ModelStreamErrorException", 424, original_status=original) is fault


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, Fault.QUOTA_TOKENS),
        (500, Fault.INTERNAL),
        (502, Fault.CAPACITY),
        (529, Fault.CAPACITY),
        (504, Fault.UNKNOWN),
        (403, Fault.US),
        (413, Fault.JOB),
        (424, Fault.MODEL_ERROR),
        (None, Fault.UNKNOWN),
    ],
)
def test_a_code_new_to_us_is_judged_by_its_status(status, fault):
    assert classify("BrandNewException", status, "too many tokens") is fault


def test_a_wrong_model_id_is_our_fault_not_the_jobs():
    message = "Invocation of model ID amazon.nova-pro-v1:0 with on-demand throughput isn’t supported. Retry with …"
    assert classify("ValidationException", 400, message) is Fault.US
    assert classify("ValidationException", 400, "The provided model identifier is invalid.") is Fault.US


def test_a_prompt_quoted_in_a_message_does_not_change_the_verdict():
    quoted = "Malformed input: 'The provided model identifier is invalid'"
    assert classify("ValidationException", 400, quoted) is Fault.JOB


def test_malformed_jobs_lost_replies_and_what_may_follow_a_job_never_count_against_a_route():
    harmless = {f for f in Fault if not f.against_route}
    assert harmless == {Fault.JOB, Fault.UNKNOWN, Fault.TIMEOUT, Fault.MODEL_ERROR, Fault.INTERNAL}
    assert {f for f in Fault if f.may_follow_job} == {Fault.MODEL_ERROR, Fault.INTERNAL}


@given(
    st.text(max_size=30) | st.sampled_from(sorted(KNOWN_CODES)),
    st.none() | st.integers(100, 599),
    st.text(max_size=60),
    st.none() | st.integers(100, 599),
)
def test_whatever_comes_has_a_class_and_only_4xx_or_the_sdk_blame_the_job(code, status, message, original):
    fault = classify(code, status, message, original)
    if fault is Fault.JOB and code not in KNOWN_CODES:
        assert status is not None and 400 <= status < 500
    if fault.is_quota and code not in KNOWN_CODES:
        assert status == 429


def test_only_what_may_have_been_answered_may_have_been_paid():
    assert {f for f in Fault if f.maybe_paid} == {Fault.UNKNOWN, Fault.TIMEOUT}


def test_only_a_wrong_job_does_not_go_elsewhere():
    assert [f for f in Fault if not f.elsewhere] == [Fault.JOB]


@pytest.mark.parametrize(
    ("operation", "code", "status", "fault"),
    [
        ("create", "ConflictException", 400, BatchFault.EXISTS),
        ("create", "ServiceQuotaExceededException", 400, BatchFault.SLOTS),
        ("create", "ValidationException", 400, BatchFault.REFUSED),
        ("create", "AccessDeniedException", 403, BatchFault.DENIED),
        ("create", "ResourceNotFoundException", 404, BatchFault.DENIED),
        ("create", "ThrottlingException", 429, BatchFault.THROTTLED),
        ("create", "InternalServerException", 500, BatchFault.UNKNOWN),
        ("create", "ReadTimeoutError", None, BatchFault.UNKNOWN),
        ("create", "ConnectTimeoutError", None, BatchFault.UNSENT),
        ("create", "NewException", 418, BatchFault.REFUSED),
        ("create", "NewException", 408, BatchFault.UNKNOWN),
        ("create", "NewException", 503, BatchFault.UNKNOWN),
        ("create", "NewException", None, BatchFault.UNKNOWN),
        ("stop", "ConflictException", 400, BatchFault.ENDED),
        ("stop", "ResourceNotFoundException", 404, BatchFault.GONE),
        ("get", "ResourceNotFoundException", 404, BatchFault.GONE),
        ("list", "ThrottlingException", 429, BatchFault.THROTTLED),
    ],
)
def test_errors_on_batch_jobs_say_what_is_known(operation, code, status, fault):
    assert classify_batch(operation, code, status) is fault


@pytest.mark.promise(2)
def test_a_shard_may_move_only_after_a_definite_no():
    assert {f for f in BatchFault if not f.definite} == {
        BatchFault.UNKNOWN,
        BatchFault.EXISTS,
        BatchFault.ENDED,
        BatchFault.GONE,
    }
