"""Schedule → one look at all that is due; once a day, the limits that Service Quotas knows."""

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from slackwater.bootstrap.tick import Ticking, build
from slackwater.settings import Settings

SPARE_S = 20.0  # one slow list, and the dead-letter queues, still fit in

logger, tracer, metrics = Logger(), Tracer(), Metrics()


@cache
def parts() -> Ticking:
    return build(Settings.from_env())


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=False)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    if event.get("sync") == "quotas":
        return synced()
    ticking = parts()
    remaining_s = context.get_remaining_time_in_millis() / 1000
    done = ticking.tick(stop_at_wall_s=ticking.clock.wall_s() + remaining_s - SPARE_S)
    metrics.add_metric("DueItems", MetricUnit.Count, done.due)
    metrics.add_metric("WorkSent", MetricUnit.Count, done.sent)
    metrics.add_metric("OpenShards", MetricUnit.Count, done.open_shards)
    if done.oldest_s is not None:
        metrics.add_metric("OldestShardSeconds", MetricUnit.Seconds, done.oldest_s)
    for turnaround_s, forecast_s in zip(done.turnarounds_s, done.forecasts_s, strict=True):
        metrics.add_metric("BatchTurnaroundSeconds", MetricUnit.Seconds, turnaround_s)
        metrics.add_metric("BatchForecastSeconds", MetricUnit.Seconds, forecast_s)
    if done.unreadable_regions:
        logger.warning("batch jobs cannot be listed", regions=done.unreadable_regions)
    if done.left:
        logger.warning("the time did not suffice for all that is due", left=done.left)
    if done.sent:
        logger.info("ticked", due=done.due, sent=done.sent)
    return {"due": done.due, "sent": done.sent, "left": done.left}


def synced() -> dict[str, Any]:
    from slackwater.bootstrap.quotas import sync  # noqa: PLC0415  (once a day; its profiles take a while to load)

    done = sync(Settings.from_env())
    metrics.add_metric("QuotasTold", MetricUnit.Count, len(done.told))
    if done.unreadable:
        logger.warning("Service Quotas could not be asked; limits stay as they are", regions=dict(done.unreadable))
    if done.missing:
        logger.info("Service Quotas lists no limit", pools=dict(done.missing))
    return {"told": len(done.told), "kept": len(done.kept), "missing": len(done.missing)}
