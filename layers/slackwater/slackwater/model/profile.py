"""Routing profiles: what a caller names where he used to name a model.

A profile says which model, from which regions and by which kind of route, in which lanes, and where data may go. The
document is checked here for its shape; `policy.routes` and `policy.profile_check` hold it against what AWS offers.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from slackwater.model.deadline import resolve
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.money import MoneyError, pico_from_usd, usd_text
from slackwater.model.profile_problems import BadProfiles, problems_of

VERSION = 1
READABLE_VERSIONS = (1,)
IN_REGION = "in-region"
DEFAULT_PROFILE = "default"

_EPOCH = datetime.fromtimestamp(0, UTC)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a segment of S3 keys and part of derived ids
_APPLICATION_PROFILE = (
    r"^arn:aws(-[^:]+)?:bedrock:[a-z0-9-]+:[0-9]{12}:application-inference-profile/[a-zA-Z0-9.:-]{1,200}$"
)
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,2}-\d{1,2}")


class Mode(StrEnum):
    """How calls of one lane spread over the routes."""

    WEIGHTED = "weighted"
    CHEAPEST = "cheapest"
    PRIMARY = "primary"


class Tier(StrEnum):
    """The service tier that calls of the lane `on_demand` ask for. Flex is a lane of its own."""

    DEFAULT = "default"
    PRIORITY = "priority"


def _span_s(text: str) -> int:
    """Seconds of a relative deadline (`6h`, `90m`, `2d`, `1d12h`). Raises ValueError with the remedy."""
    if not text.endswith(("d", "h", "m", "s")):
        raise ValueError("a profile's deadline is a time from sending: 90m, 6h, 2d, 1d12h")
    try:
        return int((resolve(text, _EPOCH) - _EPOCH).total_seconds())
    except BadInput as exc:
        raise ValueError(exc.message) from None


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError(f"{value!r} is no AWS region; an example is us-east-1")
    return value


Region = Annotated[
    str,
    BeforeValidator(lambda value: _region(value) if isinstance(value, str) else value),
    WithJsonSchema({"type": "string", "pattern": f"^{_REGION.pattern}$"}),
]


def _amount(value: object) -> str:
    """A positive amount of USD as plain decimal text, exactly. Raises ValueError with the remedy.

    The shortest text of a JSON number is what was written, up to 15 digits; text has no such limit.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('should be an amount in USD, such as "12.50"')
    try:
        pico = pico_from_usd(repr(value) if isinstance(value, float) else value)
    except MoneyError as exc:
        raise ValueError(f'should be an amount in USD, such as "12.50": {exc}') from None
    if pico <= 0:
        raise ValueError("should be more than 0 USD; without the field there is no limit")
    return usd_text(pico)


Usd = Annotated[
    str,
    BeforeValidator(_amount),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^\d*\.?\d+$"}, {"type": "number", "exclusiveMinimum": 0}]}
    ),
]


class Budget(BaseModel):
    """What a profile's jobs may cost, by the price table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_usd: Usd | None = Field(default=None, description="Of one run, in USD: a number or decimal text.")
    day_usd: Usd | None = Field(default=None, description="Of one day (UTC), all runs together, in USD.")

    @property
    def run_pico(self) -> int | None:
        """None: no limit."""
        return None if self.run_usd is None else pico_from_usd(self.run_usd)

    @property
    def day_pico(self) -> int | None:
        """None: no limit."""
        return None if self.day_usd is None else pico_from_usd(self.day_usd)


class RouteSpec(BaseModel):
    """One wanted route: `via` is `in-region` (the plain model id) or the prefix of AWS's inference profile
    (`global`, `us`, `eu` …)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Region = Field(description="The source region: the one that is called.")
    via: str = Field(
        default=IN_REGION,
        description="`in-region` (the plain model id), or the prefix of AWS's inference profile: global, us, eu …",
    )
    weight: int = Field(default=1, ge=1, le=1000, description="Its share, for the mode `weighted`.")
    application_profile: str | None = Field(
        default=None,
        pattern=_APPLICATION_PROFILE,
        description="ARN of an application inference profile of this region, made from what `via` names: its calls go"
        " by it, so that the bill shows them under its tags.",
    )

    @model_validator(mode="after")
    def _of_its_region(self) -> Self:
        if self.application_profile is not None and self.application_profile.split(":")[3] != self.region:
            raise ValueError(f"the application profile must be one of the route's region, {self.region}")
        return self


