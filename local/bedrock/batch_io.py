"""Batch files in and out of S3, by way of temporary files: neither the input nor the output of a job lies in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import boto3
import orjson
from boto3.s3.transfer import TransferConfig
from botocore.client import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from .batch import RowPlan
from .batch_rows import Charge, RowWorker
from .config import Batch, Outcome

CHUNK: Final = 1 << 20
TRANSFER: Final = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=16 << 20, max_concurrency=2)
S3_OPTIONS: Final = ClientConfig(
    s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 4}, read_timeout=300
)


class Clients:
    """boto3 clients of the emulated AWS, one per service and region; made under a lock, shared by the threads."""

    def __init__(self, s3_endpoint: str, events_endpoint: str) -> None:
        self.has_events = bool(events_endpoint)
        self._endpoints = {"s3": s3_endpoint, "events": events_endpoint}
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def get(self, service: str, region: str) -> Any:
        """The client; without credentials in the environment the emulators' `test` is used."""
        with self._lock:
            if (service, region) not in self._made:
                self._made[(service, region)] = boto3.session.Session(
                    aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "test"),
                    aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
                    region_name=region,
                ).client(
                    service,
                    endpoint_url=self._endpoints[service] or None,
                    config=S3_OPTIONS if service == "s3" else None,
                )
            return self._made[(service, region)]


class BadInput(Exception):
    """The job fails in Validating; `message` says why, as `message` of the job."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Cancelled(Exception):
    """The job was given up (reset or shutdown) while a thread worked for it."""


def output_folder(uri: str, job_id: str) -> str:
    """Where a job's output goes: `<uri>/<job id>/`."""
    return f"{uri.rstrip('/')}/{job_id}/"


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


@dataclass
class InputFile:
    """One input file in the spool: its name under the input URI, and where each record's line starts and ends."""

    name: str
    path: Path
    starts: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))


@dataclass(eq=False)
class Spool:
    """A job's files on disk. `cancelled` is set when nobody needs them any more."""

    folder: Path
    files: list[InputFile] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def records(self) -> int:
        return sum(len(file.starts) for file in self.files)

    def remove(self) -> None:
        """Delete the files; a working thread stops at its next row."""
        self.cancelled.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


def new_spool(parent: Path) -> Spool:
    """An empty spool."""
    return Spool(Path(tempfile.mkdtemp(prefix="job-", dir=parent)))


def fetch(s3: Any, uri: str, rules: Batch, spool: Spool, job_arn: str) -> None:
    """Load and validate the input as Validating does: files, sizes, counts, records; never `modelInput` itself.

    Raises BadInput, Cancelled.
    """
    bucket, key = split_uri(uri)
    try:
        found = list(_input_objects(s3, bucket, key))
        if not found:
            raise BadInput(f"No .jsonl file was found at {uri}.")
        if any(size > rules.maximum_file_bytes for _, _, size in found):
            raise BadInput(f"An input file is larger than the maximum of {rules.maximum_file_bytes} bytes.")
        if sum(size for _, _, size in found) > rules.maximum_job_bytes:
            raise BadInput(f"The input is larger than the maximum of {rules.maximum_job_bytes} bytes.")
        for number, (object_key, name, _) in enumerate(found):
            file = InputFile(name, spool.folder / f"{number}.in")
            _download(s3, bucket, object_key, file.path, spool)
            _index(file, spool)
            spool.files.append(file)
            if len(file.starts) > rules.maximum_records:
                raise BadInput(f"An input file has more records than the maximum of {rules.maximum_records}.")
    except (ClientError, BotoCoreError) as exc:
        code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
        raise BadInput(f"The input location could not be read: {code}.") from None
    if spool.records < rules.minimum_records:
        short = f"contains less records ({spool.records}) than the required minimum of: {rules.minimum_records}"
        raise BadInput(f"Batch job {job_arn} {short}")
    if spool.records > rules.maximum_records:
        long = f"contains more records ({spool.records}) than the maximum of: {rules.maximum_records}"
        raise BadInput(f"Batch job {job_arn} {long}")


def _input_objects(s3: Any, bucket: str, key: str) -> Iterator[tuple[str, str, int]]:
    """Key, name and size of each JSONL file: the object itself, or all in the folder."""
    if key and not key.endswith("/"):
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        else:
            if key.endswith(".jsonl"):
                yield key, key.rsplit("/", 1)[-1], head["ContentLength"]
            return
    prefix = key if not key or key.endswith("/") else key + "/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            if item["Key"].endswith(".jsonl"):
                yield item["Key"], item["Key"].removeprefix(prefix), item["Size"]


