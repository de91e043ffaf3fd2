"""Prompt caching, reckoned before anything is sent: which jobs share a cached prefix, what calling them with it costs,
and from which share of the input on that is less than batch, which has no cache.

A prefix is known by its hash alone; no text of it is kept. Rules and minimum lengths:
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
"""

import hashlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Final, NamedTuple

import orjson

from slackwater.model.native import NativeBody, Request
from slackwater.policy.prices import Rates
from slackwater.policy.tokens import input_tokens

TTL_S: Final = {"5m": 300, "1h": 3600}
SHA_CHARS: Final = 16
MARKS: Final = ("cachePoint", "cache_control")
"""What a cache point is called, in Converse and in native bodies."""


class Prefix(NamedTuple):
    """What a prompt says up to its cache point: hash, estimated tokens (0: too few to be cached), seconds it lives."""

    sha: str
    tokens: int
    ttl_s: int


def prefix_of(request: Request) -> Prefix | None:
    """The prefix of a checked request that other jobs may share; None where it marks no cache point.

    Of several points it is the last one among tools and system, which is what jobs of a kind have in common, else the
    first among the messages. The tokens behind it count as plain input, cached or not: an upper bound.
    """
    body = request.body if isinstance(request, NativeBody) else request
    blocks = list(_blocks(body))
    points = [n for n, (_, block) in enumerate(blocks) if _mark(block) is not None]
    if not points:
        return None
    fixed = [n for n in points if blocks[n][0] != "messages"]
    at = fixed[-1] if fixed else points[0]
    said = [(where, _unmarked(block)) for where, block in blocks[: at + 1] if block.keys() != {"cachePoint"}]
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:SHA_CHARS]
    mark = _mark(blocks[at][1])
    ttl = mark.get("ttl") if isinstance(mark, dict) else None
    return Prefix(digest, _tokens(said), TTL_S.get(str(ttl), TTL_S["5m"]))


def expected(prefix: Prefix | None, minimum_tokens: int | None) -> Prefix | None:
    """The prefix as the model will cache it: with 0 tokens where it is shorter than the model's minimum (such a call
    succeeds, and nothing is cached); None where either is not known."""
    if prefix is None or minimum_tokens is None:
        return None
    return prefix if prefix.tokens >= minimum_tokens else prefix._replace(tokens=0)


def input_pico(rates: Rates, tokens: int, jobs: int, prefix: Prefix | None) -> int | None:
    """What the input of `jobs` calls, `tokens` in all, costs by one route: the prefix is written once and read by the
    others, as calls that follow each other within its lifetime do. None where caching has no known price."""
    if prefix is None or not prefix.tokens:
        return tokens * rates.input_pico
    write = rates.cache_write_1h_pico if prefix.ttl_s == TTL_S["1h"] else rates.cache_write_5m_pico
    if write is None or rates.cache_read_pico is None:
        return None
    each = min(prefix.tokens, tokens // max(1, jobs))
    plain = tokens - each * jobs
    return plain * rates.input_pico + each * (write + (jobs - 1) * rates.cache_read_pico)


def is_priced(rates: Rates | None, prefix: Prefix | None) -> bool:
    """Whether calls with this prefix can be compared with batch at all."""
    return prefix is not None and rates is not None and input_pico(rates, 0, 1, prefix) is not None


def keeps_together(rates: Rates | None, prefix: Prefix | None) -> bool:
    """Whether calls that share the prefix are cheaper on one route than spread: each route has a cache of its own."""
    if rates is None or prefix is None or not prefix.tokens or rates.cache_read_pico is None:
        return False
    return rates.cache_read_pico < rates.input_pico


def ordinal_of(prefix: Prefix) -> int:
    """The place of all calls with this prefix in the round-robin of routes: one first route for all of them, and over
    many prefixes the shares of the weights."""
    return int(prefix.sha, 16)


def break_even_share(called: Rates, batch: Rates, input_tokens_: int, output_tokens: int) -> Fraction | None:
    """The share of the input read from the cache above which calls cost less than batch (writes not counted); above 1:
    never. None where cache reads have no price or save nothing."""
    read = called.cache_read_pico
    if read is None or read >= called.input_pico or input_tokens_ <= 0:
        return None
    dearer = input_tokens_ * (called.input_pico - batch.input_pico)
    dearer += output_tokens * (called.output_pico - batch.output_pico)
    return max(Fraction(0), Fraction(dearer, input_tokens_ * (called.input_pico - read)))


def without_points(request: Request) -> Request:
    """The request without its cache points, for a batch record: batch has no cache and may refuse the mark. One without
    any is given back as it is."""
    body = request.body if isinstance(request, NativeBody) else request
    if all(_mark(block) is None for _, block in _blocks(body)):
        return request
    if isinstance(request, NativeBody):
        return NativeBody(_stripped(request.body))
    stripped: dict[str, Any] = _stripped(request)
    return stripped


# ---------------------------------------------------------------------- blocks


def _blocks(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every block of the prompt in the order in which models see it: tools, system, messages."""
    for tools in (body.get("tools"), _object(body.get("toolConfig")).get("tools")):
        yield from (("tools", block) for block in _objects(tools))
    yield from (("system", block) for block in _content(body.get("system")))
    for number, message in enumerate(_objects(body.get("messages"))):
        if number:
            yield "messages", {"turn": message.get("role")}  # who speaks is a part of the prompt
        yield from (("messages", block) for block in _content(message.get("content")))


def _content(value: Any) -> Iterable[dict[str, Any]]:
    return [{"text": value}] if type(value) is str else _objects(value)


def _object(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def _mark(block: dict[str, Any]) -> Any | None:
    return next((block[name] for name in MARKS if name in block), None)


def _unmarked(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in MARKS}


def _tokens(said: list[tuple[str, dict[str, Any]]]) -> int:
    """By the same estimate as whole requests."""
    texts = [block for where, block in said if where != "tools" and type(block.get("text")) is str]
    others = [block for where, block in said if where == "tools" or type(block.get("text")) is not str]
    request: dict[str, Any] = {"messages": [], "system": texts}
    if others:
        request["toolConfig"] = others
    return input_tokens(request)


def _stripped(body: dict[str, Any]) -> dict[str, Any]:
    found = dict(body)
    for name in ("tools", "system"):
        if type(found.get(name)) is list:
            found[name] = _without(found[name])
    if type(found.get("toolConfig")) is dict and type(found["toolConfig"].get("tools")) is list:
        found["toolConfig"] = {**found["toolConfig"], "tools": _without(found["toolConfig"]["tools"])}
    if type(found.get("messages")) is list:
        found["messages"] = [
            {**message, "content": _without(message["content"])}
            if type(message) is dict and type(message.get("content")) is list
            else message
            for message in found["messages"]
        ]
    return found


def _without(blocks: list[Any]) -> list[Any]:
    return [
        _unmarked(block) if type(block) is dict else block
        for block in blocks
        if type(block) is not dict or block.keys() != {"cachePoint"}
    ]
