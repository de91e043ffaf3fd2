"""The emulator's bill in money: its own token counts at the price book, to the pico-dollar."""

from __future__ import annotations

from collections.abc import Mapping

from slackwater.model.usage import Usage
from slackwater.policy.capability import resolve_model
from slackwater.policy.prices import PriceBook

Ways = Mapping[str, Mapping[str, Mapping[str, int]]]
"""`totals.by_way` of the bill: `region|model as called|lane|tier` → `all` and `lost` → counts."""


def billed_pico(ways: Ways, book: PriceBook, which: str = "all") -> int | None:
    """What the bill comes to; None if a price of it is unknown. `which` is `all`, or `lost`: the part of it whose
    answers nobody heard of.

    Exact for models with one price for prompts of all lengths, and for cache writes that live five minutes: the bill
    tells neither lengths nor lifetimes.
    """
    total = 0
    for name, parts in ways.items():
        counts = parts[which]
        if not counts["count"]:
            continue
        cost = _cost(name, counts, book)
        if cost is None:
            return None
        total += cost
    return total


def _cost(name: str, counts: Mapping[str, int], book: PriceBook) -> int | None:
    region, called, lane, tier = name.split("|")
    model = resolve_model(called)
    if model is None or book.has_long_context_prices(model.model_id):
        return None
    served = tier if lane == "on_demand" else None
    usage = Usage(
        counts["input_tokens"],
        counts["output_tokens"],
        cache_read_tokens=counts["cache_read_tokens"],
        cache_write_tokens=counts["cache_write_tokens"],
    )
    return book.cost_pico(model.model_id, region, model.price_kind, lane, served, usage=usage)
