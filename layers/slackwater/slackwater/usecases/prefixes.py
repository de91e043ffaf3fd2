"""What a plan says of the prompt prefix that the jobs of a class share: how long, how often, and what caching it is
worth against batch."""

from typing import Any

from slackwater.model.job import Lane, Route
from slackwater.policy import cache
from slackwater.policy.choose import Ways
from slackwater.policy.classes import Load
from slackwater.policy.prices import PriceBook, Rates


def prefix_document(
    prefix: cache.Prefix | None, minimum_tokens: int | None, total: Load, ways: Ways, prices: PriceBook
) -> dict[str, Any] | None:
    """`cached_prefix` of a class in `plan.json`; None for jobs without a prefix that is counted.

    `share` is how much of their input it is, `break_even_share` from which share on cached calls cost less than batch
    (null: no price says so); tokens are estimates.
    """
    if prefix is None or not total.jobs:
        return None
    each = -(-total.input_tokens // total.jobs)
    break_even = None
    if ways.calling and ways.batch:
        called, batch = (
            _rates(Lane.ON_DEMAND, ways.calling[0], prices, each),
            _rates(Lane.BATCH, ways.batch[0], prices, each),
        )
        if called is not None and batch is not None:
            break_even = cache.break_even_share(called, batch, total.input_tokens, total.max_output_tokens)
    share = min(1.0, prefix.tokens * total.jobs / max(1, total.input_tokens))
    return {
        "sha": prefix.sha,
        "tokens": prefix.tokens,
        "ttl_s": prefix.ttl_s,
        "jobs": total.jobs,
        "minimum_tokens": minimum_tokens,
        "is_cached": minimum_tokens is not None and prefix.tokens >= minimum_tokens,
        "share": round(share, 4),
        "break_even_share": None if break_even is None else round(float(break_even), 4),
    }


def prefix_reason(document: dict[str, Any]) -> str:
    """The same as a sentence, for the reasons of a decision."""
    start = f"the jobs share a prefix of about {document['tokens']:,} tokens, {document['share']:.0%} of their input"
    if not document["is_cached"]:
        least = document["minimum_tokens"]
        return f"{start}: " + (
            "the least that the model caches is not known" if least is None else f"too short to be cached ({least:,})"
        )
    even = document["break_even_share"]
    if even is None:
        return f"{start}: it is written to the prompt cache once and read by the others"
    if even > 1:
        return f"{start}: cached calls cost more than batch at any share"
    return f"{start}: cached calls cost less than batch from {even:.0%} on"


def _rates(lane: Lane, route: Route, prices: PriceBook, tokens: int) -> Rates | None:
    tier = route.tier if lane is Lane.ON_DEMAND else None
    return prices.rates(route.base_model, route.region, route.kind, lane.value, tier, input_tokens=tokens)
