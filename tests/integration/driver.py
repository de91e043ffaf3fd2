"""Drives the product in the embedded cloud as a user would, by AWS's own API, and reads the emulator's bill."""

import hashlib
import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from local.cloud import Cloud


def converse(text: str, *, max_tokens: int = 60, **more: Any) -> dict[str, Any]:
    """A line of the Converse dialect."""
    return {
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "inferenceConfig": {"maxTokens": max_tokens},
        **more,
    }


def prompt_sha(request: dict[str, Any]) -> str:
    """The bill's key of a prompt, as the emulator's page says."""
    key = {"messages": request["messages"], "system": request.get("system") or []}
    return hashlib.sha256(
        json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


@dataclass(frozen=True)
class Settled:
    """A run that has ended, with everything it left."""

    run_id: str
    receipt: dict[str, Any]
    rows: list[dict[str, Any]]
    errors: list[dict[str, Any]]


class Driver:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.s3 = cloud.client("s3")
        self.sqs = cloud.client("sqs")
        self.bucket = cloud.outputs["BucketName"]
        self.table = cloud.outputs["TableName"]
        self._dynamodb = cloud.client("dynamodb")

    # ------------------------------------------------------------------ files

    def drop(self, name: str, lines: Sequence[Any], *, profile: str = "default", **metadata: str) -> str:
        """Puts a file into the inbox and gives its key. A line that is text goes as it is."""
        body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        key = f"inbox/{profile}/{name}.jsonl"
        options = {k.replace("_", "-"): v for k, v in metadata.items()}
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.encode(), Metadata=options)
        return key

    def run_of(self, name: str, within_s: float = 30) -> str:
        """The run whose file (or caller's run_id) is `name`."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for item in self.runs():
                if item["name"]["S"] == name:
                    return str(item["run_id"]["S"])
            time.sleep(0.2)
        raise AssertionError(f"no run of {name} within {within_s} s")

    def runs(self) -> list[dict[str, Any]]:
        found = self._dynamodb.scan(
            TableName=self.table,
            FilterExpression="begins_with(pk, :p) AND sk = :m",
            ExpressionAttributeValues={":p": {"S": "RUN#"}, ":m": {"S": "META"}},
        )
        return list(found["Items"])

    def meta(self, run_id: str) -> dict[str, Any]:
        return dict(
            self._dynamodb.get_item(
                TableName=self.table, Key={"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "META"}}, ConsistentRead=True
            ).get("Item", {})
        )

    def settled(self, name: str, within_s: float = 120) -> Settled:
        """Waits for the run of `name`; fails with what the ledger says when it does not end."""
        run_id = self.run_of(name)
        end = time.monotonic() + within_s
        while (state := self.meta(run_id)["state"]["S"]) not in ("settled", "failed"):
            assert time.monotonic() < end, f"{name} is {state} after {within_s} s: {self.describe(run_id)}"
            time.sleep(0.2)
        return Settled(
            run_id,
            json.loads(self.object(f"v1/runs/{run_id}/receipt.json")),
            self.lines(f"v1/runs/{run_id}/results.jsonl"),
            self.lines(f"v1/runs/{run_id}/errors.jsonl"),
        )

    def describe(self, run_id: str) -> list[Any]:
        items = self._dynamodb.query(
            TableName=self.table,
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": f"RUN#{run_id}"}},
        )["Items"]
        return [
            {k: v for k, v in item.items() if k in ("sk", "state", "unsettled", "hop", "lane", "jobs")}
            for item in items
        ]

    def object(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.object(key).splitlines()]

    # ------------------------------------------------------------------ queue

    def send(self, *jobs: dict[str, Any]) -> None:
        for start in range(0, len(jobs), 10):
            entries = [{"Id": str(i), "MessageBody": json.dumps(job)} for i, job in enumerate(jobs[start : start + 10])]
            self.sqs.send_message_batch(QueueUrl=self.cloud.outputs["JobQueueUrl"], Entries=entries)

    def replies(self, count: int, within_s: float = 60) -> list[dict[str, Any]]:
        """Takes `count` replies from the reply queue."""
        url, found, end = self.cloud.outputs["ReplyQueueUrl"], [], time.monotonic() + within_s
        while len(found) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} replies within {within_s} s"
            got = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
            for message in got:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def dead_letters(self) -> dict[str, int]:
        """Messages in each dead-letter queue."""
        found = {}
        for name, url in self.cloud.outputs.items():
            if name.endswith("DeadLettersUrl"):
                attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
                found[name] = int(attributes["ApproximateNumberOfMessages"]) + int(
                    attributes["ApproximateNumberOfMessagesNotVisible"]
                )
        return found

    # ------------------------------------------------------------------ the emulator

    def control(self, path: str, document: Any = None, method: str | None = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.cloud.control_url}/_control/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    @contextmanager
    def emulator(self, **settings: Any) -> Iterator[None]:
        """The Bedrock emulator with these settings for a while."""
        before = self.control("config")
        self.control("config", settings, "PATCH")
        try:
            yield
        finally:
            self.control("config", before, "PUT")

    def bill(self) -> dict[str, dict[str, Any]]:
        return dict(self.control("bill")["prompts"])

    def paid(self, requests: Sequence[dict[str, Any]]) -> list[int]:
        """How often each prompt was billed."""
        bill = self.bill()
        return [bill.get(prompt_sha(request), {"count": 0})["count"] for request in requests]


def check(settled: Settled, lines: int) -> None:
    """What holds for every run: every line once, in order, and a receipt that adds up."""
    receipt = settled.receipt
    assert [row["line"] for row in settled.rows] == sorted({row["line"] for row in settled.rows})
    assert len(settled.rows) == receipt["lines"] == lines
    assert receipt["lines"] == receipt["accepted"] + receipt["refused_lines"]
    assert receipt["accepted"] == receipt["succeeded"] + receipt["failed"]
    assert sum(row["status"] == "succeeded" for row in settled.rows) == receipt["succeeded"]
    assert [row["line"] for row in settled.errors] == [r["line"] for r in settled.rows if r["status"] == "failed"]
    assert all(row["error"]["code"] for row in settled.errors)
