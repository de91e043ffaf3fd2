"""Bedrock's batch jobs: create, ask, list, stop. One attempt a call; the reconciler owns the repetition."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from slackwater.model.batch_job import BatchCallFailed, BatchJob, OpenJob
from slackwater.model.native import RequestType
from slackwater.policy.classify import BatchFault, classify_batch

ONE_ATTEMPT: Final = Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=30)
MIN_TIMEOUT_H: Final = 24  # timeoutDurationInHours: 24–168 (API reference, CreateModelInvocationJob)
MAX_TIMEOUT_H: Final = 168
PAGE: Final = 1000

INVOCATION_TYPES: Final = {RequestType.CONVERSE: "Converse", RequestType.INVOKE_MODEL: "InvokeModel"}

OPERATIONS: Final = {
    "create": "create_model_invocation_job",
    "get": "get_model_invocation_job",
    "list": "list_model_invocation_jobs",
    "stop": "stop_model_invocation_job",
}


class BatchJobs:
    """The control plane of every batch region. Raises BatchCallFailed."""

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        buckets: Mapping[str, str],
        roles: Mapping[str, str],
        default_role: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`client(region)` is a `bedrock` client with ONE_ATTEMPT; `buckets` and `roles` are by region."""
        self._client = client
        self._buckets = buckets
        self._roles = roles
        self._default_role = default_role
        self._now = now

    @property
    def regions(self) -> tuple[str, ...]:
        """Where batch jobs can be run: the regions that have a bucket of ours."""
        return tuple(self._buckets)

    def create(
        self,
        *,
        region: str,
        name: str,
        model_id: str,
        request_type: RequestType,
        input_key: str,
        output_prefix: str,
        timeout_h: int,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Creates the job and gives its ARN; `name` is its `clientRequestToken` too: a repeat makes no second. `tags`
        are for the bill (cost allocation)."""
        bucket = self._buckets[region]
        tagged = {"tags": [{"key": key, "value": value} for key, value in tags.items()]} if tags else {}
        answer = self._ask(
            "create",
            region,
            jobName=name,
            clientRequestToken=name,
            roleArn=self._roles.get(region) or self._default_role,
            modelId=model_id,
            modelInvocationType=INVOCATION_TYPES[request_type],
            inputDataConfig={"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": f"s3://{bucket}/{input_key}"}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{bucket}/{output_prefix}"}},
            timeoutDurationInHours=max(MIN_TIMEOUT_H, min(MAX_TIMEOUT_H, timeout_h)),
            **tagged,
        )
        return str(answer["jobArn"])

    def get(self, region: str, arn: str) -> BatchJob | None:
        """The job, or None where Bedrock knows no such one."""
        try:
            return _job(region, self._ask("get", region, jobIdentifier=arn))
        except BatchCallFailed as exc:
            if exc.fault == BatchFault.GONE:
                return None
            raise

    def list(self, region: str, name_contains: str, *, since: datetime | None = None) -> Iterator[BatchJob]:
        """The jobs whose name *begins* with `name_contains` (Bedrock's filter looks anywhere in it), newest first."""
        more: dict[str, Any] = {} if since is None else {"submitTimeAfter": since}
        while True:
            page = self._ask(
                "list",
                region,
                nameContains=name_contains,
                maxResults=PAGE,
                sortBy="CreationTime",
                sortOrder="Descending",
                **more,
            )
            for summary in page.get("invocationJobSummaries", []):
                if summary.get("jobName", "").startswith(name_contains):
                    yield _job(region, summary)
            if not page.get("nextToken"):
                return
            more["nextToken"] = page["nextToken"]

    def open_jobs(self, region: str) -> Iterator[OpenJob]:
        """Everybody's jobs that have not ended: no job is older than the longest time-out."""
        more: dict[str, Any] = {"submitTimeAfter": self._now() - timedelta(hours=MAX_TIMEOUT_H + 1)}
        while True:
            page = self._ask("list", region, maxResults=PAGE, sortBy="CreationTime", sortOrder="Descending", **more)
            for summary in page.get("invocationJobSummaries", []):
                if not _job(region, summary).ended:
                    name, model_id = summary.get("jobName", ""), summary.get("modelId", "")
                    yield OpenJob(name, model_id, summary["status"], summary.get("submitTime"))
            if not page.get("nextToken"):
                return
            more["nextToken"] = page["nextToken"]

    def stop(self, region: str, arn: str) -> bool:
        """Asks the job to stop; False where it has ended already, is stopping or is unknown."""
        try:
            self._ask("stop", region, jobIdentifier=arn)
        except BatchCallFailed as exc:
            if exc.fault in (BatchFault.ENDED, BatchFault.GONE, BatchFault.REFUSED):
                return False
            raise
        return True

    def _ask(self, operation: str, region: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client(region), OPERATIONS[operation])(**arguments)
        except ClientError as exc:  # its message may quote an input: keep the code only
            code = str(exc.response.get("Error", {}).get("Code", "unknown"))
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            raise BatchCallFailed(code, classify_batch(operation, code, status)) from None
        except BotoCoreError as exc:
            code = type(exc).__name__
            raise BatchCallFailed(code, classify_batch(operation, code)) from None
        return answer


def _job(region: str, found: Mapping[str, Any]) -> BatchJob:
    return BatchJob(
        name=found.get("jobName", ""),
        arn=found["jobArn"],
        status=found["status"],
        region=region,
        submitted_at=found.get("submitTime"),
        ended_at=found.get("endTime"),
        total_records=found.get("totalRecordCount"),
        processed_records=found.get("processedRecordCount"),
    )
