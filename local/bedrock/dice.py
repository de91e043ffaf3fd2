"""Randomness that repeats: a source seeded by words, so that what happens does not depend on what else is going on."""

from __future__ import annotations

from random import Random


def dice(*words: object) -> Random:
    """The random source that belongs to these words."""
    return Random("|".join(map(str, words)))  # noqa: S311  a simulation, not a secret
