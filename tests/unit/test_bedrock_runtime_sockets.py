"""What the runtime adapter makes of a peer that breaks off, over real sockets: one attempt, and the loss is told."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import boto3
import orjson
import pytest

from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane
from slackwater.model.native import NativeBody
from slackwater.policy.classify import Fault
from tests.unit.rig import ROUTES

CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
NATIVE = NativeBody({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": []})
ANSWER = orjson.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
        "metrics": {"latencyMs": 5},
    }
)


class Peer:
    """Counts connections and requests; `reply` gives the bytes of each answer, None to break off, or waits."""

    def __init__(self, reply: Callable[[], bytes | None]) -> None:
        self.reply = reply
        self.connections = self.requests = 0
        self.stop = Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self.stop.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as incoming:
            while line := incoming.readline():
                length = 0
                while line not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    line = incoming.readline()
                incoming.read(length)
                self.requests += 1
                written = self.reply()
                if written is None:
                    return
                peer.sendall(written)


@contextmanager
def peer(reply: Callable[[], bytes | None]) -> Iterator[Peer]:
    found = Peer(reply)
    try:
        yield found
    finally:
        found.stop.set()
        found.listener.close()


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def runtime(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")

    def make(url):
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        return BedrockRuntime(boto3.Session(), connections=4)

    return make


def fault_of(runtime, request, read_timeout_s=30.0) -> Fault:
    with pytest.raises(CallFailed) as caught:
        runtime.converse(ROUTES[0], Lane.ON_DEMAND, request, read_timeout_s=read_timeout_s)
    return Fault(caught.value.fault)


@pytest.mark.promise(2)
@pytest.mark.parametrize("request_", [CONVERSE, NATIVE], ids=["converse", "invoke_model"])
def test_a_connection_that_is_reset_after_sending_is_a_loss_and_is_not_tried_again_by_the_sdk(runtime, request_):
    with peer(lambda: None) as broken:
        assert fault_of(runtime(broken.url), request_) is Fault.UNKNOWN
        assert broken.requests == 1


@pytest.mark.promise(2)
@pytest.mark.parametrize("request_", [CONVERSE, NATIVE], ids=["converse", "invoke_model"])
def test_an_answer_that_does_not_come_in_time_is_a_loss_and_is_not_tried_again_by_the_sdk(runtime, request_):
    never = Event()

    def silent() -> None:
        never.wait(20)

    with peer(silent) as slow:
        assert fault_of(runtime(slow.url), request_, read_timeout_s=0.3) is Fault.UNKNOWN
        assert slow.requests == 1
        never.set()


@pytest.mark.promise(2)
@pytest.mark.parametrize("request_", [CONVERSE, NATIVE], ids=["converse", "invoke_model"])
def test_an_answer_that_breaks_off_in_the_middle_is_a_loss(runtime, request_):
    with peer(lambda: http(ANSWER[:40], length=len(ANSWER))) as broken:
        assert fault_of(runtime(broken.url), request_, read_timeout_s=0.3) is Fault.UNKNOWN
        assert broken.requests == 1


def test_a_door_that_nobody_opens_is_no_loss_for_nothing_was_sent(runtime):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert fault_of(runtime(f"http://127.0.0.1:{port}"), CONVERSE) is Fault.CAPACITY


@pytest.mark.parametrize(
    ("status", "fault"),
    [("503 Service Unavailable", Fault.CAPACITY), ("500 Oops", Fault.INTERNAL), ("429 Slow", Fault.QUOTA)],
)
def test_an_error_page_without_a_code_is_told_by_its_status_and_met_once(runtime, status, fault):
    with peer(lambda: http(b"<html>no json</html>", status)) as broken:
        assert fault_of(runtime(broken.url), CONVERSE) is fault
        assert broken.requests == 1


def test_calls_one_after_the_other_share_one_warm_connection(runtime):
    with peer(lambda: http(ANSWER)) as good:
        caller = runtime(good.url)
        for _ in range(3):
            answered = caller.converse(ROUTES[0], Lane.ON_DEMAND, CONVERSE, read_timeout_s=120.0)
            assert answered.usage is not None and answered.usage.output_tokens == 1
        assert (good.connections, good.requests) == (1, 3)
