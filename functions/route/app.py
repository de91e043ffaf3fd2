"""Job queue → on-demand call, pool, or back to the queue: a batch of messages at a time, each reported for itself."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from traceback import format_tb
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.adapters.heartbeat import Heartbeat
from slackwater.adapters.metrics import emit
from slackwater.bootstrap.route import JobRouting, build
from slackwater.model.claim import Inbound
from slackwater.settings import Settings
from slackwater.usecases.route import Outcome

SOON_S, LONGEST_S = 2, 180  # real seconds until messages of a batch that broke come back
SPARE_S = 20.0  # what is left of the function's time for storing and sending on

METRICS = {  # our counts → metrics, no dimension beyond the service
    "stored": "JobsStored",
    "pooled": "JobsPooled",
    "sent_on": "JobsSentOn",
    "refused": "MessagesRefused",
    "repeats": "Repeats",
}

logger, tracer, metrics = Logger(), Tracer(), Metrics()


@cache
def parts() -> JobRouting:
    return build(Settings.from_env())


def inbound(record: SQSRecord) -> Inbound:
    """The message as the use case sees it. Its body goes nowhere else: it is somebody's prompt."""
    sent = datetime.fromtimestamp(int(record.attributes.sent_timestamp) / 1000, UTC)
    return Inbound(
        message_id=record.message_id,
        receipt=record.receipt_handle,
        body=record.body,
        sent_at=parts().clock.at(sent),
        receives=int(record.attributes.approximate_receive_count),
    )


def run_batch(messages: list[Inbound], remaining_s: float) -> Outcome:
    """Holds the messages and the worker's lease while the batch runs."""
    routing = parts()
    worker = uuid.uuid4().hex[:20]  # of this invocation, not of the request: a retried request is another worker
    ends_at_s = routing.clock.wall_s() + remaining_s
    try:
        with Heartbeat(
            routing.queue,
            [message.receipt for message in messages],
            renew=lambda: routing.workers.renew(worker, stops_at_s=ends_at_s),
            on_error=lambda what: logger.warning("a heartbeat failed", error=what),
        ) as heart:
            return routing.router(messages, worker=worker, stop_at_wall_s=ends_at_s - SPARE_S, heart=heart)
    except Exception:
        routing.workers.end(worker)  # the next one need not wait for a lease that nobody uses
        raise


def come_back(message: Inbound) -> None:
    """Soon at first, then later and later: an outage of minutes must not fill the dead-letter queue."""
    try:
        parts().queue.hold(message.receipt, min(LONGEST_S, SOON_S * 2**message.receives))
    except Exception as exc:  # noqa: BLE001 - then it comes back when its visibility ends
        logger.warning("a message could not be called back sooner", error=type(exc).__name__)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
@event_source(data_class=SQSEvent)
def lambda_handler(event: SQSEvent, context: LambdaContext) -> dict[str, Any]:
    messages = [inbound(record) for record in event.records]
    try:
        outcome = run_batch(messages, context.get_remaining_time_in_millis() / 1000)
    except Exception as exc:  # noqa: BLE001 - raised on, its text (botocore's quotes parameters) would land in the log
        logger.error("batch goes back to the queue", error=type(exc).__name__, where=format_tb(exc.__traceback__))
        metrics.add_metric("BatchesFailed", MetricUnit.Count, 1)
        for message in messages:
            come_back(message)
        return _back(message.message_id for message in messages)
    emit(metrics, "Throttles", MetricUnit.Count, "region", parts().throttles.take())
    for message_id, why in outcome.faults.items():
        logger.error("message goes back to the queue", message_id=message_id, error=why)
    for name, metric in METRICS.items():
        if outcome.counts.get(name):
            metrics.add_metric(metric, MetricUnit.Count, outcome.counts[name])
    if outcome.counts.get("sent_on") and not outcome.counts.get("stored"):
        metrics.add_metric("NoRoom", MetricUnit.Count, 1)
    counts = {"messages": len(messages), "back": len(outcome.back), **outcome.counts}
    logger.info("batch done", extra={"counts": counts})
    return _back(outcome.back)


def _back(message_ids: Iterable[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}
