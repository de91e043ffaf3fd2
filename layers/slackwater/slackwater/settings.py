"""The only reader of `os.environ`: checked once, at first use.

Without pydantic: the functions that need it for nothing else would load it in every cold start for this page alone.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final

from slackwater.model.errors import ConfigurationError

PREFIX: Final = "SLACKWATER_"
DRAIN_JOBS_PER_S: Final = 20.0
"""The template's default of `DrainJobsPerSecond`."""


def _bounded(default: float, **bounds: float) -> Any:
    """A number with its bounds: `least` and `most` are allowed themselves, `above` is not."""
    return field(default=default, metadata=bounds)


@dataclass(frozen=True)
class Settings:
    """What the template tells every function; a field `job_queue_url` is read from `SLACKWATER_JOB_QUEUE_URL`."""

    table: str
    bucket: str
    stack_arn: str
    region: str
    job_queue_url: str = ""
    pack_queue_url: str = ""
    work_queue_url: str = ""
    job_dead_letters_url: str = ""
    pack_dead_letters_url: str = ""
    work_dead_letters_url: str = ""
    state_machine_arn: str = ""
    batch_role_arn: str = ""  # of the home region
    batch_bucket_prefix: str = ""  # satellite buckets are <prefix>-<region>
    batch_role_prefix: str = ""  # satellite roles are <prefix>-<region>
    satellite_regions: tuple[str, ...] = ()
    reply_queue_arns: tuple[str, ...] = ()
    retain_days: int = _bounded(30, least=1)
    batch_enabled: bool = True
    concurrency: int = _bounded(32, least=1, most=256)  # calls in flight in one worker
    drain_jobs_per_s: float = _bounded(DRAIN_JOBS_PER_S, above=0)  # by calls, where no quota is known
    clock_rate: float = _bounded(1.0, above=0)
    clock_origin: float = 0.0
    event_bus: str = "default"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Raises ConfigurationError that names each missing or wrong variable, not its value."""
        source = os.environ if environ is None else environ
        read: dict[str, Any] = {"region": source.get("AWS_REGION") or source.get("AWS_DEFAULT_REGION") or ""}
        wrong: list[str] = []
        for each in fields(cls):
            variable = PREFIX + each.name.upper()
            text = source.get(variable)
            if text:
                try:
                    read[each.name] = _READERS[each.type](text)
                    _check(read[each.name], **each.metadata)
                except ValueError:
                    wrong.append(variable)
            elif each.default is MISSING and each.name not in read:
                wrong.append(variable)
        if wrong:
            raise ConfigurationError(f"set or mend the environment of the function: {', '.join(wrong)}")
        return cls(**read)

    @property
    def batch_buckets(self) -> dict[str, str]:
        """Region → the bucket in which batch jobs of that region read and write; empty when the batch lane is off."""
        if not self.batch_enabled:
            return {}
        satellites = {region: f"{self.batch_bucket_prefix}-{region}" for region in self.satellite_regions}
        return satellites | {self.region: self.bucket}

    def batch_role(self, region: str) -> str:
        """The ARN of the role that Bedrock takes for batch jobs of a region."""
        return self.batch_role_arn if region == self.region else f"{self.batch_role_prefix}-{region}"


def _check(value: Any, least: float = -math.inf, most: float = math.inf, above: float = -math.inf) -> None:
    """Raises ValueError for a number out of its bounds; `nan` and `inf` are out of any."""
    if isinstance(value, int | float) and not (math.isfinite(value) and least <= value <= most and value > above):
        raise ValueError


def _switch(text: str) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False}
    if text.lower() not in known:
        raise ValueError
    return known[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    bool: _switch,
    tuple[str, ...]: _names,
}
