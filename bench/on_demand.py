"""The on-demand engine beside LiteLLM's Router, bare boto3 and TensorZero, against one neutral fake Bedrock.

    make bench-on-demand                            # its own environment for the peers, then everything
    .venv/bin/python -m bench.on_demand --peers bench/.venv-peers/bin/python [--only NAME …] [--against NAME …]
                                        [--rounds 3] [--quick] [--seed 1] [--json]

Every contender gets the same jobs at the same moments, in a process of its own, one contender after another. The fake
(on_demand_lib/fake.py) keeps account: what it admitted, throttled, and when. The oracle (on_demand_lib/oracle.py) says
how much could have been admitted. A peer's job that ends in an error is lost, as it is to whoever called it; a job of
ours that finds no room goes back to a delay queue, as the product's messages do.

TensorZero is the other installable peer because it is the only engine on the package index that can be embedded and has
its own Bedrock provider, weights, fallback and retries; it is written in Rust, so it is also the hardest to beat in
processor time. Libraries that wrap boto3 with a fallback list would have repeated what bare boto3 and LiteLLM show.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.on_demand_lib import floor, oracle
from bench.on_demand_lib.durable import ENDPOINT as TABLE_ENDPOINT
from bench.on_demand_lib.durable import emulated_table
from bench.on_demand_lib.scenarios import scenarios
from bench.on_demand_lib.world import Scenario

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = (
    HERE.parent
)  # what every process starts in: the peers' find the bench's modules there, without the product
OURS: Final = "slackwater"
DURABLE: Final = "slackwater, DynamoDB"
KNOWN_S: Final = 2.0
"""Within which all containers know what one has learned."""
STRATEGIES: Final = (
    "simple-shuffle",
    "least-busy",
    "usage-based-routing-v2",
    "latency-based-routing",
    "cost-based-routing",
)
CONTENDERS: Final[Mapping[str, str]] = {
    OURS: "ours:slackwater",
    DURABLE: "ours:slackwater:durable",
    **{f"litellm {name.removesuffix('-routing')}": f"peers:litellm:{name}" for name in STRATEGIES},
    "boto3, 10 retries": "peers:boto3",
    "tensorzero": "peers:tensorzero",
}
BARE: Final = "boto3, 10 retries"


@dataclass(frozen=True)
class Figures:
    """One contender in one scenario, one round. None is not asked there."""

    scenario: str
    contender: str
    jobs: int
    admitted: int
    throttled_share: float
    down_calls: int
    down_at_once: int | None
    lost: int
    repeated: int
    share_error: float | None
    added_p50_ms: float | None
    added_p95_ms: float | None
    cpu_ms: float
    calls_per_s: float
    of_oracle: float | None
    throttled_5s: float
    throttled_after: float
    seconds: float
    peak_mb: float
    errors: Mapping[str, int]


# ---------------------------------------------------------------------- running


@contextmanager
def fake() -> Iterator[tuple[str, int]]:
    """Endpoint and process of a fresh fake."""
    command = [sys.executable, "-m", "bench.on_demand_lib.fake"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.stdin.close()


def drive(python: str, contender: str, endpoint: str, scenario: Scenario) -> dict[str, Any]:
    floor.control(endpoint, "/control/world", json.dumps(scenario.world.as_json()).encode())
    given = {"contender": contender, "endpoint": endpoint, "scenario": json.loads(scenario.as_json())}
    done = subprocess.run(
        [python, "-m", "bench.on_demand_lib.drive"],
        cwd=ROOT,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=scenario.stop_s + 180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise RuntimeError(f"{contender} in {scenario.name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def figures(scenario: Scenario, contender: str, drove: Mapping[str, Any], calls: Sequence[Sequence[Any]]) -> Figures:
    """What a drive amounts to, by the fake's account."""
    kinds = Counter(kind for *_, kind in calls)
    answered = {job: (at, end) for job, at, end, error in drove["outcomes"] if error is None}
    served = {job: region for _, region, job, kind in calls if kind == "admitted"}
    added = sorted(
        (end - at - scenario.world.latency_s(served[job], job)) * 1000 for job, (at, end) in answered.items()
    )
    inside = sum(kind == "admitted" and at <= scenario.window_s for at, _, _, kind in calls)
    could = len(oracle.admissions(scenario.world, scenario.offers, scenario.window_s)) if scenario.window_s else None
    errors = Counter(error for *_, error in drove["outcomes"] if error is not None)
    return Figures(
        scenario=scenario.name,
        contender=contender,
        jobs=len(scenario.offers),
        admitted=inside if could else kinds["admitted"],
        throttled_share=_share(kinds["throttled"], kinds["throttled"] + kinds["admitted"]),
        down_calls=kinds["down"],
        down_at_once=down_at_once(scenario, calls),
        lost=len(scenario.offers) - len(answered),
        repeated=kinds["admitted"] - len(served),
        share_error=share_error(scenario, Counter(served.values())) if scenario.shares else None,
        added_p50_ms=_quantile(added, 0.5),
        added_p95_ms=_quantile(added, 0.95),
        cpu_ms=drove["cpu_s"] * 1000 / max(1, len(answered)),
        calls_per_s=len(answered) / drove["wall_s"],
        of_oracle=inside / could if could else None,
        throttled_5s=_throttled(calls, 0, 5),
        throttled_after=_throttled(calls, 5, float("inf")),
        seconds=drove["wall_s"],
        peak_mb=drove["peak_mb"],
        errors=dict(errors),
    )


