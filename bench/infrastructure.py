"""What the infrastructure costs for 1,000 calls of three seconds, as a part of what the model costs.

    .venv/bin/python -m bench.infrastructure [--jobs 1000] [--small 100] [--latency-s 3] [--json]

Requests, invocations and states are counted in the embedded cloud and priced as in costs.py; here each way is run with
a small and a large number of jobs, so that what a run takes at all and what each job adds can be told apart. The second
table holds those units beside the ones that the receipt's estimate (policy/infrastructure.py) is reckoned with.
Call time is reckoned: `latency_s` for each call, shared by `CallsInFlight`.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from bench.costs import PRICES, ROOT, Bill, Counting, idle_of, ways
from local import cloud as clouds
from local.package import load_template
from slackwater.model.usage import Usage
from slackwater.policy import infrastructure
from slackwater.policy.infrastructure import Counts, Units
from slackwater.policy.prices import PriceBook, cost_pico, load_price_book
from tests.integration.driver import Driver

RATE: Final = 60.0  # slower than costs.py: a busy machine needs longer than three seconds to send the jobs of a run
INPUT_TOKENS: Final = 1000
OUTPUT_TOKENS: Final = 300
MODELS: Final = (
    ("Claude Haiku 4.5", "anthropic.claude-haiku-4-5-20251001-v1:0", "global", 0.01),
    ("Nova Micro", "amazon.nova-micro-v1:0", "regional", 0.05),
)
"""(name, model, kind of route, the part of its price that the infrastructure may cost)."""

_UNIT: Final[Mapping[str, str]] = {
    "lambda_requests": "lambda request",
    "queue_requests": "sqs request",
    "table_writes": "dynamodb write unit",
    "table_reads": "dynamodb read unit",
    "object_writes": "s3 put or list",
    "object_reads": "s3 get",
    "transitions": "states transition",
    "events": "events custom event",
}
"""The fields of `Units` by the names of costs.py; logs and traces, the operator's choice, are in costs.py alone."""


def units_of(bill: Bill) -> Units:
    """Counted units as the estimate names them."""
    counted = {name: round(bill.units[price]) for name, price in _UNIT.items()}
    return Units(lambda_mb_ms=round(bill.units["lambda GB-second, arm64"] * 1024 * 1000), **counted)


def slope(small: Units, large: Units, jobs_between: int) -> Units:
    """What a thousand jobs more take."""
    return Units(
        *(round((getattr(large, f.name) - getattr(small, f.name)) * 1000 / jobs_between) for f in fields(Units))
    )


def model_usd(book: PriceBook, model: str, kind: str) -> float:
    """What one call costs at the model, in USD."""
    pico = cost_pico(book.rates(model, "us-east-1", kind, "on_demand"), Usage(INPUT_TOKENS, OUTPUT_TOKENS))
    if pico is None:
        raise LookupError(f"no price for {model}")
    return pico / 1e12


@dataclass(frozen=True)
class Share:
    """Infrastructure of one way as a part of one model's price."""

    way: str
    model: str
    infrastructure_usd: float
    model_usd: float
    share: float
    most: float
    reached: bool


def shares(per_thousand_usd: Mapping[str, float], book: PriceBook) -> list[Share]:
    """For 1,000 calls."""
    found = []
    for way, usd in per_thousand_usd.items():
        for name, model, kind, most in MODELS:
            paid = 1000 * model_usd(book, model, kind)
            found.append(Share(way, name, usd, paid, usd / paid, most, usd / paid <= most))
    return found


