"""Canaries: the first use of a model for requests of a new shape calls a few of them before thousands fail alike.

A batch job checks its records only once it runs, hours later perhaps; a call tells at once. What a region or a model
refuses costs nothing, so a canary that fails is free, and one that is answered is one of the run's own results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CANARIES: Final = 3
"""Jobs of a class that are called first: more than one, since a bad line harms only itself."""
MIN_GROUP: Final = 500
"""Records of a batch group from which it is worth the wait."""
WAIT_S: Final = 1800.0
"""So long shards wait for their canaries; throttled or lost ones hold nothing back for longer."""
PASSED_S: Final = 7 * 86_400.0
REFUSED_S: Final = 3600.0
"""How long a refusal is believed: what was wrong may have been mended."""

_SAYS_NOTHING: Final = frozenset({"cancelled", "deadline_missed", "lost", "outcome_unknown", "undeliverable"})


class Canary(StrEnum):
    """What is known of a shape."""

    UNKNOWN = "unknown"
    ASKED = "asked"
    PASSED = "passed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Asked:
    """The canaries of a shape: rows `lines` of a block of a run, called together as `unit`; empty once they have been
    judged."""

    state: Canary
    run: str = ""
    block: str = ""
    unit: str = ""
    lines: tuple[int, ...] = ()


def shape_key(model: str, traits: Iterable[str]) -> str:
    """`model|traits`: what is remembered is a name of a shape, nothing of a request."""
    return f"{model}|{','.join(sorted(traits)) or 'plain'}"


def judged(outcomes: Sequence[tuple[str, str | None]], asked: int) -> Canary:
    """What the canaries' rows (status, error code) say: one answer is enough to pass; refused is a shape whose canaries
    have all been refused for what they are, or for want of access. Anything else says nothing yet."""
    if any(status == "succeeded" for status, _ in outcomes):
        return Canary.PASSED
    if len(outcomes) < asked:
        return Canary.ASKED
    refused = not any(code in _SAYS_NOTHING for _, code in outcomes)
    return Canary.REFUSED if refused else Canary.UNKNOWN
