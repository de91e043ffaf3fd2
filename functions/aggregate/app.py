"""Run workflow → results file and receipt."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.aggregate import build
from slackwater.settings import Settings
from slackwater.usecases.aggregate import Aggregate

logger, tracer = Logger(), Tracer()


@cache
def aggregate() -> Aggregate:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    receipt = aggregate()(event["run_id"])
    logger.info(
        "run aggregated", accepted=receipt["accepted"], succeeded=receipt["succeeded"], failed=receipt["failed"]
    )
    return {"run_id": event["run_id"], "status": receipt["status"]}
