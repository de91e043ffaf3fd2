"""Prices per model × source region × kind of route × lane, tier and cache, and what an answer cost.

The price of a call is that of its *source* region, the endpoint called, wherever AWS serves it
(https://docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html). The look-up never guesses: what
the table does not hold is None, never 0, and never another row's price. Loading is the caller's act; nothing is read
at import.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any, Literal, Self

import orjson

from slackwater.model.money import pico_per_token
from slackwater.model.usage import Usage

PriceKind = Literal["regional", "global"]
"""`regional`: in-region id or geographic profile (one price for both); `global`: the global profile."""

LaneName = Literal["on_demand", "flex", "batch"]

READABLE_VERSIONS = frozenset({1, 2})
"""2 adds, all optional: cache prices of a tier, `long` prices and `effective` dates of a row, and where the bulk offers
name a model (`offer`, `offer_names`)."""

# Which fields of a row price a served tier. `reserved` is missing: a monthly rent, no price per token.
_TIER_FIELDS = {"default": "", "standard": "", "flex": "flex_", "priority": "priority_"}
_CACHE_FIELDS = ("cache_read", "cache_write_5m", "cache_write_1h")
_LANE_TIER = {"on_demand": "default", "flex": "flex", "batch": "default"}


# model, region, kind, lane, served tier, the long-context limit that the prompt passed
_Key = tuple[str, str, str, str, str | None, int | None]


class PriceTableError(ValueError):
    """The price table is broken or of a version this release cannot read: ship another table."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token; a cache rate of None is unknown. `derived`: some rate comes from a ratio, not a list."""

    input_pico: int
    output_pico: int
    cache_read_pico: int | None = None
    cache_write_5m_pico: int | None = None
    cache_write_1h_pico: int | None = None
    derived: bool = False


def cost_pico(rates: Rates | None, usage: Usage | None) -> int | None:
    """What `usage` costs at `rates`; None if either is unknown, or if cache tokens have no known rate.

    Converse's inputTokens exclude cache reads and writes, so the kinds are added, never subtracted.
    """
    if rates is None or usage is None:
        return None
    total = usage.input_tokens * rates.input_pico + usage.output_tokens * rates.output_pico
    if not (usage.cache_read_tokens or usage.cache_write_tokens):
        return total
    written_1h = usage.cache_write_1h_tokens
    for tokens, rate in (
        (usage.cache_read_tokens, rates.cache_read_pico),
        (usage.cache_write_tokens - written_1h, rates.cache_write_5m_pico),
        (written_1h, rates.cache_write_1h_pico),
    ):
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    return total


