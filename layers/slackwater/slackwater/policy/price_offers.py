"""What AWS's public bulk offers say that a token costs: their products, mapped to models, regions and fields of a row.

Two offers price Bedrock: `AmazonBedrock` (Amazon's own and open-weight models) and `AmazonBedrockFoundationModels`
(models sold through the Marketplace, the newer Claude). A product is one usage type in one region, as

    USE1-NovaPro-cache-read-input-token-count           USE1-Nova2.0Lite-input-tokens-flex-cross-region-global
    APS2-openai.gpt-oss-120b-mantle-output-tokens-batch
    USW2-MP:USW2_InputTokenCount_Global_Batch-Units     USW2-MP:USW2_cache_write_tokens_1h_long_ctx_standard-Units

Nothing is guessed. A word of a usage type that is not known here, a model that the table does not name so, a unit that
does not say how many tokens, two prices for one thing: each is reported and gives no price.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from slackwater.policy.price_table import price_text

OFFERS: Final = ("AmazonBedrock", "AmazonBedrockFoundationModels")
LONG: Final = "long."
"""Before a field's name: its price for prompts above the model's long-context limit."""


class Why(StrEnum):
    """Why a product gives no price. The text is for people."""

    MODEL = "a model that the table does not name so"
    METER = "a kind of usage that is not known here"
    UNIT = "a unit that does not say how many tokens"
    PRICE = "no single price in USD"
    FINE = "a price finer than a pico-dollar a token"
    REGION = "no region"
    NO_LIMIT = "long-context prices, and the table does not say from how many tokens on"


OTHER: Final = "not a price of text tokens that are asked for by themselves"
"""Provisioned and reserved throughput, training and custom models, images, sound, search, the latency-optimized tier,
cache entries of 30 minutes, cache prices in batch: the router uses none of it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a price belongs in the table. `field` is a row's, or one after `long.`."""

    model_id: str
    region: str
    kind: str
    field: str

    @property
    def path(self) -> str:
        """`MODEL/REGION/KIND/FIELD`: what a person names it by."""
        return f"{self.model_id}/{self.region}/{self.kind}/{self.field}"


@dataclass(frozen=True, slots=True)
class Quote:
    """A price in USD per million tokens, from when on it holds (a day), which offer says so, of which endpoint."""

    price: str
    effective: str
    offer: str
    mantle: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """A product that was mapped: what is kept of it until its price is read."""

    offer: str
    name: str
    usagetype: str
    slot: Slot
    mantle: bool


@dataclass(frozen=True, slots=True, order=True)
class Unmapped:
    """Products that priced nothing, under the name by which the offer calls the model."""

    offer: str
    name: str
    why: Why
    example: str = field(compare=False)


@dataclass(slots=True)
class Reading:
    """What was read. `conflicts` holds slots with more than one price: they are in no quote. `regions` are those of
    which each offer has at least one price that was mapped."""

    quotes: dict[Slot, Quote] = field(default_factory=dict)
    conflicts: dict[Slot, tuple[str, ...]] = field(default_factory=dict)
    unmapped: dict[Unmapped, int] = field(default_factory=dict)
    others: int = 0
    products: Counter[str] = field(default_factory=Counter)
    regions: dict[str, set[str]] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Meter:
    """What a usage type counts. `model` is the name in it, "" where it has none (the Marketplace's)."""

    model: str
    kind: str
    field: str
    long: bool
    mantle: bool


_PREFIX = re.compile(r"^[A-Z]{2,4}\d?-")
_MARKETPLACE = re.compile(r"^MP:[A-Z]{2,4}\d?_(?P<meter>.+)-Units$")
_CAMEL = {
    "CacheReadInputTokenCount": "cache-read-tokens",
    "CacheWriteInputTokenCount": "cache-write-tokens",
    "CacheWrite5mInputTokenCount": "cache-write-tokens-5m",
    "CacheWrite1hInputTokenCount": "cache-write-tokens-1h",
    "InputTokenCount": "input-tokens",
    "OutputTokenCount": "output-tokens",
    "LCtx": "long-ctx",
}
_METER = re.compile(
    r"^(?:(?P<model>.+?)-)?(?:text-)?"
    r"(?:(?P<what>input|output)-tokens|cache-(?P<cache>read|write)(?:-input)?-tokens?(?:-count)?)"
    r"(?P<rest>(?:-(?:5m|1h|30m|long-ctx|long-context|cross-region-global|cross-region-geo|global|geo"
    r"|standard|batch|flex|priority))*)$"
)
_REST = re.compile(r"-(?:(?P<ttl>5m|1h|30m)|(?P<long>long-ctx|long-context)|(?P<scope>(?:cross-region-)?(?:global|geo))"
                   r"|(?P<tier>standard|batch|flex|priority))")  # fmt: skip
