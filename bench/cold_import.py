"""What a cold start of each function costs, against the floor that every such function has: bare `boto3` and the
Powertools Logger, Tracer and Metrics.

    .venv/bin/python bench/cold_import.py [--repeat 10] [--function route …] [--json FILE]

Each measurement is a fresh process, timed from outside (its interpreter's start included, shown as `python`). `import`
is the handler's module as Lambda loads it; `ready` also builds what its first event needs: settings, use case and
clients (the floor then makes bare clients of S3, DynamoDB and SQS). Byte code is there from an uncounted first round.
Functions and floor take turns, so that a slow minute of the machine falls on all of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAYER = ROOT / "layers" / "slackwater"
FUNCTIONS = tuple(sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py")))

TOOLS = "import boto3; from aws_lambda_powertools import Logger, Metrics, Tracer; Logger(), Tracer(), Metrics()"
CLIENTS = "; s = boto3.Session(); [s.client(n) for n in ('s3', 'dynamodb', 'sqs')]"
HANDLER = "import sys; sys.path[:0] = [{code!r}, {layer!r}]; import app"
# The one cached function of a handler makes its parts.
BUILD = "; [f() for f in vars(app).values() if hasattr(f, 'cache_clear')]"

QUEUES = ("JOB_QUEUE", "PACK_QUEUE", "WORK_QUEUE", "JOB_DEAD_LETTERS", "PACK_DEAD_LETTERS", "WORK_DEAD_LETTERS")
ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "POWERTOOLS_SERVICE_NAME": "slackwater",
    "POWERTOOLS_METRICS_NAMESPACE": "Slackwater",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "SLACKWATER_TABLE": "ledger",
    "SLACKWATER_BUCKET": "home",
    "SLACKWATER_STACK_ARN": "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1",
    "SLACKWATER_STATE_MACHINE_ARN": "arn:aws:states:us-east-1:000000000000:stateMachine:run",
    "SLACKWATER_SATELLITE_REGIONS": "us-west-2",
    "SLACKWATER_BATCH_BUCKET_PREFIX": "home",
    **{f"SLACKWATER_{name}_URL": f"https://sqs.us-east-1.amazonaws.com/000000000000/{name.lower()}" for name in QUEUES},
}


@dataclass(frozen=True)
class Cost:
    """One process, whole: seconds on the wall and on the processor, peak memory in MB."""

    wall_s: float
    user_s: float
    cpu_s: float
    peak_mb: float


def run(code: str) -> Cost:
    """A fresh interpreter runs `code`. Raises CalledProcessError with its traceback on standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SLACKWATER_", "PYTHON"))}
    command = [sys.executable, "-c", code]
    start = time.perf_counter()
    child = subprocess.Popen(command, env=kept | ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Cost(wall_s, used.ru_utime, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)


def programs(functions: list[str]) -> dict[str, dict[str, str]]:
    """What → its programs, `import` and `ready`."""
    made = {"python": {"import": "pass"}, "floor": {"import": TOOLS, "ready": TOOLS + CLIENTS}}
    for name in functions:
        handler = HANDLER.format(code=str(ROOT / "functions" / name), layer=str(LAYER))
        made[name] = {"import": handler, "ready": handler + BUILD}
    return made


def middle(costs: list[Cost], field: str) -> dict[str, float]:
    """Median and spread of one field."""
    values = sorted(getattr(cost, field) for cost in costs)
    return {"median": round(statistics.median(values), 4), "min": round(values[0], 4), "max": round(values[-1], 4)}


def measure(functions: list[str], repeat: int) -> dict[str, Any]:
    made = programs(functions)
    costs: dict[tuple[str, str], list[Cost]] = {(what, to): [] for what in made for to in made[what]}
    for turn in range(repeat + 1):
        for (what, to), found in costs.items():
            cost = run(made[what][to])
            if turn:  # the first one only compiles and fills the page cache
                found.append(cost)
    report: dict[str, Any] = {}
    for (what, to), found in costs.items():
        report.setdefault(what, {})[to] = {
            field: middle(found, field) for field in ("wall_s", "user_s", "cpu_s", "peak_mb")
        }
    for what in functions:
        for to in ("import", "ready"):  # pairs of the same turn: what slowed one slowed the other
            pairs = [
                (ours.wall_s / floor.wall_s, ours.user_s / floor.user_s)
                for ours, floor in zip(costs[what, to], costs["floor", to], strict=True)
            ]
            report[what][to]["wall_ratio"] = round(statistics.median(wall for wall, _ in pairs), 2)
            report[what][to]["user_ratio"] = round(statistics.median(user for _, user in pairs), 2)
    return report


def table(report: dict[str, Any]) -> str:
    lines = [f"{'':10}{'wall ms':>22}{'user ms':>9}{'peak MB':>9}{'× floor':>9}{'of user':>9}"]
    for to in ("import", "ready"):
        lines.append(to)
        for what, costs in report.items():
            if to not in costs:
                continue
            wall, user, peak = (costs[to][field] for field in ("wall_s", "user_s", "peak_mb"))
            spread = f"{wall['median'] * 1e3:.0f} ({wall['min'] * 1e3:.0f}–{wall['max'] * 1e3:.0f})"
            ratios = "".join(f"{costs[to][name]:9.2f}" for name in ("wall_ratio", "user_ratio") if name in costs[to])
            lines.append(f"  {what:10}{spread:>20}{user['median'] * 1e3:9.0f}{peak['median']:9.1f}{ratios}")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeat", type=int, default=10)
    arguments.add_argument("--function", action="append", choices=FUNCTIONS, help="one of them only; may be repeated")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    given = arguments.parse_args()
    report = measure(given.function or list(FUNCTIONS), given.repeat)
    print(f"median of {given.repeat}, in brackets the fastest and the slowest; ratios are medians of pairs")
    print(table(report))
    if given.json:
        facts = {"repeat": given.repeat, "python": sys.version.split()[0], "costs": report}
        given.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