class PriceBook:
    """The shipped (or a pinned) price table. Immutable; look-ups are remembered, since they come once per row."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        """From a table as `read_table` gives it."""
        self.version: str = table["version"]
        self._rows: dict[tuple[str, str, str], Mapping[str, Any]] = {
            (row["model_id"], row["region"], row["kind"]): row for row in table["rows"]
        }
        self._tiers: dict[str, Mapping[int, Decimal | None]] = {
            model["model_id"]: {
                tier["above_input_tokens"]: None if tier["multiplier"] is None else Decimal(tier["multiplier"])
                for tier in sorted(model["long_context"], key=lambda tier: int(tier["above_input_tokens"]))
            }
            for model in table["models"]
            if model["long_context"]
        }
        self._known: dict[_Key, Rates | None] = {}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From the JSON of a table. Raises PriceTableError."""
        return cls(read_table(data))

    def rates(
        self,
        model_id: str,
        region: str,
        kind: str,
        lane: str,
        tier: str | None = None,
        *,
        input_tokens: int | None = None,
    ) -> Rates | None:
        """The price per token of one call, or None where it is unknown.

        `model_id` is the base id, `region` the source region. `tier` is the tier that *served* a synchronous call, as
        the response says it (AWS may serve another than was asked for, and bills what it served); without it the
        lane's own. Batch knows no tiers. `input_tokens` is the whole prompt, cached tokens included; a model with
        long-context prices has no price without it.
        """
        passed = None
        if model_id in self._tiers:
            if input_tokens is None:
                return None
            passed = max((limit for limit in self._tiers[model_id] if input_tokens > limit), default=None)
        key = (model_id, region, kind, lane, tier, passed)
        if key not in self._known:
            self._known[key] = self._look_up(key)
        return self._known[key]

    def cost_pico(
        self, model_id: str, region: str, kind: str, lane: str, tier: str | None, *, usage: Usage | None
    ) -> int | None:
        """What an answered call cost: the rates for its prompt's length times its usage. None if any is unknown."""
        if usage is None:
            return None
        return cost_pico(self.rates(model_id, region, kind, lane, tier, input_tokens=usage.prompt_tokens), usage)

    def row(self, model_id: str, region: str, kind: str) -> Mapping[str, Any] | None:
        """The table's row as it stands, for showing it: decimal text per million tokens, sources, derived fields."""
        return self._rows.get((model_id, region, kind))

    def has_long_context_prices(self, model_id: str) -> bool:
        """Whether the price depends on the length of the prompt."""
        return model_id in self._tiers

    def length_bracket(self, model_id: str, input_tokens: int) -> int:
        """Which of the model's prices by prompt length holds: 0 is the first, and the only one of most models."""
        return sum(input_tokens > above for above in self._tiers.get(model_id, ()))

    def _look_up(self, key: _Key) -> Rates | None:
        model_id, region, kind, lane, tier, passed = key
        row = self._rows.get((model_id, region, kind))
        prefix = _field_prefix(lane, tier)
        if row is None or prefix is None:
            return None
        factor = Decimal(1) if passed is None else self._tiers[model_id][passed]
        listed = {} if passed is None else row.get("long", {})

        def rate(name: str) -> int | None:
            if listed.get(name) is not None:
                return pico_per_token(listed[name])
            text = row.get(name)
            return None if text is None or factor is None else pico_per_token(Decimal(text) * factor)

        inputs, outputs = rate(f"{prefix}input"), rate(f"{prefix}output")
        if inputs is None or outputs is None:
            return None
        cached = {f"{name}_pico": rate(f"{prefix}{name}") for name in _CACHE_FIELDS} if lane != "batch" else {}
        used = {f"{prefix}{name}" for name in ("input", "output", *_CACHE_FIELDS)}
        return Rates(inputs, outputs, **cached, derived=not used.isdisjoint(row["derived"]))


def list_pico(book: PriceBook, model_id: str, home_region: str, usage: Usage | None) -> int | None:
    """What the same tokens cost at the home region's `regional` price, standard tier; None if it has no such row."""
    return book.cost_pico(model_id, home_region, "regional", "on_demand", "default", usage=usage)


def read_table(data: bytes) -> dict[str, Any]:
    """The table in `data`. Raises PriceTableError if it is no JSON object of a version that this release reads."""
    try:
        table = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise PriceTableError("the price table is not JSON") from exc
    if not isinstance(table, dict) or table.get("v") not in READABLE_VERSIONS:
        raise PriceTableError("the price table is of an unknown version")
    if not isinstance(table.get("version"), str) or not all(isinstance(table.get(n), list) for n in ("models", "rows")):
        raise PriceTableError("the price table lacks its version, models or rows")
    return table


def shipped_table() -> bytes:
    """The bytes of the table in the layer: prices and capability."""
    return files("slackwater").joinpath("data", "prices.json").read_bytes()


def load_price_book() -> PriceBook:
    """The shipped price book. Reads and parses a file: call it once and keep the book."""
    return PriceBook.from_bytes(shipped_table())


def _field_prefix(lane: str, tier: str | None) -> str | None:
    served = tier or _LANE_TIER.get(lane)
    if lane == "batch":
        return "batch_" if served == "default" else None  # CreateModelInvocationJob has no tier
    if lane not in _LANE_TIER or served is None:
        return None
    return _TIER_FIELDS.get(served)
