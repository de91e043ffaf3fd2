"""boto3 clients for the embedded cloud that no setting of the caller's machine can send elsewhere."""

from __future__ import annotations

from typing import Any

from local.settings import CREDENTIALS


def aws_client(endpoint: str, service: str, region: str, read_timeout_s: float = 60.0) -> Any:
    """A client of `service` in `region` at `endpoint`; no proxy, no profile, path-style buckets."""
    import boto3  # noqa: PLC0415  (a third of a second, spent while the emulator boots)
    from botocore.config import Config  # noqa: PLC0415

    return boto3.session.Session(region_name=region).client(
        service, endpoint_url=endpoint, aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            s3={"addressing_style": "path"}, proxies={}, read_timeout=read_timeout_s, connect_timeout=5,
            retries={"mode": "standard", "max_attempts": 3}, inject_host_prefix=False,
            ignore_configured_endpoint_urls=True,
        ),
    )
