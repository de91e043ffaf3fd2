"""Reply queues, named by ARN: their URLs are looked up once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from slackwater.adapters.queues import Queue
from slackwater.model.clock import Clock
from slackwater.usecases.ports import Outgoing
from slackwater.usecases.replies import ReplyFailed


class QueuesByArn:
    """Sends to queues of any region and account that lets us."""

    def __init__(self, client: Callable[[str], Any], clock: Clock) -> None:
        """`client` gives an SQS client of a region."""
        self._client = client
        self._clock = clock
        self._queues: dict[str, Queue] = {}

    def send(self, arn: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Raises ReplyFailed with SQS's code."""
        try:
            self._queue(arn).send(Outgoing(dict(body)) for body in bodies)
        except ClientError as exc:
            raise ReplyFailed(exc.response["Error"]["Code"]) from None
        except (BotoCoreError, RuntimeError) as exc:
            raise ReplyFailed(type(exc).__name__) from None

    def _queue(self, arn: str) -> Queue:
        if arn not in self._queues:
            _, _, _, region, account, name = arn.split(":")
            client = self._client(region)
            url = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
            self._queues[arn] = Queue(client, url, self._clock)
        return self._queues[arn]
