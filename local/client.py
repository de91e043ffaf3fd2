"""boto3 clients for the embedded cloud that no setting of the caller's machine can send elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from local.settings import CREDENTIALS


class Clients:
    """Makes each client once: no proxy, no profile, path-style buckets.

    One session serves all, because reading the service descriptions is most of a client's cost (60 to 250 ms).
    """

    def __init__(self, endpoint: str, others: Mapping[str, str] | None = None) -> None:
        """`others` are the endpoints of services that are not at `endpoint`."""
        self.endpoint, self._others = endpoint, dict(others or {})
        self._made: dict[tuple[str, str, float], Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()  # making a client is not thread-safe, using one is

    def get(self, service: str, region: str, read_timeout_s: float = 60.0) -> Any:
        """The client of `service` in `region`."""
        key = (service, region, read_timeout_s)
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(*key)
            return self._made[key]

    def _make(self, service: str, region: str, read_timeout_s: float) -> Any:
        import boto3  # noqa: PLC0415  (a third of a second, spent while the emulator boots)
        from botocore.config import Config  # noqa: PLC0415

        if self._session is None:
            self._session = boto3.session.Session(region_name=region)
        return self._session.client(
            service,
            region_name=region,
            endpoint_url=self._others.get(service, self.endpoint),
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                s3={"addressing_style": "path"},
                proxies={},
                read_timeout=read_timeout_s,
                connect_timeout=5,
                retries={"mode": "standard", "max_attempts": 3},
                inject_host_prefix=False,
                max_pool_connections=50,
                ignore_configured_endpoint_urls=True,
            ),
        )