class Profile(BaseModel):
    """A named policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(default="", description="For people.")
    model: str = Field(min_length=1, max_length=200, description="A base model id of the price table.")
    home_region: Region = Field(description="Whose list price the receipt compares with.")
    residency: Literal["any", "us", "eu"] | tuple[Region, ...] = Field(
        default="any",
        description="Where data may go: anywhere, AWS's geography us or eu, or these regions by in-region ids only.",
    )
    lanes: tuple[Lane, ...] = Field(
        default=(Lane.ON_DEMAND, Lane.BATCH), description="How calls may be made. Never batch alone."
    )
    mode: Mode = Field(
        default=Mode.WEIGHTED,
        description="How calls spread over the routes: exact shares, the cheapest first, or in the order listed.",
    )
    routes: Literal["auto"] | tuple[RouteSpec, ...] = Field(
        default="auto", description="`auto`: the cheapest way of every region that the residency allows."
    )
    tier: Tier = Field(
        default=Tier.DEFAULT,
        description="The service tier of on_demand calls. `priority` is ahead of others and costs 1.75 times as much.",
    )
    batch_regions: Literal["auto"] | tuple[Region, ...] = Field(
        default="auto",
        description="`auto`: regions of the routes in which the model has batch and the stack has a bucket.",
    )
    batch_max_records: int | None = Field(
        default=None, ge=100, le=100_000, description="Most records of one batch job. Default: the model's limit."
    )
    batch_max_bytes: int | None = Field(
        default=None, ge=1_000_000, le=950_000_000, description="Most bytes of one batch job's input file."
    )
    default_deadline: str = Field(
        default="24h", description="For jobs that name none: a time from sending, such as 90m, 6h, 2d, 1d12h."
    )
    max_tokens: int = Field(
        default=1024, ge=1, le=1_000_000, description="What to reckon with where a request sets no limit."
    )
    max_tokens_min: int | None = Field(
        default=None, ge=1, le=1_000_000, description="A request whose maxTokens is lower is refused."
    )
    max_tokens_max: int | None = Field(
        default=None, ge=1, le=1_000_000, description="A request whose maxTokens is higher, or not set, is refused."
    )
    batch_structured_output: bool = Field(
        default=False,
        description="Whether structured output may go by batch: AWS's pages contradict each other on it.",
    )
    budget: Budget = Field(default=Budget(), description="What its jobs may cost. Default: no limit.")

    @field_validator("lanes", "routes", "batch_regions", "residency")
    @classmethod
    def _some_and_each_once(cls, value: object) -> object:
        if isinstance(value, tuple):
            if not value:
                raise ValueError("the list is empty")
            names = [(v.region, v.via) if isinstance(v, RouteSpec) else v for v in value]
            if len(set(names)) < len(names):
                raise ValueError("the list names one thing twice")
        return value

    @field_validator("default_deadline")
    @classmethod
    def _is_a_span(cls, value: str) -> str:
        _span_s(value)
        return value

    @model_validator(mode="after")
    def _what_batch_cannot_take_has_a_lane(self) -> Self:
        if set(self.lanes) == {Lane.BATCH}:
            raise ValueError(
                "lanes: batch alone cannot take fewer than 100 records, tools, or a late rescue; add on_demand or flex"
            )
        return self

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        low, high = self.max_tokens_min, self.max_tokens_max
        if low is not None and high is not None and low > high:
            raise ValueError(f"max_tokens_min: {low} is above max_tokens_max, which is {high}: no request could pass")
        if high is not None and self.max_tokens > high:
            raise ValueError(f"max_tokens: {self.max_tokens} is above max_tokens_max, which is {high}: lower it")
        return self

    def check_output_limit(self, limit: int | None) -> None:
        """Raises BadInput (without a pointer: it depends on the dialect) for a request whose `maxTokens` is out of the
        profile's bounds, or missing where there is an upper one."""
        low, high = self.max_tokens_min, self.max_tokens_max
        if limit is None:
            if high is not None:
                raise BadInput(f"this profile bounds the answer: set it, to at most {high} tokens")
        elif high is not None and limit > high:
            raise BadInput(f"this profile allows answers of at most {high} tokens: ask for no more")
        elif low is not None and limit < low:
            raise BadInput(f"this profile wants room for answers of at least {low} tokens: ask for no fewer")

    @property
    def bounds_output(self) -> bool:
        """Whether `check_output_limit` has anything to say."""
        return self.max_tokens_min is not None or self.max_tokens_max is not None

    @property
    def default_deadline_s(self) -> int:
        """Seconds from arrival to the deadline of a job that names none."""
        return _span_s(self.default_deadline)


class Profiles(BaseModel):
    """The document `config/profiles.json`; a run pins its version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Annotated[int, WithJsonSchema({"type": "integer", "enum": list(READABLE_VERSIONS)})] = Field(
        description="The version of this format."
    )
    profiles: dict[str, Profile] = Field(
        description="By name: what callers name where they used to name a model.",
        json_schema_extra={"propertyNames": {"pattern": f"^{_NAME.pattern}$"}},
    )

    @field_validator("v")
    @classmethod
    def _readable(cls, value: int) -> int:
        if value not in READABLE_VERSIONS:
            raise ValueError(f"version {value} is unknown; this release reads {READABLE_VERSIONS}")
        return value

    @field_validator("profiles")
    @classmethod
    def _named(cls, value: Mapping[str, Profile]) -> Mapping[str, Profile]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a profile's name has letters, digits, dot, dash, underscore; at most 64")
        return value

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From the document's JSON. Raises BadProfiles that names every wrong field, its value and what would be
        allowed."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as exc:
            raise BadProfiles(problems_of(exc, _FIELDS)) from None

    def named(self, name: str) -> Profile:
        """The profile of that name. Raises BadInput at `/profile` with the names there are."""
        found = self.profiles.get(name)
        if found is None:
            shown = name if _NAME.fullmatch(name) else "the name given"
            raise BadInput(f"no profile {shown}; there are {', '.join(sorted(self.profiles))}", "/profile")
        return found


_FIELDS: Mapping[str, tuple[str, ...]] = {
    "document": tuple(Profiles.model_fields),
    "profile": tuple(Profile.model_fields),
    "route": tuple(RouteSpec.model_fields),
    "budget": tuple(Budget.model_fields),
}


def profiles_schema() -> dict[str, Any]:
    """The JSON Schema of the document (draft 2020-12). It knows shapes and bounds, not what AWS offers."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Slackwater routing profiles",
        **{key: value for key, value in Profiles.model_json_schema().items() if key != "title"},
    }


def shipped_profiles() -> bytes:
    """The bytes of the profiles in the layer."""
    return files("slackwater").joinpath("data", "profiles.json").read_bytes()


def load_profiles() -> Profiles:
    """The shipped profiles. Reads and parses a file: call it once and keep them."""
    return Profiles.from_bytes(shipped_profiles())
