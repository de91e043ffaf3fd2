"""How fast a batch job's output is collected, against the floor of the same machine in the same minute: read, parse,
write back, nothing else.

    .venv/bin/python bench/collect.py [--records 100000] [--answer-bytes 600] [--rounds 3] [--json]

Each measurement is a fresh process (peak memory is the process's own, boto3 imported). Buckets are a temporary folder;
the ledger is a stub, because its handful of calls do not grow with the records of a block.
"""

# ruff: noqa: ARG002, ARG005 - the stubs keep the signatures of their ports
import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import orjson

CHUNK_BYTES = 1 << 20  # what the store's streams deliver
BLOCK = 1000
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Folder:
    """A bucket in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, key: str) -> Path:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def get_json(self, key: str) -> Any:
        from slackwater.model.errors import Missing  # noqa: PLC0415 - the floor does without the product

        if not self._path(key).exists():
            raise Missing(key)
        return orjson.loads(self._path(key).read_bytes())

    def put(self, key: str, body: bytes, *, content_type: str = "", create_only: bool = False) -> None:
        from slackwater.model.errors import Exists  # noqa: PLC0415

        if create_only and self._path(key).exists():
            raise Exists(key)
        self._path(key).write_bytes(body)

    def put_file(self, key: str, file: BinaryIO) -> None:
        with self._path(key).open("wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                out.write(chunk)

    def keys(self, prefix: str) -> Iterator[str]:
        for path in sorted(self._root.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if path.is_file() and key.startswith(prefix):
                yield key

    def stream(self, key: str) -> Iterator[bytes]:
        with self._path(key).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class Still:
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
    """The run's side: its units, and their end."""

    covered: dict[str, bytes]

    def unit(self, run_id: str, unit_id: str, source: str = "", covered: Any = None, replacements: Any = ()) -> Any:
        self.covered = covered
        return {"state": "waiting"}


def stage(folder: Path, records: int, answer_bytes: int) -> tuple[Ledger, int]:
    """A staged shard, and its job's output beside it in random order; the output's size in bytes."""
    from slackwater.adapters.shard_files import ShardFiles  # noqa: PLC0415
    from slackwater.usecases.stage import Stage, StageRecord  # noqa: PLC0415

    store, ledger, random = Folder(folder), Ledger(), Random(17)
    text = "".join(random.choices("abcdefghij klmnop qrst uvw xyz ", k=200_000))

    def some(size: int) -> str:
        start = random.randrange(len(text) - 2 * size)
        return text[start : start + int(size * random.uniform(0.5, 1.5))]

    def of(line: int) -> StageRecord:
        request = {"messages": [{"role": "user", "content": [{"text": some(500)}]}]}
        index = (line - 1) // BLOCK
        return StageRecord("r1", f"{index:05d}", line, f"id-{line}", f"job{line:017d}", request, index * BLOCK + 1)

    files = ShardFiles(store, {"us-west-2": store})  # type: ignore[arg-type, dict-item]
    Stage(shards=ledger, files=files, clock=Still()).shard(  # type: ignore[arg-type]
        owner_kind="run",
        owner="r1",
        profile="default",
        home_region="us-east-1",
        records=map(of, range(1, records + 1)),
        region="us-west-2",
        model_id=f"global.{MODEL}",
        base_model=MODEL,
        kind="global",
        deadline_at=NOW + timedelta(days=1),
        guard_at=NOW + timedelta(hours=23),
        generation=1,
    )
    ledger.shard = replace(ledger.shard, arn="arn:aws:bedrock:us-west-2:000000000000:model-invocation-job/job123456789")
    lines = [line for line in (folder / ledger.shard.input_key).read_bytes().splitlines()]
    random.shuffle(lines)
    out = folder / f"{ledger.shard.output_prefix}job123456789/in.jsonl.out"
    out.parent.mkdir(parents=True)
    with out.open("wb") as file:
        for line in lines:
            message = {"role": "assistant", "content": [{"text": some(answer_bytes)}]}
            usage = {"inputTokens": 120, "outputTokens": 150, "totalTokens": 270}
            output = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
            file.write(orjson.dumps({**orjson.loads(line), "modelOutput": output}, option=orjson.OPT_APPEND_NEWLINE))
    (folder / "shard.json").write_text(str(out))
    return ledger, out.stat().st_size


