"""The most that work may cost, as far as it can be known before: the estimated prompt and all the output it allows."""

from collections.abc import Sequence

from slackwater.model.job import Lane, Route
from slackwater.model.native import Request, shape
from slackwater.model.request import CACHE
from slackwater.policy.prices import PriceBook, Rates
from slackwater.policy.tokens import input_tokens, max_output_tokens


def of_call(request: Request, lane: Lane, routes: Sequence[Route], prices: PriceBook) -> dict[Route, int]:
    """Pico-dollars by route; routes whose price is unknown are missing. A prompt that marks a cache point is reckoned
    at the dearest rate its tokens may have; flex has no price for it."""
    asked, answered = input_tokens(request), max_output_tokens(request)
    caches = CACHE in shape(request)
    found = {}
    for route in routes:
        tier = route.tier if lane is Lane.ON_DEMAND else None
        rates = prices.rates(route.base_model, route.region, route.kind, lane.value, tier, input_tokens=asked)
        rate = None if rates is None else _input_rate(rates, caches=caches)
        if rates is not None and rate is not None:
            found[route] = asked * rate + answered * rates.output_pico
    return found


def of_batch(input_total: int, output_total: int, records: int, route: Route, prices: PriceBook) -> int | None:
    """Pico-dollars of a batch job of so many tokens, None where its price is unknown."""
    mean = -(-input_total // max(1, records))
    rates = prices.rates(route.base_model, route.region, route.kind, Lane.BATCH.value, input_tokens=mean)
    return None if rates is None else input_total * rates.input_pico + output_total * rates.output_pico


def _input_rate(rates: Rates, *, caches: bool) -> int | None:
    if not caches:
        return rates.input_pico
    written = (rates.cache_write_5m_pico, rates.cache_write_1h_pico)
    known = [rate for rate in written if rate is not None]
    return max(rates.input_pico, *known) if known else None
