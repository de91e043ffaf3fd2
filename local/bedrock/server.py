"""A small HTTP/1.1 server on asyncio: keep-alive, Content-Length bodies, one request at a time a connection."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import traceback
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson

from .errors import ApiError, Dropped

log = logging.getLogger("local.bedrock")

MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 30_000_000
REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request; `path` is still percent-encoded, header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Handler = Callable[[Request], Awaitable[Response]]


def json_response(document: Any, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(status, orjson.dumps(document))


def error_response(error: ApiError) -> Response:
    """A refusal as the SDK reads it."""
    document: dict[str, Any] = {"message": error.message}
    if error.code == "ModelErrorException":
        document["originalStatusCode"] = error.original_status or 500
    return Response(error.status, orjson.dumps(document), {"x-amzn-errortype": error.code})


class _BadRequest(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


def _head(text: str) -> tuple[list[str], dict[str, str]]:
    """Request line and headers."""
    lines = text.split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequest(400)
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise _BadRequest(400)
        headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise _BadRequest(411)
    return parts, headers


class Connection(asyncio.Protocol):
    """Reads requests from one socket and answers them in order."""

    def __init__(self, handler: Handler, open_connections: set[Connection]) -> None:
        self._handler = handler
        self._open = open_connections
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._continued = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._open.discard(self)  # a call in progress goes on: Bedrock bills it all the same

    def close(self) -> None:
        """Close the socket at shutdown."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        try:
            request = self._parse()
        except _BadRequest as bad:
            self._write(Response(bad.status, b'{"message":"bad request"}'), keep=False)
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _parse(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise _BadRequest(431)
            return None
        parts, headers = _head(self._buffer[:end].decode("latin-1"))
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise _BadRequest(400)
        if int(length) > MAX_BODY:
            raise _BadRequest(413)
        total = end + 4 + int(length)
        if len(self._buffer) < total:
            if headers.get("expect", "").lower() == "100-continue" and not self._continued:
                self._continued = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body = bytes(self._buffer[end + 4 : total])
        del self._buffer[:total]
        self._continued = False
        path, _, query = parts[1].partition("?")
        return Request(parts[0], path, query, headers, body)

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._handler(request)
        except Dropped:
            self._reset()
            return
        except ApiError as error:
            response = error_response(error)
        except Exception as exc:  # noqa: BLE001  the server must answer; the text of the exception may quote a prompt, so only its place is logged
            place = traceback.extract_tb(exc.__traceback__)[-1]
            log.error("%s at %s:%s while serving %s", type(exc).__name__, place.filename, place.lineno, request.method)
            response = error_response(ApiError("InternalServerException"))
        self._task = None
        keep = request.headers.get("connection", "").lower() != "close"
        self._write(response, keep)
        if keep and self._buffer:
            self._next()

    def _write(self, response: Response, keep: bool) -> None:
        if self._transport.is_closing():
            return
        extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        head = (
            f"HTTP/1.1 {response.status} {REASONS.get(response.status, '')}\r\n"
            f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
            f"x-amzn-RequestId: {uuid.uuid4()}\r\n{extra}{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n"
        )
        self._transport.write(head.encode("latin-1") + response.body)
        if not keep:
            self._transport.close()

    def _reset(self) -> None:
        """End the connection the hard way (RST), as a broken path does."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def listen(handler: Handler, host: str, port: int) -> tuple[asyncio.Server, set[Connection]]:
    """Start to listen; port 0 takes a free one."""
    connections: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(handler, connections), host, port, backlog=2048, reuse_address=True
    )
    return server, connections
