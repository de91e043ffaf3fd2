"""What the use cases ask of the outside: each port only as wide as its callers need."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from slackwater.model.job import Lane, Route
from slackwater.model.native import Request
from slackwater.model.usage import Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered call; `tier` is the served one, `latency_ms` was measured here."""

    response: dict[str, Any]
    usage: Usage | None
    latency_ms: int
    tier: str


class OnDemand(Protocol):
    """The model endpoint of any region. `converse` makes the call that the request is for; raises CallFailed."""

    def converse(self, route: Route, lane: Lane, request: Request, *, read_timeout_s: float) -> Answer: ...


class ByteSink(Protocol):
    def write(self, data: bytes) -> None: ...


class Documents(Protocol):
    """A bucket, as the use cases see it. `get` raises adapters' Missing, a create-only `put` Exists."""

    bucket: str

    def get(self, key: str) -> bytes: ...
    def get_json(self, key: str) -> Any: ...
    def put(self, key: str, body: bytes, *, content_type: str = ..., create_only: bool = ...) -> None: ...
    def put_json(self, key: str, document: Any) -> None: ...
    def keys(self, prefix: str) -> Iterator[str]: ...
    def upload(self, key: str, *, content_type: str = ...) -> AbstractContextManager[ByteSink]: ...


@dataclass(frozen=True)
class Outgoing:
    """A message to send: `body` is JSON; `delay_s` is product time; `group` is the fair-queue tenant (the run)."""

    body: dict[str, Any]
    delay_s: float = 0
    group: str | None = None


class Sender(Protocol):
    """A queue to send to."""

    def send(self, messages: Iterable[Outgoing]) -> int: ...


class Workflow(Protocol):
    """The run workflow: starting it twice under one name, or answering a dead token, is no error."""

    def start(self, run_id: str, payload: Mapping[str, Any]) -> None: ...
    def answer(self, token: str, payload: Mapping[str, Any]) -> bool: ...


class EventSink(Protocol):
    def announce(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...
