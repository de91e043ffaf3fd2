"""A shard: one JSONL file = one Bedrock batch job, as the ledger knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from slackwater.model import names
from slackwater.model.job import Lane, Route
from slackwater.model.native import RequestType

FIRST_GENERATION: Final = 1
"""Of the first shard that holds a job; a rescue by batch is the next."""


class ShardState(StrEnum):
    """staged → intent → open → (stopping) → collecting → settled; back to staged after a refusal."""

    STAGED = "staged"  # its file is in S3
    INTENT = "intent"  # a create may have been sent
    OPEN = "open"  # the job's ARN is known
    STOPPING = "stopping"  # a stop was sent
    COLLECTING = "collecting"  # its output is being read, or it will have none: see `arn`
    SETTLED = "settled"


class OwnerKind(StrEnum):
    """Whose jobs these are."""

    RUN = "run"  # a dropped file: the shard is a unit of its run
    POOL = "pool"  # queue jobs of any runs of one profile


@dataclass(frozen=True, slots=True)
class Shard:
    """The SHARD item. Times are the product's, `lease_until_s` is real (wall) seconds. `attempt` names the job."""

    id: str
    state: ShardState
    region: str
    model_id: str
    base_model: str
    kind: str
    attempt: int
    records: int
    bytes: int
    owner_kind: OwnerKind
    owner: str
    profile: str
    home_region: str
    deadline_at: datetime  # the latest of its jobs
    guard_at: datetime  # from here on the job is stopped and what is missing rescued; see `earliest_at`
    generation: int = 0
    request_type: RequestType = RequestType.CONVERSE  # of all its records
    profiles_version: str = ""
    rescue_lane: Lane = Lane.ON_DEMAND
    alternatives: tuple[Route, ...] = ()  # other ways to run it as a batch job, in the order to try
    refused_regions: tuple[str, ...] = ()
    job_name: str | None = None
    arn: str | None = None
    intent_at: datetime | None = None
    intent_wall_s: int | None = None
    submitted_at: datetime | None = None
    stop_asked_at: datetime | None = None
    stopped_seen_at: datetime | None = None
    delays: int = 0  # creates in a row for which its region had no room
    lease_until_s: int = 0
    owner_worker: str | None = None
    next_check_at: datetime | None = None
    staged_at: datetime | None = None
    earliest_at: datetime | None = None  # the earliest deadline of its jobs: with it the tick reckons the guard anew
    canaries: tuple[str, ...] = ()  # shapes of its requests that calls have yet to prove (policy.canary.shape_key)
    cut: bool = False  # cancelled: `guard_at` holds as it is
    max_output_tokens: int = 0  # that its requests allow, summed
    quotas: tuple[str, ...] = ()  # what calling its jobs would draw on (`region|family|model`)
    forecasts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)  # by region, as it was staged
    took_s: int | None = None  # of the job that ended: seconds from submitted to ended
    took_whole: bool | None = None  # False: it was cut off then, and would have taken longer

    @property
    def forecast(self) -> Mapping[str, Any] | None:
        """What was forecast of a job in its region, when it was staged (`policy.forecast.Forecast.as_json`)."""
        return self.forecasts.get(self.region)

    @property
    def route(self) -> Route:
        """Where it runs, as a result line names it."""
        return Route(self.region, self.model_id, self.base_model, self.kind)

    @property
    def input_key(self) -> str:
        """In the bucket of its region."""
        return names.shard_input_key(self.id)

    @property
    def output_prefix(self) -> str:
        """What the job is told to write under, in the bucket of its region."""
        return names.shard_output_prefix(self.id)

    @property
    def index_key(self) -> str:
        """Which record is which job; in the home bucket."""
        return index_key(self.owner_kind, self.owner, self.id)


def index_key(owner_kind: OwnerKind, owner: str, shard: str) -> str:
    """The key of a shard's index in the home bucket."""
    if owner_kind is OwnerKind.RUN:
        return names.index_key(owner, shard)
    return f"v1/pools/{owner}/index-{shard}.jsonl"
