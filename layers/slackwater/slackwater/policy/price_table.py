"""What a price table may look like: its fields, its numbers as text, and how it is written."""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

VERSION: Final = 2

TOKENS: Final = ("input", "output")
CACHE: Final = ("cache_read", "cache_write_5m", "cache_write_1h")
TIERS: Final = ("", "batch_", "flex_", "priority_")
PRICES: Final = (*TOKENS, *CACHE, *(f"{tier}{name}" for tier in TIERS[1:] for name in TOKENS))
"""Fields that every row has, null where the price is unknown."""

TIER_CACHE: Final = tuple(f"{tier}{name}" for tier in ("flex_", "priority_") for name in CACHE)
"""Fields that a row has where they are known. Batch has no prompt cache.
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html"""

FIELDS: Final = (*PRICES, *TIER_CACHE)
KINDS: Final = ("regional", "global")


def group_of(field: str) -> str:
    """Which of a row's sources and dates tells of `field`: standard, cache, batch, flex or priority."""
    tier = next((tier for tier in TIERS[1:] if field.startswith(tier)), "")
    if tier:
        return tier.removesuffix("_")
    return "cache" if field in CACHE else "standard"


def price_text(amount: Decimal | int) -> str:
    """A price in USD per million tokens as plain decimal text ("0.15", "0"). Raises ValueError for what is negative,
    no number, or finer than six decimals (a pico-dollar a token)."""
    value = Decimal(amount)
    if not value.is_finite() or value < 0:
        raise ValueError("a price is not negative")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if len(text.partition(".")[2]) > 6:
        raise ValueError("finer than six decimals")
    return text


def problems(table: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the rows of a table that `prices.read_table` let pass; nothing if it can be used."""
    models = {model.get("model_id") for model in table["models"]}
    seen = set()
    for row in table["rows"]:
        key = (row.get("model_id"), row.get("region"), row.get("kind"))
        where = "/".join(map(str, key))
        if key in seen:
            yield f"{where}: there twice"
        seen.add(key)
        if key[0] not in models:
            yield f"{where}: a row of a model that is not listed"
        if key[2] not in KINDS:
            yield f"{where}: unknown kind of route"
        for name in ("access", "batch_via", "derived"):
            if not isinstance(row.get(name), list):
                yield f"{where}: {name} is a list"
        yield from _price_problems(row, where)


def _price_problems(row: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in PRICES:
        if name not in row:
            yield f"{where}: {name} is missing; null says that it is unknown"
    for name in FIELDS:
        if not _is_price(row.get(name)) or not _is_price(row.get("long", {}).get(name)):
            yield f"{where}: {name} is no price: decimal text of at most six decimals, or null"
    for tier in TIERS:
        if (row.get(f"{tier}input") is None) != (row.get(f"{tier}output") is None):
            yield f"{where}: half a price for {tier.removesuffix('_') or 'standard'}"


def _is_price(value: Any) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and price_text(Decimal(value)) is not None
    except (InvalidOperation, ValueError):
        return False


def render(table: Mapping[str, Any]) -> str:
    """JSON with one member, model or row a line: people read the diff."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def listed(items: Iterable[Any]) -> str:
        return "[\n" + ",\n".join(compact(item) for item in items) + "\n]"

    members = (
        f"{compact(name)}:{listed(value) if name in ('models', 'rows', 'notes') else compact(value)}"
        for name, value in table.items()
    )
    return "{\n" + ",\n".join(members) + "\n}\n"
