"""A price table against what the bulk offers say: every difference, what is implausible, and the table that follows.

A difference is refused when it looks more like a mistake of a mapping, a unit or a list than like a new price: a jump,
a zero, a price that is gone, a discount that costs more. Refused is not wrong: whoever has looked accepts it by name.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from slackwater.policy.price_offers import LONG, Quote, Reading, Slot
from slackwater.policy.price_table import FIELDS, PRICES, TIERS, TOKENS, VERSION, group_of, render

MAX_FACTOR: Final = Decimal("1.5")
"""A known price may change by this factor, up or down, before it is asked about. List prices fall by a third, or rise
by a tenth; a wrong unit is a thousand, a wrong tier is two."""

NEW_FACTOR: Final = Decimal(4)
"""A price where there was none may be this far from what the model costs elsewhere: regions differ by up to 55 %."""


class What(StrEnum):
    CHANGED = "changed"
    ADDED = "added"
    GONE = "gone"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one row. `refused` says why it is implausible; `accepted` that somebody named it."""

    slot: Slot
    what: What
    old: str | None
    new: str | None
    refused: str = ""
    accepted: bool = False
    quote: Quote | None = None

    @property
    def stands(self) -> bool:
        """Whether it goes into the table."""
        return self.what != What.CONFLICT and (not self.refused or self.accepted)


def changes(
    table: Mapping[str, Any],
    reading: Reading,
    *,
    regions: Iterable[str] | None = None,
    accept: Sequence[str] = (),
    max_factor: Decimal = MAX_FACTOR,
) -> list[Change]:
    """Every difference in `regions` (default: those of the table), in the table's order, new rows last.

    `accept` holds `MODEL/REGION/KIND/FIELD`, with `*` and `?`; what is left out at the end is everything below.
    """
    rows = {(row["model_id"], row["region"], row["kind"]): row for row in table["rows"]}
    wanted = {row["region"] for row in table["rows"]} if regions is None else set(regions)
    slots = dict.fromkeys(slot for key, row in rows.items() if key[1] in wanted for slot in _slots(key, row))
    slots |= dict.fromkeys(slot for slot in (*reading.quotes, *reading.conflicts) if slot.region in wanted)
    offers = {model["model_id"]: model.get("offer") for model in table["models"]}
    usual = _Usual(table)
    found = []
    for slot in slots:
        quote, old = reading.quotes.get(slot), _old(rows, slot)
        prices = reading.conflicts.get(slot)
        if prices:
            change = Change(slot, What.CONFLICT, old, None, refused=f"more than one price: {' and '.join(prices)}")
        elif quote is None:
            if old is None or slot.region not in reading.regions.get(offers.get(slot.model_id) or "", ()):
                continue  # the offer of this model and region was not read
            change = Change(slot, What.GONE, old, None, refused=_gone(rows, slot))
        elif old is None or Decimal(old) != Decimal(quote.price):
            what = What.ADDED if old is None else What.CHANGED
            change = Change(slot, what, old, quote.price, quote=quote)
        else:
            continue
        found.append(change)
    judged = [_judged(one, reading, rows, usual, max_factor) for one in found]
    judged = [replace(one, accepted=bool(one.refused) and named(one.slot, accept)) for one in judged]
    return _whole(judged, rows)


def new_table(table: Mapping[str, Any], reading: Reading, standing: Iterable[Change]) -> dict[str, Any]:
    """The table with every change that stands. Its version is the day of the newest offer and a digest of its prices;
    a price that the offers confirmed names them, and from when on it holds."""
    day = max(reading.published.values())[:10]
    source = f"AWS-{day}"
    rows = {(row["model_id"], row["region"], row["kind"]): _copy(row) for row in table["rows"]}
    confirmed: dict[tuple[str, str, str], dict[str, Quote]] = {}
    for change in standing:
        if change.stands:
            slot = change.slot
            _set(rows.setdefault((slot.model_id, slot.region, slot.kind), _empty(slot)), slot.field, change.new)
    for slot, quote in reading.quotes.items():
        key = (slot.model_id, slot.region, slot.kind)
        if key in rows and _equal(_get(rows[key], slot.field), quote.price):
            confirmed.setdefault(key, {})[slot.field] = quote
    for key, quotes in confirmed.items():
        _confirm(rows[key], quotes, source)
    models = [model["model_id"] for model in table["models"]]
    ordered = sorted(rows.values(), key=lambda row: models.index(row["model_id"]))
    offers = ", ".join(f"{name} of {published}" for name, published in sorted(reading.published.items()))
    what = {"what": f"AWS Price List bulk offers {offers}", "as_of": day}
    digest = hashlib.sha256(render({"models": table["models"], "rows": ordered}).encode()).hexdigest()
    return {
        **table,
        "v": VERSION,
        "version": f"{day}-{digest[:8]}",
        "sources": {**table["sources"], source: what},
        "rows": ordered,
    }


# ---------------------------------------------------------------------- what is plausible


class _Usual:
    """What a model's fields cost anywhere in the table: the measure of a price where there was none."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._range: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for row in table["rows"]:
            for name in FIELDS:
                if row.get(name):
                    key, price = (row["model_id"], name), Decimal(row[name])
                    low, high = self._range.get(key, (price, price))
                    self._range[key] = (min(low, price), max(high, price))

    def strange(self, slot: Slot, price: Decimal) -> str:
        """Why `price` is far from the model's own in other regions, "" where nothing is known or nothing is strange."""
        low, high = self._range.get((slot.model_id, slot.field), (None, None))
        if low is None or high is None or low / NEW_FACTOR <= price <= high * NEW_FACTOR:
            return ""
        elsewhere = f"{low:f}" if low == high else f"{low:f} to {high:f}"
        return f"it costs {elsewhere} elsewhere"


