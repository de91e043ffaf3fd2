"""Pack queue → on-demand lane: one message is one pack."""

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
from slackwater.adapters.metrics import emit
from slackwater.bootstrap.dispatch import Dispatching, build
from slackwater.model.errors import Lost
from slackwater.model.run import PackMessage
from slackwater.settings import Settings

SPARE_S = 20.0  # what is left of the function's time for storing and handing back

logger, tracer, metrics = Logger(), Tracer(), Metrics()


processor = Messages(logger)


@cache
def parts() -> Dispatching:
    return build(Settings.from_env())


@tracer.capture_method(capture_response=False, capture_error=False)
def record_handler(record: SQSRecord, lambda_context: LambdaContext) -> None:
    dispatching = parts()
    # from here on a killed worker's pack is back within 90 s
    dispatching.queue.hold_many([record.receipt_handle], HOLD_S)
    message = PackMessage.of(record.json_body)
    remaining_s = lambda_context.get_remaining_time_in_millis() / 1000
    try:
        done = dispatching.dispatch(
            message,
            owner=uuid.uuid4().hex,  # of this pass, not of the request: a retried request is another worker
            stop_at_wall_s=dispatching.clock.wall_s() + remaining_s - SPARE_S,
            alive=lambda renew: Heartbeat(dispatching.queue, [record.receipt_handle], renew=renew),
        )
    except Lost as exc:
        logger.info("message dropped", run_id=message.run_id, pack_id=message.pack_id, reason=str(exc))
        return
    emit(metrics, "Throttles", MetricUnit.Count, "region", dispatching.throttles.take())
    metrics.add_metric("CallsStored", MetricUnit.Count, done.stored)
    metrics.add_metric("CallsSentBack", MetricUnit.Count, done.unfinished)
    if done.unfinished and not done.stored:
        metrics.add_metric("NoRoom", MetricUnit.Count, 1)
    metrics.add_metric("Repeats", MetricUnit.Count, done.repeats)
    logger.info(
        "pack done" if not done.unfinished else "pack sent back",
        run_id=message.run_id,
        pack_id=message.pack_id,
        stored=done.stored,
        unfinished=done.unfinished,
        repeats=done.repeats,
    )


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
