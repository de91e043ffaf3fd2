"""The batch operations: create, get, list, stop, with the checks that AWS makes and the SDK does not."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl

from .batch import STATUSES, Job, draw_timeline, new_job_id
from .batch_io import split_uri
from .batch_run import Jobs
from .config import Fault, Outcome, lookup
from .dice import dice
from .errors import ApiError, Dropped, invalid
from .faults import draw, resolve
from .models import ModelRef
from .runtime import INVALID_MODEL, parse_body
from .server import Request, Response, json_response
from .wire_check import body_checker
from .world import World

# The same names as AWS's patterns, written so that no name makes the match slow.
JOB_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+\-.]{0,62}")
TOKEN: Final = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
ROLE: Final = re.compile(r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+")
S3_URI: Final = re.compile(r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+)*/?")
IDENTIFIER: Final = re.compile(
    r"(?:arn:aws(?:-[^:]+)?:bedrock:([a-z0-9-]{1,20}):[0-9]{12}:model-invocation-job/)?([a-z0-9]{12})"
)
HOUR_S: Final = 3600
NO_JOB: Final = "Could not find the batch inference job."


class BatchApi:
    """Handlers of the four operations."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs
        self._check_create = body_checker("bedrock", "CreateModelInvocationJob")
        self._calls = 0

    async def create(self, request: Request, region: str) -> Response:
        """POST /model-invocation-job."""
        after = self._mishap("create", region)
        body = parse_body(request.body)
        model = self._checked(body, region)
        if resolve(self._world.config.faults, region, model.given, model.name, model.base).down:
            raise ApiError("ServiceUnavailableException")
        token = body.get("clientRequestToken")
        if token and (known := self._jobs.by_token.get((region, token))):
            return json_response({"jobArn": known.arn})
        if (region, body["jobName"]) in self._jobs.by_name:
            raise ApiError("ConflictException", "A batch inference job with this name exists already.")
        batch = self._world.config.batch
        same = (job for job in self._jobs.by_id.values() if job.region == region and job.model.base == model.base)
        if sum(job.open for job in same) >= batch.open_jobs:
            raise ApiError(
                "ServiceQuotaExceededException", "Too many batch inference jobs are in progress for this model."
            )
        rng = dice(self._world.seed, region, body["jobName"], self._jobs.created, "create")
        outcome = self._jobs.book.take(batch, body["jobName"], region, model, rng)
        if outcome.create == "lost_request":
            raise Dropped
        if outcome.create not in (None, "lost_reply"):
            raise ApiError(str(outcome.create))
        job = self._new_job(body, region, model, outcome, rng)
        self._jobs.created += 1
        self._jobs.start(job)
        if after or outcome.create == "lost_reply":
            raise Dropped
        return json_response({"jobArn": job.arn})

    async def get(self, _request: Request, region: str, identifier: str) -> Response:
        """GET /model-invocation-job/{jobIdentifier}."""
        after = self._mishap("get", region)
        document = self._find(region, identifier).document(self._world.clock.now())
        if after:
            raise Dropped
        return json_response(document)

    async def stop(self, _request: Request, region: str, identifier: str) -> Response:
        """POST /model-invocation-job/{jobIdentifier}/stop."""
        after = self._mishap("stop", region)
        job = self._find(region, identifier)
        if not job.open or job.status == "Stopping":
            raise ApiError("ConflictException", f"The job cannot be stopped in the status {job.status}.")
        self._jobs.stop(job)
        if after:
            raise Dropped
        return json_response({})

    async def list(self, request: Request, region: str) -> Response:
        """GET /model-invocation-jobs, with filters, order and pages."""
        after = self._mishap("list", region)
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        keep = _filter(query)
        now = self._world.clock.now()
        shown = [j for (area, _), j in self._jobs.by_id.items() if area == region and j.listed_at <= now and keep(j)]
        descending = _choice(query, "sortOrder", ("Ascending", "Descending"), "Descending") == "Descending"
        _choice(query, "sortBy", ("CreationTime",), "CreationTime")
        shown.sort(key=_place, reverse=descending)
        if "nextToken" in query:
            last = _unpack(query["nextToken"])
            shown = [job for job in shown if (_place(job) < last if descending else _place(job) > last)]
        size = _page_size(query, self._world.config.batch.list_page)
        document: dict[str, Any] = {"invocationJobSummaries": [job.document(now) for job in shown[:size]]}
        if len(shown) > size:
            document["nextToken"] = _pack(shown[size - 1])
        if after:
            raise Dropped
        return json_response(document)

    def _mishap(self, operation: Any, region: str) -> bool:
        """Roll for the operation's own faults; True: lose the reply after the work. Raises ApiError, Dropped."""
        self._calls += 1
        self._world.stats.count(region, f"batch_{operation}")
        fault = self._world.config.batch.faults.get(operation, Fault())
        fate = draw(fault, dice(self._world.seed, operation, region, self._calls))
        region_fault = resolve(self._world.config.faults, region)
        if fault.down or (region_fault.down and region_fault.down_control):
            raise ApiError("ServiceUnavailableException")
        if fate.reset_before:
            raise Dropped
        if fate.error:
            self._world.stats.count(region, f"batch_{operation}_{fate.error}")
            raise ApiError(fate.error)
        return fate.reset_after

    def _find(self, region: str, identifier: str) -> Job:
        found = IDENTIFIER.fullmatch(identifier)
        if not found:
            raise invalid("The provided job identifier is invalid.")
        job = self._jobs.by_id.get((region, found[2]))
        if job is None or found[1] not in (None, region):
            raise ApiError("ResourceNotFoundException", NO_JOB)
        return job

    def _checked(self, body: Any, region: str) -> ModelRef:
        """The model of a create that AWS would take. Raises ApiError."""
        self._check_create(body, "")
        _pattern(body["jobName"], JOB_NAME, 63, "jobName")
        _pattern(body["roleArn"], ROLE, 2048, "roleArn")
        if body.get("clientRequestToken") is not None:
            _pattern(body["clientRequestToken"], TOKEN, 256, "clientRequestToken")
        for side, inner in (("inputDataConfig", "s3InputDataConfig"), ("outputDataConfig", "s3OutputDataConfig")):
            uri = body[side][inner]["s3Uri"]
            _pattern(uri, S3_URI, 1024, f"{side}.{inner}.s3Uri")
            home = self._world.config.buckets.get(split_uri(uri)[0])
            if home is not None and home != region:
                raise invalid(f"The bucket in {side} is not in the region of the job, {region}.")
        model = self._world.model(body["modelId"])
        if model is None:
            raise invalid(INVALID_MODEL)
        config = self._world.config
        if (
            any(re.search(pattern, model.base) for pattern in config.models.profiles_only)
            and model.family == "on_demand"
        ):
            raise invalid("The model is supported for batch inference through inference profiles only.")
        if lookup(config.batch.support, region, model.name, model.base) is False:
            raise invalid(f"The model {model.name} is not supported for batch inference in {region}.")
        return model

    def _new_job(self, body: dict[str, Any], region: str, model: ModelRef, outcome: Outcome, rng: Random) -> Job:
        batch, now = self._world.config.batch, self._world.clock.now()
        hours = body.get("timeoutDurationInHours") or batch.default_timeout_hours
        role = ROLE.fullmatch(body["roleArn"])
        account = (role[2] if role else None) or self._world.config.account_id
        job_id = new_job_id(rng)
        while (region, job_id) in self._jobs.by_id:
            job_id = new_job_id(rng)
        return Job(
            region=region,
            job_id=job_id,
            arn=f"arn:aws:bedrock:{region}:{account}:model-invocation-job/{job_id}",
            request=body,
            model=model,
            outcome=outcome,
            timeline=draw_timeline(batch, outcome, rng),
            submitted_at=now,
            expires_at=now + hours * HOUR_S,
            listed_at=now + (batch.list_lag_s if outcome.list_lag_s is None else outcome.list_lag_s),
            timeout_hours=hours,
            invocation_type=body.get("modelInvocationType") or "InvokeModel",
        )


