"""What the emulator would charge for: every answered call and every processed batch row, by the SHA-256 of its prompt.

The key is the hex SHA-256 of the sorted-keys, compact, UTF-8 JSON of `{"messages": …, "system": … or []}`, the same in
every lane, so that a `count` above 1 shows a prompt that was paid twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Lane = Literal["on_demand", "flex", "batch"]
LANES: Final[tuple[Lane, ...]] = ("on_demand", "flex", "batch")


def prompt_key(messages: Any, system: Any) -> str:
    """The key of a prompt in the bill."""
    text = json.dumps(
        {"messages": messages, "system": system or []}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class _Way:
    """Count, plain input, output, cache read and cache write tokens of everything that has one price."""

    all: list[int] = field(default_factory=lambda: [0] * 5)
    lost: list[int] = field(default_factory=lambda: [0] * 5)

    def as_json(self) -> dict[str, dict[str, int]]:
        names = ("count", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
        return {which: dict(zip(names, sums, strict=True)) for which, sums in (("all", self.all), ("lost", self.lost))}


class Bill:
    """Counters only; used from the event loop's thread alone."""

    def __init__(self) -> None:
        self._prompts: dict[str, list[int]] = {}  # on_demand, flex, batch, input tokens, output tokens
        self._ways: dict[str, _Way] = {}
        self._groups: dict[str, dict[str, list[int]]] = {
            name: defaultdict(lambda: [0, 0, 0]) for name in ("by_region", "by_lane", "by_model")
        }

    def add(
        self,
        sha: str,
        lane: Lane,
        *,
        region: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        tier: str = "default",
        cache_read: int = 0,
        cache_write: int = 0,
        lost: bool = False,
    ) -> None:
        """Charge one answered call or one processed row. `input_tokens` is the whole prompt, cached or not; `lost`:
        nobody will hear of it, because its reply is dropped or its line not written."""
        way = self._ways.setdefault(f"{region}|{model}|{lane}|{tier}", _Way())
        tokens = (1, input_tokens - cache_read - cache_write, output_tokens, cache_read, cache_write)
        way.all = [a + b for a, b in zip(way.all, tokens, strict=True)]
        if lost:
            way.lost = [a + b for a, b in zip(way.lost, tokens, strict=True)]
        row = self._prompts.get(sha)
        if row is None:
            row = self._prompts[sha] = [0, 0, 0, 0, 0]
        row[LANES.index(lane)] += 1
        row[3] += input_tokens
        row[4] += output_tokens
        for group, name in (("by_region", region), ("by_lane", lane), ("by_model", model)):
            sums = self._groups[group][name]
            sums[0] += 1
            sums[1] += input_tokens
            sums[2] += output_tokens

    def prompts(self, only: Iterable[str] | None = None) -> dict[str, dict[str, int]]:
        """The charge of each prompt (or of those asked for)."""
        keys = self._prompts if only is None else [sha for sha in only if sha in self._prompts]
        return {sha: self._row(self._prompts[sha]) for sha in keys}

    @staticmethod
    def _row(row: list[int]) -> dict[str, int]:
        return {
            "count": row[0] + row[1] + row[2],
            "on_demand": row[0],
            "flex": row[1],
            "batch": row[2],
            "input_tokens": row[3],
            "output_tokens": row[4],
        }

    def totals(self) -> dict[str, Any]:
        """Sums: calls (both synchronous lanes), batch rows, tokens, prompts paid more than once, and the groups."""
        lanes = self._groups["by_lane"]
        calls = lanes["on_demand"][0] + lanes["flex"][0]
        return {
            "calls": calls,
            "rows": lanes["batch"][0],
            "prompts": len(self._prompts),
            "paid_again": sum(row[0] + row[1] + row[2] - 1 for row in self._prompts.values()),
            "input_tokens": sum(sums[1] for sums in lanes.values()),
            "output_tokens": sum(sums[2] for sums in lanes.values()),
            "by_way": {name: way.as_json() for name, way in sorted(self._ways.items())},
            **{
                group: {
                    name: {"count": sums[0], "input_tokens": sums[1], "output_tokens": sums[2]}
                    for name, sums in sorted(names.items())
                }
                for group, names in self._groups.items()
            },
        }
