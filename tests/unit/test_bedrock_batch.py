"""The batch adapter: what goes over the wire, and what every error of it means."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import ANY, Stubber

from slackwater.adapters.bedrock_batch import OPERATIONS, BatchJobs
from slackwater.model.batch_job import BatchCallFailed
from slackwater.model.native import RequestType
from slackwater.policy.classify import KNOWN_BATCH_CODES, BatchFault

ARN = "arn:aws:bedrock:us-west-2:123456789012:model-invocation-job/abcdefghijkl"
ROLE = "arn:aws:iam::123456789012:role/batch"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
INPUT = {"s3InputDataConfig": {"s3Uri": "s3://west/v1/shards/s1/in.jsonl", "s3InputFormat": "JSONL"}}
OUTPUT = {"s3OutputDataConfig": {"s3Uri": "s3://west/v1/shards/s1/out/"}}
JOB = {
    "jobArn": ARN,
    "jobName": "sw-abcdef-s1-a1",
    "modelId": "m",
    "roleArn": ROLE,
    "status": "InProgress",
    "submitTime": NOW,
    "inputDataConfig": INPUT,
    "outputDataConfig": OUTPUT,
}


@pytest.fixture
def client():
    return boto3.client("bedrock", region_name="us-west-2", aws_access_key_id="a", aws_secret_access_key="b")


@pytest.fixture
def stub(client):
    with Stubber(client) as stub:
        yield stub


@pytest.fixture
def jobs(client):
    return BatchJobs(lambda region: client, buckets={"us-west-2": "west"}, roles={"us-west-2": ROLE})


def create(jobs, **changes):
    arguments = {
        "region": "us-west-2",
        "name": "sw-abcdef-s1-a1",
        "model_id": "m",
        "request_type": RequestType.CONVERSE,
        "input_key": "v1/shards/s1/in.jsonl",
        "output_prefix": "v1/shards/s1/out/",
        "timeout_h": 30,
    }
    return jobs.create(**{**arguments, **changes})


@pytest.mark.promise(2)
def test_a_create_has_one_name_as_token_too_and_the_exact_input(jobs, stub):
    stub.add_response(
        "create_model_invocation_job",
        {"jobArn": ARN},
        {
            "jobName": "sw-abcdef-s1-a1",
            "clientRequestToken": "sw-abcdef-s1-a1",
            "roleArn": ROLE,
            "modelId": "m",
            "modelInvocationType": "Converse",
            "inputDataConfig": INPUT,
            "outputDataConfig": OUTPUT,
            "timeoutDurationInHours": 30,
        },
    )
    assert create(jobs) == ARN


def test_a_create_brings_the_tags_for_the_bill(jobs, stub):
    anything = {name: ANY for name in ("jobName", "clientRequestToken", "roleArn", "modelId", "modelInvocationType",
                                       "inputDataConfig", "outputDataConfig", "timeoutDurationInHours")}  # fmt: skip
    wanted = {**anything, "tags": [{"key": "slackwater:run", "value": "r1"}]}
    stub.add_response("create_model_invocation_job", {"jobArn": ARN}, wanted)
    assert create(jobs, tags={"slackwater:run": "r1"}) == ARN


def test_native_records_are_sent_as_an_invoke_model_job(jobs, stub):
    wanted = {name: ANY for name in ("jobName", "clientRequestToken", "roleArn", "modelId", "inputDataConfig")}
    wanted |= {"outputDataConfig": ANY, "timeoutDurationInHours": ANY, "modelInvocationType": "InvokeModel"}
    stub.add_response("create_model_invocation_job", {"jobArn": ARN}, wanted)
    assert create(jobs, request_type=RequestType.INVOKE_MODEL) == ARN


@pytest.mark.parametrize(("wanted", "sent"), [(1, 24), (24, 24), (25, 25), (168, 168), (900, 168)])
def test_the_timeout_stays_within_bedrocks_limits(jobs, stub, wanted, sent):
    expected = {"timeoutDurationInHours": sent}
    names = ("jobName", "clientRequestToken", "roleArn", "modelId", "modelInvocationType")
    anything = dict.fromkeys((*names, "inputDataConfig", "outputDataConfig"), ANY)
    stub.add_response("create_model_invocation_job", {"jobArn": ARN}, {**anything, **expected})
    create(jobs, timeout_h=wanted)


def test_every_page_of_the_list_is_read_and_only_names_that_begin_with_the_prefix_are_ours(jobs, stub):
    asked = {"nameContains": "sw-abcdef-", "maxResults": 1000, "sortBy": "CreationTime", "sortOrder": "Descending"}
    other = {**JOB, "jobName": "copy-of-sw-abcdef-s1-a1"}
    first = {"invocationJobSummaries": [JOB, other], "nextToken": "t"}
    last = {"invocationJobSummaries": [{**JOB, "jobName": "sw-abcdef-s2-a1", "processedRecordCount": 7}]}
    stub.add_response("list_model_invocation_jobs", first, {**asked, "submitTimeAfter": NOW})
    stub.add_response("list_model_invocation_jobs", last, {**asked, "submitTimeAfter": NOW, "nextToken": "t"})
    found = list(jobs.list("us-west-2", "sw-abcdef-", since=NOW))
    assert [job.name for job in found] == ["sw-abcdef-s1-a1", "sw-abcdef-s2-a1"]
    assert [job.processed_records for job in found] == [None, 7]
    assert found[0].short_id == "abcdefghijkl"
    assert not found[0].ended


def test_a_job_that_is_not_there_is_none_and_nothing_to_stop(jobs, stub):
    for operation in ("get_model_invocation_job", "stop_model_invocation_job", "stop_model_invocation_job"):
        code = "ConflictException" if len(stub._queue) == 2 else "ResourceNotFoundException"
        stub.add_client_error(operation, code, http_status_code=400 if code == "ConflictException" else 404)
    assert jobs.get("us-west-2", ARN) is None
    assert jobs.stop("us-west-2", ARN) is False
    assert jobs.stop("us-west-2", ARN) is False


@pytest.mark.promise(6)
@pytest.mark.parametrize("code", sorted(KNOWN_BATCH_CODES))
def test_an_error_keeps_its_code_and_loses_its_text(jobs, stub, code):
    stub.add_client_error("create_model_invocation_job", code, "the prompt 'SECRET' is malformed", http_status_code=400)
    with pytest.raises(BatchCallFailed) as caught:
        create(jobs)
    assert caught.value.code == code
    assert "SECRET" not in repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ReadTimeoutError(endpoint_url="x"), BatchFault.UNKNOWN),
        (ConnectTimeoutError(endpoint_url="x"), BatchFault.UNSENT),
        (EndpointConnectionError(endpoint_url="x"), BatchFault.UNSENT),
    ],
)
def test_what_never_left_this_machine_is_told_from_what_may_have_arrived(error, fault):
    class Broken:
        def create_model_invocation_job(self, **_):
            raise error

    jobs = BatchJobs(lambda region: Broken(), buckets={"us-west-2": "west"}, roles={}, default_role=ROLE)
    with pytest.raises(BatchCallFailed) as caught:
        create(jobs)
    assert caught.value.fault == fault


def test_every_modelled_error_of_the_operations_is_classified(client):
    for operation in OPERATIONS.values():
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        assert {shape.name for shape in model.error_shapes} <= KNOWN_BATCH_CODES


def test_everybodys_open_jobs_are_counted_over_all_pages_back_to_the_longest_time_out(client, stub):
    jobs = BatchJobs(lambda region: client, buckets={"us-west-2": "west"}, roles={}, now=lambda: NOW)
    asked = {"maxResults": 1000, "sortBy": "CreationTime", "sortOrder": "Descending"}
    asked |= {"submitTimeAfter": NOW - timedelta(hours=169)}
    theirs = {**JOB, "jobName": "theirs", "status": "Submitted", "modelId": "arn:aws:bedrock:us-west-2::x/y"}
    ended = {**JOB, "jobName": "over", "status": "PartiallyCompleted"}
    stub.add_response(
        "list_model_invocation_jobs", {"invocationJobSummaries": [JOB, ended], "nextToken": "more"}, asked
    )
    stub.add_response(
        "list_model_invocation_jobs", {"invocationJobSummaries": [theirs]}, {**asked, "nextToken": "more"}
    )
    found = [(job.name, job.model_id, job.status) for job in jobs.open_jobs("us-west-2")]
    assert found == [(JOB["jobName"], "m", "InProgress"), ("theirs", theirs["modelId"], "Submitted")]