def share_error(scenario: Scenario, served: Counter[str]) -> float:
    """The largest distance of a region's share from its weight's, of the regions that are up all the time."""
    weights = {name: region.weight for name, region in scenario.world.regions.items() if not region.down}
    total, all_served = sum(weights.values()), max(1, sum(served.values()))
    return max(abs(served[name] / all_served - weight / total) for name, weight in weights.items())


def down_at_once(scenario: Scenario, calls: Sequence[Sequence[Any]]) -> int | None:
    """The most calls at once that a region got which had been down for `KNOWN_S`: probes, if the fleet knows of it."""
    lasts_s, most = scenario.world.down_latency_s, None
    for name, region in scenario.world.regions.items():
        for begin_s, end_s in region.down:
            at = [at_s for at_s, where, _, kind in calls if where == name and kind == "down"]
            known = [at_s for at_s in at if begin_s + KNOWN_S <= at_s < end_s]
            together = [sum(at_s - lasts_s < other <= at_s for other in at) for at_s in known]
            most = max(most or 0, *together, 0)
    return most


def _throttled(calls: Sequence[Sequence[Any]], begin_s: float, end_s: float) -> float:
    kinds = Counter(kind for at, _, _, kind in calls if begin_s <= at < end_s)
    return _share(kinds["throttled"], kinds["throttled"] + kinds["admitted"])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


# ---------------------------------------------------------------------- telling

Columns = Sequence[tuple[str, str]]
COLUMNS: Final[Columns] = (
    ("admitted", "{0.admitted}"),
    ("of oracle", "{0.of_oracle:.1%}"),
    ("throttled", "{0.throttled_share:.1%}"),
    ("to dead regions", "{0.down_calls}"),
    ("at once", "{0.down_at_once:d}"),
    ("lost jobs", "{0.lost}"),
    ("paid twice", "{0.repeated}"),
    ("share error", "{0.share_error:.4f}"),
    ("added p50 ms", "{0.added_p50_ms:.1f}"),
    ("added p95 ms", "{0.added_p95_ms:.1f}"),
    ("CPU ms/call", "{0.cpu_ms:.2f}"),
    ("calls/s", "{0.calls_per_s:.0f}"),
)


def median(rounds: Sequence[Figures]) -> Figures:
    """Of several rounds: each figure's median (the worst of what may never happen: lost and repeated jobs)."""
    first = asdict(rounds[0])
    for name, value in first.items():
        numbers = [getattr(one, name) for one in rounds if isinstance(getattr(one, name), int | float)]
        if isinstance(value, int | float) and numbers:
            first[name] = max(numbers) if name in ("lost", "repeated") else statistics.median(numbers)
    return Figures(**first)


