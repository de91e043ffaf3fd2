"""Work queue → one step of one shard, pool or run."""

import uuid
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.adapters.heartbeat import HOLD_S, Heartbeat
from slackwater.adapters.messages import Messages
from slackwater.bootstrap.work import Working, build
from slackwater.settings import Settings

logger, tracer, metrics = Logger(), Tracer(), Metrics()


processor = Messages(logger)


@cache
def parts() -> Working:
    return build(Settings.from_env())


@tracer.capture_method(capture_response=False, capture_error=False)
def record_handler(record: SQSRecord) -> None:
    working = parts()
    working.queue.hold_many([record.receipt_handle], HOLD_S)  # from here on a killed worker's message is soon back
    done = working.work(
        record.json_body,
        worker=uuid.uuid4().hex,  # of this pass, not of the request: a retried request is another worker
        alive=lambda renew: Heartbeat(working.queue, [record.receipt_handle], renew=renew),
    )
    metrics.add_metric("WorkDone", MetricUnit.Count, 1)
    logger.info("work done", do=done.do, subject=done.subject, outcome=done.outcome)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
