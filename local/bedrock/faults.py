"""Faults of a region and model: drawn once a call from a random source that is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from .config import Fault

DEFAULT_LATENCY_MS = (80.0, 200.0)


@dataclass(frozen=True, slots=True)
class Draw:
    """What happens to one call. `latency_ms` is virtual, `hang_s` real (it is there to outlast a client's time-out)."""

    error: str | None
    original_status: int | None
    reset_before: bool
    reset_after: bool
    hang_s: float
    latency_ms: float


def resolve(table: Mapping[str, Mapping[str, Fault]], region: str, *models: str) -> Fault:
    """The fault in force, field by field from the most specific entry: names before `*`."""
    names: dict[str, object] = {}
    for area in (region, "*"):
        entries = table.get(area)
        if not entries:
            continue
        for model in (*models, "*"):
            if found := entries.get(model):
                for name in found.model_fields_set:
                    value = getattr(found, name)
                    if value is not None:
                        names.setdefault(name, value)
    return Fault.model_construct(**names)  # type: ignore[arg-type]


def draw(fault: Fault, rng: Random) -> Draw:
    """Roll the dice. At most one error: the probabilities of `errors` are shares of one roll."""
    error, roll = None, rng.random()
    for code, probability in (fault.errors or {}).items():
        if roll < probability:
            error = code
            break
        roll -= probability
    low, high = fault.latency_ms or DEFAULT_LATENCY_MS
    return Draw(
        error=error,
        original_status=fault.original_status,
        reset_before=rng.random() < (fault.reset_before or 0.0),
        reset_after=rng.random() < (fault.reset_after or 0.0),
        hang_s=(fault.hang_s or 0.0) if rng.random() < (fault.hang or 0.0) else 0.0,
        latency_ms=low + (high - low) * rng.random(),
    )
