"""SQS: sending by reference, holding a message while its worker lives, and looking into dead-letter queues."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from slackwater.model.clock import Clock
from slackwater.usecases.ports import Outgoing

MAX_MESSAGE_BYTES = 1_048_576  # SQS quota: 1 MiB a message and a batch of ten


class Queue:
    """One queue by its URL. Raises botocore's errors; a partly failed batch is sent again once, then raises."""

    def __init__(self, client: Any, url: str, clock: Clock) -> None:
        self._client = client
        self.url = url
        self._clock = clock

    def send(self, messages: Iterable[Outgoing]) -> int:
        """Sends all, in batches of at most ten and 1 MiB; gives their number. Raises RuntimeError where SQS refuses
        some twice.
        """
        sent = 0
        batch: list[dict[str, Any]] = []
        size = 0
        for message in messages:
            body = orjson.dumps(message.body).decode()
            length = len(body.encode())
            if batch and (len(batch) == 10 or size + length > MAX_MESSAGE_BYTES):
                self._send(batch)
                batch, size = [], 0
            entry: dict[str, Any] = {"Id": str(len(batch)), "MessageBody": body}
            delay = self._clock.queue_delay_s(message.delay_s)
            if delay:
                entry["DelaySeconds"] = delay
            if message.group:
                entry["MessageGroupId"] = message.group
            batch.append(entry)
            size += length
            sent += 1
        if batch:
            self._send(batch)
        return sent

    def _send(self, entries: Sequence[dict[str, Any]]) -> None:
        left = list(entries)
        for _ in range(2):
            failed = {
                f["Id"] for f in self._client.send_message_batch(QueueUrl=self.url, Entries=left).get("Failed", [])
            }
            left = [e for e in left if e["Id"] in failed]
            if not left:
                return
        raise RuntimeError(f"SQS refused {len(left)} messages")

    def hold(self, receipt: str, seconds: int) -> None:
        """The message stays hidden for `seconds` of real time from now."""
        self._client.change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=seconds)

    def hold_many(self, receipts: Sequence[str], seconds: int) -> None:
        """The same for many, ten a call. One that is not ours any more is left out: its message is somebody else's
        now.
        """
        for start in range(0, len(receipts), 10):
            self._client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                    for i, receipt in enumerate(receipts[start : start + 10])
                ],
            )

    def peek(self, limit: int = 10, hidden_s: int = 5) -> list[str]:
        """Bodies of some messages, left on the queue but hidden for `hidden_s` (for dead-letter queues): far less than
        the minute between two looks, since the alarms count what is visible, and people want to read it too."""
        got = self._client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=min(limit, 10), VisibilityTimeout=hidden_s, WaitTimeSeconds=0
        )
        return [m["Body"] for m in got.get("Messages", [])]
