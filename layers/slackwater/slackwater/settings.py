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
    batch_role_arn: str = ""  # of the home region
    batch_bucket_prefix: str = ""  # satellite buckets are <prefix>-<region>
    batch_role_prefix: str = ""  # satellite roles are <prefix>-<region>
    satellite_regions: tuple[str, ...] = ()
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
            if str(field.annotation).startswith("tuple"):
                raw[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            else:
                raw[name] = text
        try:
            return cls.model_validate(raw)
        except ValidationError as exc:
            where = ", ".join(PREFIX + str(e["loc"][0]).upper() for e in exc.errors())
            raise ConfigurationError(f"set or mend the environment of the function: {where}") from None

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