def collect(folder: Path, ledger: Ledger) -> float:
    from slackwater.adapters.shard_files import ShardFiles  # noqa: PLC0415
    from slackwater.policy.prices import load_price_book  # noqa: PLC0415
    from slackwater.usecases.collect import Collect, Ended  # noqa: PLC0415

    store, run = Folder(folder), Run()
    use_case = Collect(
        shards=ledger,  # type: ignore[arg-type]
        files=ShardFiles(store, {"us-west-2": store}),  # type: ignore[arg-type, dict-item]
        units=run,
        settle=run,  # type: ignore[arg-type]
        results=None,  # type: ignore[arg-type]
        pools=None,  # type: ignore[arg-type]
        stage=None,  # type: ignore[arg-type]
        prices=load_price_book(),
        forecasts=None,  # type: ignore[arg-type]  # nothing is missing
        clock=Still(),  # type: ignore[arg-type]
        drains=None,  # type: ignore[arg-type]
    )
    start = time.perf_counter()
    use_case(ledger.shard.id, 1, Ended("Completed"), worker="w", alive=lambda renew: nullcontext())
    seconds = time.perf_counter() - start
    found = sum(int.from_bytes(lines, "little").bit_count() for lines in run.covered.values())
    assert found == ledger.shard.records, f"{found} of {ledger.shard.records}"
    return seconds


def floor(folder: Path) -> float:
    """Read each line, parse it, write its answer."""
    source = Path((folder / "shard.json").read_text())
    start = time.perf_counter()
    with source.open("rb") as file, (folder / "floor.jsonl").open("wb") as out:
        for line in file:
            out.write(orjson.dumps(orjson.loads(line)["modelOutput"], option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - start


def measure(what: str, folder: Path) -> None:
    """In a process of its own: seconds and peak memory."""
    import boto3  # noqa: F401, PLC0415 - its memory is there in a function too

    if what == "floor":
        seconds = floor(folder)
    else:
        from slackwater.model.shard import OwnerKind, Shard, ShardState  # noqa: PLC0415

        fields = orjson.loads((folder / "ledger.json").read_bytes())
        times = {name: datetime.fromisoformat(fields[name]) for name in ("deadline_at", "guard_at", "next_check_at")}
        kinds = {"state": ShardState.OPEN, "owner_kind": OwnerKind.RUN, "alternatives": (), "refused_regions": ()}
        ledger = Ledger()
        ledger.shard = Shard(**{**fields, **times, **kinds})
        seconds = collect(folder, ledger)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}))


def child(given: argparse.Namespace, what: str, folder: str) -> dict[str, float]:
    sizes = ["--records", str(given.records), "--answer-bytes", str(given.answer_bytes)]
    command = [sys.executable, __file__, *sizes, "--measure", what, folder]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--records", type=int, default=100_000)
    arguments.add_argument("--answer-bytes", type=int, default=600)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        what, folder = given.measure[0], Path(given.measure[1])
        if what == "stage":  # in a process of its own too: a child's peak memory is never below its parent's
            ledger, size = stage(folder, given.records, given.answer_bytes)
            (folder / "ledger.json").write_bytes(orjson.dumps(ledger.shard))
            print(json.dumps({"bytes": size}))
        else:
            measure(what, folder)
        return
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = child(given, "stage", name)["bytes"]
        for _ in range(given.rounds):
            for what in ("floor", "collect"):
                for leftover in [*folder.glob("v1/runs/*/parts/*/*"), *folder.glob("v1/shards/*/collected*")]:
                    leftover.unlink()
                got = child(given, what, name)
                best[what] = min(best.get(what, got), got, key=lambda one: one["seconds"])
    report = {
        "records": given.records,
        "output_mb": round(size / 1e6, 1),
        "collect_s": round(best["collect"]["seconds"], 3),
        "floor_s": round(best["floor"]["seconds"], 3),
        "times_floor": round(best["collect"]["seconds"] / best["floor"]["seconds"], 2),
        "records_per_s": round(given.records / best["collect"]["seconds"]),
        "peak_mb": round(best["collect"]["peak_mb"]),
        "floor_peak_mb": round(best["floor"]["peak_mb"]),
    }
    print(json.dumps(report) if given.json else "\n".join(f"{key:16} {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()
