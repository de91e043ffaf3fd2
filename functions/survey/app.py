"""Run workflow → survey: every line of a dropped file checked and cut into blocks."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.survey import build
from slackwater.settings import Settings
from slackwater.usecases.survey_file import SurveyFile

logger, tracer = Logger(), Tracer()


@cache
def survey() -> SurveyFile:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    status = survey()(event)
    logger.info("surveyed", status=status)
    return {"run_id": event["run_id"], "status": status}
