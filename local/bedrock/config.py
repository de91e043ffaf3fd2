"""What can be set on the emulator, at start (`--config FILE`) or while it runs (`/_control/config`).

Tables are dictionaries keyed by region and model (`*` is any; a model is named as called, or by its base id), so that
a JSON merge patch can change one cell: `{"faults": {"us-east-1": {"*": {"down": true}}}}`; `null` puts a cell back to
its default. Lists are replaced whole. All times are virtual seconds except `hang_s`. Unknown fields are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import STATUS

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Range = tuple[Seconds, Seconds]
Status = Literal["Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"]


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from None
    return pattern


def _code(code: str) -> str:
    if code not in STATUS:
        raise ValueError(f"unknown error code {code!r}; known: {', '.join(sorted(STATUS))}")
    return code


Regex = Annotated[str, AfterValidator(_regex)]
Code = Annotated[str, AfterValidator(_code)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(Part):
    """What goes wrong with calls of one region and model. None: not said here, look at the less specific entry."""

    errors: dict[Code, Share] | None = None
    down: bool | None = None  # 503 for every call and every batch create
    down_control: bool | None = None  # 503 for get, list and stop of batch jobs too
    reset_before: Share | None = None  # connection closed, nothing was done
    reset_after: Share | None = None  # connection closed after the call was answered and billed
    original_status: int | None = None  # of ModelErrorException; 500
    hang: Share | None = None
    hang_s: Seconds | None = None  # REAL seconds, after billing, before the reply
    latency_ms: Range | None = None  # virtual; default 80..200


class Limit(Part):
    rpm: Annotated[float, Field(ge=0)] | None = None
    tpm: Annotated[float, Field(ge=0)] | None = None
    tpd: Annotated[float, Field(ge=0)] | None = None


class AnswerRule(Part):
    """The first rule that matches the last user text answers; without one the emulator echoes."""

    match: Regex
    region: str | None = None
    model: str | None = None
    lane: Literal["on_demand", "flex", "batch"] | None = None
    share: Share = 1.0  # applies to this share of the tries
    times: Annotated[int, Field(ge=1)] | None = None  # then it is spent
    text: str | None = None
    output_tokens: Annotated[int, Field(ge=1)] | None = None
    stop_reason: str | None = None
    error: Code | None = None
    original_status: int | None = None  # of ModelErrorException; 500
    latency_ms: Seconds | None = None


class Answers(Part):
    rules: list[AnswerRule] = []
    default_max_tokens: Annotated[int, Field(ge=1)] = 8192  # where the request sets none
    errors_quote_prompt: bool = True  # AWS's messages may: nothing may copy them into a log


class Models(Part):
    burn_down: dict[str, int] = {}  # base id: factor; else the table of models.py
    access: dict[str, dict[str, bool]] = {}  # region: model as called: may be called
    profiles_only: list[Regex] = []  # base ids that refuse the bare id
    application_profiles: dict[str, str] = {}  # id: model or profile id behind it
    no_flex: list[Regex] = [r"^anthropic\.", r"^meta\.", r"^amazon\.nova-(micro|lite)-"]
    unsupported_flex: Literal["serve_default", "refuse"] = "serve_default"  # AWS does not say which
    flex_latency_factor: Annotated[float, Field(ge=1)] = 3.0
    flex_floor: Share = 0.1  # flex is throttled when less than this share of a minute would be left


class Outcome(Part):
    """What becomes of a batch job."""

    match: Regex | None = None  # on jobName
    region: str | None = None
    model: str | None = None
    times: Annotated[int, Field(ge=1)] | None = 1  # how many creates it serves; null: all
    create: Literal["lost_reply", "lost_request"] | Code | None = None
    status: Status = "Completed"
    message: str | None = None
    fraction: Share = 0.5  # of the rows, for PartiallyCompleted, Failed and Stopped
    write_output: bool | None = None  # default: yes, except for Failed and Expired
    after_s: Seconds | None = None  # when it ends, from InProgress (Expired: from Scheduled, else at its time-out)
    missing_rows: Share = 0.0  # not in the output, though the counts say so
    missing_billed: bool = False
    error_rows: Share = 0.0
    error_code: int = 500
    error_message: str = "InternalServerException"
    doubled_rows: Share = 0.0
    manifest: Literal["right", "wrong", "none"] = "right"
    stuck: Literal["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"] | None = None
    validating_s: Seconds | None = None
    scheduled_s: Seconds | None = None
    base_s: Seconds | None = None
    per_record_s: Seconds | None = None
    list_lag_s: Seconds | None = None


class WeightedOutcome(Part):
    share: Share
    outcome: Outcome


class Batch(Part):
    minimum_records: Annotated[int, Field(ge=0)] = 100
    maximum_records: Annotated[int, Field(ge=1)] = 100_000  # per job and per file
    maximum_file_bytes: Annotated[int, Field(ge=1)] = 10**9
    maximum_job_bytes: Annotated[int, Field(ge=1)] = 5 * 10**9
    open_jobs: Annotated[int, Field(ge=0)] = 100  # per base model and region
    submitted_s: Range = (5, 20)
    validating_s: Range = (30, 90)
    scheduled_s: Range = (120, 300)
    base_s: Range = (240, 420)
    per_record_s: Seconds = 0.3
    stopping_s: Range = (5, 30)
    default_timeout_hours: Annotated[int, Field(ge=1)] = 24  # AWS publishes none
    list_lag_s: Seconds = 0.0
    list_page: Annotated[int, Field(ge=1, le=1000)] = 100  # when maxResults is not given
    outcomes: list[Outcome] = []  # the first that matches and is not spent
    odds: list[WeightedOutcome] = []  # else one roll over these
    default: Outcome = Outcome()
    support: dict[str, dict[str, bool]] = {}  # region: model as called: has batch
    faults: dict[Literal["create", "get", "list", "stop"], Fault] = {}  # latency_ms is not used here
    tools: Literal["refuse", "allow"] = "refuse"
    multi_turn: Literal["refuse", "allow"] = "refuse"
    structured_output: Literal["refuse", "allow"] = "allow"  # AWS's pages contradict each other
    cache_points: Literal["ignore", "refuse"] = "ignore"


class Events(Part):
    enabled: bool = True
    source: str = "aws.bedrock"  # AWS and its emulators refuse `aws.*` from PutEvents: name another where that matters
    region: str | None = None  # None: the job's
    lost: Share = 0.0
    doubled: Share = 0.0
    delay_s: Range = (0, 0)


class Config(Part):
    default_region: str = "us-east-1"  # for calls without a signature
    account_id: Annotated[str, Field(pattern=r"^\d{12}$")] = "000000000000"  # where the role's ARN names none
    buckets: dict[str, str] = {}  # bucket: region; a batch job may not use a foreign one. Unknown buckets pass
    quotas: dict[str, dict[str, dict[Literal["on_demand", "cross_region", "global", "*"], Limit]]] = {}
    faults: dict[str, dict[str, Fault]] = {}
    answers: Answers = Answers()
    models: Models = Models()
    batch: Batch = Batch()
    events: Events = Events()


class ConfigError(ValueError):
    """The configuration names an unknown field or a wrong value; the text says which."""


def parse(document: Any) -> Config:
    """A configuration from JSON. Raises ConfigError."""
    try:
        return Config.model_validate(document)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, error['loc'])) or 'config'}: {error['msg']}" for error in exc.errors())
        raise ConfigError(faults) from None


def merge(base: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): objects are merged, null removes, the rest replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def lookup(table: dict[str, dict[str, Any]], region: str, *models: str) -> Any:
    """The most specific cell: region before `*`, the models in order before `*`; None if there is none."""
    for area in (region, "*"):
        row = table.get(area, {})
        for model in (*models, "*"):
            if model in row:
                return row[model]
    return None
