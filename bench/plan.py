"""How fast `slackwater plan` reads a large file, and in how much memory, against the floor of the same machine in the
same minute: read, `orjson.loads`, and one validation of each line, nothing else, in one thread.

    .venv/bin/python bench/plan.py [--lines 1000000] [--line-bytes 1000] [--dialect converse] [--kind alike] [--json]

Each measurement is a whole process, the start of Python and all imports in it, as the kernel accounts for it. There are
two floors: the product's own check of a line (`Dialect.read`), and a pydantic model of the same shape; the ratio is to
the faster one. `plan` does more than either: it finds repeated ids, cuts blocks and shards, and counts tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import orjson

DIALECTS = ("converse", "slackwater", "openai")
KINDS = ("alike", "varied")
FLOORS = ("own check", "pydantic")
MOST_MB = 200
LEAST_RATIO = 0.5
WORDS = ("the", "model", "reads", "a", "question", "about", "trains", "and", "answers", "it", "step", "by", "step")
CONFIG = {"maxTokens": 256, "temperature": 0.2}


def make_file(path: Path, lines: int, line_bytes: int, dialect: str, kind: str) -> None:
    """Lines of about `line_bytes`, each with an id and a text of its own. `varied`: every other line is of another
    build (a system prompt, two turns, another limit), so that no line is like the one before."""
    random = Random(17)
    text = " ".join(random.choice(WORDS) for _ in range(200_000))
    with path.open("wb") as file:
        for number in range(lines):
            start = random.randrange(len(text) // 2)
            prompt = text[start : start + max(1, int(line_bytes * random.uniform(0.5, 1.5)) - 110)]
            other = kind == "varied" and number % 2 == 1
            line = line_of(dialect, f"job-{number:08d}", prompt, number % 7 if other else None)
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def line_of(dialect: str, id_: str, prompt: str, other: int | None) -> dict[str, Any]:
    """One line; `other` makes it of another build."""
    if dialect == "openai":
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": 256}
        if other is not None:
            body["messages"].insert(0, {"role": "system", "content": f"Be brief: {other} words."})
            body["max_tokens"] = 100 + other
        return {"custom_id": id_, "method": "POST", "url": "/v1/chat/completions", "body": body}
    request: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": prompt}]}], "inferenceConfig": CONFIG}
    if other is not None:
        request["system"] = [{"text": f"Be brief: {other} words."}]
        request["inferenceConfig"] = {**CONFIG, "maxTokens": 100 + other}
    return {"id": id_, **request} if dialect == "converse" else {"v": 1, "job_id": id_, "request": request}


def floor(kind: str, source: Path, dialect: str) -> int:
    """Read, parse, validate; the number of lines."""
    check = _own_check(dialect) if kind == FLOORS[0] else _pydantic_check(dialect)
    loads, lines = orjson.loads, 0
    with source.open("rb") as file:
        for line in file:
            check(loads(line))
            lines += 1
    return lines


def _own_check(dialect: str) -> Any:
    from slackwater.model.dialects import DIALECTS as KNOWN  # noqa: PLC0415 (not into the other floor's process)

    return KNOWN[dialect].read


def _pydantic_check(dialect: str) -> Any:
    from pydantic import BaseModel, ConfigDict  # noqa: PLC0415

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    class Text(Strict):
        text: str

    class Message(Strict):
        role: str
        content: list[Text]

    class Limits(Strict):
        maxTokens: int
        temperature: float

    class Converse(Strict):
        id: str | None = None
        messages: list[Message]
        system: list[Text] | None = None
        inferenceConfig: Limits

    class Job(Strict):
        v: int
        job_id: str
        request: Converse

    class Said(Strict):
        role: str
        content: str

    class Body(Strict):
        model: str
        messages: list[Said]
        max_tokens: int

    class Asked(Strict):
        custom_id: str
        method: str
        url: str
        body: Body

    model: type[BaseModel] = {"converse": Converse, "slackwater": Job, "openai": Asked}[dialect]
    return model.model_validate


def measure(arguments: list[str]) -> dict[str, float]:
    """A process from start to end: wall and CPU seconds, peak memory. Raises SystemExit if it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, *arguments], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"failed with {process.returncode}: {' '.join(arguments)}")
        out.seek(0)
        said = json.loads(out.read())
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": peak, "lines": said["lines"]}


def rounds_of(source: Path, dialect: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """All kinds in turn, `rounds` times."""
    plan = ["-c", "from slackwater_cli.main import run; run()", "plan", str(source), "--deadline", "24h", "--json"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*FLOORS, "plan")}
    for _ in range(rounds):
        for name in FLOORS:
            found[name].append(measure([__file__, "--floor", name, str(source), dialect]))
        found["plan"].append(measure(plan))
    return found


def report_of(found: dict[str, list[dict[str, float]]], size_mb: float) -> dict[str, Any]:
    """The best of the rounds by wall and by CPU time (the machine has other work), the highest peak."""
    report: dict[str, Any] = {}
    for name, measured in found.items():
        lines = measured[0]["lines"]
        wall, cpu = (min(one[key] for one in measured) for key in ("wall_s", "cpu_s"))
        report[name] = {
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "mb_per_cpu_s": round(size_mb / cpu, 1),
            "us_per_line": round(cpu / lines * 1e6, 2),
            "peak_mb": round(max(one["peak_mb"] for one in measured), 1),
        }
    for key, name in (("wall_s", "ratio"), ("cpu_s", "cpu_ratio")):
        report[name] = round(min(report[one][key] for one in FLOORS) / report["plan"][key], 2)
    report["ok"] = report["cpu_ratio"] >= LEAST_RATIO and report["plan"]["peak_mb"] < MOST_MB
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--line-bytes", type=int, default=1000)
    parser.add_argument("--dialect", choices=DIALECTS, default="converse")
    parser.add_argument("--kind", choices=KINDS, default="alike")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-") as folder:
        source = Path(folder) / "input.jsonl"
        make_file(source, options.lines, options.line_bytes, options.dialect, options.kind)
        size_mb = source.stat().st_size / 1e6
        report = report_of(rounds_of(source, options.dialect, options.rounds), size_mb)
    report = {
        "lines": options.lines,
        "mb": round(size_mb, 1),
        "dialect": options.dialect,
        "kind": options.kind,
        **report,
    }
    if options.json:
        print(json.dumps(report))
        return
    print(f"{options.lines:,} lines ({options.kind}) of the {options.dialect} dialect, {size_mb:,.0f} MB, "
          f"best of {options.rounds}")  # fmt: skip
    print("                              wall s   CPU s  MB/CPU s  CPU µs a line  peak MB")
    for name in (*FLOORS, "plan"):
        one = report[name]
        title = name if name == "plan" else f"floor: orjson.loads, {name}"
        print(
            f"{title:28}{one['wall_s']:8.2f}{one['cpu_s']:8.2f}{one['mb_per_cpu_s']:10.1f}{one['us_per_line']:15.2f}"
            f"{one['peak_mb']:9.1f}"
        )
    print(f"plan's share of the faster floor's speed: {report['cpu_ratio']:.2f} by CPU time, {report['ratio']:.2f} by "
          f"the clock; wanted {LEAST_RATIO} and under {MOST_MB} MB: {'yes' if report['ok'] else 'NO'}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--floor":
        print(json.dumps({"lines": floor(sys.argv[2], Path(sys.argv[3]), sys.argv[4])}))
    else:
        main()
