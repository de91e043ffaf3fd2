"""Runs and their units, as the ledger keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from slackwater.model.errors import BadInput


class StrangeMessage(BadInput):
    """A message of our own queues that none of us sent: names the field that gives it away, quotes nothing."""


class RunKind(StrEnum):
    FILE = "file"
    QUEUE = "queue"


class RunState(StrEnum):
    OPEN = "open"
    SETTLING = "settling"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({RunState.SETTLED, RunState.FAILED, RunState.CANCELLED})


def is_cancelled(meta: Mapping[str, Any] | None) -> bool:
    """Whether a run's item bears the mark: nothing new is begun for it. Its state follows when it ends."""
    return meta is not None and bool(meta.get("cancelled_at"))


_THROTTLED: Final = "throttled_"


def throttle_counts(by_region: Mapping[str, int]) -> dict[str, int]:
    """Attributes of a run's item that count the calls a region refused for its quota."""
    return {_THROTTLED + region.replace("-", "_"): number for region, number in by_region.items()}


def throttles_of(meta: Mapping[str, Any]) -> dict[str, int]:
    """Those counts of a run's item, by region."""
    return {
        name.removeprefix(_THROTTLED).replace("_", "-"): int(number)
        for name, number in sorted(meta.items())
        if name.startswith(_THROTTLED)
    }


@dataclass(frozen=True, slots=True)
class Unit:
    """A pack, a shard, or records in a pool, that a file run waits for. Of a pack, `lines` is the set of positions
    (line − `first_line`) in its block.
    """

    id: str
    kind: str  # pack | shard | pooled
    block: str | None
    lane: str
    lines: bytes | None
    first_line: int | None = None
    generation: int = 1
    jobs: int = 0
    rescued: bool = False  # a batch job left its jobs over


@dataclass(frozen=True, slots=True)
class PackMessage:
    """The pack queue's message: a pack by reference. `hop` counts how often it went back to the queue."""

    run_id: str
    pack_id: str
    block: str
    hop: int = 0

    def body(self) -> dict[str, Any]:
        return {"v": 1, "run_id": self.run_id, "pack_id": self.pack_id, "block": self.block, "hop": self.hop}

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Raises StrangeMessage for what is no pack message: our own bug, to be redriven."""
        for name in ("run_id", "pack_id", "block", "hop"):
            if name not in body:
                raise StrangeMessage("a pack message has this field", f"/{name}")
        return cls(str(body["run_id"]), str(body["pack_id"]), str(body["block"]), int(body["hop"]))
