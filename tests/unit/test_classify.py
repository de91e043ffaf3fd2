"""Every modelled error has a class, by who must act."""

import boto3
import pytest

from slackwater.policy.classify import KNOWN_BATCH_CODES, KNOWN_CODES, BatchFault, Fault, classify, classify_batch

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


@pytest.mark.parametrize("operation", ["Converse", "InvokeModel"])
def test_every_modelled_error_of_a_call_is_classified(operation):  # fails the day an SDK brings a new one
    assert set(errors_of("bedrock-runtime", operation)) <= KNOWN_CODES


@pytest.mark.parametrize("operation", BATCH_OPERATIONS.values())
def test_every_modelled_error_on_batch_jobs_is_classified(operation):
    assert set(errors_of("bedrock", operation)) <= KNOWN_BATCH_CODES


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("ServiceUnavailableException", 503, Fault.CAPACITY),
        ("InternalServerException", 500, Fault.CAPACITY),
        ("ModelNotReadyException", 429, Fault.CAPACITY),
        ("ModelTimeoutException", 408, Fault.TIMEOUT),
        ("ServiceQuotaExceededException", 400, Fault.QUOTA_DAILY),
        ("ValidationException", 400, Fault.JOB),
        ("ParamValidationError", None, Fault.JOB),
        ("AccessDeniedException", 403, Fault.US),
        ("ResourceNotFoundException", 404, Fault.US),
        ("ExpiredTokenException", 403, Fault.US),
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


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, Fault.QUOTA_TOKENS),
        (500, Fault.CAPACITY),
        (502, Fault.CAPACITY),
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


def test_malformed_jobs_and_lost_replies_never_count_against_a_route():
    assert {f for f in Fault if not f.against_route} == {Fault.JOB, Fault.UNKNOWN, Fault.TIMEOUT, Fault.MODEL_ERROR}


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