def table(rows: Sequence[Figures]) -> str:
    shown = [(title, form) for title, form in COLUMNS if any(_cell(form, row) for row in rows)]
    cells = [["", *(title for title, _ in shown)]]
    cells += [[row.contender, *(_cell(form, row) or "–" for _, form in shown)] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(cells[0]))]
    left, *others = widths
    return "\n".join(
        "  ".join([name.ljust(left), *(cell.rjust(width) for cell, width in zip(rest, others, strict=True))])
        for name, *rest in cells
    )


def _cell(form: str, row: Figures) -> str:
    try:
        return form.format(row)
    except TypeError:  # None: not asked in this scenario
        return ""


@dataclass(frozen=True)
class Target:
    """What was promised, what was measured, and whether it is reached."""

    name: str
    measured: str
    reached: bool


Rounds = Mapping[tuple[str, str], Sequence[Figures]]


def targets(found: Mapping[tuple[str, str], Figures], rounds: Rounds, decision_ms: float) -> Iterator[Target]:
    """The promises that can be judged from what was run."""
    ours = [one for (_, contender), one in found.items() if contender == OURS]
    full = [one for one in ours if one.of_oracle is not None and one.scenario in FULL]
    for one in full:
        assert one.of_oracle is not None
        part = 0.9 if one.scenario == "unknown quota" else 0.98
        yield Target(
            f"{one.scenario}: at least {part:.0%} of the oracle's calls", f"{one.of_oracle:.1%}", one.of_oracle >= part
        )
        if one.scenario == "unknown quota":
            yield Target(
                "unknown quota: first 5 s, at most 5 % throttled", f"{one.throttled_5s:.1%}", one.throttled_5s <= 0.05
            )
            yield Target(
                "unknown quota: after, at most 1 % throttled", f"{one.throttled_after:.1%}", one.throttled_after <= 0.01
            )
        else:
            yield Target(
                f"{one.scenario}: at most 1 % throttled", f"{one.throttled_share:.1%}", one.throttled_share <= 0.01
            )
    if ours:
        lost, twice = sum(one.lost for one in ours), sum(one.repeated for one in ours)
        yield Target("no job lost in any scenario", f"{lost}", lost == 0)
        yield Target("no job paid twice", f"{twice}", twice == 0)
    for one in ours:
        if one.down_at_once is not None:
            name = f"{one.scenario}: at most one probe at once of a region that rests"
            yield Target(name, f"{one.down_at_once}", one.down_at_once <= 1)
        if one.share_error is not None:
            yield Target(
                f"{one.scenario}: share error at most 1/N",
                f"{one.share_error:.4f} (1/N {1 / one.jobs:.4f})",
                one.share_error <= 1 / one.jobs + 1e-9,
            )
    yield from _speed(rounds)
    yield Target("p95 of a decision with 50 routes below 1 ms", f"{decision_ms:.3f} ms", decision_ms < 1)


def _speed(rounds: Rounds) -> Iterator[Target]:
    """Ratios within a round, whose contenders ran one after another; the median of the rounds, with the spread."""
    for name in ("overhead-1", "overhead-16"):
        in_memory, durable = rounds.get((name, OURS), ()), rounds.get((name, DURABLE), ())
        if in_memory and durable:
            ratios = [one.cpu_ms / other.cpu_ms for one, other in zip(durable, in_memory, strict=True)]
            yield _ratio(f"{name}: CPU per call with the ledger in DynamoDB, × in memory (no target)", ratios, True)
        ours, bare = rounds.get((name, OURS), ()), rounds.get((name, BARE), ())
        litellm = [ran for (scenario, who), ran in rounds.items() if scenario == name and who.startswith("litellm")]
        if ours and bare:
            ratios = [one.cpu_ms / other.cpu_ms for one, other in zip(ours, bare, strict=True)]
            yield _ratio(f"{name}: CPU per call at most 1.5 × bare boto3", ratios, statistics.median(ratios) <= 1.5)
        if ours and litellm:
            best = [max(one.calls_per_s for one in ran) for ran in zip(*litellm, strict=True)]
            ratios = [one.calls_per_s / other for one, other in zip(ours, best, strict=True)]
            yield _ratio(
                f"{name}: calls per second at least 2.2 × LiteLLM's best", ratios, statistics.median(ratios) >= 2.2
            )


