"""Batch-bound records into legal shards: contiguous ranges of their ordinals, divided over regions by weight.

Limits of a batch job (https://docs.aws.amazon.com/general/latest/gr/bedrock.html): at least 100 records, at most
100,000, one file of 1 GB.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

BYTES_REASON: Final = "the records around here are too large: fewer than the minimum fill a file"
MINIMUM_REASON: Final = "fewer records than a batch job's minimum"
MAX_EVEN_TRIES: Final = 64


@dataclass(frozen=True, slots=True)
class BlockLoad:
    """What of one block goes by batch. `bytes` is an upper bound of what its records take; single records are not
    measured."""

    block: str
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ShardRange:
    """Records `start_record` … `end_record` − 1 (ordinals over all blocks) for one job in `region`."""

    region: str
    start_record: int
    end_record: int

    @property
    def records(self) -> int:
        """How many there are."""
        return self.end_record - self.start_record


@dataclass(frozen=True, slots=True)
class Leftover:
    """Records `start_record` … `end_record` − 1 that no legal shard can hold, and why."""

    start_record: int
    end_record: int
    reason: str

    @property
    def records(self) -> int:
        """How many there are."""
        return self.end_record - self.start_record


@dataclass(frozen=True, slots=True)
class Cut:
    """Shards and leftovers; together they hold each ordinal exactly once."""

    shards: tuple[ShardRange, ...]
    leftover: tuple[Leftover, ...]


class _Limits(NamedTuple):
    max_records: int
    max_bytes: int
    min_records: int


class _Bound:
    """An upper bound of the bytes of a range of ordinals: a block that is touched counts whole."""

    def __init__(self, blocks: Sequence[BlockLoad]) -> None:
        filled = [block for block in blocks if block.records]
        self._ends = list(accumulate((block.records for block in filled), initial=0))
        self._bytes = list(accumulate((block.bytes for block in filled), initial=0))

    @property
    def records(self) -> int:
        return self._ends[-1]

    def bytes(self, start: int, end: int) -> int:
        first = bisect_right(self._ends, start) - 1
        last = bisect_right(self._ends, end - 1)
        return self._bytes[last] - self._bytes[first]

    def block_end(self, ordinal: int) -> int:
        """Where the block of `ordinal` ends."""
        return self._ends[bisect_right(self._ends, ordinal)]

    def furthest(self, start: int, end: int, max_bytes: int) -> int:
        """The largest end ≤ `end` of a range from `start` that is surely within `max_bytes`; `start` if there is
        none."""
        first = bisect_right(self._ends, start) - 1
        last = bisect_right(self._bytes, self._bytes[first] + max_bytes) - 1
        return max(start, min(end, self._ends[last]))


def cut_shards(
    blocks: Sequence[BlockLoad],
    regions: Sequence[tuple[str, int]],
    *,
    max_records: int,
    max_bytes: int,
    min_records: int,
) -> Cut:
    """Cuts the records of `blocks`, in order, into shards for `regions` (name, weight).

    Regions share by weight, as many of them as get at least `min_records` each, the heaviest first. No shard has
    fewer than `min_records`, more than `max_records`, or may have more than `max_bytes`. Raises ValueError without
    regions or for limits that contradict each other.
    """
    if not regions or any(weight < 1 for _, weight in regions):
        raise ValueError("cutting needs at least one region, and weights of at least 1")
    if not 1 <= min_records <= max_records:
        raise ValueError("a shard's limits contradict each other")
    bound = _Bound(blocks)
    if bound.records < min_records:
        only = (Leftover(0, bound.records, MINIMUM_REASON),) if bound.records else ()
        return Cut((), only)
    limits = _Limits(max_records, max_bytes, min_records)
    shards: list[ShardRange] = []
    leftover: list[Leftover] = []
    start = 0
    for region, records in _divide(bound.records, regions, min_records):
        borders = _even(bound, start, start + records, limits)
        pieces = _greedy(bound, start, start + records, limits) if borders is None else pairwise(borders)
        for a, b in pieces:
            if b - a >= min_records and bound.bytes(a, b) <= max_bytes:
                shards.append(ShardRange(region, a, b))
            else:
                leftover.append(Leftover(a, b, BYTES_REASON))
        start += records
    return Cut(tuple(shards), tuple(_joined(leftover)))


def _divide(records: int, regions: Sequence[tuple[str, int]], min_records: int) -> list[tuple[str, int]]:
    """Shares by largest remainder; the lightest region is left out until every share is legal."""
    left = list(regions)
    while True:
        total = sum(weight for _, weight in left)
        shares = [records * weight // total for _, weight in left]
        by_remainder = sorted(range(len(left)), key=lambda i: (-(records * left[i][1] % total), i))
        for i in by_remainder[: records - sum(shares)]:
            shares[i] += 1
        if len(left) == 1 or min(shares) >= min_records:
            return [(region, share) for (region, _), share in zip(left, shares, strict=True)]
        left.pop(min(range(len(left)), key=lambda i: (left[i][1], -i)))


def _even(bound: _Bound, start: int, end: int, limits: _Limits) -> list[int] | None:
    """The borders of the fewest equal shards that are within the limits: equal ones end soonest. None if none are
    found."""
    records = end - start
    fewest = max(-(-records // limits.max_records), -(-bound.bytes(start, end) // limits.max_bytes), 1)
    for pieces in range(fewest, min(records // limits.min_records, fewest + MAX_EVEN_TRIES) + 1):
        borders = [start + records * i // pieces for i in range(pieces + 1)]
        if all(bound.bytes(a, b) <= limits.max_bytes for a, b in pairwise(borders)):
            return borders
    return None


def _greedy(bound: _Bound, start: int, end: int, limits: _Limits) -> list[tuple[int, int]]:
    """Pieces of records of very unlike sizes: each as full as its bytes allow, the last one never too small. Those
    under the minimum are no shards."""
    pieces = []
    while start < end:
        stop = bound.furthest(start, min(end, start + limits.max_records), limits.max_bytes)
        if 0 < end - stop < limits.min_records <= end - limits.min_records - start:
            stop = end - limits.min_records  # leave the last one its minimum
        if stop - start < limits.min_records:
            stop = min(end, bound.block_end(start), start + max(1, limits.min_records - 1))
        pieces.append((start, stop))
        start = stop
    return pieces


def _joined(leftover: Sequence[Leftover]) -> list[Leftover]:
    joined: list[Leftover] = []
    for piece in leftover:
        if joined and joined[-1].end_record == piece.start_record:
            joined.append(Leftover(joined.pop().start_record, piece.end_record, piece.reason))
        else:
            joined.append(piece)
    return joined
