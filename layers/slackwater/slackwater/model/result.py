"""Result lines (format version 1): one per accepted or refused id, whatever lane it went."""

from datetime import datetime
from typing import Any

from slackwater.model.clock import iso
from slackwater.model.job import Job, Lane, Route
from slackwater.model.money import usd_float
from slackwater.model.native import INVOKE_MODEL, NativeBody
from slackwater.model.usage import Usage

VERSION = 1


def succeeded(
    job: Job,
    *,
    lane: Lane,
    route: Route,
    tier: str,
    response: dict[str, Any],
    usage: Usage | None,
    cost_pico: int | None,
    list_pico: int | None,
    price_version: str,
    attempts: int,
    latency_ms: int | None,
    finished_at: datetime,
) -> dict[str, Any]:
    """The line of an answered job. `tier` is the served one: billing follows the response, not the request."""
    line = _line(job, "succeeded", finished_at, attempts)
    line.update(
        lane=lane.value,
        region=route.region,
        model=route.base_model,
        route=route.name,
        tier=tier,
        response=response,
        usage=None if usage is None else usage.to_json(),
        cost_usd=usd_float(cost_pico),
        list_usd=usd_float(list_pico),
        price_version=price_version,
        latency_ms=latency_ms,
    )
    if isinstance(job.request, NativeBody):  # `response` is the model's own body, not Converse's
        line["request_type"] = INVOKE_MODEL
    return line


class Alike:
    """Lines of answers that have all but job, answer, tokens and money in common: that is made once, not a hundred
    thousand times."""

    def __init__(self, like: dict[str, Any]) -> None:
        """`like` is such a line, as `succeeded` makes it, of a job without tags."""
        self._like = like

    def line(  # noqa: PLR0917 - the fields that differ, in the format's order
        self,
        id_: str,
        job: str,
        run_id: str,
        line: int,
        response: dict[str, Any],
        usage: Usage | None,
        cost_pico: int | None,
        list_pico: int | None,
        tags: dict[str, str] | None,
    ) -> dict[str, Any]:
        """The line that `succeeded` would make."""
        found = {
            **self._like,
            "id": id_,
            "job": job,
            "run_id": run_id,
            "line": line,
            "response": response,
            "usage": None if usage is None else usage.to_json(),
            "cost_usd": usd_float(cost_pico),
            "list_usd": usd_float(list_pico),
        }
        if tags:
            found["tags"] = tags
        return found


def failed(
    job: Job,
    *,
    code: str,
    message: str,
    finished_at: datetime,
    lane: Lane | None = None,
    route: Route | None = None,
    attempts: int = 0,
    pointer: str | None = None,
) -> dict[str, Any]:
    """The line of a job that got no answer. `message` is ours; a provider's text may quote a prompt and stays out."""
    line = _line(job, "failed", finished_at, attempts)
    line.update(
        lane=None if lane is None else lane.value,
        region=None if route is None else route.region,
        model=None if route is None else route.base_model,
        route=None if route is None else route.name,
        tier=None if route is None else route.tier,
        error={"code": code, "message": message, "line": job.line, "pointer": pointer},
    )
    return line


def refused(
    run_id: str,
    line: int,
    caller_id: str | None,
    *,
    code: str,
    message: str,
    pointer: str | None,
    at: datetime,
    **more: Any,
) -> dict[str, Any]:
    """The line of an input that never became a job: `job` is null. `more` joins the error, e.g. `first_line`."""
    row = _empty(run_id, line, caller_id or f"line-{line}", None, "failed", at, 0)
    row["error"] = {"code": code, "message": message, "line": line, "pointer": pointer, **more}
    return row


def _line(job: Job, status: str, finished_at: datetime, attempts: int) -> dict[str, Any]:
    row = _empty(job.run_id, job.line, job.id, job.job, status, finished_at, attempts)
    if job.tags:
        row["tags"] = job.tags
    if job.rescued:
        row["rescued"] = True
    return row


def _empty(  # noqa: PLR0917 - the format's own first fields, in its order
    run_id: str, line: int, id_: str, job: str | None, status: str, at: datetime, attempts: int
) -> dict[str, Any]:
    return {
        "v": VERSION,
        "id": id_,
        "job": job,
        "run_id": run_id,
        "line": line,
        "status": status,
        "lane": None,
        "region": None,
        "model": None,
        "route": None,
        "tier": None,
        "response": None,
        "usage": None,
        "cost_usd": None,
        "list_usd": None,
        "price_version": None,
        "attempts": attempts,
        "latency_ms": None,
        "finished_at": iso(at),
        "error": None,
    }
