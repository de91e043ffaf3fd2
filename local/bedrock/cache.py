"""Explicit prompt caching by `cachePoint`, per source region and model.

A hit restarts the time to live; a prefix below the model's minimum is not cached and the call succeeds; cache reads
cost no quota, writes do (docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

from .errors import invalid
from .tokens import block_tokens, text_tokens

MAX_POINTS: Final = 4
TTL_S: Final = {"5m": 300.0, "1h": 3600.0}
MINIMUM: Final = (
    (re.compile(r"claude-(opus|fable)-5(?!-5)"), 512),
    (re.compile(r"claude-(haiku-4-5|opus-4-[567])"), 4096),
)
DEFAULT_MINIMUM: Final = 1024


def minimum_tokens(base: str) -> int:
    """The shortest prefix that this model caches."""
    return next((tokens for pattern, tokens in MINIMUM if pattern.search(base)), DEFAULT_MINIMUM)


def points(body: dict[str, Any]) -> list[tuple[str, int, float]]:
    """Each cache point: hash of the prefix, its tokens, its time to live. Raises ApiError above four points."""
    found: list[tuple[str, int, float]] = []
    digest, total = hashlib.sha256(), 0
    tools = (body.get("toolConfig") or {}).get("tools", [])
    for block in [*tools, *(body.get("system") or []), *(b for m in body["messages"] for b in m["content"])]:
        if "cachePoint" in block:
            found.append((digest.hexdigest(), total, TTL_S.get(block["cachePoint"].get("ttl", "5m"), 300.0)))
            continue
        digest.update(json.dumps(block, sort_keys=True).encode())
        total += text_tokens(json.dumps(block)) if "toolSpec" in block else block_tokens(block)
    if len(found) > MAX_POINTS:
        raise invalid("A maximum of 4 cache points is allowed.")
    return found


class PromptCache:
    """What is cached until when, in virtual seconds."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, str], float] = {}

    def use(self, body: dict[str, Any], region: str, base: str, now: float) -> tuple[int, int]:
        """Tokens read from and written to the cache by this call."""
        read = written = 0
        for sha, tokens, ttl_s in points(body):
            if tokens < minimum_tokens(base):
                continue
            key = (region, base, sha)
            if self._until.get(key, 0.0) > now:
                read = max(read, tokens)
            written = max(written, tokens)
            self._until[key] = now + ttl_s
        return read, max(0, written - read)
