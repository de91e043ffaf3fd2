"""The batch lane as a library: shards assembled and collected, runs aggregated, each against its floor in the same
minutes on the same machine; and what the lane asks of DynamoDB, S3 and SQS.

    .venv/bin/python -m bench.batch [--records 100000] [--results 1000000] [--rounds 3] [--no-large]
                                    [--count-requests] [--small] [--json]

The use cases are the real ones (Place with Stage, Collect, Aggregate), buckets are a folder of files and the ledger is
a stub: what is measured is our own processor time, without a network. A floor reads the same bytes, parses each line
with orjson and writes what there is to write of it, once. Each measurement is a fresh process (peak memory is its own,
boto3 imported); floor and use case take turns. Requests of a file by batch are those that `bench.costs` has counted
(docs/costs.md); `--count-requests` counts them again in an embedded cloud, and those of queue jobs by a pool too.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LARGE_RECORDS, LARGE_PROMPT_BYTES = 100_000, 9_250  # 0.94 GB: Bedrock takes 1 GB, Slackwater makes at most 950 MB
SERVICES: Final = ("dynamodb", "s3", "sqs")
Turn = dict[str, dict[str, float]]


# ---------------------------------------------------------------------- one measurement, in a process of its own


def child(what: str, folder: Path, numbers: Iterable[int]) -> None:
    """Runs a function of `bench.batch_lib.work` and prints what it took."""
    import boto3  # noqa: F401, PLC0415 - its memory is there in a function too

    from bench.batch_lib import work  # noqa: PLC0415 - measured processes only

    start, cpu = time.perf_counter(), time.process_time()
    size = getattr(work, what)(folder, *numbers)
    found = {
        "bytes": size,
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    print(json.dumps(found))


def measured(what: str, folder: Path, *numbers: int) -> dict[str, float]:
    """`child` in a fresh process."""
    command = [sys.executable, "-m", "bench.batch", "--child", what, str(folder), *map(str, numbers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout))


def turns(rounds: int, folder: Path, names: Iterable[str], between: Callable[[], None] | None = None) -> list[Turn]:
    """Each of `names` once a round, after `between`."""
    found = []
    for _ in range(rounds):
        turn = {}
        for name in names:
            if between is not None:
                between()
            turn[name] = measured(name, folder)
        found.append(turn)
    return found


# ---------------------------------------------------------------------- what is measured


def shard(folder: Path, records: int, prompt_bytes: int, answer_bytes: int, rounds: int) -> dict[str, Any]:
    """A shard of so many records, assembled and collected."""

    def fresh() -> None:  # a second collect finds the parts of the first and writes nothing
        for leftover in [*folder.glob("v1/runs/*/parts/*/*"), *folder.glob("v1/shards/*/collected*")]:
            leftover.unlink()

    measured("make_input", folder, records, prompt_bytes)
    assembled = turns(rounds, folder, ("assemble_floor", "assemble"))
    measured("make_output", folder, answer_bytes)
    collected = turns(rounds, folder, ("collect_floor", "collect"), fresh)
    return {
        "records": records,
        "assemble": summary("assemble", records, assembled),
        "collect": summary("collect", records, collected),
    }


def run(folder: Path, results: int, answer_bytes: int, rounds: int) -> dict[str, Any]:
    """A settled run of so many lines, aggregated."""
    measured("make_parts", folder, results, answer_bytes)
    found = turns(rounds, folder, ("aggregate_copy", "aggregate_floor", "aggregate"))
    return {"results": results} | summary("aggregate", results, found)


def summary(name: str, rows: int, found: list[Turn]) -> dict[str, Any]:
    """Medians over the rounds; ratios are those within a round."""
    floor = f"{name}_floor"

    def median(of: Callable[[Turn], float]) -> float:
        return statistics.median(map(of, found))

    size = found[0][name]["bytes"]
    seconds, cpu = median(lambda t: t[name]["wall_s"]), median(lambda t: t[name]["cpu_s"])
    ratios = [t[name]["cpu_s"] / t[floor]["cpu_s"] for t in found]
    report = {
        "mb": round(size / 1e6, 1),
        "wall_s": round(seconds, 3),
        "cpu_s": round(cpu, 3),
        "floor_wall_s": round(median(lambda t: t[floor]["wall_s"]), 3),
        "floor_cpu_s": round(median(lambda t: t[floor]["cpu_s"]), 3),
        "rows_per_s": round(rows / seconds),
        "mb_per_s": round(size / 1e6 / seconds, 1),
        "us_cpu_per_row": round(cpu / rows * 1e6, 2),
        "times_floor_cpu": round(statistics.median(ratios), 2),
        "times_floor_cpu_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "times_floor_wall": round(median(lambda t: t[name]["wall_s"] / t[floor]["wall_s"]), 2),
        "peak_mb": round(max(t[name]["peak_mb"] for t in found)),
        "floor_peak_mb": round(max(t[floor]["peak_mb"] for t in found)),
    }
    if f"{name}_copy" in found[0]:
        report["copy_cpu_s"] = round(median(lambda t: t[f"{name}_copy"]["cpu_s"]), 3)
        report["copy_wall_s"] = round(median(lambda t: t[f"{name}_copy"]["wall_s"]), 3)
    return report


# ---------------------------------------------------------------------- requests


def requests_told(page: str) -> dict[str, Any]:
    """Priced units per 1,000 records of a file by batch, as docs/costs.md has them."""
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in page.splitlines() if " · " in line]
    (head,) = (line for line in page.splitlines() if line.startswith("| | ") and "file, batch" in line)
    column = [cell.strip() for cell in head.strip("|").split("|")].index("file, batch")
    units = {row[0]: float(row[column].split(" · ")[0].replace(",", "")) for row in rows if len(row) > column}
    return {"file, by batch": _by_service(units)}


def _by_service(units: Mapping[str, float]) -> dict[str, Any]:
    from bench import costs  # noqa: PLC0415 - brings the embedded cloud

    found: dict[str, Any] = {}
    for service in SERVICES:
        own = {name: round(number, 1) for name, number in sorted(units.items()) if name.startswith(f"{service} ")}
        found[service] = {"units": own, "usd": round(costs.Bill(Counter(own)).usd(), 6)}
    return found


def requests_of_lane(jobs: int) -> dict[str, Any]:
    """Requests and priced units per 1,000 records, of a file by batch and of queue jobs by a pool."""
    from bench import costs  # noqa: PLC0415 - brings the embedded cloud
    from local import cloud as clouds  # noqa: PLC0415
    from tests.integration.driver import Driver, check, converse  # noqa: PLC0415

    with (
        tempfile.TemporaryDirectory() as state,
        clouds.start(state_dir=Path(state), clock_rate=costs.RATE, iam=True) as running,
    ):
        driver = Driver(running)
        counter = costs.Counting(driver)

        def pooled() -> str:
            terms = {"v": 1, "run_id": "pooled", "lane": "batch", "deadline": "72h"}
            driver.send(
                *({**terms, "job_id": str(n), "request": converse(f"pooled {n}")} for n in range(jobs)),
                {"v": 1, "close_run": "pooled", "profile": "default", "expected": jobs},
            )
            settled = driver.settled("pooled", 300)
            check(settled, jobs)
            return settled.run_id

        lanes = {"file, by batch": costs.ways(driver, jobs)["file, batch"], "queue, by a pool and batch": pooled}
        return {name: per_thousand(counter.between(way).calls, jobs) for name, way in lanes.items()}


def per_thousand(calls: Mapping[str, float], jobs: int) -> dict[str, Any]:
    """The three services' priced units and list price per 1,000 records."""
    from bench import costs  # noqa: PLC0415

    own = {call: number for call, number in calls.items() if call.partition(":")[0] in SERVICES}
    return _by_service({name: number * 1000 / jobs for name, number in costs.requests(own).items()})


