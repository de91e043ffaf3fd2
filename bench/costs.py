"""What the stack costs: idle, from the template; per job, from requests counted in the embedded cloud. At list prices.

    .venv/bin/python -m bench.costs [--jobs 1000] [--latency-s 2] [--write docs/costs.md] [--json FILE]

The embedded cloud is started with IAM enforced, because each decision of IAM's is one request of a function's, with its
action. Three ways are run one after another with the same number of jobs: a file called on demand, a file by batch, and
jobs from the queue called on demand. Counted: requests of the functions' code, invocations, entered states. What
is not seen there is reckoned, and said so in the table's notes. Bedrock's own price is not in it: receipts hold that.
"""

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from local import cloud as clouds
from local.function_logs import read
from local.package import load_template
from tests.integration.driver import Driver, check, converse

ROOT: Final = Path(__file__).resolve().parents[1]
MONTH_S: Final = 30 * 86_400
RATE: Final = 300.0

# US dollars, us-east-1, without any free tier, November 2026. Lambda, DynamoDB and CloudWatch: copies of AWS's price
# pages of 2025 and 2026; SQS, S3, Step Functions, EventBridge, X-Ray and KMS: the list prices of many years,
# not read again.
PRICES: Final[Mapping[str, float]] = {
    "lambda GB-second, arm64": 0.0000133334,
    "lambda request": 0.20 / 1e6,
    "sqs request": 0.40 / 1e6,
    "dynamodb write unit": 0.625 / 1e6,
    "dynamodb read unit": 0.125 / 1e6,
    "s3 put or list": 0.005 / 1e3,
    "s3 get": 0.0004 / 1e3,
    "s3 GB-month": 0.023,
    "states transition": 0.025 / 1e3,
    "events custom event": 1.00 / 1e6,
    "cloudwatch alarm-month": 0.10,
    "cloudwatch dashboard-month": 3.00,
    "cloudwatch metric-month": 0.30,
    "cloudwatch logs GB": 0.50,
    "x-ray trace": 5.00 / 1e6,
    "kms key-month": 1.00,
}
# Reckoned, because the embedded cloud cannot show it.
POLLERS: Final = 5  # Lambda begins with five long polls a mapping (docs.aws.amazon.com/lambda, services-sqs-scaling)
POLL_S: Final = 20
LINE_BYTES: Final = 700  # of a log line in JSON
TRACED: Final = 0.05  # X-Ray's default rule: the first request a second, and 5 % of the others


@dataclass
class Bill:
    """Units by the name of their price, and what they are for."""

    units: Counter[str] = field(default_factory=Counter)

    def usd(self) -> float:
        return sum(PRICES[name] * number for name, number in self.units.items())


# ---------------------------------------------------------------------- idle


def idle(
    template: Mapping[str, Any], tick_s: float, tick_calls: Counter[str], metrics: int
) -> list[tuple[str, float, str]]:
    """(what, USD a month, how it is reckoned) of a stack that nobody uses."""
    resources = list(template["Resources"].values())
    kinds = Counter(resource["Type"] for resource in resources)
    ticks = MONTH_S / 60
    memory_gb = template["Resources"]["TickFunction"]["Properties"]["MemorySize"] / 1024
    mappings = sum(
        event["Type"] == "SQS" for r in resources for event in r.get("Properties", {}).get("Events", {}).values()
    )
    polls = mappings * POLLERS * MONTH_S / POLL_S
    tick = Bill(requests(tick_calls))
    alarms, boards = kinds["AWS::CloudWatch::Alarm"], kinds["AWS::CloudWatch::Dashboard"]
    return [
        (
            "queue polls by Lambda",
            polls * PRICES["sqs request"],
            f"{mappings} mappings × {POLLERS} long polls of {POLL_S} s: {polls:,.0f} requests",
        ),
        (
            "tick: Lambda",
            ticks * (tick_s * memory_gb * PRICES["lambda GB-second, arm64"] + PRICES["lambda request"]),
            f"{ticks:,.0f} invocations of {tick_s * 1000:.0f} ms (measured here) at {memory_gb:g} GB",
        ),
        ("tick: table and dead-letter queues", ticks * tick.usd(), _units(tick.units, "a tick")),
        ("alarms", alarms * PRICES["cloudwatch alarm-month"], f"{alarms}"),
        ("dashboard", boards * PRICES["cloudwatch dashboard-month"], "an account's first three are free"),
        ("metrics", metrics * PRICES["cloudwatch metric-month"], f"{metrics} that the tick writes all the time"),
        ("logs", ticks * 4 * LINE_BYTES / 1e9 * PRICES["cloudwatch logs GB"], "4 lines a tick"),
        ("traces", ticks * PRICES["x-ray trace"], "each tick: the first 100,000 a month are free"),
    ]


