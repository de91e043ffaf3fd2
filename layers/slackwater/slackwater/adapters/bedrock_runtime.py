"""Converse and InvokeModel in any region, one attempt a call; every error leaves as a CallFailed that says who must
act."""

import time
from threading import Lock
from typing import Any, Final

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from slackwater.adapters.blobs import for_files, for_sdk
from slackwater.model.errors import BadInput, CallFailed
from slackwater.model.job import Lane, Route
from slackwater.model.native import NativeBody, Request
from slackwater.model.native_usage import usage_of
from slackwater.model.usage import Usage, UsageError
from slackwater.policy.classify import Fault, classify
from slackwater.usecases.ports import Answer

CONNECT_TIMEOUT_S: Final = 3
"""Nothing was sent before it: a short one costs nothing."""


class BedrockRuntime:
    """Holds one client per region and read timeout, with its warm connections; safe in threads.

    Read timeouts are `policy.durations.TIMEOUTS_S`: botocore has one for a whole client, so there are only a few.
    """

    def __init__(self, session: boto3.Session, *, connections: int) -> None:
        self._session = session
        self._connections = connections
        self._clients: dict[tuple[str, float], Any] = {}
        self._lock = Lock()

    def converse(self, route: Route, lane: Lane, request: Request, *, read_timeout_s: float) -> Answer:
        """Makes one call, by the operation of the request's type. Raises CallFailed; the service's message may quote a
        prompt, so only its code is kept."""
        if isinstance(request, NativeBody):
            return self._invoke_model(route, lane, request, read_timeout_s)
        tier = "flex" if lane is Lane.FLEX else route.tier
        asked = {} if tier == "default" else {"serviceTier": {"type": tier}}
        client = self._client(route.region, read_timeout_s)
        operation = client.meta.service_model.operation_model("Converse")
        try:
            sent = for_sdk(operation.input_shape, request)
        except BadInput:
            raise CallFailed("ValidationException", Fault.JOB) from None
        began = time.perf_counter()
        try:
            response = client.converse(modelId=route.called, **asked, **sent)
        except ClientError as exc:
            raise _failure(exc) from None
        except BotoCoreError as exc:  # its text may quote the request's parameters: only its name is kept
            name = type(exc).__name__
            raise CallFailed(name, classify(name)) from None
        latency_ms = round((time.perf_counter() - began) * 1000)
        response.pop("ResponseMetadata", None)
        # a response without a tier was served as it was asked for; billing follows the served one
        served = (response.get("serviceTier") or {}).get("type") or tier
        return Answer(for_files(operation.output_shape, response), _usage(response), latency_ms, served)

    def _invoke_model(self, route: Route, lane: Lane, request: NativeBody, read_timeout_s: float) -> Answer:
        tier = "flex" if lane is Lane.FLEX else route.tier
        asked = {} if tier == "default" else {"serviceTier": tier}
        client = self._client(route.region, read_timeout_s)
        body, json = orjson.dumps(request.body), "application/json"
        began = time.perf_counter()
        try:
            response = client.invoke_model(modelId=route.called, body=body, contentType=json, accept=json, **asked)
            written = response["body"].read()
        except ClientError as exc:
            raise _failure(exc) from None
        except BotoCoreError as exc:
            name = type(exc).__name__
            raise CallFailed(name, classify(name)) from None
        latency_ms = round((time.perf_counter() - began) * 1000)
        answer = _object(written)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return Answer(answer, usage_of(answer, headers), latency_ms, response.get("serviceTier") or tier)

    def _client(self, region: str, read_timeout_s: float) -> Any:
        with self._lock:  # making a client is not thread-safe, using one is (boto3 guide, Multithreading)
            if (region, read_timeout_s) not in self._clients:
                self._clients[region, read_timeout_s] = self._session.client(
                    "bedrock-runtime",
                    region_name=region,
                    config=Config(
                        retries={"total_max_attempts": 1},  # the engine owns the retries
                        connect_timeout=CONNECT_TIMEOUT_S,
                        read_timeout=read_timeout_s,
                        max_pool_connections=self._connections,
                        tcp_keepalive=True,  # NAT gateways drop connections that are idle for 350 s
                    ),
                )
            return self._clients[region, read_timeout_s]


def _object(written: bytes) -> dict[str, Any]:
    """An answer's JSON. What cannot be read was paid for all the same, like a reply that was lost."""
    try:
        answer = orjson.loads(written)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise CallFailed("UnreadableAnswer", Fault.UNKNOWN)
    return answer


def _usage(response: dict[str, Any]) -> Usage | None:
    try:
        return Usage.from_converse(response.get("usage"))
    except UsageError:
        return None


def _failure(exc: ClientError) -> CallFailed:
    error = exc.response["Error"]
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    fault = classify(error.get("Code", ""), status, error.get("Message", ""), exc.response.get("originalStatusCode"))
    return CallFailed(error.get("Code", "unknown"), fault)
