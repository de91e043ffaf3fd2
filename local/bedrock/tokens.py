"""The emulator's own tokenizer: a token for each four bytes of UTF-8, rounded up, at least one. Not any model's."""

from __future__ import annotations

import json
from typing import Any, Final

BYTES_PER_TOKEN: Final = 4
MEDIA_TOKENS: Final = 1000  # an image, document, video or audio block, whatever its size


def text_tokens(text: str) -> int:
    """Tokens of one text, at least 1."""
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN))


def cut(text: str, tokens: int) -> str:
    """The longest prefix of whole characters that is at most `tokens` long."""
    raw = text.encode("utf-8", "surrogatepass")
    limit = tokens * BYTES_PER_TOKEN
    return text if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore")


def block_tokens(block: dict[str, Any]) -> int:
    """Tokens of one content or system block."""
    if isinstance(block.get("text"), str):
        return text_tokens(block["text"])
    if "cachePoint" in block:
        return 0
    if block.keys() & {"image", "document", "video", "audio"}:
        return MEDIA_TOKENS
    return text_tokens(json.dumps(block, ensure_ascii=False))


def converse_tokens(body: dict[str, Any]) -> int:
    """Input tokens of a Converse body: messages, system, tools."""
    total = sum(block_tokens(block) for message in body.get("messages", ()) for block in message["content"])
    total += sum(block_tokens(block) for block in body.get("system") or ())
    if body.get("toolConfig"):
        total += text_tokens(json.dumps(body["toolConfig"], ensure_ascii=False))
    return max(1, total)
