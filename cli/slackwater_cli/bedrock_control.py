"""The Bedrock emulator's own endpoints, as the demo uses them."""

from __future__ import annotations

import urllib.request
from typing import Any

import orjson


class Control:
    """Talks to `SLACKWATER_CONTROL_URL`. Raises urllib's URLError."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is ours

    def configure(self, patch: dict[str, Any]) -> None:
        """Changes the emulator while it runs, by a JSON merge patch."""
        self._ask("PATCH", "/_control/config", patch)

    def bill(self) -> dict[str, Any]:
        """Sums of what was charged, and counts of refusals by region under `stats`."""
        totals: dict[str, Any] = self._ask("GET", "/_control/bill?totals=1", None)["totals"]
        return totals

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  (an http address on loopback)
            self._url + path,
            method=method,
            data=None if body is None else orjson.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=30) as answer:
            document: dict[str, Any] = orjson.loads(answer.read())
        return document
