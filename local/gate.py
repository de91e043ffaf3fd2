"""Stands before Bedrock and asks IAM: a caller that is a function's role gets through to the emulator if its policies
allow the call. The emulated AWS hosts it (`local.aws`), because it holds the roles and their sessions.

What a call needs is written from AWS's pages, not from our callers:

- Converse and InvokeModel: `bedrock:InvokeModel` on the model; for an inference profile, on the profile and on the
  model in the source region and in the profile's other regions; for a `global.` one also on the model's ARN without a
  region.
  https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html and
  https://docs.aws.amazon.com/bedrock/latest/userguide/global-cross-region-inference.html
- CreateModelInvocationJob: the action on the model (and profile) and on the job, and `iam:PassRole` on the service
  role, passed to Bedrock. The role itself must trust Bedrock for a job of this account, and may then read the input,
  list the bucket, write the output and invoke the model. Bedrock does that by itself later; here it is asked when the
  job is made. https://docs.aws.amazon.com/bedrock/latest/userguide/batch-iam-sr.html
- Get and Stop: the job's ARN. List: `*`.

Signatures are not checked here (the emulator does not either); the key tells who calls.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from local.iam import Record, session_arn

_CALLER = re.compile(r"Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/")
_PROFILE = re.compile(r"(us|eu|apac|jp|au|ca|us-gov|global)\.")
# Some regions that the geographic profiles answer from, enough to see a policy that names one region only.
_DESTINATIONS = {"us": ("us-east-1", "us-east-2", "us-west-2"), "eu": ("eu-central-1", "eu-north-1", "eu-west-1")}
_BEDROCK = "bedrock.amazonaws.com"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


@dataclass(frozen=True)
class Need:
    """One thing that must be allowed; `context` are condition keys of the request."""

    action: str
    resource: str
    context: dict[str, Any] | None = None


def models(model_id: str, region: str, account: str) -> list[str]:
    """The ARNs a call of `model_id` (an id, a profile's id, or an ARN of either) in `region` touches."""
    name = model_id.rpartition("/")[2]
    profile = _PROFILE.match(name)
    if profile is None:
        return [f"arn:aws:bedrock:{region}::foundation-model/{name}"]
    model, geography = name[profile.end() :], profile[1]
    regions = dict.fromkeys((region, *_DESTINATIONS.get(geography, ()), *([""] if geography == "global" else [])))
    return [
        f"arn:aws:bedrock:{region}:{account}:inference-profile/{name}",
        *(f"arn:aws:bedrock:{each}::foundation-model/{model}" for each in regions),
    ]


def needs(method: str, path: str, body: bytes, region: str, account: str) -> list[Need]:
    """What the caller of this request needs; an operation that we do not know needs an action that nobody has."""
    match path.strip("/").split("/"):
        case ["model", model_id, "converse" | "invoke"]:
            return [Need("bedrock:InvokeModel", arn) for arn in models(unquote(model_id), region, account)]
        case ["model-invocation-job"] if method == "POST":
            return _create_needs(json.loads(body or b"{}"), region, account)
        case ["model-invocation-job", job] if method == "GET":
            return [Need("bedrock:GetModelInvocationJob", _job_arn(unquote(job), region, account))]
        case ["model-invocation-job", job, "stop"]:
            return [Need("bedrock:StopModelInvocationJob", _job_arn(unquote(job), region, account))]
        case ["model-invocation-jobs"]:
            return [Need("bedrock:ListModelInvocationJobs", "*")]
    return [Need(f"bedrock:Unknown{method}", "*")]


def _job_arn(job: str, region: str, account: str) -> str:
    return job if job.startswith("arn:") else f"arn:aws:bedrock:{region}:{account}:model-invocation-job/{job}"


def _create_needs(job: dict[str, Any], region: str, account: str) -> list[Need]:
    wanted = [*models(job.get("modelId", ""), region, account), _job_arn("000000000000", region, account)]
    return [
        *(Need("bedrock:CreateModelInvocationJob", arn) for arn in wanted),
        Need("iam:PassRole", job.get("roleArn", ""), {"iam:passedtoservice": _BEDROCK}),
    ]


def service_role_needs(job: dict[str, Any], region: str, account: str) -> Iterator[Need]:
    """What Bedrock then does with the job's role."""
    given = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix("s3://")
    out = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix("s3://").rstrip("/")
    bucket, _, key = given.partition("/")
    yield Need("s3:GetObject", f"arn:aws:s3:::{given}")
    yield Need("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": key})
    yield Need("s3:PutObject", f"arn:aws:s3:::{out}/000000000000/manifest.json.out")
    for arn in models(job.get("modelId", ""), region, account):
        yield Need("bedrock:InvokeModel", arn)


