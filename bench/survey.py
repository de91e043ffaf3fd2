"""How fast a large file is surveyed, against the floor of the same machine in the same minute: read, parse, write
back, nothing else.

    .venv/bin/python bench/survey.py [--mb 256 | --gb 1] [--line-bytes 600] [--dialect slackwater] [--rounds 3] [--json]

Each measurement is a fresh process (peak memory is the process's own, boto3 imported). Files are made in a temporary
folder.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import orjson

WORDS = ("the", "model", "reads", "a", "question", "about", "trains", "and", "answers", "it", "step", "by", "step")
CHUNK_BYTES = 1 << 20  # what the store's streams deliver
SETTINGS = {"maxTokens": 256, "temperature": 0.2}


def make_file(path: Path, size: int, line_bytes: int, dialect: str, random_ids: bool = False) -> int:
    """Lines of about `line_bytes` with words of varied length, so that nothing is the same twice; gives their
    number."""
    random = Random(17)
    text = " ".join(random.choice(WORDS) for _ in range(200_000))
    lines = written = 0
    with path.open("wb") as file:
        while written < size:
            lines += 1
            start = random.randrange(len(text) // 2)
            prompt = text[start : start + max(1, int(line_bytes * random.uniform(0.5, 1.5)) - 150)]
            id_ = random.randbytes(12).hex() if random_ids else f"job-{lines:08d}"
            written += file.write(orjson.dumps(line_of(dialect, id_, prompt), option=orjson.OPT_APPEND_NEWLINE))
    return lines


def line_of(dialect: str, id_: str, prompt: str) -> dict[str, Any]:
    """One line with an id of its own."""
    request = {"messages": [{"role": "user", "content": [{"text": prompt}]}], "inferenceConfig": SETTINGS}
    if dialect == "slackwater":
        return {"v": 1, "job_id": id_, "request": request}
    if dialect == "converse":
        return {"id": id_, **request}
    body = {"model": "gpt-oss-120b", "messages": [{"role": "user", "content": prompt}], "max_tokens": 256}
    return {"custom_id": id_, "method": "POST", "url": "/v1/chat/completions", "body": body}


def floor(source: Path, target: Path) -> int:
    """Read, `orjson.loads`, dump, write."""
    lines = 0
    with source.open("rb") as file, (target / "floor.jsonl").open("wb") as out:
        for line in file:
            out.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_APPEND_NEWLINE))
            lines += 1
    return lines


class Folder:
    """The sink of a survey, in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put_input(self, block: str, rows: bytes) -> None:
        (self._path / f"{block}.jsonl").write_bytes(rows)

    def put_refused(self, block: str, rows: bytes) -> None:
        (self._path / f"{block}.refused.jsonl").write_bytes(rows)


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def run_survey(source: Path, target: Path) -> int:
    """The product's survey with folders for S3."""
    from slackwater.usecases.file_options import FileOptions  # noqa: PLC0415 (not into the floor's process)
    from slackwater.usecases.survey import survey  # noqa: PLC0415

    now = datetime.now(UTC)
    found = survey(
        chunks(source),
        Folder(target),
        run_id="rbench",
        options=FileOptions("default", now),
        profiles={"default": 1024},
        size_bytes=source.stat().st_size,
        now=now,
    )
    if found.reason or found.refused_lines:
        raise SystemExit(f"the bench's own file was refused: {found.reason} {found.refused_lines}")
    (target / "survey.json").write_bytes(orjson.dumps(found.to_json()))
    return found.accepted


def child(kind: str, source: Path, target: Path) -> None:
    """One measurement, printed as JSON."""
    import boto3  # noqa: PLC0415 (part of what a function holds in memory)

    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    lines = (floor if kind == "floor" else run_survey)(source, target)
    print(
        json.dumps(
            {
                "lines": lines,
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
                "import_mb": before * 1024 / 1e6,
            }
        )
    )


def measure(kind: str, source: Path) -> dict[str, Any]:
    """`child` in a fresh process, with a fresh folder to write to."""
    with tempfile.TemporaryDirectory(dir=source.parent) as target:
        done = subprocess.run(
            [sys.executable, __file__, "--child", kind, str(source), target], check=True, capture_output=True, text=True
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--mb", type=float, default=256)
    size.add_argument("--gb", type=float)
    parser.add_argument("--line-bytes", type=int, default=600)
    parser.add_argument("--dialect", choices=("slackwater", "converse", "openai"), default="slackwater")
    parser.add_argument("--random-ids", action="store_true", help="ids in no order, instead of counted ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    wanted = int(options.gb * 1e9 if options.gb else options.mb * 1e6)
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-") as folder:
        source = Path(folder) / "input.jsonl"
        lines = make_file(source, wanted, options.line_bytes, options.dialect, options.random_ids)
        size_mb = source.stat().st_size / 1e6
        rounds = [{kind: measure(kind, source) for kind in ("floor", "survey")} for _ in range(options.rounds)]
    report: dict[str, Any] = {
        "dialect": options.dialect,
        "lines": lines,
        "mb": round(size_mb, 1),
        "rounds": options.rounds,
    }
    for kind in ("floor", "survey"):
        best = min((r[kind] for r in rounds), key=lambda found: found["seconds"])  # the machine has other work
        report[kind] = {
            "mb_per_s": round(size_mb / best["seconds"], 1),
            "mb_per_cpu_s": round(size_mb / min(r[kind]["cpu_seconds"] for r in rounds), 1),
            "us_per_line": round(best["seconds"] / lines * 1e6, 2),
            "peak_mb": round(max(r[kind]["peak_mb"] for r in rounds), 1),
        }
    report["cpu_ratio"] = round(report["survey"]["mb_per_cpu_s"] / report["floor"]["mb_per_cpu_s"], 2)
    report["ratio"] = round(report["survey"]["mb_per_s"] / report["floor"]["mb_per_s"], 2)
    if options.json:
        print(json.dumps(report))
        return
    print(f"{lines:,} lines of the {options.dialect} dialect, {size_mb:,.0f} MB, best of {options.rounds}")
    print("              MB/s  MB/CPU s  µs a line   peak MB")
    for kind in ("floor", "survey"):
        found = report[kind]
        print(
            f"{kind:8}{found['mb_per_s']:10.1f}{found['mb_per_cpu_s']:10.1f}{found['us_per_line']:11.2f}"
            f"{found['peak_mb']:10.1f}"
        )
    print(f"ratio   {report['ratio']:10.2f}{report['cpu_ratio']:10.2f}    wanted: at least 0.50, at most 400 MB")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
