"""Everything around the use cases of the batch lane, so small that what is measured is the library: buckets in a
folder, a ledger of one shard, one run."""

# ruff: noqa: ARG002 - the stubs keep the signatures of their ports
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from slackwater.model.clock import iso
from slackwater.model.errors import Exists, Missing
from slackwater.model.profile import Profiles, shipped_profiles

CHUNK_BYTES: Final = 1 << 20  # what the store's streams deliver
NOW: Final = datetime(2026, 12, 1, tzinfo=UTC)
RUN: Final = "r" + "a" * 20
HOME: Final = "us-east-1"
REGION: Final = "us-west-2"


class Folder:
    """A bucket in a folder: adapters.store.Store without the network. A key is a path."""

    bucket = "home"

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> Path:
        """Where an object lies; its folder is there afterwards."""
        path = self._root / key
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        return path

    def get(self, key: str) -> bytes:
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            raise Missing(key) from None

    def get_json(self, key: str) -> Any:
        return orjson.loads(self.get(key))

    def put(self, key: str, body: bytes, *, content_type: str = "", create_only: bool = False) -> None:
        path = self.path(key)
        if create_only and path.exists():
            raise Exists(key)
        path.write_bytes(body)

    def put_json(self, key: str, document: Any) -> None:
        self.put(key, orjson.dumps(document))

    def put_file(self, key: str, file: BinaryIO) -> None:
        with self.upload(key) as out:
            while chunk := file.read(CHUNK_BYTES):
                out.write(chunk)

    def keys(self, prefix: str) -> Iterator[str]:
        within = self._root / prefix.rpartition("/")[0]
        found = (path.relative_to(self._root).as_posix() for path in within.rglob("*") if path.is_file())
        yield from sorted(key for key in found if key.startswith(prefix))

    def stream(self, key: str) -> Iterator[bytes]:
        with self.path(key).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    @contextmanager
    def upload(self, key: str, *, content_type: str = "") -> Iterator[BinaryIO]:
        with self.path(key).open("wb") as out:
            yield out


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def wall_s(self) -> float:
        return NOW.timestamp()


class Ledger:
    """One shard, that nobody else wants."""

    def __init__(self) -> None:
        self.shard: Any = None

    def create(self, shard: Any) -> bool:
        self.shard = shard
        return True

    def lease(self, shard_id: str, worker: str, *, seconds: int) -> Any:
        return self.shard

    def change(self, shard: Any, **fields: Any) -> Any:
        self.shard = replace(shard, **fields)
        return self.shard

    def release(self, *_: Any) -> None: ...
    def settle(self, *_: Any, **__: Any) -> None: ...
    def count_repeats(self, *_: Any) -> None: ...
    def remember(self, *_: Any, **__: Any) -> None: ...


class Run:
    """The run's side: its item, its units and their end, its profiles."""

    def __init__(self) -> None:
        self.covered: Mapping[str, bytes] = {}

    def get(self, run_id: str) -> dict[str, Any]:
        return {
            "kind": "file",
            "run_id": RUN,
            "repeats": 0,
            "started_at": iso(NOW),
            "deadline_at": iso(NOW.replace(day=2)),
            "profile": "default",
            "profiles_version": "v1",
            "state": "open",
        }

    def unit(self, run_id: str, unit_id: str, source: str = "", covered: Any = None, replacements: Any = ()) -> Any:
        self.covered = covered or {}
        return {"state": "waiting"}

    def units(self, run_id: str) -> Iterator[dict[str, Any]]:
        return iter(())

    def blocks(self, run_id: str) -> Iterator[dict[str, Any]]:
        return iter(())

    def register(self, run_id: str, units: Sequence[Any]) -> None: ...

    def pinned(self, version: str) -> Profiles:
        return Profiles.from_bytes(shipped_profiles())

    def settled_counts(self, shard_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def many(self, shard_ids: Sequence[str]) -> Sequence[Any]:
        return ()

    def try_put(self, *_: Any) -> None: ...