class Gate:
    """Asks the policies that the emulated IAM holds."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def refusal(self, authorization: str, method: str, path: str, body: bytes) -> str | None:
        """Why the call is denied; None where it is allowed or the caller is no function."""
        caller = _CALLER.search(authorization)
        if caller is None or (arn := session_arn(caller[1])) is None:
            return None
        account, region = arn.split(":")[4], caller[2]
        role = arn.partition("role/")[2].partition("/")[0]
        for need in needs(method, path, body, region, account):
            if not self._allowed(arn, role, need, region, account):
                return f"User: {arn} is not authorized to perform: {need.action} on resource: {need.resource}"
        if method == "POST" and path == "/model-invocation-job":
            return self._service_role_refusal(json.loads(body), region, account)
        return None

    def _allowed(self, arn: str, role: str, need: Need, region: str, account: str) -> bool:
        from ministack.core import iam_evaluator as iam  # noqa: PLC0415

        context = iam.EvalContext(
            principal_arn=arn,
            principal_type="AssumedRole",
            principal_account=account,
            action=need.action,
            resource_arn=need.resource,
            region=region,
            source_ip="127.0.0.1",
            secure_transport=True,
            service_context=dict(need.context or {}),
        )
        allowed = bool(iam.evaluate(context, iam._gather_role_policies(role, account)).decision == "Allow")
        self._record.write(arn, need.action, need.resource, allowed, need.context)
        return allowed

    def _service_role_refusal(self, job: dict[str, Any], region: str, account: str) -> str | None:
        from ministack.core import iam_evaluator as iam  # noqa: PLC0415
        from ministack.services import iam as roles  # noqa: PLC0415

        arn = str(job["roleArn"])
        name = arn.rpartition("/")[2]
        role = roles._roles.get_scoped(account, None, name)
        if role is None:
            return f"no role {arn}"
        context = iam.EvalContext(
            principal_arn=_BEDROCK,
            principal_type="Service",
            principal_account=account,
            action="sts:AssumeRole",
            resource_arn=arn,
            region=region,
            source_ip="127.0.0.1",
            secure_transport=True,
            service_context={"aws:sourceaccount": account, "aws:sourcearn": _job_arn("000000000000", region, account)},
        )
        trusted = iam.evaluate_trust_policy(
            _of_bedrock(role["AssumeRolePolicyDocument"]), f"arn:aws:iam::{account}:root", context
        )
        self._record.write(arn, "sts:AssumeRole", arn, trusted)
        if not trusted:
            return f"{arn} does not trust Bedrock"
        for need in service_role_needs(job, region, account):
            if not self._allowed(arn, name, need, region, account):
                return f"{arn} is not authorized to perform: {need.action} on resource: {need.resource}"
        return None


def _of_bedrock(trust: dict[str, Any] | str) -> dict[str, Any]:
    """The statements that name Bedrock: ministack lets the root user through for any service."""
    document: dict[str, Any] = json.loads(trust) if isinstance(trust, str) else trust
    return {"Statement": [s for s in document["Statement"] if s["Principal"].get("Service") == _BEDROCK]}


def serve(host: str, port: int, upstream: str, record: Record) -> None:
    """Listens in background threads and passes what is allowed on to `upstream`."""
    gate, target = Gate(record), urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            why = gate.refusal(self.headers.get("Authorization", ""), self.command, path, body)
            if why is not None:
                self._answer(
                    403,
                    {"x-amzn-errortype": "AccessDeniedException", "Content-Type": "application/json"},
                    json.dumps({"message": why}).encode(),
                )
                return
            connection = http.client.HTTPConnection(str(target.hostname), target.port or 80, timeout=900)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):  # the emulator loses replies on purpose: lose this one too
                self.close_connection = True
                return
            finally:
                connection.close()
            self._answer(answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

        def log_message(self, format: str, *args: Any) -> None:
            """No line a request."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="gate", daemon=True).start()