def _pattern(value: str, pattern: re.Pattern[str], limit: int, path: str) -> None:
    if not value or len(value) > limit or not pattern.fullmatch(value):
        raise invalid(
            f"1 validation error detected: Value at '{path}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {pattern.pattern}"
        )


def _place(job: Job) -> tuple[float, str]:
    return job.submitted_at, job.job_id


def _pack(job: Job) -> str:
    return base64.urlsafe_b64encode(f"{job.submitted_at!r} {job.job_id}".encode()).decode()


def _unpack(token: str) -> tuple[float, str]:
    try:
        at, job_id = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return float(at), job_id
    except (ValueError, binascii.Error):
        raise invalid("The nextToken is invalid.") from None


def _choice(query: dict[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = query.get(name, default)
    if value not in allowed:
        raise invalid(
            f"1 validation error detected: Value at '{name}' must satisfy enum value set: [{', '.join(allowed)}]"
        )
    return value


def _page_size(query: dict[str, str], default: int) -> int:
    raw = query.get("maxResults", str(default))
    if not raw.isdigit() or not 1 <= int(raw) <= 1000:
        raise invalid("1 validation error detected: Value at 'maxResults' must be between 1 and 1000")
    return int(raw)


def _moment(query: dict[str, str], name: str) -> float | None:
    if name not in query:
        return None
    try:
        moment = datetime.fromisoformat(query[name].replace("Z", "+00:00"))
    except ValueError:
        raise invalid(f"1 validation error detected: Value at '{name}' is not a time stamp") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _filter(query: dict[str, str]) -> Callable[[Job], bool]:
    after, before = _moment(query, "submitTimeAfter"), _moment(query, "submitTimeBefore")
    status = _choice(query, "statusEquals", ("", *sorted(STATUSES)), "")
    part = query.get("nameContains", "")

    def keep(job: Job) -> bool:
        return (
            (after is None or job.submitted_at > after)
            and (before is None or job.submitted_at < before)
            and (not status or job.status == status)
            and part in job.name
        )

    return keep
