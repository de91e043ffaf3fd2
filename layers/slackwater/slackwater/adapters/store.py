"""S3: create-only parts, small JSON documents, streams in and out at flat memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from slackwater.model.errors import Exists, Missing

PART_BYTES = 16 * 1024 * 1024  # S3 refuses non-last parts under 5 MiB
REOPENS = 5  # a stream that broke is opened again where it stopped, so often


@dataclass(frozen=True)
class ObjectInfo:
    """What HEAD tells of an object. `metadata` keys are lower case."""

    size_bytes: int
    last_modified: datetime
    metadata: dict[str, str]
    version_id: str | None


class Store:
    """One bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def head(self, key: str, version_id: str | None = None) -> ObjectInfo:
        """Raises Missing."""
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=key, **_version(version_id))
        except ClientError as exc:
            raise _translated(exc) from None
        return ObjectInfo(
            answer["ContentLength"],
            answer["LastModified"],
            {k.lower(): v for k, v in answer.get("Metadata", {}).items()},
            answer.get("VersionId"),
        )

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """Raises Missing."""
        return self.get_with_version(key, version_id)[0]

    def get_with_version(self, key: str, version_id: str | None = None) -> tuple[bytes, str | None]:
        """The body and its version id. Raises Missing."""
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **_version(version_id))
        except ClientError as exc:
            raise _translated(exc) from None
        body: bytes = answer["Body"].read()
        return body, answer.get("VersionId")

    def get_json(self, key: str) -> Any:
        return orjson.loads(self.get(key))

    def put(self, key: str, body: bytes, *, content_type: str = "application/json", create_only: bool = False) -> None:
        """Raises Exists for a taken create-only key."""
        extra = {"IfNoneMatch": "*"} if create_only else {}
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **extra)
        except ClientError as exc:
            raise _translated(exc) from None

    def put_json(self, key: str, document: Any) -> None:
        self.put(key, orjson.dumps(document))

    def put_file(self, key: str, file: Any, *, metadata: Mapping[str, str] | None = None) -> str | None:
        """Uploads an open binary file by parts of 16 MiB from where it stands; gives the version id written."""
        out = self.upload(key, content_type="application/x-ndjson", metadata=metadata)
        with out:
            while chunk := file.read(PART_BYTES):
                out.write(chunk)
        return out.version_id

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys under `prefix`, in S3's order (UTF-8)."""
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield entry["Key"]

    def stream(self, key: str, version_id: str | None = None, *, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """The object in chunks; a broken connection is resumed where it stopped, a bounded number of times. Raises
        Missing.
        """
        offset = 0
        etag: str | None = None
        for attempt in range(REOPENS + 1):
            try:
                extra: dict[str, Any] = {"Range": f"bytes={offset}-", "IfMatch": etag} if offset else {}
                answer = self._client.get_object(Bucket=self.bucket, Key=key, **_version(version_id), **extra)
                etag = answer["ETag"]
                for chunk in answer["Body"].iter_chunks(chunk_bytes):
                    offset += len(chunk)
                    yield chunk
                return
            except ClientError as exc:
                if exc.response["Error"]["Code"] in ("InvalidRange", "416"):
                    return  # the break came after the last byte
                raise _translated(exc) from None
            except (BotoConnectionError, HTTPClientError):
                if attempt == REOPENS:
                    raise

    def upload(
        self, key: str, *, content_type: str = "application/x-ndjson", metadata: Mapping[str, str] | None = None
    ) -> "Upload":
        """A streaming multipart upload: `with store.upload(key) as out: out.write(…)`; aborted when the block
        raises.
        """
        return Upload(self._client, self.bucket, key, content_type, metadata)


class Upload:
    """Parts of 16 MiB, complete at the end; small bodies go as one PUT."""

    def __init__(
        self, client: Any, bucket: str, key: str, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self._about: dict[str, Any] = {"ContentType": content_type}
        if metadata:
            self._about["Metadata"] = dict(metadata)
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self.written_bytes = 0
        self.version_id: str | None = None  # known at the end, in a bucket with versions

    def __enter__(self) -> "Upload":
        return self

    def write(self, data: bytes) -> None:
        self._buffer += data
        self.written_bytes += len(data)
        while len(self._buffer) >= PART_BYTES:
            self._flush(PART_BYTES)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            if self._upload_id:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
            return
        if self._upload_id is None:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=self._key, Body=bytes(self._buffer), **self._about
            )
            self.version_id = answer.get("VersionId")
            return
        if self._buffer:
            self._flush(len(self._buffer))
        answer = self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )
        self.version_id = answer.get("VersionId")

    def _flush(self, size: int) -> None:
        if self._upload_id is None:
            started = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key, **self._about)
            self._upload_id = started["UploadId"]
        number = len(self._parts) + 1
        body = bytes(memoryview(self._buffer)[:size])
        done = self._client.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=body
        )
        self._parts.append({"ETag": done["ETag"], "PartNumber": number})
        del self._buffer[:size]


def _version(version_id: str | None) -> dict[str, str]:
    return {} if version_id in (None, "", "null") else {"VersionId": str(version_id)}


def _translated(exc: ClientError) -> Exception:
    code: str = exc.response["Error"]["Code"]
    if code in ("NoSuchKey", "404", "NotFound", "NoSuchVersion", "NoSuchBucket"):
        return Missing(code)
    if code in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
        return Exists(code)
    error: Exception = exc
    return error