_TOKENS = re.compile(r"token", re.IGNORECASE)
_OTHER = re.compile(
    r"provisioned|reserved|customi[sz]ation|custom[-_ ]?model|training|storage|latency|image|video|audio|speech"
    r"|grounding|guardrail|embed|rerank|search|per-minute|tpm",
    re.IGNORECASE,
)
_EDITION = re.compile(r"\s*\(Amazon Bedrock Edition\)\s*$", re.IGNORECASE)
_PER_UNIT = {"1k tokens": 1000, "1m tokens": 1}
_UNITS_OF = ((re.compile(r"\b(?:million|1m)\b", re.IGNORECASE), 1), (re.compile(r"\b(?:thousand|1k)\b", re.IGNORECASE), 1000))  # noqa: E501  # fmt: skip
_CLAIMS = ("batch", "flex", "priority", "global")


def meter_of(usagetype: str) -> Meter | str | None:
    """What a usage type counts; OTHER for what is no business of the router; None for what is not known here."""
    body = _PREFIX.sub("", usagetype, count=1)
    marketplace = _MARKETPLACE.match(body)
    if not _TOKENS.search(body) or _OTHER.search(body):
        return OTHER
    if marketplace:
        body = marketplace["meter"]
        for camel, plain in _CAMEL.items():
            body = re.sub(rf"(?<![A-Za-z]){camel}(?![a-z])", plain, body)
        body = body.replace("_", "-").lower()
    elif body.startswith("MP:"):
        return None
    found = _METER.match(body)
    if found is None or (marketplace and found["model"]):
        return None
    words = [(kind, word) for one in _REST.finditer(found["rest"]) for kind, word in one.groupdict().items() if word]
    said = dict(words)
    if len(said) != len(words) or (said.get("ttl") and found["cache"] != "write"):
        return None  # a word of one sort twice, or a time to live of what has none
    tier = said.get("tier", "standard")
    if said.get("ttl") == "30m" or (found["cache"] and tier == "batch"):
        return OTHER
    name = found["what"] or ("cache_read" if found["cache"] == "read" else f"cache_write_{said.get('ttl', '5m')}")
    model = found["model"] or ""
    return Meter(
        model=model.removesuffix("-mantle"),
        kind="global" if said.get("scope", "").endswith("global") else "regional",
        field=name if tier == "standard" else f"{tier}_{name}",
        long="long" in said,
        mantle=model.endswith("-mantle"),
    )


