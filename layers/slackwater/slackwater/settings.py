"""The only reader of `os.environ`: a validated model, made at first use."""

import os
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slackwater.model.errors import ConfigurationError

PREFIX = "SLACKWATER_"


class Settings(BaseModel):
    """What the template tells every function; a field `job_queue_url` is read from `SLACKWATER_JOB_QUEUE_URL`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
    batch_role_arn: str = ""
    batch_buckets: dict[str, str] = Field(default_factory=dict)  # region → bucket
    batch_roles: dict[str, str] = Field(default_factory=dict)  # region → role ARN, where it is not batch_role_arn
    reply_queue_arns: tuple[str, ...] = ()
    retain_days: int = Field(default=30, ge=1)
    batch_enabled: bool = True
    concurrency: int = Field(default=32, ge=1, le=256)  # calls in flight in one worker
    drain_jobs_per_s: float = Field(default=20.0, gt=0)  # what the on-demand lane drains when no quota is known
    clock_rate: float = Field(default=1.0, gt=0)
    clock_origin: float = 0.0
    event_bus: str = "default"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Raises ConfigurationError that names the variable, not its value."""
        source = os.environ if environ is None else environ
        raw: dict[str, object] = {"region": source.get("AWS_REGION") or source.get("AWS_DEFAULT_REGION") or ""}
        for name, field in cls.model_fields.items():
            text = source.get(PREFIX + name.upper())
            if not text:
                continue
            annotation = str(field.annotation)
            if annotation.startswith("dict"):
                raw[name] = _pairs(name, text)
            elif annotation.startswith("tuple"):
                raw[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            else:
                raw[name] = text
        try:
            return cls.model_validate(raw)
        except ValidationError as exc:
            where = ", ".join(PREFIX + str(e["loc"][0]).upper() for e in exc.errors())
            raise ConfigurationError(f"set or mend the environment of the function: {where}") from None


def _pairs(name: str, text: str) -> dict[str, str]:
    """`us-east-1=bucket-a,us-west-2=bucket-b` as a dict."""
    pairs = {}
    for part in text.split(","):
        if not part.strip():
            continue
        left, sign, right = part.partition("=")
        if not sign:
            raise ConfigurationError(f"{PREFIX}{name.upper()} is a list of region=value")
        pairs[left.strip()] = right.strip()
    return pairs
