"""What a model id says: its base model, its quota family and its output burn-down.

Rules: docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html and quotas-token-burndown.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Family = Literal["on_demand", "cross_region", "global"]

GEOGRAPHIES: Final = ("us-gov", "us", "eu", "apac", "jp", "au", "in", "ca")
VALID_ID: Final = re.compile(r"[a-z0-9-]{1,63}\.[a-zA-Z0-9.:-]{1,200}")
ARN: Final = re.compile(
    r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{0,20}:(?:[0-9]{12})?:"
    r"(foundation-model|inference-profile|application-inference-profile)/([a-zA-Z0-9.:-]+)"
)
# The page names Claude 4.8 (15), Opus 5.5, Sonnet 5, Opus 5, Fable 5.1, GPT-5.6 (10), all other Claude (5), the rest 1.
# Haiku 5.5 and Sonnet 5.5 are not named there: the emulator takes the dearer guess.
BURN_DOWN: Final = (
    (re.compile(r"claude-[a-z]+-4-8"), 15),
    (re.compile(r"claude-[a-z]+-5"), 10),
    (re.compile(r"claude"), 5),
    (re.compile(r"gpt-5[.-]6"), 10),
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a caller named it."""

    given: str
    base: str
    family: Family
    profile: str | None

    @property
    def name(self) -> str:
        """The id without an ARN around it: the profile's, else the model's."""
        return self.profile or self.base


@lru_cache(maxsize=4096)
def parse_model(given: str) -> ModelRef | None:
    """The model behind an id or ARN, None if Bedrock would call it no valid identifier."""
    name, kind = given, ""
    if given.startswith("arn:"):
        found = ARN.fullmatch(given)
        if not found:
            return None
        kind, name = found.groups()
    if kind == "application-inference-profile":
        return ModelRef(given, name, "cross_region", name)
    if not VALID_ID.fullmatch(name):
        return None
    prefix, _, rest = name.partition(".")
    if prefix == "global" and "." in rest:
        return ModelRef(given, rest, "global", name)
    if prefix in GEOGRAPHIES and "." in rest:
        return ModelRef(given, rest, "cross_region", name)
    return ModelRef(given, name, "on_demand", None)


@lru_cache(maxsize=4096)
def burn_down(base: str) -> int:
    """How many quota tokens one output token costs."""
    return next((factor for pattern, factor in BURN_DOWN if pattern.search(base)), 1)
