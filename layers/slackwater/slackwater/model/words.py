"""Numbers, times and money as people read them, and words that agree with their number."""

import math
from datetime import datetime, timedelta
from typing import Final

DASH: Final = "–"


def count(number: int | None) -> str:
    """`1,319`; a dash for what is not known."""
    return DASH if number is None else f"{number:,}"


def of(done: int, total: int | None) -> str:
    """`812 of 1,319`."""
    return f"{done:,} of {count(total)}"


def span(seconds: float) -> str:
    """`48 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`; nothing below zero."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s" if rest_s else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def until(moment: datetime, now: datetime) -> str:
    """`in 3 h 20 min`, or `3 min ago`."""
    left = moment - now
    return f"in {span(left.total_seconds())}" if left >= timedelta(0) else f"{span(-left.total_seconds())} ago"


def moment(text: str | None) -> str:
    """`2026-12-01 06:00:00` (UTC) of an ISO text; a dash for none."""
    return DASH if not text else text[:19].replace("T", " ")


def usd(amount: float | None) -> str:
    """Dollars, small ones with as many digits as they need; a dash for an unknown price, which is never zero."""
    if amount is None:
        return DASH
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= 1:
        return f"{sign}${size:,.2f}"
    digits = f"{size:.6f}" if size >= 0.000_001 else f"{size:.12f}"
    return f"{sign}${digits.rstrip('0').rstrip('.')}"


def usd_short(amount: float | None) -> str:
    """As `usd`, with three digits that say something: for columns."""
    if amount is None or amount == 0 or abs(amount) >= 1:
        return usd(amount)
    return f"{'-' if amount < 0 else ''}${abs(amount):.{2 - math.floor(math.log10(abs(amount)))}f}"


def share(part: float | None, whole: float | None) -> str:
    """`48 %`; a dash where one of them is not known or the whole is nothing."""
    if part is None or not whole:
        return DASH
    return f"{100 * part / whole:.0f} %"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2,000 jobs`; `many` where an s does not do: `counted(n, "job is late", "jobs are late")`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
