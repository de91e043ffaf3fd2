"""One model call that somebody asked for, as everything behind the intake sees it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from slackwater.model.native import Request


class Lane(StrEnum):
    """How a call is made."""

    ON_DEMAND = "on_demand"
    FLEX = "flex"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Job:
    """`request` knows its type (`model.native`); `line` is the file's line or the queue run's ordinal."""

    run_id: str
    block: str
    line: int
    id: str
    job: str
    profile: str
    deadline: datetime
    request: Request
    lane: Lane | None = None  # the caller forces one
    tags: dict[str, str] | None = None
    rescued: bool = False  # a batch job left it over


@dataclass(frozen=True, slots=True)
class Route:
    """One concrete way to make a call: source region × model or inference-profile id × tier."""

    region: str
    model_id: str  # what is called: `global.…`, `us.…` or the plain id
    base_model: str
    kind: str  # price row: `regional` or `global`
    weight: int = 1
    tier: str = "default"
    application_profile: str | None = None  # the ARN to call by in place of `model_id`: the same model, tagged

    @property
    def called(self) -> str:
        """What goes into `modelId` of a call."""
        return self.application_profile or self.model_id

    @property
    def name(self) -> str:
        """`region|model id|tier`: the key of its health and of receipts."""
        return f"{self.region}|{self.model_id}|{self.tier}"