# ---------------------------------------------------------------------- the tables


def text(report: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"medians of {report['rounds']}; ratios are of processor time",
        "",
        f"{'':28}{'rows':>9}{'MB':>7}{'rows/s':>9}{'MB/s':>7}{'CPU µs/row':>12}{'× floor':>9}{'range':>11}"
        "   peak MB (floor)",
    ]
    for name, rows, found in _rows(report):
        low, high = found["times_floor_cpu_range"]
        lines.append(
            f"{name:28}{rows:>9,}{found['mb']:>7,.0f}{found['rows_per_s']:>9,}{found['mb_per_s']:>7,.0f}"
            f"{found['us_cpu_per_row']:>12.1f}{found['times_floor_cpu']:>9.2f}{f'{low:.2f}–{high:.2f}':>11}"
            f"{found['peak_mb']:>10,} ({found['floor_peak_mb']})"
        )
    whole = report["aggregate"][-1]
    lines += [
        "",
        f"aggregation's floor: read, split, orjson.loads, write: {whole['floor_cpu_s']:.1f} s of processor time; the "
        f"bytes alone, unparsed: {whole['copy_cpu_s']:.1f} s",
    ]
    for name, services in report.get("requests", {}).items():
        lines += ["", f"{name}, per 1,000 records"]
        for service, one in services.items():
            units = ", ".join(f"{number:g} {unit}" for unit, number in one["units"].items())
            lines.append(f"  {service:10} ${one['usd']:.6f}  {units}")
        lines.append(f"  {'together':10} ${sum(one['usd'] for one in services.values()):.6f}")
    return "\n".join(lines)


