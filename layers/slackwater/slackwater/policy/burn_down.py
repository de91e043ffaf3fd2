"""How many quota tokens an output token costs.

https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html: 15 for Claude 4.8; 10 for Claude
Opus 5.5, Opus 5, Sonnet 5, Fable 5.1 and GPT-5.6; 5 for the other Claude models up to 4.7; 1 for everything else.
Claude models of version 5 that the page does not name are taken for 10.
"""

import re
from functools import lru_cache
from typing import Final

_FACTORS: Final = (
    (re.compile(r"^anthropic\.claude-[a-z]+-4-8\b"), 15),
    (re.compile(r"^anthropic\.claude-[a-z]+-[5-9]\b"), 10),
    (re.compile(r"^anthropic\.claude"), 5),
    (re.compile(r"^openai\.gpt-5[.-]6\b"), 10),
)


@lru_cache(maxsize=256)
def burn_down(base_model: str) -> int:
    """The factor of a model, by its id without a profile's prefix."""
    return next((factor for pattern, factor in _FACTORS if pattern.search(base_model)), 1)
