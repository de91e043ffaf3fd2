"""The emulator's own endpoints under `/_control/`: configuration, bill, statistics, jobs, clock, reset."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson

from .batch_run import Jobs
from .clock import iso
from .config import ConfigError, merge, parse
from .server import Request, Response, json_response
from .world import World


class Control:
    """Handlers; every refusal is a 400 with `{"message": …}`."""

    def __init__(self, world: World, jobs: Jobs, document: dict[str, Any]) -> None:
        self._world = world
        self._jobs = jobs
        self._start = document
        self._document = document

    async def health(self, _request: Request) -> Response:
        """GET /_control/health."""
        return json_response({"status": "ok"})

    async def get_config(self, _request: Request) -> Response:
        """GET /_control/config: everything in force, defaults too."""
        return json_response(self._world.config.model_dump(mode="json"))

    async def patch_config(self, request: Request) -> Response:
        """PATCH or POST /_control/config: a JSON merge patch on what was set so far."""
        return self._configure(lambda patch: merge(self._document, patch), request)

    async def put_config(self, request: Request) -> Response:
        """PUT /_control/config: replaces all that was set."""
        return self._configure(lambda document: document, request)

    def _configure(self, change: Any, request: Request) -> Response:
        try:
            document = change(orjson.loads(request.body or b"{}"))
            config = parse(document)
        except (ConfigError, orjson.JSONDecodeError) as exc:
            return _refused(str(exc))
        self._spend_anew(document)
        self._document, self._world.config = document, config
        return json_response(config.model_dump(mode="json"))

    def _spend_anew(self, document: dict[str, Any]) -> None:
        """New lists of rules or outcomes are counted from their beginning."""
        old, new = self._document, document
        if old.get("answers", {}).get("rules") != new.get("answers", {}).get("rules"):
            self._world.answerer.used.clear()
        if old.get("batch", {}).get("outcomes") != new.get("batch", {}).get("outcomes"):
            self._jobs.book = type(self._jobs.book)()

    async def reset(self, request: Request) -> Response:
        """POST /_control/reset: forget bills, statistics, quotas and jobs; with `{"config": true}` the settings too."""
        try:
            body = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError as exc:
            return _refused(str(exc))
        if not isinstance(body, dict) or body.keys() - {"config"}:
            return _refused('only {"config": true|false} is known')
        self._jobs.reset()
        self._world.reset()
        if body.get("config"):
            self._document, self._world.config = self._start, parse(self._start)
        return json_response({"status": "reset"})

    async def bill(self, request: Request) -> Response:
        """GET /_control/bill[?totals=1|?sha=…&sha=…]: charges by prompt, and sums."""
        query = parse_qsl(request.query)
        totals = {**self._world.bill.totals(), "stats": self._world.stats.document()["regions"]}
        if ("totals", "1") in query:
            return json_response({"totals": totals})
        only = [value for name, value in query if name == "sha"] or None
        return json_response({"prompts": self._world.bill.prompts(only), "totals": totals})

    async def stats(self, _request: Request) -> Response:
        """GET /_control/stats."""
        return json_response(self._world.stats.document())

    async def list_jobs(self, _request: Request) -> Response:
        """GET /_control/jobs: all regions, with outcome and history."""
        now = self._world.clock.now()
        return json_response({"jobs": [{**job.document(now), **job.hidden()} for job in self._jobs.by_id.values()]})

    async def get_clock(self, _request: Request) -> Response:
        """GET /_control/clock."""
        clock = self._world.clock
        now = clock.now()
        return json_response(
            {
                "rate": clock.rate,
                "origin": clock.origin,
                "offset_s": clock.offset_s,
                "now": iso(now),
                "now_epoch_s": now,
            }
        )

    async def set_clock(self, request: Request) -> Response:
        """POST /_control/clock {rate, origin, advance_s}: virtual = origin + (real − origin) × rate + offset."""
        try:
            body = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError as exc:
            return _refused(str(exc))
        if not isinstance(body, dict) or body.keys() - {"rate", "origin", "advance_s"}:
            return _refused("known fields: rate, origin, advance_s")
        if not all(isinstance(value, int | float) for value in body.values()):
            return _refused("rate, origin and advance_s are numbers")
        try:
            self._world.clock.set(**body)
        except ValueError as exc:
            return _refused(str(exc))
        return await self.get_clock(request)


def _refused(message: str) -> Response:
    return json_response({"message": message}, 400)
