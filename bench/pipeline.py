"""From the drop of a file to its receipt, against the emulator's own floor: the same work by bare boto3, in the same
embedded cloud in the same minute.

    .venv/bin/python bench/pipeline.py [--records 10000] [--calls 2000] [--repeat 3] [--rate 240] [--only batch|calls]
                                       [--json FILE]

batch   the file goes by batch over two regions. Floor: put the records, create one job, ask for it each 50 ms, read its
        output.
calls   the file goes on demand over three regions. Floor: as many Converse calls, by 32 threads over one client.

The emulated models take no time: their latency and every stage of a batch job are set to zero. The clock runs so fast
(240 virtual seconds a second) that the tick, once a virtual minute, beats at the most a cloud allows, four times a
second: so what is measured is work and not waiting. A warm-up with a small file of each kind starts all functions'
workers and is shown as `cold`; floor and ours take turns, and each ratio is of one turn.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local import cloud as clouds
from slackwater.model import ids, names
from slackwater.policy.canary import CANARIES

MODEL = "global.anthropic.claude-haiku-4-5-20251001-v1:0"  # the default profile's
REGION = "us-east-1"
THREADS = 32  # as many as one of our workers
POLL_S = 0.05
WARM_UP_LINES = 120  # batch takes no fewer than 100
TIMEOUT_S = 600.0
NO_WAITING = {
    "faults": {"*": {"*": {"latency_ms": [0, 0]}}},
    "batch": {
        "submitted_s": [0, 0],
        "validating_s": [0, 0],
        "scheduled_s": [0, 0],
        "base_s": [0, 0],
        "per_record_s": 0,
    },
}


def request(kind: str, turn: str, number: int) -> dict[str, Any]:
    """A short Converse request, no two alike."""
    text = f"{kind} {turn}, question {number}: how many boats pass the lock in an hour if one passes in four minutes?"
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 64}}


class Bench:
    """One cloud, and what is measured in it."""

    def __init__(self, cloud: clouds.Cloud) -> None:
        self._cloud = cloud
        self._s3 = cloud.client("s3")
        self._bucket = cloud.outputs["BucketName"]
        self.control("config", NO_WAITING, "PATCH")

    def control(self, path: str, document: Any = None, method: str = "GET") -> Any:
        data = None if document is None else json.dumps(document).encode()
        asked = urllib.request.Request(f"{self._cloud.control_url}/_control/{path}", data, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    # ------------------------------------------------------------------ ours

    def ours(self, kind: str, turn: str, lines: int) -> dict[str, Any]:
        """Seconds from the drop to the receipt, and how they spread over the steps of the run."""
        body = "\n".join(
            json.dumps({"id": f"q-{n}", **request(kind, f"ours {turn}", n)}) for n in range(lines)
        ).encode()
        options = {"deadline": "24h"} if kind == "batch" else {"lane": "on_demand"}
        key = names.INBOX + f"default/bench-{kind}-{turn}.jsonl"
        start, start_epoch_s = time.perf_counter(), time.time()
        put = self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, Metadata=options)
        run_id = ids.run_of_object(self._bucket, key, put["VersionId"])
        receipt = self._receipt(run_id, start)
        seconds = time.perf_counter() - start
        lane = "batch" if kind == "batch" else "on_demand"
        called_first = CANARIES if kind == "batch" else 0
        if receipt["succeeded"] != lines or receipt["lanes"][lane]["jobs"] < lines - called_first or receipt["repeats"]:
            raise SystemExit(f"the run is not what the bench wants: {json.dumps(receipt)[:2000]}")
        return {"seconds": seconds, "steps": self._steps(run_id, start_epoch_s)}

    def _receipt(self, run_id: str, start: float) -> dict[str, Any]:
        key = names.run_key(run_id, "receipt.json")
        while time.perf_counter() - start < TIMEOUT_S:
            if self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key).get("KeyCount"):
                found: dict[str, Any] = json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
                return found
            time.sleep(POLL_S)
        raise SystemExit(f"no receipt of {run_id} within {TIMEOUT_S:.0f} s")

    def _steps(self, run_id: str, start_epoch_s: float) -> dict[str, float]:
        """State of the workflow → seconds until it was left, counted from the end of the one before."""
        machine = self._cloud.client("stepfunctions")
        arn = next(
            each["executionArn"]
            for machine_arn in [m["stateMachineArn"] for m in machine.list_state_machines()["stateMachines"]]
            for each in machine.list_executions(stateMachineArn=machine_arn)["executions"]
            if each["name"] == run_id
        )
        events = machine.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        began = min(event["timestamp"].timestamp() for event in events)
        ends = [("drop", start_epoch_s), ("Intake", began)]
        for event in events:
            name = event.get("stateExitedEventDetails", {}).get("name", "")
            if name in ("Survey", "Plan", "Place", "Await settled", "Aggregate"):
                ends.append((name, event["timestamp"].timestamp()))
        return {after[0]: round(after[1] - before[1], 3) for before, after in pairwise(ends)}

    # ------------------------------------------------------------------ floors

    def floor(self, kind: str, turn: str, lines: int) -> dict[str, Any]:
        """Seconds of the bare way."""
        requests = [request(kind, f"floor {turn}", n) for n in range(lines)]
        start = time.perf_counter()
        (self._bare_batch if kind == "batch" else self._bare_calls)(turn, requests)
        return {"seconds": time.perf_counter() - start}

    def _bare_batch(self, turn: str, requests: list[dict[str, Any]]) -> None:
        bedrock = self._cloud.client("bedrock", REGION)
        prefix = f"floor/{turn}/"
        records = [json.dumps({"recordId": f"R{n:010d}", "modelInput": r}) for n, r in enumerate(requests)]
        self._s3.put_object(Bucket=self._bucket, Key=prefix + "in.jsonl", Body="\n".join(records).encode())
        arn = bedrock.create_model_invocation_job(
            jobName=f"floor-{turn}",
            roleArn="arn:aws:iam::000000000000:role/floor",
            modelId=MODEL,
            modelInvocationType="Converse",
            inputDataConfig={"s3InputDataConfig": {"s3Uri": f"s3://{self._bucket}/{prefix}in.jsonl"}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{self._bucket}/{prefix}"}},
        )["jobArn"]
        while (status := bedrock.get_model_invocation_job(jobIdentifier=arn)["status"]) != "Completed":
            if status in ("Failed", "Expired", "PartiallyCompleted", "Stopped"):
                raise SystemExit(f"the floor's job ended as {status}")
            time.sleep(POLL_S)
        output = f"{prefix}{arn.rpartition('/')[2]}/in.jsonl.out"
        body = self._s3.get_object(Bucket=self._bucket, Key=output)["Body"].read()
        if sum("modelOutput" in json.loads(line) for line in body.splitlines()) != len(requests):
            raise SystemExit("the floor's job answered fewer records than it was given")

    def _bare_calls(self, _: str, requests: list[dict[str, Any]]) -> None:
        client = boto3.Session().client(
            "bedrock-runtime",
            region_name=REGION,
            endpoint_url=self._cloud.runtime_url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(max_pool_connections=THREADS, retries={"total_max_attempts": 1}),
        )

        def call(one: dict[str, Any]) -> str:
            return str(client.converse(modelId=MODEL, **one)["stopReason"])

        with ThreadPoolExecutor(THREADS) as pool:
            if len(list(pool.map(call, requests))) != len(requests):
                raise SystemExit("a call was lost")


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def measure(bench: Bench, kind: str, lines: int, repeat: int) -> dict[str, Any]:
    """One kind, whole; prints as it goes."""
    cold = bench.ours(kind, "warm-up", WARM_UP_LINES)
    bench.floor(kind, "warm-up", WARM_UP_LINES)
    ways: dict[str, Callable[[str, str, int], dict[str, Any]]] = {"floor": bench.floor, "ours": bench.ours}
    turns = []
    for turn in range(repeat):
        turns.append({name: way(kind, str(turn), lines) for name, way in ways.items()})
        told = ", ".join(f"{name} {found['seconds']:.2f} s" for name, found in turns[-1].items())
        print(f"  {kind} {turn + 1}/{repeat}: {told}", file=sys.stderr)
    steps = {
        name: round(statistics.median(turn["ours"]["steps"].get(name, 0.0) for turn in turns), 2)
        for name in turns[0]["ours"]["steps"]
    }
    return {
        "lines": lines,
        **{name: summary([turn[name]["seconds"] for turn in turns]) for name in ways},
        "ratio": summary([turn["ours"]["seconds"] / turn["floor"]["seconds"] for turn in turns]),
        "lines_per_s": round(lines / statistics.median(turn["ours"]["seconds"] for turn in turns)),
        "steps": steps,
        "cold": {"lines": WARM_UP_LINES, "seconds": round(cold["seconds"], 2), "steps": cold["steps"]},
    }


def table(report: dict[str, Any]) -> str:
    def span(found: dict[str, float]) -> str:
        return f"{found['median']:.2f} ({found['min']:.2f}–{found['max']:.2f})"

    rows = [f"{'':7}{'lines':>8}{'floor s':>22}{'ours s':>22}{'ratio':>20}{'lines/s':>9}"]
    for kind, found in report["kinds"].items():
        spans = f"{span(found['floor']):>22}{span(found['ours']):>22}{span(found['ratio']):>20}"
        rows.append(f"{kind:7}{found['lines']:8,}{spans}{found['lines_per_s']:9,}")
    for kind, found in report["kinds"].items():
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["steps"].items())
        rows.append(f"steps of {kind}, s: {steps}")
        cold = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["cold"]["steps"].items())
        rows.append(f"  cold, {found['cold']['lines']} lines: {found['cold']['seconds']:.2f} s ({cold})")
    return "\n".join(rows)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--records", type=int, default=10_000, help="of the batch file")
    arguments.add_argument("--calls", type=int, default=2_000, help="of the on-demand file")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--rate", type=float, default=240.0, help="virtual seconds per real one")
    arguments.add_argument("--only", choices=("batch", "calls"))
    arguments.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    given = arguments.parse_args()
    sizes = {"batch": given.records, "calls": given.calls}
    wanted = {kind: lines for kind, lines in sizes.items() if given.only in (None, kind)}
    report: dict[str, Any] = {"repeat": given.repeat, "clock_rate": given.rate, "kinds": {}}
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-") as folder:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_ENDPOINT_URL")}
        begun = time.perf_counter()
        with clouds.start(state_dir=Path(folder), clock_rate=given.rate, environ=environ) as cloud:
            report["cloud_ready_s"] = round(time.perf_counter() - begun, 2)
            bench = Bench(cloud)
            for kind, lines in wanted.items():
                report["kinds"][kind] = measure(bench, kind, lines, given.repeat)
    ready_s = report["cloud_ready_s"]
    print(f"median of {given.repeat}, in brackets the fastest and the slowest; cloud ready in {ready_s} s")
    print(table(report))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
