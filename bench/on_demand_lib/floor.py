"""What the fake itself can do: bare sockets, ready-made requests. No contender can be faster."""

import json
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.on_demand_lib.world import Region, World

CALLERS: Final = 4
CALLS: Final = 1500  # of each caller

REQUEST: Final = (
    b"POST /model/m/converse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAuthorization: AWS4-HMAC-SHA256 "
    b"Credential=AKIDEXAMPLE/20261125/r/bedrock/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n%s"
)
BODY: Final = (
    b'{"messages": [{"role": "user", "content": [{"text": "job 1 river"}]}], "inferenceConfig": {"maxTokens": 100}}'
)


@dataclass(frozen=True)
class Floor:
    calls_per_s: float
    cpu_us: float


def control(endpoint: str, path: str, body: bytes | None = None) -> bytes:
    """One word to the fake; its answer."""
    request = urllib.request.Request(endpoint + path, data=body, method="GET" if body is None else "POST")
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def measure(endpoint: str, pid: int) -> Floor:
    """Calls a second over a few connections, and the fake's own processor time for each."""
    world = World({"r": Region(requests_per_s=1e9, tokens_per_s=1e9)})
    control(endpoint, "/control/world", json.dumps(world.as_json()).encode())
    control(endpoint, "/control/start", b"{}")
    port = int(endpoint.rsplit(":", 1)[1])
    message = REQUEST % (len(BODY), BODY)

    def caller() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(CALLS):
                connection.sendall(message)
                connection.recv(65536)

    before, began = _cpu_s(pid), time.perf_counter()
    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = CALLERS * CALLS
    return Floor(calls / (time.perf_counter() - began), (_cpu_s(pid) - before) / calls * 1e6)


def _cpu_s(pid: int) -> float:
    """User and system seconds of a process; 0 where the system does not tell (no /proc)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
