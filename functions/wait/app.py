"""Run workflow → ledger: keeps the run's task token until its last unit has settled."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.wait import build
from slackwater.settings import Settings
from slackwater.usecases.wait import Wait

logger, tracer = Logger(), Tracer()


@cache
def wait() -> Wait:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    wait()(event["run_id"], event["task_token"])
    return {"run_id": event["run_id"]}
