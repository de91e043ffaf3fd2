"""A neutral fake Bedrock: Converse in every region on one port, with quotas, latency and outages.

    python -m bench.on_demand_lib.fake            # prints its port; standard library only

Written from AWS's documentation (the Converse and quota pages), with no knowledge of any contender. The region is that
of the SigV4 credential scope. Control, for the bench alone:

    POST /control/world   the body is a World; calls are free, unlimited and uncounted until the start
    POST /control/start   the clock stands at 0, buckets are full
    GET  /control/report  every call since: seconds, region, job, what became of it
"""

import asyncio
import json
import re
import sys
import time
from typing import Any, Final

from bench.on_demand_lib.world import Meter, World, tokens

_SCOPE: Final = re.compile(rb"Credential=[^/]+/\d+/([^/]+)/", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(rb"\r\nauthorization:[^\r]*", re.IGNORECASE)
_JOB: Final = re.compile(r"job (\d+)")
ADMITTED: Final = "admitted"
THROTTLED: Final = "throttled"
DOWN: Final = "down"
_ERRORS: Final = {
    THROTTLED: (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "throttled tokens": (429, "ThrottlingException", "Too many tokens, please wait before trying again."),
    DOWN: (503, "ServiceUnavailableException", "The service is temporarily unable to handle the request."),
}


class Bedrock:
    """What the fake remembers."""

    def __init__(self) -> None:
        self.world = World({})
        self.meters: dict[str, Meter] = {}
        self.began: float | None = None
        self.calls: list[tuple[float, str, int, str]] = []

    def load(self, document: dict[str, Any]) -> None:
        self.world, self.began, self.calls = World.from_json(document), None, []

    def start(self) -> None:
        self.meters = {name: Meter(region, self.world.burst_s) for name, region in self.world.regions.items()}
        self.calls, self.began = [], time.monotonic()

    def now_s(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began

    def converse(self, region: str, body: dict[str, Any]) -> tuple[float, int, bytes, tuple[str, int, int] | None]:
        """(seconds to wait, status, body, what to settle) of a call."""
        text = " ".join(part.get("text", "") for message in body["messages"] for part in message["content"])
        input_tokens, found = tokens(text), _JOB.search(text)
        job, now_s = int(found[1]) if found else 0, self.now_s()
        output_tokens = min(self.world.answer_tokens(job), body.get("inferenceConfig", {}).get("maxTokens", 4096))
        reserved = input_tokens + body.get("inferenceConfig", {}).get("maxTokens", 4096)
        settle = None
        if self.began is not None:
            if self.world.regions[region].is_down(now_s):
                return self._refused(DOWN, now_s, region, job)
            meter = self.meters[region]
            if not meter.admit(now_s, reserved):
                lacks = meter.requests is None or meter.requests.has(1)
                return self._refused("throttled tokens" if lacks else THROTTLED, now_s, region, job)
            self.calls.append((now_s, region, job, ADMITTED))
            settle = (region, reserved, input_tokens + output_tokens * self.world.burn_down)
        latency_s = self.world.latency_s(region, job)
        return latency_s, 200, _answer(input_tokens, output_tokens, latency_s), settle

    def _refused(self, what: str, now_s: float, region: str, job: int) -> tuple[float, int, bytes, None]:
        self.calls.append((now_s, region, job, DOWN if what == DOWN else THROTTLED))
        status, code, message = _ERRORS[what]
        wait_s = self.world.down_latency_s if what == DOWN else 0.0
        return wait_s, status, json.dumps({"__type": code, "message": message}).encode(), None


def _answer(input_tokens: int, output_tokens: int, latency_s: float) -> bytes:
    return json.dumps(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "tide " * (output_tokens * 3 // 4)}]}},
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": input_tokens,
                "outputTokens": output_tokens,
                "totalTokens": input_tokens + output_tokens,
            },
            "metrics": {"latencyMs": round(latency_s * 1000)},
        }
    ).encode()


_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Unavailable"}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as SDKs use it: one request after another, bodies with a length."""

    def __init__(self, bedrock: Bedrock) -> None:
        self._bedrock = bedrock
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:head_end]
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            end = head_end + 4 + length
            if b"100-continue" in head and len(self._buffer) == head_end + 4 and length and self._transport:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if path.endswith(b"/converse"):
            self._converse(head, body)
        elif path == b"/control/world":
            self._bedrock.load(json.loads(body))
            self._reply(200, b"{}")
        elif path == b"/control/start":
            self._bedrock.start()
            self._reply(200, b"{}")
        elif path == b"/control/report":
            self._reply(200, json.dumps(self._bedrock.calls).encode())
        else:
            self._reply(404, json.dumps({"message": f"{method.decode()} {path.decode()} is not served"}).encode())

    def _converse(self, head: bytes, body: bytes) -> None:
        line = _AUTHORIZATION.search(head)
        scope = _SCOPE.search(line[0]) if line else None
        region = scope[1].decode() if scope else ""
        if region not in self._bedrock.world.regions:
            self._reply(400, b'{"__type": "ValidationException", "message": "no such region, or not signed"}')
            return
        wait_s, status, answer, settle = self._bedrock.converse(region, json.loads(body))
        loop = asyncio.get_running_loop()
        if settle:  # whether or not the caller still listens
            loop.call_later(wait_s, self._settle, *settle)
        if wait_s:
            loop.call_later(wait_s, self._reply, status, answer)
        else:
            self._reply(status, answer)

    def _settle(self, region: str, reserved: int, used: int) -> None:
        if region in self._bedrock.meters:
            self._bedrock.meters[region].settle(self._bedrock.now_s(), reserved, used)

    def _reply(self, status: int, body: bytes) -> None:
        if self._transport is None:
            return
        error = b"x-amzn-ErrorType: %s\r\n" % json.loads(body).get("__type", "").encode() if status >= 400 else b""
        self._transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
            % (status, _REASONS[status].encode(), error, len(body), body)
        )


async def _serve() -> None:
    bedrock = Bedrock()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(bedrock), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    # ends with the bench: its standard input closes
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