class OfferReader:
    """Reads products one after the other; memory grows with the prices found, not with the file."""

    def __init__(self, table: Mapping[str, Any], *, today: str) -> None:
        """`table` names the models; `today` (an ISO day) decides which of several terms holds."""
        self._names: dict[str, str] = {
            name.casefold(): model["model_id"]
            for model in table["models"]
            for name in (model["model_id"], *model.get("offer_names", (model["name"],)))
        }
        self._limited = {model["model_id"] for model in table["models"] if len(model["long_context"]) == 1}
        self._today = today
        self.reading = Reading()

    def offer(self, name: str, published: str) -> None:
        """A file begins. `published` is its publicationDate."""
        self.reading.published[name] = max(self.reading.published.get(name, ""), published)
        self.reading.regions.setdefault(name, set())

    def wants(self, offer: str, attributes: Mapping[str, Any]) -> Wanted | None:
        """Where the product's price belongs, if it has a place in the table. Counts the product, and reports what
        cannot be mapped.
        """
        self.reading.products[offer] += 1
        usagetype = str(attributes.get("usagetype", ""))
        meter = meter_of(usagetype)
        if meter == OTHER or _OTHER.search(f"{attributes.get('feature', '')} {attributes.get('inferenceType', '')}"):
            self.reading.others += 1
            return None
        placed, name = self._placed(attributes, meter), _name(attributes, meter)
        if isinstance(placed, Why):
            self._report(offer, name, placed, usagetype)
            return None
        return Wanted(offer, name, usagetype, placed, isinstance(meter, Meter) and meter.mantle)

    def price(self, wanted: Wanted, terms: Iterable[Mapping[str, Any]]) -> None:
        """The product's `terms.OnDemand`."""
        found = _term_in_force(terms, self._today)
        price = Why.PRICE if found is None else _per_million(found[1])
        if found is None or isinstance(price, Why):
            self._report(wanted.offer, wanted.name, Why(price), wanted.usagetype)
            return
        self.reading.regions[wanted.offer].add(wanted.slot.region)
        self._quote(wanted.slot, Quote(price, found[0], wanted.offer, wanted.mantle))

    def _placed(self, attributes: Mapping[str, Any], meter: Meter | str | None) -> Slot | Why:
        if not isinstance(meter, Meter) or _contradicts(attributes, meter):
            return Why.METER
        model, region = self._model(attributes, meter), attributes.get("regionCode")
        if model is None:
            return Why.MODEL
        if not region:
            return Why.REGION
        if meter.long and model not in self._limited:
            return Why.NO_LIMIT
        return Slot(model, str(region), meter.kind, (LONG if meter.long else "") + meter.field)

    def _quote(self, slot: Slot, new: Quote) -> None:
        """One more price. That of bedrock-runtime goes before that of the bedrock-mantle endpoint, which the router
        does not call; two of the same kind that differ are a conflict."""
        known = self.reading.quotes.get(slot)
        if known is None or (known.mantle and not new.mantle):
            self.reading.quotes[slot] = new
            self.reading.conflicts.pop(slot, None)
        elif known.mantle == new.mantle and known.price != new.price:
            others = self.reading.conflicts.get(slot, (known.price,))
            self.reading.conflicts[slot] = tuple(sorted({*others, new.price}, key=Decimal))

    def _model(self, attributes: Mapping[str, Any], meter: Meter) -> str | None:
        """The one model that the product's names lead to; None for none, or for two."""
        called = (_EDITION.sub("", str(attributes.get("servicename", ""))), attributes.get("model", ""), meter.model)
        found = {self._names[name.casefold()] for name in called if name and name.casefold() in self._names}
        return found.pop() if len(found) == 1 else None

    def _report(self, offer: str, name: str, why: Why, usagetype: str) -> None:
        one = Unmapped(offer, name, why, usagetype)
        self.reading.unmapped[one] = self.reading.unmapped.get(one, 0) + 1

    def done(self) -> Reading:
        """What was read; slots with a conflict have no quote."""
        for slot in self.reading.conflicts:
            self.reading.quotes.pop(slot, None)
        return self.reading


def _name(attributes: Mapping[str, Any], meter: Meter | str | None) -> str:
    service = str(attributes.get("servicename", ""))
    edition = _EDITION.sub("", service) if _EDITION.search(service) else ""
    key = meter.model if isinstance(meter, Meter) else ""
    return edition or str(attributes.get("model") or "") or key or str(attributes.get("usagetype", ""))


def _contradicts(attributes: Mapping[str, Any], meter: Meter) -> bool:
    """Whether the product's words in `inferenceType` and `service_tier` say more than its usage type."""
    words = f"{attributes.get('inferenceType', '')} {attributes.get('service_tier', '')}".lower()
    said = f"{meter.field} {meter.kind}"
    return any(word in words and word not in said for word in _CLAIMS)


def _term_in_force(terms: Iterable[Mapping[str, Any]], today: str) -> tuple[str, Mapping[str, Any]] | None:
    """Day and price dimension of the newest term that has begun; None if it has not exactly one dimension."""
    begun = [(str(term.get("effectiveDate", ""))[:10], term) for term in terms]
    begun = sorted((one for one in begun if one[0] <= today), key=lambda one: one[0])
    if not begun or (len(begun) > 1 and begun[-1][0] == begun[-2][0]):
        return None
    day, term = begun[-1]
    dimensions = list(term.get("priceDimensions", {}).values())
    return (day, dimensions[0]) if len(dimensions) == 1 else None


def _per_million(dimension: Mapping[str, Any]) -> str | Why:
    """USD per million tokens as text, exactly."""
    try:
        amount = Decimal(str(dimension.get("pricePerUnit", {})["USD"]))
    except (KeyError, InvalidOperation):
        return Why.PRICE
    unit = str(dimension.get("unit", "")).lower()
    factor = _PER_UNIT.get(unit)
    if factor is None and unit == "units":
        said = {times for pattern, times in _UNITS_OF if pattern.search(str(dimension.get("description", "")))}
        factor = said.pop() if len(said) == 1 else None
    if factor is None:
        return Why.UNIT
    if not amount.is_finite() or amount < 0:
        return Why.PRICE
    try:
        return price_text(amount * factor)
    except ValueError:
        return Why.FINE