def count(jobs: int, small: int) -> dict[str, dict[int, Any]]:
    """Way → number of jobs → what it took (costs.Seen)."""
    with (
        tempfile.TemporaryDirectory() as folder,
        clouds.start(state_dir=Path(folder), clock_rate=RATE, iam=True) as running,
    ):
        driver = Driver(running)
        counter = Counting(driver)
        idle_of(counter)
        found: dict[str, dict[int, Any]] = {}
        for number in (small, jobs):
            for name, run in ways(driver, number, prefix=f"n{number}").items():
                if "batch" not in name:
                    found.setdefault(name, {})[number] = counter.between(run)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--latency-s", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    template = load_template(ROOT / "template.yaml")
    base = template["Globals"]["Function"]["MemorySize"]
    memory = {
        n: r["Properties"].get("MemorySize", base) / 1024
        for n, r in template["Resources"].items()
        if r["Type"] == "AWS::Serverless::Function"
    }
    in_flight = int(template["Parameters"]["CallsInFlight"]["Default"])
    bills = {
        way: {jobs: seen.priced(memory, jobs, given.latency_s, in_flight) for jobs, seen in by_jobs.items()}
        for way, by_jobs in count(given.jobs, given.small).items()
    }
    scale = 1000 / given.jobs
    found = shares({way: by_jobs[given.jobs].usd() * scale for way, by_jobs in bills.items()}, load_price_book())
    slopes = {
        way: slope(units_of(by[given.small]), units_of(by[given.jobs]), given.jobs - given.small)
        for way, by in bills.items()
    }
    estimates = {
        way: infrastructure.estimate_pico(
            Counts(
                called=given.jobs,
                called_ms=round(given.jobs * given.latency_s * 1000),
                batched=0,
                queued=given.jobs if way.startswith("queue") else 0,
                calls_in_flight=in_flight,
            )
        )
        / 1e12
        for way in bills
    }
    if given.json:
        document = {
            "jobs": given.jobs,
            "latency_s": given.latency_s,
            "calls_in_flight": in_flight,
            "shares": [vars(share) for share in found],
            "bills": {way: dict(by[given.jobs].units) for way, by in bills.items()},
            "estimates_usd": estimates,
        }
        print(json.dumps(document, indent=1))
        return
    print(page(found, {way: by[given.jobs] for way, by in bills.items()}, given.jobs, given.latency_s, in_flight))
    print(estimated(slopes, bills, estimates, given.jobs))


def page(found: list[Share], bills: Mapping[str, Bill], jobs: int, latency_s: float, in_flight: int) -> str:
    """The table of parts, and what they are made of."""
    lines = [
        f"Infrastructure for 1,000 calls of {latency_s:g} s, {in_flight} in flight (counted with {jobs:,} jobs), "
        f"beside {INPUT_TOKENS:,} tokens in and {OUTPUT_TOKENS} out",
        "",
        "| | model | model USD | infrastructure USD | part | at most | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        lines.append(
            f"| {one.way} | {one.model} | {one.model_usd:.3f} | {one.infrastructure_usd:.4f} | {one.share:.2%} "
            f"| {one.most:.0%} | {'yes' if one.reached else 'NO'} |"
        )
    names = sorted(
        {n for b in bills.values() for n in b.units}, key=lambda n: -max(PRICES[n] * b.units[n] for b in bills.values())
    )
    lines += ["", "| USD for 1,000 calls | " + " | ".join(bills) + " |", "| --- |" + " --- |" * len(bills)]
    for name in names:
        lines.append(
            f"| {name} | "
            + " | ".join(f"{PRICES[name] * b.units[name] * 1000 / jobs:.5f}" for b in bills.values())
            + " |"
        )
    return "\n".join(lines) + "\n"


def estimated(
    slopes: Mapping[str, Units], bills: Mapping[str, Mapping[int, Bill]], estimates: Mapping[str, float], jobs: int
) -> str:
    """What the receipt says of the same run, and the units it is reckoned with beside the counted ones."""
    lines = ["| the receipt's estimate | counted USD | estimated USD | ratio |", "| --- | --- | --- | --- |"]
    for way, usd in estimates.items():
        counted = bills[way][jobs].usd()
        lines.append(f"| {way} | {counted:.4f} | {usd:.4f} | {usd / counted:.2f} |")
    lines += ["", "| 1,000 jobs more take | " + " | ".join(slopes) + " |", "| --- |" + " --- |" * len(slopes)]
    for name in (f.name for f in fields(Units)):
        lines.append(f"| {name} | " + " | ".join(f"{getattr(one, name):,}" for one in slopes.values()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
