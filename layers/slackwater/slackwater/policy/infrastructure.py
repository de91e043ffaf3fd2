"""What a run's infrastructure costs, beside the model's tokens: an estimate from its counts, at AWS's list prices.

AWS bills by the account, not by the run, so this can only be an estimate: units a run and a job take, as counted in the
embedded cloud (bench/infrastructure.py counts them again and prints them beside the ones below), times list prices of
us-east-1 without any free tier. Money is whole pico-dollars, rounded up.
"""

from dataclasses import dataclass, fields
from typing import Final

WORKER_MEMORY_MB: Final = 1024
"""Of the functions that call models (template.yaml)."""

_GB_SECOND_PICO: Final = 13_333_400  # arm64
_MB_MS_IN_GB_SECOND: Final = 1024 * 1000


@dataclass(frozen=True, slots=True)
class Units:
    """What AWS charges for: Lambda's memory x time, and requests."""

    lambda_mb_ms: int = 0
    lambda_requests: int = 0
    queue_requests: int = 0
    table_writes: int = 0  # write units of 1 KB, as billed: two in a transaction, one more for an index
    table_reads: int = 0
    object_writes: int = 0  # puts and lists
    object_reads: int = 0
    transitions: int = 0
    events: int = 0

    def __add__(self, other: "Units") -> "Units":
        return Units(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Units)))

    def per_thousand(self, number: int) -> "Units":
        """These units, taken for those of a thousand, for `number`; each rounded up."""
        return Units(*(-(-getattr(self, field.name) * number // 1000) for field in fields(Units)))


PICO: Final = Units(
    lambda_requests=200_000,
    queue_requests=400_000,
    table_writes=625_000,
    table_reads=125_000,
    object_writes=5_000_000,
    object_reads=400_000,
    transitions=25_000_000,
    events=1_000_000,
)
"""Pico-dollars a unit, Lambda's time apart: https://aws.amazon.com/<service>/pricing, November 2026."""


def cost_pico(units: Units) -> int:
    """The list price of `units`, in pico-dollars."""
    time_pico: int = -(-units.lambda_mb_ms * _GB_SECOND_PICO // _MB_MS_IN_GB_SECOND)
    requests_pico: int = sum(getattr(units, field.name) * getattr(PICO, field.name) for field in fields(Units))
    return time_pico + requests_pico


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of a run at its end. `called`: jobs answered by on-demand or flex calls; `called_ms`: how long
    those waited for the model, summed; `batched`: jobs that went by batch; `queued`: jobs that came as messages."""

    called: int
    called_ms: int
    batched: int
    queued: int
    calls_in_flight: int
    memory_mb: int = WORKER_MEMORY_MB


# Requests: counted in the embedded cloud, what a thousand jobs more take (bench/infrastructure.py). Time: what
# functions took there, on a shared machine and with the emulators' own latency; rather too much than too little.
_RUN: Final = Units(5_000_000, 8, 6, 30, 12, 10, 10, 9, 2)
_THOUSAND_CALLED: Final = Units(60_000_000, 6, 18, 560, 170, 27, 27, 0, 0)
_THOUSAND_BATCHED: Final = Units(50_000_000, 12, 40, 90, 10, 12, 12, 0, 0)
_THOUSAND_QUEUED: Final = Units(300_000_000, 94, 276, 7_550, 1_060, 100, 200, 0, 0)


def units(counts: Counts) -> Units:
    """What a run of these counts takes. The time that calls wait is shared by those in flight together.

    Raises ValueError for less than one call in flight.
    """
    if counts.calls_in_flight < 1:
        raise ValueError("at least one call is in flight")
    waited = Units(lambda_mb_ms=-(-counts.called_ms * counts.memory_mb // counts.calls_in_flight))
    intake = _THOUSAND_QUEUED.per_thousand(counts.queued)
    # a queue run's calls are made by the workers that take its messages in: their work is counted with the messages
    called = _THOUSAND_CALLED.per_thousand(max(0, counts.called - counts.queued))
    return _RUN + waited + intake + called + _THOUSAND_BATCHED.per_thousand(counts.batched)


def estimate_pico(counts: Counts) -> int:
    """What the run's infrastructure costs, in pico-dollars."""
    return cost_pico(units(counts))