# ---------------------------------------------------------------------- requests → priced units


def requests(calls: Mapping[str, float]) -> Counter[str]:
    """Priced units of IAM actions (`dynamodb:UpdateItem`, `dynamodb:UpdateItem transacted`) and their numbers."""
    found: Counter[str] = Counter()
    for call, number in calls.items():
        action, transacted = call.partition(" ")[0], call.endswith("transacted")
        match action.split(":"):
            case ["dynamodb", "Query"]:
                found["dynamodb read unit"] += number  # at least one; pages are small
            case ["dynamodb", "GetItem" | "BatchGetItem"]:
                found["dynamodb read unit"] += number  # consistent, up to 4 KB
            case ["dynamodb", _]:
                # 1 KB; twice in a transaction; outside of one the index is reckoned to be written too
                found["dynamodb write unit"] += number * 2
            case ["s3", "GetObject" | "GetObjectVersion"]:
                found["s3 get"] += number
            case ["s3", _]:
                found["s3 put or list"] += number
            case ["sqs", _]:
                found["sqs request"] += number
            case ["events", _]:
                found["events custom event"] += number
            case ["states", "StartExecution" | "SendTaskSuccess"] | ["bedrock" | "iam" | "sts", _]:
                pass  # priced by states, and by Bedrock's tokens
            case _:
                raise ValueError(f"{call} has no price here (transacted: {transacted})")
    return found


@dataclass(frozen=True)
class Seen:
    """What one way of running jobs took: requests by action, invocations and seconds by function, entered states."""

    calls: Counter[str]
    invocations: Counter[str]
    seconds: Counter[str]
    states: int

    def priced(self, memory_gb: Mapping[str, float], jobs: int, latency_s: float, in_flight: int) -> Bill:
        """`latency_s` of a model call replaces what the workers waited for the emulator, `in_flight` at once."""
        bill = Bill(requests(self.calls))
        for function, number in self.invocations.items():
            waits = function in ("DispatchFunction", "RouteFunction") and self.calls["bedrock:InvokeModel"] > 0
            seconds = self.seconds[function] + (jobs * latency_s / in_flight if waits else 0.0)
            bill.units["lambda GB-second, arm64"] += seconds * memory_gb[function]
            bill.units["lambda request"] += number
            bill.units["x-ray trace"] += number * TRACED
            bill.units["cloudwatch logs GB"] += number * 5 * LINE_BYTES / 1e9
            if function in ("AdmitFunction", "RouteFunction", "DispatchFunction", "WorkFunction"):
                bill.units["sqs request"] += number * 2  # Lambda's receive and delete
        bill.units["states transition"] += self.states
        return bill


# ---------------------------------------------------------------------- counting


