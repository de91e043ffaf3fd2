"""Run workflow → shards and packs: places one item of the plan."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.place import build
from slackwater.settings import Settings
from slackwater.usecases.place import Place

logger, tracer = Logger(), Tracer()


@cache
def place() -> Place:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    placed = place()(event["run_id"], event["item"])
    logger.info("placed", units=placed)
    return {"run_id": event["run_id"], "units": placed}
