"""What a person asks of the queues: how full they are, what lies in the dead-letter queues, and to send that back."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from slackwater.usecases.dead_letters import DeadMessage
from slackwater.usecases.overview import Gauge

LOOK_HIDDEN_S: Final = 10  # real seconds for which a looked-at message is hidden: it is not received twice in one look
MOVE_HIDDEN_S: Final = 60
PATIENCE_S: Final = 12.0  # longer than any look hides a message
AGE_WINDOW_S: Final = 900  # CloudWatch has a queue's metrics a few minutes late
POLL_S: Final = 1.0
_NO_MOVE_TASKS: Final = frozenset(
    {"InvalidAction", "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation"}
)
_MOVING: Final = frozenset({"RUNNING", "CANCELLING"})


class QueueGauge:
    """One queue's counts, and the age of its oldest message where CloudWatch tells it."""

    def __init__(self, sqs: Any, cloudwatch: Callable[[], Any], name: str, url: str, *, dead: bool = False) -> None:
        self._sqs = sqs
        self._cloudwatch = cloudwatch
        self._name = name
        self._url = url
        self._dead = dead

    def __call__(self) -> Gauge:
        """Raises botocore's errors where the queue cannot be asked."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        visible, in_flight, delayed = (int(found.get(name, 0)) for name in names)
        return Gauge(self._name, visible, in_flight, delayed, self._oldest_s() if visible else None, self._dead)

    def _oldest_s(self) -> float | None:
        now = datetime.now(UTC)
        try:
            points = self._cloudwatch().get_metric_statistics(
                Namespace="AWS/SQS",
                MetricName="ApproximateAgeOfOldestMessage",
                Dimensions=[{"Name": "QueueName", "Value": self._url.rpartition("/")[2]}],
                StartTime=now - timedelta(seconds=AGE_WINDOW_S),
                EndTime=now,
                Period=60,
                Statistics=["Maximum"],
            )["Datapoints"]
        except (BotoCoreError, ClientError):
            return None  # not ours to ask: unknown, never zero
        return max(points, key=lambda point: point["Timestamp"])["Maximum"] if points else None


class DeadLetterQueue:
    """One dead-letter queue and the queue that its messages came from."""

    def __init__(self, sqs: Any, url: str, source_url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._source_url = source_url

    def look(self, limit: int) -> Iterator[DeadMessage]:
        """Some of its messages; they stay, hidden for ten seconds. Those that another looker (the tick looks once a
        minute) hides at this moment are waited for, `PATIENCE_S` at most."""
        left = limit
        seen: set[str] = set()
        end_s = time.monotonic() + PATIENCE_S
        while left > 0:
            got = self._receive(min(left, 10), LOOK_HIDDEN_S)
            fresh = [message for message in got if message["MessageId"] not in seen]
            if not fresh and (time.monotonic() > end_s or self._lying() <= len(seen)):
                return
            seen |= {message["MessageId"] for message in fresh}
            left -= len(fresh)
            for message in fresh:
                about = message.get("Attributes", {})
                sent_ms = about.get("SentTimestamp")
                yield DeadMessage(
                    message["MessageId"],
                    message["Body"],
                    int(about.get("ApproximateReceiveCount", 1)),
                    None if sent_ms is None else datetime.fromtimestamp(int(sent_ms) / 1000, UTC),
                )

    def redrive(self, wait_s: float) -> int | None:
        """Sends all messages back to where they came from; how many have gone after at most `wait_s` (None: SQS does
        not say, and goes on by itself). https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
        """
        arn = self._arn(self._url)
        try:
            self._sqs.start_message_move_task(SourceArn=arn, DestinationArn=self._arn(self._source_url))
        except ClientError as exc:
            if exc.response["Error"]["Code"] not in _NO_MOVE_TASKS:
                raise
            return self._move_by_hand()
        end_s = time.monotonic() + wait_s
        while True:
            task = self._sqs.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0]
            if task["Status"] not in _MOVING:
                return int(task.get("ApproximateNumberOfMessagesMoved", 0))
            if time.monotonic() > end_s:
                return None
            time.sleep(POLL_S)

    def _move_by_hand(self) -> int:
        """Where SQS has no move tasks (emulators): each is sent first and deleted then, so that a crash between leaves
        two, which the ledger tells apart, and never none."""
        moved: set[str] = set()
        end_s = time.monotonic() + PATIENCE_S
        while (got := self._receive(10, MOVE_HIDDEN_S)) or (self._lying() and time.monotonic() < end_s):
            for message in got:
                if message["MessageId"] not in moved:
                    group = message.get("Attributes", {}).get("MessageGroupId")
                    extra = {"MessageGroupId": group} if group else {}
                    self._sqs.send_message(QueueUrl=self._source_url, MessageBody=message["Body"], **extra)
                    moved.add(message["MessageId"])
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return len(moved)

    def _lying(self) -> int:
        """How many messages it holds, hidden ones too (approximate, as SQS counts)."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def _receive(self, number: int, hidden_s: int) -> list[dict[str, Any]]:
        got = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=number,
            VisibilityTimeout=hidden_s,
            WaitTimeSeconds=1,  # a long poll asks all of SQS's servers, a short one some
            MessageSystemAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = got.get("Messages", [])
        return found

    def _arn(self, url: str) -> str:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return str(attributes["QueueArn"])
