"""A shard's files: input and output in its region's bucket, index and parts in the home bucket."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson

from slackwater.adapters.store import Store
from slackwater.model import names
from slackwater.model.errors import ConfigurationError, Exists, Missing
from slackwater.model.shard import Shard

LINES: Final = "application/x-ndjson"
MAX_LINE_BYTES: Final = 64 * 1024 * 1024  # far above a prompt and its answer: what is longer is no line of ours


class ShardFiles:
    """The only place that knows which bucket holds what of a shard."""

    def __init__(self, home: Store, regional: Mapping[str, Store]) -> None:
        self._home = home
        self._regional = regional

    def put_input(self, shard: Shard, file: BinaryIO) -> None:
        """Uploads the records; the same shard always has the same bytes, so that writing it again is harmless."""
        self._bucket(shard.region).put_file(shard.input_key, file)

    def input_lines(self, shard: Shard) -> Iterator[bytes]:
        """The records as they were staged. Raises Missing."""
        return _lines(self._bucket(shard.region).stream(shard.input_key))

    def copy_input(self, shard: Shard, region: str) -> None:
        """The records of `shard` in another region's bucket, by streaming: S3 may refuse copies over its borders."""
        with self._bucket(region).upload(shard.input_key, content_type=LINES) as out:
            for chunk in self._bucket(shard.region).stream(shard.input_key):
                out.write(chunk)

    def put_index(self, shard: Shard, file: BinaryIO) -> None:
        self._home.put_file(shard.index_key, file)

    def index(self, shard: Shard) -> Iterator[dict[str, Any]]:
        """The index rows in the order of the records. Raises Missing."""
        for line in _lines(self._home.stream(shard.index_key)):
            yield orjson.loads(line)

    def output_keys(self, shard: Shard, job_id: str) -> list[str]:
        """The job's output files (several input files would have several); empty where it left none."""
        prefix = f"{shard.output_prefix}{job_id}/"
        return sorted(key for key in self._bucket(shard.region).keys(prefix) if key.endswith(".jsonl.out"))

    def output_lines(self, shard: Shard, key: str) -> Iterator[bytes]:
        return _lines(self._bucket(shard.region).stream(key))

    def manifest(self, shard: Shard, job_id: str) -> dict[str, Any] | None:
        """Bedrock's own counts of the job; None where it left none, or none that can be read."""
        try:
            found = self._bucket(shard.region).get_json(f"{shard.output_prefix}{job_id}/manifest.json.out")
        except (Missing, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def verdict(self, shard: Shard) -> Any | None:
        """What collect has found out, if it has got so far."""
        try:
            return self._bucket(shard.region).get_json(_verdict_key(shard))
        except Missing:
            return None

    def put_verdict(self, shard: Shard, verdict: Mapping[str, Any]) -> bool:
        """Writes it once; False where another worker was first."""
        return _created(self._bucket(shard.region), _verdict_key(shard), orjson.dumps(verdict), "application/json")

    def put_part(self, run: str, block: str, source: str, wave: int, body: bytes) -> bool:
        """Writes a part; False where this wave is taken."""
        return _created(self._home, names.part_key(run, block, source, wave), body, LINES)

    def parts(self, run: str, block: str, source: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """All parts of a source in a block, by wave: key and rows."""
        prefix = f"{names.parts_prefix(run, block)}{source}."
        for key in sorted(self._home.keys(prefix), key=names.wave_of_part):
            yield key, [orjson.loads(line) for line in _lines(self._home.stream(key))]

    def _bucket(self, region: str) -> Store:
        if region not in self._regional:
            raise ConfigurationError(f"no batch bucket for {region}: deploy satellite.yaml there and set BatchBuckets")
        return self._regional[region]


def _verdict_key(shard: Shard) -> str:
    return f"v1/shards/{shard.id}/collected.{shard.attempt}.json"


def _created(store: Store, key: str, body: bytes, content_type: str) -> bool:
    try:
        store.put(key, body, content_type=content_type, create_only=True)
    except Exists:
        return False
    return True


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a stream of chunks, blank ones left out. Raises ValueError for an endless line."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError("a line of more than 64 MiB")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest
