"""How many tokens a request will take: estimates, made before the call and never billed.

There is no tokenizer here: every model has its own, and CountTokens (free, but a call) is missing for some of them.
English prose has about 4 to 4.5 bytes a token, code and JSON about 3, Chinese and Japanese about 3; 3.6 errs a little
on the high side for prose.
"""

import math
from typing import Any, Final

import orjson

from slackwater.model.native import NativeBody, Request, content_blocks, output_limit

BYTES_PER_TOKEN: Final = 3.6
TOKENS_PER_MESSAGE: Final = 4
"""The frame of a message and its role."""
TOKENS_PER_IMAGE: Final = 1_600
"""About what a full-size picture takes (a megapixel, models scale larger ones down)."""
BYTES_PER_MEDIA_TOKEN: Final = 50
"""Documents, audio and video, by their decoded size: a rough guess."""
TOKENS_PER_S3_MEDIA: Final = 3_000
"""A medium whose size is unknown, since it lies elsewhere."""
DEFAULT_MAX_OUTPUT_TOKENS: Final = 4_096
"""What is reckoned with where a request has no `maxTokens`."""

_PART_OF_THE_PROMPT: Final = ("toolConfig", "outputConfig", "additionalModelRequestFields", "promptVariables")
_PART_OF_A_NATIVE_PROMPT: Final = ("tools", "toolConfig", "output_config", "response_format")


def of_text(size_bytes: int, messages: int, requests: int = 1) -> int:
    """Tokens of so many UTF-8 bytes of text in so many messages of `requests` requests."""
    return (
        size_bytes * 5 // 18 + 1 + TOKENS_PER_MESSAGE * (messages + requests)
    )  # whole numbers: 18 / 5 = BYTES_PER_TOKEN


def input_tokens(request: Request) -> int:
    """About how many input tokens a checked request of either type takes."""
    if isinstance(request, NativeBody):
        return _native_tokens(request.body)
    size = other = 0
    messages = request["messages"]
    for blocks in ([request["system"]] if "system" in request else []) + [message["content"] for message in messages]:
        for block in blocks:
            words = block.get("text")
            if words is not None:
                size += _text_bytes(words)
            else:
                other += _block_tokens(block)
    size += sum(_json_bytes(request[name]) for name in _PART_OF_THE_PROMPT if name in request)
    return of_text(size, len(messages)) + other


def max_output_tokens(request: Request, default: int = DEFAULT_MAX_OUTPUT_TOKENS) -> int:
    """How many output tokens the request allows, `default` where it does not say."""
    limit = output_limit(request)
    return default if limit is None else limit


def _native_tokens(body: dict[str, Any]) -> int:
    """Text counts by its bytes, a picture as in Converse, other media by their size, the rest as the JSON it is."""
    prompt, messages, images = body.get("prompt"), body.get("messages"), body.get("images")
    size = _text_bytes(prompt) if type(prompt) is str else 0
    other = 0
    for block in content_blocks(body):
        words = block.get("text")
        if type(words) is str:
            size += _text_bytes(words)
        else:
            other += _native_block_tokens(block)
    size += sum(_json_bytes(body[name]) for name in _PART_OF_A_NATIVE_PROMPT if name in body)
    other += TOKENS_PER_IMAGE * len(images) if type(images) is list else 0
    return of_text(size, len(messages) if type(messages) is list else 1) + other


def _native_block_tokens(block: dict[str, Any]) -> int:
    kind = str(block.get("type") or next(iter(block), ""))
    if kind in ("image", "image_url"):
        return TOKENS_PER_IMAGE
    if kind in ("document", "video", "audio", "input_audio", "file"):
        return max(TOKENS_PER_S3_MEDIA, math.ceil(_json_bytes(block) * 3 / 4 / BYTES_PER_MEDIA_TOKEN))
    if kind in ("cachePoint", "tool_result", "toolResult"):  # what is in a result is counted by itself
        inner = block.get("content")
        return TOKENS_PER_MESSAGE + (math.ceil(_text_bytes(inner) / BYTES_PER_TOKEN) if type(inner) is str else 0)
    return math.ceil(_json_bytes(block) / BYTES_PER_TOKEN)


def _text_bytes(words: str) -> int:
    return len(words) if words.isascii() else len(words.encode())  # isascii only reads a flag


def _json_bytes(value: Any) -> int:
    return len(orjson.dumps(value))


def _block_tokens(block: dict[str, Any]) -> int:
    (kind,) = block
    content = block[kind]
    if kind == "image":
        return TOKENS_PER_IMAGE
    if kind == "cachePoint":
        return 0
    if kind in ("document", "video", "audio"):
        return _media_tokens(content["source"])
    if kind == "toolResult":
        return TOKENS_PER_MESSAGE + sum(map(_part_tokens, content["content"]))
    if kind == "guardContent":
        return (
            TOKENS_PER_IMAGE
            if "image" in content
            else math.ceil(_text_bytes(content["text"]["text"]) / BYTES_PER_TOKEN)
        )
    return math.ceil(_json_bytes(content) / BYTES_PER_TOKEN)


def _part_tokens(part: dict[str, Any]) -> int:
    if "text" in part:
        return math.ceil(_text_bytes(part["text"]) / BYTES_PER_TOKEN)
    return _block_tokens(part)


def _media_tokens(source: dict[str, Any]) -> int:
    if "bytes" in source:
        return math.ceil(len(source["bytes"]) * 3 / 4 / BYTES_PER_MEDIA_TOKEN)
    if "s3Location" in source:
        return TOKENS_PER_S3_MEDIA
    return math.ceil(_json_bytes(source) / BYTES_PER_TOKEN)