class Counting:
    """Reads the embedded cloud's record between two moments; the tick is counted apart."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        listed = driver.cloud.client("cloudformation").describe_stack_resources(StackName=driver.cloud.stack)
        self._logical = {r["PhysicalResourceId"]: r["LogicalResourceId"] for r in listed["StackResources"]}

    def calls(self) -> list[tuple[str, str]]:
        """(function, action) of every request until now."""
        found = []
        for line in Path(self._driver.cloud.logs(), "iam.jsonl").read_text().splitlines():
            said = json.loads(line)
            transacted = "dynamodb:EnclosingOperation" in said.get("condition", {})
            action = said["action"] + (" transacted" if transacted else "")
            found.append((self._logical.get(said["session"], ""), action))
        return found

    def reports(self) -> Iterator[tuple[str, str, float]]:
        """(request id, function, seconds) of every invocation until now."""
        rows = sorted(read(self._driver.cloud.clients, self._driver.cloud.region))
        names = {
            s: self._logical.get(m[1], "") for _, s, t in rows if (m := re.search(r'"function_name":"([^"]+)"', t))
        }
        names |= {
            stream: "TickFunction" for _, stream, text in rows if '"DueItems"' in text
        }  # an idle one logs no more
        for _, stream, text in rows:
            report = re.match(r"REPORT RequestId: (\S+)\s+Duration: (\d+) ms", text)
            if report and stream in names:
                yield report[1], names[stream], int(report[2]) / 1000

    def between(self, run: Callable[[], str]) -> Seen:
        """What `run`, which gives its run's id, took."""
        before, known = len(self.calls()), {row[0] for row in self.reports()}
        run_id = run()
        calls = Counter(a for function, a in self.calls()[before:] if function not in ("TickFunction", ""))
        fresh = [row for row in self.reports() if row[0] not in known and row[1] != "TickFunction"]
        fresh.append(("", "WaitFunction", 0.1))  # it logs nothing by which its stream is known
        seconds: Counter[str] = Counter()
        for _, function, took in fresh:
            seconds[function] += took
        return Seen(calls, Counter(row[1] for row in fresh), seconds, self._states(run_id))

    def _states(self, run_id: str) -> int:
        arn = self._driver.cloud.outputs["RunWorkflowArn"].replace(":stateMachine:", ":execution:") + f":{run_id}"
        pages = self._driver.cloud.client("stepfunctions").get_paginator("get_execution_history")
        events = (e for page in pages.paginate(executionArn=arn) for e in page["events"])
        return 1 + sum(e["type"].endswith("StateEntered") for e in events)

    def idle_tick(self) -> tuple[float, Counter[str]]:
        """Seconds and requests of a warm tick that finds nothing due."""
        took = sorted(row[2] for row in self.reports() if row[1] == "TickFunction")
        ticks = len(took)
        calls = Counter(action for function, action in self.calls() if function == "TickFunction")
        spread = Counter({action: number / ticks for action, number in calls.items()})
        spread["sqs:ReceiveMessage"] = 3  # each minute it looks into three dead-letter queues; here it beats faster
        return took[ticks // 2], spread


def ways(driver: Driver, jobs: int, *, prefix: str = "") -> dict[str, Callable[[], str]]:
    """`prefix` keeps the names of several turns in one cloud apart."""

    def lines(name: str) -> list[dict[str, Any]]:
        return [converse(f"{name} {n}", id=f"{name}-{n}") for n in range(jobs)]

    def file(name: str, **options: str) -> str:
        run = driver.settled(driver.drop(name, lines(name), **options), 300)
        check(run, jobs)
        return run.run_id

    def queue(name: str) -> str:
        driver.send(
            *(
                {"v": 1, "run_id": name, "job_id": str(n), "lane": "on_demand", "deadline": "48h", "request": line}
                for n, line in enumerate([converse(f"{name} {n}") for n in range(jobs)])
            ),
            {"v": 1, "close_run": name, "profile": "default", "expected": jobs},
        )
        run = driver.settled(name, 300)
        check(run, jobs)
        return run.run_id

    return {
        "file, on demand": lambda: file(f"{prefix}called", lane="on_demand", deadline="48h"),
        "file, batch": lambda: file(f"{prefix}patient", lane="batch", deadline="48h"),
        "queue, on demand": lambda: queue(f"{prefix}asked"),
    }


# ---------------------------------------------------------------------- the page


def _units(units: Mapping[str, float], of: str) -> str:
    return ", ".join(f"{number:.3g} {name}" for name, number in sorted(units.items())) + f" {of}"


def _emitted_by_tick() -> int:
    return len(re.findall(r"^    metrics\.add_metric", (ROOT / "functions/tick/app.py").read_text(), re.MULTILINE))


def page(
    rows: Iterable[tuple[str, float, str]], seen: Mapping[str, tuple[Seen, Bill]], jobs: int, latency_s: float
) -> str:
    """The whole of docs/costs.md."""
    rows = list(rows)
    a_thousand = 1000 / jobs
    names = {name for _, bill in seen.values() for name in bill.units}
    dearest = sorted(names, key=lambda name: -max(PRICES[name] * bill.units[name] for _, bill in seen.values()))
    cells = {
        name: [
            f"{bill.units[name] * a_thousand:,.3g} · {PRICES[name] * bill.units[name] * a_thousand:.5f}"
            for _, bill in seen.values()
        ]
        for name in dearest
    }
    return PAGE.format(
        idle="\n".join(f"| {what} | {usd:.2f} | {how} |" for what, usd, how in rows),
        idle_usd=sum(usd for _, usd, _ in rows),
        jobs=f"{jobs:,}",
        latency_s=f"{latency_s:g}",
        ways=" | ".join(seen),
        rule=" --- |" * len(seen),
        units="\n".join(f"| {name} | " + " | ".join(row) + " |" for name, row in cells.items()),
        usd=" | ".join(f"**{bill.usd() * a_thousand:.4f}**" for _, bill in seen.values()),
    )


PAGE: Final = """\
# Costs

What the stack itself costs, beside Bedrock's tokens (those are on the receipts). Made by `bench/costs.py` (`make
costs`): idle from the template, per job from requests counted in the embedded cloud, at AWS's list prices in us-east-1,
free tiers left out. **No AWS bill has confirmed it yet.**

## Idle

| | USD a month | |
| --- | --- | --- |
{idle}
| **together** | **{idle_usd:.2f}** | |

A satellite costs nothing but what lies in its bucket. A key of yours costs 1.00 a month and 0.03 per 10,000 requests.
Stored data: 0.023 a GB and month in S3 (runs go after `RetainDays`), 0.25 in DynamoDB and 0.20 for its point-in-time
recovery. In use the dashboard's other metrics come on top, some thirty at 0.30 a month, by the hours in which they are
written.

## Per 1,000 jobs

Counted with {jobs} short jobs a run. A model call is reckoned at {latency_s} s, of which a worker waits for
`CallsInFlight` at once; everything else was timed on the machine that made this page, the emulator's own latency
included. So these are upper bounds rather than averages.

| | {ways} |
| --- |{rule}
{units}
| **USD** | {usd} |

Each cell: units · USD. Reckoned, not counted: items of 1 KB, two units a write (a transaction, or the index beside the
table); two SQS requests an invocation for Lambda's receive and delete; five log lines an invocation; 5 % of invocations
traced; WaitFunction's one invocation a run. Mappings batch less in the embedded cloud than on AWS. The tick is in the
idle table. Senders pay for their own SQS and S3 requests; a message above 64 KiB counts as several.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--latency-s", type=float, default=2.0)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    template = load_template(ROOT / "template.yaml")
    base = template["Globals"]["Function"]["MemorySize"]
    memory = {
        n: r["Properties"].get("MemorySize", base) / 1024
        for n, r in template["Resources"].items()
        if r["Type"] == "AWS::Serverless::Function"
    }
    in_flight = int(template["Parameters"]["CallsInFlight"]["Default"])
    with (
        tempfile.TemporaryDirectory() as folder,
        clouds.start(state_dir=Path(folder), clock_rate=RATE, iam=True) as running,
    ):
        driver = Driver(running)
        counter = Counting(driver)
        tick_s, tick_calls = idle_of(counter)
        seen = {}
        for name, run in ways(driver, arguments.jobs).items():
            took = counter.between(run)
            seen[name] = (took, took.priced(memory, arguments.jobs, arguments.latency_s, in_flight))
    rows = idle(template, tick_s, tick_calls, _emitted_by_tick())
    text = page(rows, seen, arguments.jobs, arguments.latency_s)
    print(text)
    if arguments.write:
        arguments.write.write_text(text)
    if arguments.json:
        document = {
            "idle": rows,
            "ways": {
                n: {
                    "calls": s.calls,
                    "invocations": s.invocations,
                    "seconds": s.seconds,
                    "states": s.states,
                    "usd": b.usd(),
                }
                for n, (s, b) in seen.items()
            },
        }
        arguments.json.write_text(json.dumps(document, indent=1))


def idle_of(counter: Counting) -> tuple[float, Counter[str]]:
    time.sleep(15)  # some ticks of a stack that nobody uses
    return counter.idle_tick()


if __name__ == "__main__":
    main()
