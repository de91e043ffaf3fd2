"""What one answered call consumed, in tokens, as the provider reported it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

_CACHE: Final = ("cacheReadInputTokens", "cacheWriteInputTokens", "cacheDetails")


class UsageError(ValueError):
    """A token count is no whole number or is negative: treat the usage as unknown."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer; the four kinds are disjoint and are billed at different prices.

    As in Converse, `input_tokens` *excludes* what was read from or written to the prompt cache.
    `cache_write_1h_tokens` is the part of `cache_write_tokens` that was written with a lifetime of one hour. Unknown
    usage is no `Usage` at all (`None`), never zeros.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt, cached or not: what a long-context threshold looks at."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @classmethod
    def from_converse(cls, usage: Mapping[str, Any] | None, *, default_ttl: Literal["5m", "1h"] = "5m") -> Self | None:
        """The `usage` of a Converse response; None if it has no token counts. Raises UsageError for impossible counts.

        Cache writes without a word on their lifetime (`cacheDetails`) count as `default_ttl`: 5m is what a cache
        point has unless the request says otherwise
        (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
        """
        if not usage or usage.get("inputTokens") is None or usage.get("outputTokens") is None:
            return None
        inputs, outputs = usage["inputTokens"], usage["outputTokens"]
        if type(inputs) is type(outputs) is int and inputs >= 0 and outputs >= 0 and usage.keys().isdisjoint(_CACHE):
            return cls(inputs, outputs)  # what most answers say
        written = _count(usage.get("cacheWriteInputTokens"))
        by_ttl = {"5m": 0, "1h": 0}
        for detail in usage.get("cacheDetails") or ():
            if detail.get("ttl") in by_ttl:
                by_ttl[detail["ttl"]] += _count(detail.get("inputTokens"))
        by_ttl[default_ttl] += max(0, written - by_ttl["5m"] - by_ttl["1h"])
        return cls(
            _count(usage["inputTokens"]),
            _count(usage["outputTokens"]),
            _count(usage.get("cacheReadInputTokens")),
            written,
            min(written, by_ttl["1h"]),
        )

    @classmethod
    def from_json(cls, usage: Mapping[str, Any] | None) -> Self | None:
        """The `usage` of a result line; null is unknown."""
        if usage is None:
            return None
        return cls(
            _count(usage["input_tokens"]),
            _count(usage["output_tokens"]),
            _count(usage.get("cache_read_tokens")),
            _count(usage.get("cache_write_tokens")),
            _count(usage.get("cache_write_1h_tokens")),
        )

    def to_json(self) -> dict[str, int]:
        """The `usage` object of a result line; `cache_write_1h_tokens` is there only where some were written."""
        usage = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
        }
        if self.cache_write_1h_tokens:
            usage["cache_write_1h_tokens"] = self.cache_write_1h_tokens
        return usage


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError("a token count is a whole number, 0 or more")
    return value
