"""What the same tokens would cost without this product: the sums that plans and receipts compare with.

Whole pico-dollars; None where the price table does not hold a price, never 0. They are prices, no promises: whether
batch would have taken the jobs, or in time, is not asked here.
"""

from dataclasses import dataclass
from typing import Final

from slackwater.model.usage import Usage
from slackwater.policy.prices import PriceBook, cost_pico

ARTICLE_OFF_PERCENT: Final = 60
"""What the article that this product answers claims for everything combined (regions, flex, batch). Named as its claim
wherever it is shown: no price list was asked about it."""

REGIONAL: Final = "regional"


@dataclass(frozen=True, slots=True)
class Baselines:
    """Three sums for the same tokens: all on demand at home, all by batch at home, and the article's claim of the
    first."""

    home_on_demand_pico: int | None
    home_batch_pico: int | None
    article_pico: int | None


def baselines(usage: Usage, book: PriceBook, *, model_id: str, home_region: str, jobs: int = 1) -> Baselines:
    """The baselines of `jobs` jobs of one model that take `usage` together (of one job: exact; of many: a model with
    prices by prompt length is priced by the mean prompt).

    At home means the home region's `regional` row: on demand at the standard tier, as receipts list it
    (`policy.prices.list_pico`). Batch has no prompt cache, so there the whole prompt is input
    (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
    """
    mean_prompt = -(-usage.prompt_tokens // max(1, jobs))

    def at_home(lane: str, used: Usage) -> int | None:
        return cost_pico(book.rates(model_id, home_region, REGIONAL, lane, input_tokens=mean_prompt), used)

    on_demand = at_home("on_demand", usage)
    batch = at_home("batch", Usage(usage.prompt_tokens, usage.output_tokens))
    return Baselines(on_demand, batch, article_pico(on_demand))


def article_pico(home_on_demand_pico: int | None) -> int | None:
    """The article's claim, rounded down to a pico-dollar."""
    return None if home_on_demand_pico is None else home_on_demand_pico * (100 - ARTICLE_OFF_PERCENT) // 100


def added(first: int | None, second: int | None) -> int | None:
    """The sum; unknown where either is: an unknown price is never added as 0."""
    return None if first is None or second is None else first + second