def _rows(report: dict[str, Any]) -> Iterable[tuple[str, int, dict[str, Any]]]:
    for name, one in report["shards"].items():
        for step in ("assemble", "collect"):
            yield f"{step}, {name}", one["records"], one[step]
    for one in report["aggregate"]:
        yield "aggregate", one["results"], one


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="of a shard")
    parser.add_argument("--results", type=int, default=1_000_000, help="of a run; a tenth of them is aggregated too")
    parser.add_argument("--prompt-bytes", type=int, default=500)
    parser.add_argument("--answer-bytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1000, help="whose requests are counted")
    parser.add_argument("--no-large", action="store_true", help="no shard of 0.94 GB")
    parser.add_argument("--count-requests", action="store_true", help="anew, in an embedded cloud")
    parser.add_argument("--small", action="store_true", help="a few seconds: does it run?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where files go; a temporary folder")
    given = parser.parse_args()
    if given.small:
        given.records, given.results, given.rounds, given.no_large = 300, 3_000, 1, True
    return given


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), map(int, sys.argv[4:]))
        return
    given = parsed()
    report: dict[str, Any] = {"rounds": given.rounds, "shards": {}, "aggregate": []}
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-", dir=given.folder) as name:
        folder = Path(name)
        sizes = {"short records": (given.records, given.prompt_bytes, given.rounds)}
        if not given.no_large:
            sizes["0.94 GB"] = (LARGE_RECORDS, LARGE_PROMPT_BYTES, 1)
        for size, (records, prompt_bytes, rounds) in sizes.items():
            report["shards"][size] = shard(folder / size, records, prompt_bytes, given.answer_bytes, rounds)
            shutil.rmtree(folder / size)
        for results in (given.results // 10, given.results):
            report["aggregate"].append(run(folder / str(results), results, given.answer_bytes, given.rounds))
            shutil.rmtree(folder / str(results))
    page = (ROOT / "docs/costs.md").read_text()
    report["requests"] = requests_of_lane(given.jobs) if given.count_requests else requests_told(page)
    print(json.dumps(report) if given.json else text(report))


if __name__ == "__main__":
    main()