def _ratio(name: str, ratios: Sequence[float], reached: bool) -> Target:
    return Target(name, f"{statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})", reached)


FULL: Final = ("overload 2 s", "overload 20 s", "short bucket", "unknown quota", "token quota", "herd", "20 containers")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peers", default=str(HERE / ".venv-peers/bin/python"), help="the peers' interpreter")
    arguments.add_argument("--only", nargs="*", help="scenarios, by the beginning of their names")
    arguments.add_argument("--against", nargs="*", help="contenders, by the beginning of their names")
    arguments.add_argument("--rounds", type=int, default=3, help="of the overhead scenarios; the others run once")
    arguments.add_argument("--quick", action="store_true", help="short scenarios, for a look")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    if not Path(given.peers).exists():
        sys.exit(f"{given.peers} is missing: make bench-on-demand makes it")
    asked = [s for s in scenarios(seed=given.seed, quick=given.quick) if _wanted(s.name, given.only)]
    contenders = {name: module for name, module in CONTENDERS.items() if _wanted(name, given.against)}
    found: dict[tuple[str, str], Figures] = {}
    rounds_of: dict[tuple[str, str], list[Figures]] = {}
    with fake() as (endpoint, pid), emulated_table(_free_port()) as table_endpoint:
        os.environ[TABLE_ENDPOINT] = table_endpoint
        floor_found = floor.measure(endpoint, pid)
        _say(
            given,
            f"the fake alone: {floor_found.calls_per_s:,.0f} calls/s, {floor_found.cpu_us:.0f} µs of its CPU a call\n",
        )
        for scenario in asked:
            for _ in range(given.rounds if scenario.closed else 1):
                for name, module in contenders.items():  # contenders take turns, so that a slow minute hits all
                    python = sys.executable if module.startswith("ours:") else given.peers
                    drove = drive(python, module, endpoint, scenario)
                    calls = json.loads(floor.control(endpoint, "/control/report"))
                    rounds_of.setdefault((scenario.name, name), []).append(figures(scenario, name, drove, calls))
            for name in contenders:
                found[scenario.name, name] = median(rounds_of[scenario.name, name])
            _say(given, f"{scenario.name}: {scenario.about}\n{table([found[scenario.name, n] for n in contenders])}\n")
    decisions = decision_ms()
    met = list(targets(found, rounds_of, decisions))
    for target in met:
        _say(given, f"{'yes' if target.reached else 'NO ':3}  {target.name:62}  {target.measured}")
    if given.json:
        print(
            json.dumps(
                {
                    "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "seed": given.seed,
                    "load": os.getloadavg(),
                    "quick": given.quick,
                    "fake": asdict(floor_found),
                    "decision_p95_ms": decisions,
                    "rounds": [asdict(one) for rounds in rounds_of.values() for one in rounds],
                    "medians": [asdict(one) for one in found.values()],
                    "targets": [asdict(target) for target in met],
                },
                indent=1,
            )
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def decision_ms() -> float:
    """p95 of our decisions, in a process of its own."""
    code = "import json; from bench.on_demand_lib.ours import decision_ms; print(json.dumps(decision_ms()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return statistics.quantiles(json.loads(done.stdout), n=20)[-1]


def _wanted(name: str, prefixes: Sequence[str] | None) -> bool:
    return not prefixes or any(name.startswith(prefix) for prefix in prefixes)


def _say(given: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if given.json else sys.stdout, flush=True)


if __name__ == "__main__":
    main()
