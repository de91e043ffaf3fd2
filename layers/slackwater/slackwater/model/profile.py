"""Routing profiles: what a caller names where he used to name a model.

A profile says which model, from which regions and by which kind of route, in which lanes, and where data may go. The
document is checked here for its shape; `policy.routes` checks it against what AWS offers.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from slackwater.model.deadline import resolve
from slackwater.model.errors import BadInput, ConfigurationError
from slackwater.model.job import Lane

VERSION = 1
READABLE_VERSIONS = (1,)
IN_REGION = "in-region"
DEFAULT_PROFILE = "default"

_EPOCH = datetime.fromtimestamp(0, UTC)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a segment of S3 keys and part of derived ids
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,2}-\d{1,2}")


class Mode(StrEnum):
    """How calls of one lane spread over the routes."""

    WEIGHTED = "weighted"
    CHEAPEST = "cheapest"
    PRIMARY = "primary"


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


Region = Annotated[str, BeforeValidator(lambda value: _region(value) if isinstance(value, str) else value)]


class RouteSpec(BaseModel):
    """One wanted route: `via` is `in-region` (the plain model id) or the prefix of AWS's inference profile
    (`global`, `us`, `eu` …)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Region
    via: str = IN_REGION
    weight: int = Field(default=1, ge=1, le=1000)


class Profile(BaseModel):
    """A named policy. `batch_regions` `auto`: every region of the routes in which the model has batch and we have a
    bucket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    model: str = Field(min_length=1, max_length=200)
    home_region: Region
    residency: Literal["any", "us", "eu"] | tuple[Region, ...] = "any"
    lanes: tuple[Lane, ...] = (Lane.ON_DEMAND, Lane.BATCH)
    mode: Mode = Mode.WEIGHTED
    routes: Literal["auto"] | tuple[RouteSpec, ...] = "auto"
    batch_regions: Literal["auto"] | tuple[Region, ...] = "auto"
    default_deadline: str = "24h"
    max_tokens: int = Field(default=1024, ge=1, le=1_000_000)  # reserved and estimated where the request names none
    batch_structured_output: bool = False  # AWS's pages contradict each other on it: only who asks for it gets it

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

    @property
    def default_deadline_s(self) -> int:
        """Seconds from arrival to the deadline of a job that names none."""
        return _span_s(self.default_deadline)


class Profiles(BaseModel):
    """The document `config/profiles.json`; a run pins its version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int
    profiles: dict[str, Profile]

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
        """From the document's JSON. Raises ConfigurationError that names every wrong field and its remedy."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as exc:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in exc.errors())
            raise ConfigurationError(f"profiles.json: {wrong}") from None

    def named(self, name: str) -> Profile:
        """The profile of that name. Raises BadInput at `/profile` with the names there are."""
        found = self.profiles.get(name)
        if found is None:
            shown = name if _NAME.fullmatch(name) else "the name given"
            raise BadInput(f"no profile {shown}; there are {', '.join(sorted(self.profiles))}", "/profile")
        return found


def shipped_profiles() -> bytes:
    """The bytes of the profiles in the layer."""
    return files("slackwater").joinpath("data", "profiles.json").read_bytes()


def load_profiles() -> Profiles:
    """The shipped profiles. Reads and parses a file: call it once and keep them."""
    return Profiles.from_bytes(shipped_profiles())
