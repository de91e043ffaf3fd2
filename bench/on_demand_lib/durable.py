"""The engine with its ledger where the product has it: in DynamoDB, here ministack's, in a process of its own.

    with emulated_table() as endpoint: …      the bench's side
    Tables(connections).table()               a contender's side

What DynamoDB itself takes for an update (some milliseconds on AWS) is ministack's here; its processor time is not the
contender's.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from slackwater.adapters.ledger.table import Table

ENDPOINT: Final = "SLACKWATER_BENCH_TABLE"
"""The environment variable by which a contender's process is told where the table is."""
START_S: Final = 30.0


@contextmanager
def emulated_table(port: int) -> Iterator[str]:
    """The endpoint of a fresh DynamoDB. Raises TimeoutError."""
    endpoint = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "dynamodb",
            "LOG_LEVEL": "WARNING",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "STATE_DIR": folder,
            "DOCKER_HOST": f"unix://{folder}/none.sock",
        }
        command = [str(Path(sys.executable).parent / "ministack")]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=quiet, stderr=quiet)
        try:
            _wait(endpoint)
            yield endpoint
        finally:
            process.terminate()
            process.wait()


def _wait(endpoint: str) -> None:
    last_s = time.monotonic() + START_S
    while time.monotonic() < last_s:
        try:
            with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError("ministack did not start")


class Tables:
    """One table for a fleet; each container has a client of its own."""

    def __init__(self, connections: int) -> None:
        self._name = f"ledger-{uuid.uuid4().hex}"
        self._connections = connections
        self._client().create_table(
            TableName=self._name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )

    def table(self) -> Table:
        """The table, by a client of its own."""
        return Table(self._client(), self._name)

    def _client(self) -> Any:
        config = Config(max_pool_connections=self._connections, retries={"total_max_attempts": 3})
        return boto3.Session().client(
            "dynamodb", region_name="us-east-1", endpoint_url=os.environ[ENDPOINT], config=config
        )
