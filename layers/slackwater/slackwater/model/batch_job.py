"""A Bedrock batch job as Bedrock tells of it, and how asking it fails. Nothing here holds provider text."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slackwater.model.errors import SlackwaterError

ENDED: Final = frozenset({"Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"})
"""Statuses that never change again (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-monitor.html)."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """What Get or List said of a job. A count of None was not told. Times are Bedrock's."""

    name: str
    arn: str
    status: str
    region: str
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    total_records: int | None = None
    processed_records: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it will change no more."""
        return self.status in ENDED

    @property
    def short_id(self) -> str:
        """The 12 characters that name its output folder."""
        return short_id(self.arn)


def short_id(arn: str) -> str:
    """The last piece of a job's ARN."""
    return arn.rpartition("/")[2]


class BatchCallFailed(SlackwaterError):
    """A control-plane call brought no answer; `fault` (policy.classify.BatchFault) says what is known after it.

    Holds the provider's code, never its text.
    """

    def __init__(self, code: str, fault: str) -> None:
        super().__init__(code)
        self.code = code
        self.fault = fault


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that has not ended, whoever made it. `model_id` as its creator gave it, an ARN perhaps."""

    name: str
    model_id: str
    status: str
    submitted_at: datetime | None
