"""What a queue's handler does with a message that broke: told by class and place, never by text."""

from traceback import format_tb
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType

from slackwater.model.run import StrangeMessage


class Messages(BatchProcessor):
    """Powertools' processor of SQS batches; a failed message is logged, reported for itself, and comes back.

    The exception's text stays out of the log: botocore's quotes what was sent, which may be somebody's prompt. Of a
    message that is none of ours, the field that gives it away is named.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        self._logger = logger

    def failure_handler(self, record: Any, exception: Any) -> Any:
        kind, value, trace = exception
        wrong: dict[str, Any] = (
            {"field": value.pointer, "remedy": value.message} if isinstance(value, StrangeMessage) else {}
        )
        self._logger.error(
            "message goes back to the queue",
            message_id=record.message_id,
            error=kind.__name__,
            where=format_tb(trace),
            **wrong,
        )
        return super().failure_handler(record, exception)
