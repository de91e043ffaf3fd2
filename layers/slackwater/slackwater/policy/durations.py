"""How long a call may take: its read timeout, and what is too long to be called at all.

A read timeout below the longest generation that `max_tokens` allows silently repeats a paid call; one above the
function's time is never waited for. Seconds are real ones.
"""

from typing import Final

SLOWEST_TOKENS_PER_S: Final = (
    ("claude-haiku", 40.0),
    ("claude-sonnet", 20.0),
    ("nova-micro", 75.0),
    ("nova-lite", 50.0),
    ("nova-2-lite", 40.0),
    ("nova-pro", 30.0),
    ("gpt-oss", 40.0),
)
"""By a word of the model's id. AWS promises no speed, so each is a quarter, rounded down, of what public measurements
on Bedrock in 2026 call usual at the low end (Haiku 4.5 150 to 180 tokens a second, Sonnet 4.6 80 to 120, Nova Micro
300 and more; learn.cloudbuckle.com, aiperf.ghast.people.aws.dev): room for a bad hour, and a table to mend by hand."""

SLOWEST_OF_OTHERS: Final = 15.0
"""Tokens a second of every model without a row: a quarter of Opus (40 to 70) is less, but a whole answer at that pace
has not been reported."""

LONGEST_GENERATION_S: Final = 840.0
"""A Lambda invocation ends after 900 s (https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html); 20
of them are for storing and sending on, the rest for claiming the work and for the call's own start-up."""

STARTUP_S: Final = 60.0
"""Queue, prompt and first token."""

FLEX_STARTUP_S: Final = 240.0
"""Flex is served last: its calls may wait longer before they begin
(https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html)."""

TIMEOUTS_S: Final = (120.0, 300.0, 600.0, 860.0)
"""Read timeouts in use. botocore has one for a whole client, so a few classes keep clients and their warm connections
shared; the last leaves 20 s of start-up above the longest generation and just fits into an invocation."""

MARGIN_S: Final = 5.0
"""For connecting, and for noticing that a read timed out."""


def slowest_rate(model: str) -> float:
    """The output tokens a second that `model` (any id of it) is not known to fall below."""
    return next((rate for word, rate in SLOWEST_TOKENS_PER_S if word in model), SLOWEST_OF_OTHERS)


def generation_s(model: str, max_tokens: int) -> float:
    """The longest that an answer of `max_tokens` tokens may take, without its start-up."""
    return max_tokens / slowest_rate(model)


def longest_answer_tokens(model: str) -> int:
    """The largest `max_tokens` that an on-demand call may have: more could outlast the function."""
    return int(LONGEST_GENERATION_S * slowest_rate(model))


def outlasts(model: str, max_tokens: int) -> bool:
    """Whether a call could outlast the function: it goes by batch only."""
    return max_tokens > longest_answer_tokens(model)


def read_timeout_s(model: str, max_tokens: int, *, flex: bool = False) -> float:
    """One of TIMEOUTS_S, above the longest generation. Raises ValueError for what `outlasts`."""
    if outlasts(model, max_tokens):
        raise ValueError(f"{max_tokens} tokens of {model} may outlast a call: batch only")
    needed = generation_s(model, max_tokens) + (FLEX_STARTUP_S if flex else STARTUP_S)
    return next((timeout for timeout in TIMEOUTS_S if needed <= timeout), TIMEOUTS_S[-1])


def covers(remaining_s: float, timeout_s: float) -> bool:
    """Whether a call with this read timeout ends, one way or the other, within `remaining_s`."""
    return remaining_s >= timeout_s + MARGIN_S


# ---------------------------------------------------------------- as a trait of jobs, for classes and choose

_LIMITS: Final = tuple(sorted({int(LONGEST_GENERATION_S * rate) for _, rate in SLOWEST_TOKENS_PER_S}
                              | {int(LONGEST_GENERATION_S * SLOWEST_OF_OTHERS)}))  # fmt: skip
_TRAIT: Final = "output_over_"
CALLABLE_BY_ALL: Final = _LIMITS[0]
"""The largest `max_tokens` that can be called whatever the model is: no trait."""


def length_traits(max_tokens: int | None) -> frozenset[str]:
    """At most one trait, which says how long the answer may get, in steps that tell apart exactly which models may be
    called for it. None: the request sets no limit, and is taken to be usual."""
    over = [limit for limit in _LIMITS if max_tokens is not None and max_tokens > limit]
    return frozenset({f"{_TRAIT}{over[-1]}"} if over else ())


def too_long(traits: frozenset[str], model: str) -> str | None:
    """Why jobs with these traits cannot be called, or None: their answers could outlast the function."""
    limit = longest_answer_tokens(model)
    for trait in traits:
        if trait.startswith(_TRAIT) and int(trait.removeprefix(_TRAIT)) >= limit:
            return too_long_reason(model)
    return None


def too_long_reason(model: str) -> str:
    """What to tell the caller of a job that `outlasts`."""
    return (
        f"its answer could outlast a call (over {LONGEST_GENERATION_S:.0f} s): ask for at most"
        f" {longest_answer_tokens(model):,} tokens, or let it go by batch"
    )
