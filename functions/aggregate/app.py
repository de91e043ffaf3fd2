"""Run workflow → results file and receipt."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.adapters.metrics import emit
from slackwater.bootstrap.aggregate import build
from slackwater.settings import Settings
from slackwater.usecases.aggregate import Aggregate

logger, tracer, metrics = Logger(), Tracer(), Metrics()


@cache
def aggregate() -> Aggregate:
    return build(Settings.from_env())


def usd(exact: object) -> float:
    """An exact amount of a receipt as a metric's number."""
    return float(orjson.dumps(exact))


def measure(receipt: Mapping[str, Any]) -> None:
    """What the run was: jobs and known cost by lane, the list price of the same tokens, and what failed.

    An aggregation that is repeated counts again: metrics show a trend, the receipt is the account.
    """
    lanes = {lane: share for lane, share in receipt["lanes"].items() if share["jobs"]}
    emit(metrics, "Jobs", MetricUnit.Count, "lane", {lane: share["jobs"] for lane, share in lanes.items()})
    emit(metrics, "CostUsd", MetricUnit.NoUnit, "lane", {lane: usd(share["cost_usd"]) for lane, share in lanes.items()})
    metrics.add_metric("RecordsFailed", MetricUnit.Count, receipt["failed"])
    metrics.add_metric("LinesRefused", MetricUnit.Count, receipt["refused_lines"])
    metrics.add_metric("UnknownPriceJobs", MetricUnit.Count, receipt["unknown_price_jobs"])
    if receipt["list_usd"] is not None:
        metrics.add_metric("ListUsd", MetricUnit.NoUnit, usd(receipt["list_usd"]))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(run_id=event["run_id"])
    receipt = aggregate()(event["run_id"])
    logger.info(
        "run aggregated", accepted=receipt["accepted"], succeeded=receipt["succeeded"], failed=receipt["failed"]
    )
    if receipt["report"] is None:
        logger.error("report not made", reason=receipt["warnings"][-1])
    measure(receipt)
    return {"run_id": event["run_id"], "status": receipt["status"]}
