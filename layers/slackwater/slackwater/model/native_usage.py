"""Where native answers tell what they consumed: in the body, by family, else in the response's headers.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (response bodies). InvokeModel's own headers
`x-amzn-bedrock-input-token-count` and `-output-token-count` come with every model, and are all that some have.
"""

from collections.abc import Mapping
from typing import Any

from slackwater.model.usage import Usage, UsageError

Headers = Mapping[str, str]


def usage_of(body: Mapping[str, Any], headers: Headers | None = None) -> Usage | None:
    """The usage of an InvokeModel answer; None where neither body nor headers tell, never zeros."""
    try:
        return _of_body(body) or _of_headers(headers or {})
    except (UsageError, AttributeError, TypeError, ValueError):  # impossible counts are unknown counts
        return None


def _of_body(body: Mapping[str, Any]) -> Usage | None:
    found = body.get("usage")
    if isinstance(found, Mapping):
        if "input_tokens" in found:
            return _claude(found)
        if "prompt_tokens" in found:
            return _chat(found)
        return _nova(found)
    return _plain(body.get("prompt_token_count"), body.get("generation_token_count"))  # Llama


def _claude(found: Mapping[str, Any]) -> Usage | None:
    """As in Converse, `input_tokens` leaves out what the cache had or took."""
    lifetimes = found.get("cache_creation") or {}
    names = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}
    return Usage.from_converse(
        {
            "inputTokens": found.get("input_tokens"),
            "outputTokens": found.get("output_tokens"),
            "cacheReadInputTokens": found.get("cache_read_input_tokens"),
            "cacheWriteInputTokens": found.get("cache_creation_input_tokens"),
            "cacheDetails": [{"ttl": ttl, "inputTokens": lifetimes.get(name)} for ttl, name in names.items()],
        }
    )


def _nova(found: Mapping[str, Any]) -> Usage | None:
    """Converse's names, but for the cache: InvokeModel adds `Count` to them."""
    renamed = dict(found)
    for name in ("cacheReadInputTokens", "cacheWriteInputTokens"):
        renamed.setdefault(name, found.get(f"{name.removesuffix('s')}Count"))
    return Usage.from_converse(renamed)


def _chat(found: Mapping[str, Any]) -> Usage | None:
    """OpenAI's `prompt_tokens` holds the cached ones too."""
    prompt, completion = found.get("prompt_tokens"), found.get("completion_tokens")
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    if prompt is None or completion is None:
        return None
    return _plain(prompt - cached, completion, cached)


def _of_headers(headers: Headers) -> Usage | None:
    def count(name: str) -> int | None:
        value = headers.get(f"x-amzn-bedrock-{name}-token-count")
        return None if value is None else int(value)

    read, written = count("cache-read-input"), count("cache-write-input")
    return _plain(count("input"), count("output"), read or 0, written or 0)


def _plain(given: Any, made: Any, read: int = 0, written: int = 0) -> Usage | None:
    return Usage.from_converse(
        {
            "inputTokens": given,
            "outputTokens": made,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        }
    )
