"""What can be called how: models × source regions × routes, profile ids, residency, quota families.

Facts come from the same table as the prices. `None` means that no source tells; only what is documented is offered.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from slackwater.policy.prices import PriceKind, read_table, shipped_table

QuotaFamily = Literal["on_demand", "cross_region", "global_cross_region"]
Residency = Literal["any", "us", "eu"] | Sequence[str]
BatchRequestType = Literal["Converse", "InvokeModel"]

MAX_SHARD_BYTES: Final = 950_000_000
"""Our ceiling for a batch input file: Bedrock takes 1 GB, and it is not said whether that is 10⁹ or 2³⁰ bytes."""

PROFILE_PREFIXES: Final = ("global", "us", "eu", "apac", "jp", "au", "in", "ca", "us-gov")
"""Prefixes of AWS's own inference profiles (https://docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html)."""

_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,2}-\d{1,2}")
_ARN_TAIL = re.compile(r"arn:[^:]*:bedrock:[^:]*:[^:]*:(foundation-model|inference-profile)/([^/]+)")
_BASE_ID = re.compile(r"[a-z0-9-]+\.[A-Za-z0-9][A-Za-z0-9.:_-]*")

# Regions of Asia and the Pacific that have a geographic profile of their own beside `apac.`
_NARROWER: Final = {
    "ap-northeast-1": "jp",
    "ap-northeast-3": "jp",
    "ap-southeast-2": "au",
    "ap-southeast-4": "au",
    "ap-south-1": "in",
    "ap-south-2": "in",
}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's base id and the profile prefix it was named with ("" for the plain id)."""

    model_id: str
    prefix: str

    @property
    def call_id(self) -> str:
        """What goes into `modelId` of a call."""
        return f"{self.prefix}.{self.model_id}" if self.prefix else self.model_id

    @property
    def price_kind(self) -> PriceKind:
        """Which of the two prices of its source region applies."""
        return price_kind(self.prefix)

    @property
    def quota_family(self) -> QuotaFamily:
        """Which of the source region's quotas its calls use."""
        return quota_family(self.prefix)


@dataclass(frozen=True, slots=True)
class RouteKind:
    """One way to reach a model from a source region, and what works on it.

    `cache` is about synchronous calls (batch has no prompt caching); None: no cache price is known. `flex` implies
    `on_demand`; `batch` does not: an id may be listed for batch jobs only.
    """

    model_id: str
    region: str
    prefix: str
    on_demand: bool
    flex: bool
    batch: bool
    cache: bool | None

    @property
    def call_id(self) -> str:
        """The base id (in-region) or the profile id (`us.…`, `global.…`) to call."""
        return f"{self.prefix}.{self.model_id}" if self.prefix else self.model_id

    @property
    def price_kind(self) -> PriceKind:
        """Which of the two prices of the source region applies."""
        return price_kind(self.prefix)

    @property
    def quota_family(self) -> QuotaFamily:
        """Which of the source region's quotas its calls use."""
        return quota_family(self.prefix)


