"""Run workflow → ledger and event bus: how the run ended."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.announce import build
from slackwater.settings import Settings
from slackwater.usecases.announce import Announce

logger, tracer = Logger(), Tracer()


@cache
def announce() -> Announce:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    announce()(event["run_id"], event["status"])
    logger.info("run ended", status=event["status"])
    return {"run_id": event["run_id"], "status": event["status"]}
