"""Deadlines as callers write them: a moment, or a time from when the job was sent."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from slackwater.model.errors import BadInput

DEFAULT_DEADLINE: Final = "24h"
"""What a job or a file has where neither it nor its profile names one."""

_REMEDY: Final = "write a moment with its zone (2026-12-01T06:00:00Z) or a time from sending (90s, 90m, 6h, 2d, 1d12h)"
_RELATIVE: Final = r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?"


def resolve(text: str, sent_at: datetime) -> datetime:
    """The absolute deadline, UTC: `text` is ISO 8601 with a zone, or relative to `sent_at` (`6h`, `90m`, `2d`,
    `1d12h`).

    Raises BadInput with the remedy; the text itself is not repeated.
    """
    parts = re.fullmatch(_RELATIVE, text)
    if parts is not None and text:
        days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
        try:
            moment = sent_at + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        except OverflowError:
            raise BadInput(f"the deadline is too far away: {_REMEDY}") from None
        if moment <= sent_at:
            raise BadInput(f"the deadline is no time at all: {_REMEDY}")
        return moment.astimezone(UTC)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise BadInput(f"the deadline has no zone: {_REMEDY}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(f"the deadline cannot be read: {_REMEDY}") from None