def _download(s3: Any, bucket: str, key: str, path: Path, spool: Spool) -> None:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    spool.check()
    with path.open("wb") as target:
        for chunk in body.iter_chunks(CHUNK):
            spool.check()
            target.write(chunk)


def _index(file: InputFile, spool: Spool) -> None:
    """Find the records of a file and check each one's frame. Raises BadInput."""
    place = 0
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not number % 1000:
                spool.check()
            end = place + len(line)
            if line.strip():
                _check_record(line, number, file.name)
                file.starts.append(place)
                file.ends.append(end)
            place = end


def _check_record(line: bytes, number: int, name: str) -> None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise BadInput(f"Line {number} of {name} is not valid JSON.") from None
    if not isinstance(record, dict) or not isinstance(record.get("modelInput"), dict):
        raise BadInput(f"Line {number} of {name} is not a record with a modelInput object.")
    if not isinstance(record.get("recordId", ""), str):
        raise BadInput(f"Line {number} of {name} has a recordId that is not a string.")


@dataclass
class Rendered:
    """All output lines of a job in the order of processing, and how to cut them after any number of rows."""

    paths: list[Path]
    file_of: array[int]
    end_of: array[int]
    charges: list[Charge | None]
    failed: bytearray

    def cut(self, rows: int) -> list[int]:
        """Bytes of each output file when only the first `rows` were processed."""
        sizes = [0] * len(self.paths)
        for position in range(rows):
            sizes[self.file_of[position]] = self.end_of[position]
        return sizes


def render(spool: Spool, worker: RowWorker, plan: RowPlan, outcome: Outcome) -> Rendered:
    """Process every row in the plan's order into one output file per input file. Raises Cancelled."""
    paths = [file.path.with_suffix(".out") for file in spool.files]
    rows = [(number, row) for number, file in enumerate(spool.files) for row in range(len(file.starts))]
    rendered = Rendered(paths, array("H"), array("Q"), [], bytearray(len(rows)))
    sources = [file.path.open("rb") for file in spool.files]
    targets = [path.open("wb") for path in paths]
    sizes = [0] * len(paths)
    try:
        for position, index in enumerate(plan.order):
            if not position % 200:
                spool.check()
            number, row = rows[index]
            file = spool.files[number]
            sources[number].seek(file.starts[row])
            record = orjson.loads(sources[number].read(file.ends[row] - file.starts[row]))
            if index in plan.errors:
                result = worker.error(record, index, outcome.error_code, outcome.error_message)
            else:
                result = worker.process(record, index)
            copies = 0 if index in plan.missing else 2 if index in plan.doubled else 1
            targets[number].write(result.line * copies)
            sizes[number] += len(result.line) * copies
            unbilled = index in plan.missing and not outcome.missing_billed
            rendered.file_of.append(number)
            rendered.end_of.append(sizes[number])
            charge = result.charge
            if charge is not None and index in plan.missing:
                charge = replace(charge, lost=True)
            rendered.charges.append(None if unbilled else charge)
            rendered.failed[position] = result.charge is None
    finally:
        for handle in (*sources, *targets):
            handle.close()
    return rendered


def publish(s3: Any, folder_uri: str, spool: Spool, rendered: Rendered, sizes: list[int]) -> None:
    """Write `<folder>/<file>.out` for each input file, cut to its size. Raises what boto3 raises."""
    bucket, folder = split_uri(folder_uri)
    for file, path, size in zip(spool.files, rendered.paths, sizes, strict=True):
        spool.check()
        os.truncate(path, size)
        s3.upload_file(str(path), bucket, f"{folder}{file.name}.out", Config=TRANSFER)


def publish_manifest(s3: Any, folder_uri: str, manifest: dict[str, int]) -> None:
    """Write `<folder>/manifest.json.out`. Raises ClientError, BotoCoreError."""
    bucket, folder = split_uri(folder_uri)
    s3.put_object(Bucket=bucket, Key=f"{folder}manifest.json.out", Body=orjson.dumps(manifest))


def manifest_of(total: int, rendered: Rendered, rows: int, wrong: bool, rng: Random) -> dict[str, int]:
    """Counts of the job; a wrong one is off by a few rows."""
    failed = sum(rendered.failed[:rows])
    charges = [charge for charge in rendered.charges[:rows] if charge is not None]
    off = rng.randint(1, max(1, rows // 20)) if wrong else 0
    return {
        "totalRecordCount": total,
        "processedRecordCount": rows + off,
        "successRecordCount": rows - failed + off,
        "errorRecordCount": failed,
        "inputTokenCount": sum(charge.input_tokens for charge in charges),
        "outputTokenCount": sum(charge.output_tokens for charge in charges),
    }
