"""Metrics with one dimension beside the service, in CloudWatch's embedded format: for regions and lanes, which are few.

Each value of a dimension is a metric of its own and costs by the month: never a run, a profile or a job.
"""

from collections.abc import Mapping
from typing import Final

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

DIMENSIONS: Final = frozenset({"region", "lane"})


def emit(metrics: Metrics, name: str, unit: MetricUnit, by: str, values: Mapping[str, float]) -> None:
    """Writes `values`, one line each, under the dimension `by`. Raises ValueError for a dimension that is not few."""
    if by not in DIMENSIONS:
        raise ValueError(f"{by} is no dimension of ours")
    for value_of, value in values.items():
        dimensions = {"service": str(metrics.service), by: value_of}
        with single_metric(
            name=name, unit=unit, value=value, namespace=metrics.namespace, default_dimensions=dimensions
        ):
            pass
