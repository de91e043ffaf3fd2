"""Money as integers: one pico-dollar is 10⁻¹² USD, so that a token's price is a whole number and sums are exact.

Inside the product every amount is an `int` whose name ends in `_pico`, or `None` where it is unknown. Decimals and
floats exist at the edge only: configuration and options come in as decimal text, result lines and receipts go out as
JSON numbers.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import overload

PICO = 10**12
"""Pico-dollars in one USD."""

EXACT_FLOAT_PICO = 10**15
"""Below this amount (1,000 USD) an edge number is exact: a double keeps its 15 significant digits."""

_QUICK_USD = 1_000
_TOKENS_PER_PRICE = 10**6  # prices are quoted per million tokens
_MAX_EXPONENT = 15  # 10^15 USD: beyond any bill, and keeps "1e999999" from becoming a huge integer


class MoneyError(ValueError):
    """The amount is no number, is absurdly large, or is finer than a pico-dollar: correct the amount."""


def pico_from_usd(amount: Decimal | str | int) -> int:
    """`amount` USD in pico-dollars, exactly. Raises MoneyError for no finite number and for more than 12 decimals."""
    return _whole(_decimal(amount), PICO, "an amount in USD has at most 12 decimals")


def pico_per_token(usd_per_million: Decimal | str | int) -> int:
    """Pico-dollars per token for a price in USD per million tokens. Raises MoneyError if that is not a whole number."""
    return _whole(
        _decimal(usd_per_million), PICO // _TOKENS_PER_PRICE, "a price per million tokens has at most 6 decimals"
    )


@overload
def usd(pico: int) -> Decimal: ...
@overload
def usd(pico: None) -> None: ...
def usd(pico: int | None) -> Decimal | None:
    """The amount in USD as a decimal of 12 places; unknown stays unknown."""
    return None if pico is None else Decimal((int(pico < 0), tuple(map(int, str(abs(pico)))), -12))


@overload
def usd_float(pico: int) -> float: ...
@overload
def usd_float(pico: None) -> None: ...
def usd_float(pico: int | None) -> float | None:
    """The amount as a JSON number, for the edge only: never add these up.

    The division of two ints rounds correctly, and the shortest text of a double (`repr`, orjson) gives back every
    decimal of up to 15 significant digits; so below 1,000 USD (`EXACT_FLOAT_PICO`) the printed number *is* the
    amount. From there on it is the nearest double; `usd_text` has no such limit.
    """
    return None if pico is None else pico / PICO


@overload
def pico_from_usd_float(amount: float) -> int: ...
@overload
def pico_from_usd_float(amount: None) -> None: ...
def pico_from_usd_float(amount: float | None) -> int | None:
    """Reads an edge number back: exact for what `usd_float` wrote below 1,000 USD, else the nearest pico-dollar.

    `None` stays unknown. Raises MoneyError for what is no finite number.
    """
    if amount is None:
        return None
    if -_QUICK_USD < amount < _QUICK_USD:  # two roundings of 2⁻⁵³ each are far below half a pico-dollar here
        return round(amount * PICO)
    numerator, denominator = _decimal(repr(amount)).as_integer_ratio()
    return (2 * numerator * PICO + denominator) // (2 * denominator)


def sum_pico(amounts: Sequence[float]) -> int:
    """The sum of edge numbers, each read back as `pico_from_usd_float` reads it: exact, and quick for many."""
    if amounts and min(amounts) > -_QUICK_USD and max(amounts) < _QUICK_USD:
        return sum([round(amount * PICO) for amount in amounts])
    return sum(map(pico_from_usd_float, amounts))


@overload
def usd_text(pico: int) -> str: ...
@overload
def usd_text(pico: None) -> None: ...
def usd_text(pico: int | None) -> str | None:
    """The exact amount as plain decimal text, without exponent or trailing zeros ("0.000002", "12")."""
    if pico is None:
        return None
    whole, fraction = divmod(abs(pico), PICO)
    digits = f"{fraction:012d}".rstrip("0")
    return f"{'-' if pico < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def _decimal(amount: Decimal | str | int) -> Decimal:
    try:
        value = Decimal(amount)
    except InvalidOperation as exc:
        raise MoneyError("not a decimal number") from exc
    if not value.is_finite():
        raise MoneyError("not a finite number")
    if value and not -2 * _MAX_EXPONENT < value.adjusted() < _MAX_EXPONENT:
        raise MoneyError("out of the range of amounts")
    return value


def _whole(value: Decimal, factor: int, otherwise: str) -> int:
    # by integers, because Decimal's own arithmetic rounds to the precision of its context
    numerator, denominator = value.as_integer_ratio()
    quotient, rest = divmod(numerator * factor, denominator)
    if rest:
        raise MoneyError(otherwise)
    return quotient
