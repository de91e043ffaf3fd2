"""Run workflow → plan: the lane of each class of jobs, shards and packs."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.plan import build
from slackwater.settings import Settings
from slackwater.usecases.plan import Plan

logger, tracer = Logger(), Tracer()


@cache
def plan() -> Plan:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    items = plan()(event["run_id"])
    logger.info("planned", items=len(items))
    return {"run_id": event["run_id"], "items": items}