def _judged(
    change: Change, reading: Reading, rows: Mapping[Any, Mapping[str, Any]], usual: _Usual, max_factor: Decimal
) -> Change:
    if change.refused or change.new is None:
        return change
    price, old = Decimal(change.new), None if change.old is None else Decimal(change.old)
    if price == 0:
        return replace(change, refused="a price of zero")
    if old is None:
        strange = usual.strange(change.slot, price)
    elif old == 0:
        strange = "it was zero"
    else:
        factor = max(price / old, old / price)
        strange = f"{float(factor):,.4g} times {'more' if price > old else 'less'}" if factor > max_factor else ""
    return replace(change, refused=strange or _dearer(change.slot, price, reading, rows))


def _dearer(slot: Slot, price: Decimal, reading: Reading, rows: Mapping[Any, Mapping[str, Any]]) -> str:
    """Whether a discount costs more than what it is a discount on."""
    prefix, name = (LONG, slot.field.removeprefix(LONG)) if slot.field.startswith(LONG) else ("", slot.field)
    tier = next((tier for tier in ("batch_", "flex_") if name.startswith(tier)), "")
    full = "input" if name == "cache_read" else name.removeprefix(tier) if tier else ""
    if not full:
        return ""
    other = replace(slot, field=prefix + full)
    quote = reading.quotes.get(other)
    standard = quote.price if quote else _old(rows, other)
    if standard is None or price <= Decimal(standard):
        return ""
    return f"dearer than {full} ({standard})"


def _whole(found: Sequence[Change], rows: Mapping[Any, Mapping[str, Any]]) -> list[Change]:
    """Half a price is none: what would leave a row with an input and no output price, or the reverse, is refused."""
    after = {one.slot: one.new for one in found if one.stands}
    checked = []
    for one in found:
        half = _other_half(one.slot)
        if half is not None and one.stands:
            partner = after[half] if half in after else _old(rows, half)
            if (partner is None) != (one.new is None):
                one = replace(one, refused=f"half a price: {half.field} has {'one' if partner else 'none'}")  # noqa: PLW2901
                one = replace(one, accepted=False)  # noqa: PLW2901
        checked.append(one)
    return checked


def _gone(rows: Mapping[Any, Mapping[str, Any]], slot: Slot) -> str:
    if slot.field in rows[slot.model_id, slot.region, slot.kind]["derived"]:
        return "derived from a ratio so far, and not in the offer"
    return "no longer in the offer"


def _other_half(slot: Slot) -> Slot | None:
    for tier in TIERS:
        for name, other in (TOKENS, TOKENS[::-1]):
            if slot.field == f"{tier}{name}":
                return replace(slot, field=f"{tier}{other}")
    return None


def named(slot: Slot, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns of `--accept` names the slot or something that it belongs to."""
    parts = slot.path.split("/")
    return any(
        len(asked) <= len(parts) and all(map(fnmatchcase, parts, asked))
        for asked in (pattern.strip("/").split("/") for pattern in patterns)
    )


# ---------------------------------------------------------------------- rows


def _slots(key: tuple[str, str, str], row: Mapping[str, Any]) -> list[Slot]:
    names = [name for name in FIELDS if row.get(name) is not None]
    names += [LONG + name for name in row.get("long", {})]
    return [Slot(*key, name) for name in names]


def _old(rows: Mapping[Any, Mapping[str, Any]], slot: Slot) -> str | None:
    row = rows.get((slot.model_id, slot.region, slot.kind))
    return None if row is None else _get(row, slot.field)


def _get(row: Mapping[str, Any], name: str) -> str | None:
    value: str | None = row.get("long", {}).get(name.removeprefix(LONG)) if name.startswith(LONG) else row.get(name)
    return value


def _equal(known: str | None, price: str) -> bool:
    return known is not None and Decimal(known) == Decimal(price)


def _set(row: dict[str, Any], name: str, price: str | None) -> None:
    within = row.setdefault("long", {}) if name.startswith(LONG) else row
    plain = name.removeprefix(LONG)
    if price is None and (name.startswith(LONG) or plain not in PRICES):
        within.pop(plain, None)
    else:
        within[plain] = price
    row["derived"] = [one for one in row["derived"] if one != name]


def _confirm(row: dict[str, Any], quotes: Mapping[str, Quote], source: str) -> None:
    """Names the offers as source of these fields. One that they did not confirm keeps its source under its own name."""
    groups = {_group(name) for name in quotes}
    for name in (*FIELDS, *(LONG + name for name in row.get("long", {}))):
        group = _group(name)
        if group in groups and name not in quotes and _get(row, name) is not None and group in row["source"]:
            row["source"].setdefault(name, row["source"][group])
    effective = row.setdefault("effective", {})
    for name, quote in quotes.items():
        row["source"].pop(name, None)
        effective[_group(name)] = max(
            quote.effective, *(q.effective for n, q in quotes.items() if _group(n) == _group(name))
        )
    row["source"] |= dict.fromkeys(sorted(groups), source)
    row["derived"] = [one for one in row["derived"] if one not in quotes]


def _group(name: str) -> str:
    return "long" if name.startswith(LONG) else group_of(name)


def _copy(row: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: dict(row[name]) for name in ("source", "effective", "long") if name in row}
    return {**row, **nested, "derived": list(row["derived"])}


def _empty(slot: Slot) -> dict[str, Any]:
    """A row of a region that the table did not have: prices do not prove that the model can be called there."""
    key = {"model_id": slot.model_id, "region": slot.region, "kind": slot.kind}
    return {**key, **dict.fromkeys(PRICES), "access": [], "batch_via": [], "source": {}, "derived": []}
