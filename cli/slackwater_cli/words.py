"""Numbers, times and money as people read them: the library's own."""

from slackwater.model.words import DASH, count, counted, moment, of, share, span, until, usd, usd_short

__all__ = ["DASH", "count", "counted", "moment", "of", "share", "span", "until", "usd", "usd_short"]
