"""The route table: one port serves every region, which is read from the credential scope of the signature."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

from .batch_api import BatchApi
from .batch_io import Clients
from .batch_run import Jobs
from .clock import Clock
from .config import lookup, parse
from .control import Control
from .errors import ApiError, invalid
from .runtime import INVALID_MODEL, Runtime
from .server import Request, Response, json_response
from .world import World

SCOPE: Final = re.compile(r"Credential=[^/,\s]+/\d{8}/([a-z0-9-]+)/[a-z0-9-]+/aws4_request")
Regional = Callable[..., Awaitable[Response]]


class App:
    """All handlers behind one entry, `handle`."""

    def __init__(self, document: dict[str, Any], clock: Clock, clients: Clients, seed: int) -> None:
        self.world = World(parse(document), clock, seed)
        self.jobs = Jobs(self.world, clients)
        runtime, batch = Runtime(self.world), BatchApi(self.world, self.jobs)
        control = Control(self.world, self.jobs, document)
        # A `*` takes one percent-encoded segment and becomes an argument.
        self._regional: dict[tuple[str, ...], Regional] = {
            ("POST", "model", "*", "converse"): runtime.converse,
            ("POST", "model", "*", "invoke"): runtime.invoke,
            ("POST", "model", "*", "count-tokens"): runtime.count_tokens,
            ("POST", "model-invocation-job"): batch.create,
            ("GET", "model-invocation-job", "*"): batch.get,
            ("POST", "model-invocation-job", "*", "stop"): batch.stop,
            ("GET", "model-invocation-jobs"): batch.list,
            ("GET", "foundation-model-availability", "*"): self.availability,
        }
        self._control: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "health"): control.health,
            ("GET", "config"): control.get_config,
            ("PATCH", "config"): control.patch_config,
            ("POST", "config"): control.patch_config,
            ("PUT", "config"): control.put_config,
            ("POST", "reset"): control.reset,
            ("GET", "bill"): control.bill,
            ("GET", "stats"): control.stats,
            ("GET", "jobs"): control.list_jobs,
            ("GET", "clock"): control.get_clock,
            ("POST", "clock"): control.set_clock,
        }

    async def handle(self, request: Request) -> Response:
        """Serve one request. Raises ApiError, Dropped."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "_control":
            return await self._serve_control(request, parts)
        arguments: list[str] = []
        key = [request.method, parts[0]]
        if len(parts) > 1:
            key.append("*")
            arguments.append(unquote(parts[1]))
            key.extend(parts[2:])
        handler = self._regional.get(tuple(key))
        if handler is None:
            raise ApiError("UnknownOperationException")
        return await handler(request, self.region(request), *arguments)

    async def _serve_control(self, request: Request, parts: list[str]) -> Response:
        name = parts[1] if len(parts) == 2 else ""
        handler = self._control.get((request.method, name))
        if handler is None:
            return json_response({"message": f"no such control endpoint: {request.method} {request.path}"}, 404)
        return await handler(request)

    def region(self, request: Request) -> str:
        """The region of a call: that of its signature, else the default."""
        found = SCOPE.search(request.headers.get("authorization", ""))
        return found[1] if found else self.world.config.default_region

    async def availability(self, _request: Request, region: str, model_id: str) -> Response:
        """GET /foundation-model-availability/{modelId}."""
        model = self.world.model(model_id)
        if model is None:
            raise invalid(INVALID_MODEL)
        open_here = lookup(self.world.config.models.access, region, model.name, model.base) is not False
        return json_response(
            {
                "modelId": model.base,
                "agreementAvailability": {"status": "AVAILABLE"},
                "authorizationStatus": "AUTHORIZED",
                "entitlementAvailability": "AVAILABLE",
                "regionAvailability": "AVAILABLE" if open_here else "NOT_AVAILABLE",
            }
        )
