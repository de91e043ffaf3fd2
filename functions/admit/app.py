"""Intake queue → run workflow: one S3 event starts one run."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.adapters.messages import Messages
from slackwater.bootstrap.admit import build
from slackwater.settings import Settings
from slackwater.usecases.admit import Admit

logger, tracer, metrics = Logger(), Tracer(), Metrics()


processor = Messages(logger)


@cache
def admit() -> Admit:
    return build(Settings.from_env())


@tracer.capture_method(capture_response=False, capture_error=False)
def record_handler(record: SQSRecord) -> None:
    run_id = admit()(record.json_body)
    if run_id:
        metrics.add_metric("FilesAdmitted", MetricUnit.Count, 1)
        logger.info("run started", run_id=run_id)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