class Capability:
    """The shipped table, read for what is possible. Immutable; answers are remembered."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        """From a table as `prices.read_table` gives it."""
        self.version: str = table["version"]
        self._models: dict[str, Mapping[str, Any]] = {model["model_id"]: model for model in table["models"]}
        self._rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in table["rows"]:
            self._rows.setdefault((row["model_id"], row["region"]), []).append(row)
        self._batch: Mapping[str, Any] = table["batch"]
        self._burn_down: Mapping[str, int] = table["burn_down_by_prefix"]
        self._ways: dict[tuple[str, str], tuple[RouteKind, ...]] = {}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From the JSON of a table. Raises PriceTableError."""
        return cls(read_table(data))

    def models(self) -> tuple[str, ...]:
        """The base ids of all models in the table."""
        return tuple(self._models)

    def model(self, model_id: str) -> Mapping[str, Any] | None:
        """Name, provider, lifecycle and the like of a listed model."""
        return self._models.get(model_id)

    def regions(self, model_id: str) -> tuple[str, ...]:
        """The source regions from which the model can be reached in some way."""
        return tuple(region for model, region in self._rows if model == model_id and self.ways(model, region))

    def ways(self, model_id: str, region: str) -> tuple[RouteKind, ...]:
        """Every documented way to reach `model_id` from `region`: in-region, geographic, global. Empty: none known."""
        key = (model_id, region)
        if key not in self._ways:
            found = [way for row in self._rows.get(key, ()) for way in self._of_row(row)]
            self._ways[key] = tuple(
                sorted(found, key=lambda way: (way.prefix == "global", way.prefix != "", way.prefix))
            )
        return self._ways[key]

    def way(self, model_id: str, region: str, prefix: str) -> RouteKind | None:
        """The way with this profile prefix ("" = in-region), if it is documented."""
        return next((way for way in self.ways(model_id, region) if way.prefix == prefix), None)

    def batch_request_types(self, model_id: str, region: str, prefix: str) -> frozenset[str]:
        """The `modelInvocationType`s that a batch job may have on this way; empty where batch is not documented."""
        way = self.way(model_id, region, prefix)
        return frozenset(self._batch["request_types"]) if way and way.batch else frozenset()

    def supports_tools(self, model_id: str, lane: str) -> bool | None:
        """Whether tool calling works: never in batch, else what the table knows, mostly None.

        https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html
        """
        if lane == "batch":
            return bool(self._batch["tools"])
        tools: bool | None = self._models.get(model_id, {}).get("tools")
        return tools

    def burn_down(self, model_id: str) -> int:
        """How often an output token counts against the tokens-per-minute quota; for an unlisted model by its family.

        https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html
        """
        return self._burn_down[max((p for p in self._burn_down if model_id.startswith(p)), key=len)]

    def cache_min_tokens(self, model_id: str) -> int | None:
        """The shortest prompt prefix that the model caches; None where it is not known."""
        tokens = self._models.get(model_id, {}).get("cache_min_tokens")
        return None if tokens is None else int(tokens)

    def min_records(self, model_id: str) -> int:
        """Fewest records of a batch job. The same for every listed model; an unlisted one gets it too."""
        return int(self._models.get(model_id, {}).get("min_records") or self._batch["min_records"])

    def max_records(self, model_id: str) -> int:
        """Most records of a batch job (the default quota)."""
        return int(self._models.get(model_id, {}).get("max_records") or self._batch["max_records"])

    def max_shard_bytes(self, model_id: str) -> int:
        """Most bytes that we put into one batch input file."""
        return min(
            MAX_SHARD_BYTES, int(self._models.get(model_id, {}).get("max_file_bytes") or self._batch["max_file_bytes"])
        )

    def _of_row(self, row: Mapping[str, Any]) -> list[RouteKind]:
        access = {"" if name == "ON_DEMAND" else name.lower() for name in row["access"]}
        via: list[str] = row["batch_via"]
        priced = row["batch_input"] is not None and row["batch_output"] is not None
        batch = {prefix for prefix in access if prefix and "inference-profile" in via}
        if "model-id" in via:
            batch.add("")
        return [
            RouteKind(
                model_id=row["model_id"],
                region=row["region"],
                prefix=prefix,
                on_demand=prefix in access,
                flex=prefix in access and row["flex_input"] is not None and row["flex_output"] is not None,
                # both are needed: a price without an entry in the list of batch models is no proof, nor is the reverse
                batch=prefix in batch and priced,
                cache=True if row["cache_read"] is not None else None,
            )
            for prefix in access | (batch if priced else set())
        ]


def load_capability() -> Capability:
    """The shipped capability table. Reads and parses a file: call it once and keep it."""
    return Capability.from_bytes(shipped_table())


def resolve_model(name: str) -> ModelName | None:
    """The base id and profile prefix of a model id, system profile id, or the ARN of either.

    None for what does not tell its model (application profiles, prompts, custom and provisioned models) and for names
    that are no model id. Whether the model is in the table is another question.
    """
    tail = _ARN_TAIL.fullmatch(name)
    if tail:
        name = tail[2]
    elif name.startswith("arn:"):
        return None
    prefix, _, rest = name.partition(".")
    found = ModelName(rest, prefix) if prefix in PROFILE_PREFIXES else ModelName(name, "")
    return found if _BASE_ID.fullmatch(found.model_id) else None


def price_kind(prefix: str) -> PriceKind:
    """`global` for the global profile, else `regional`: a geographic profile costs what the in-region id costs."""
    return "global" if prefix == "global" else "regional"


def quota_family(prefix: str) -> QuotaFamily:
    """The family of quotas of a profile prefix; each source region has its own of each.

    https://docs.aws.amazon.com/general/latest/gr/bedrock.html
    """
    if not prefix:
        return "on_demand"
    return "global_cross_region" if prefix == "global" else "cross_region"


def geography(region: str) -> str:
    """The smallest geography of a region: one that has profiles (us, eu, jp, au, in, ca, us-gov, apac), else sa, me, …

    `eu` is AWS's: every eu-* region, London and Zurich included. Raises ValueError for what is no region name.
    """
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not the name of a region")
    if region in _NARROWER:
        return _NARROWER[region]
    if region.startswith("us-gov-"):
        return "us-gov"
    first = region.partition("-")[0]
    return "apac" if first == "ap" else first


def profile_geography(region: str, prefix: str) -> str:
    """Where a call may be served: `any` for the global profile, else the profile's geography, else the region's."""
    if prefix == "global":
        return "any"
    return prefix or geography(region)


def allowed_by_residency(residency: Residency, region: str, prefix: str) -> bool:
    """Whether a call from `region` with this profile prefix ("" = in-region id) keeps the promise of `residency`.

    `any`: always. `us`, `eu`: the region called lies there *and* the profile, if any, is that geography's; a `us.`
    profile called from Canada sends the prompt to Canada first. A list of regions: in-region ids in these regions
    only, because the destinations of a profile depend on its source region, change, and are not in the table. Raises
    ValueError for another word.
    """
    if residency == "any":
        return True
    if isinstance(residency, str):
        if residency not in ("us", "eu"):
            raise ValueError(f"residency {residency!r}: any, us, eu or a list of regions")
        return geography(region) == residency == profile_geography(region, prefix)
    return not prefix and region in residency
