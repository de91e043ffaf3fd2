"""Ids that were seen before, with the line that had them first: two million in 64 MiB."""

from array import array
from typing import Final

_TAG_BITS: Final = 31
_TAG: Final = (1 << _TAG_BITS) - 1
_MIN_SLOTS: Final = 1 << 10


class SeenIds:
    """An open-addressed table of 95-bit hashes and line numbers (below 2^33), 16 bytes a slot, at most half full.

    The hash is the interpreter's own SipHash, keyed at random per process, so nobody can prepare ids that collide. Two different ids
    among two million count as one with a chance of about 5 in 10^17.
    """

    __slots__ = ("_keys", "_lines", "_mask", "_room")

    def __init__(self, expected: int = 0) -> None:
        """Sized for `expected` ids; grows by doubling beyond."""
        self._allocate(max(_MIN_SLOTS, 1 << (2 * expected).bit_length()))

    def first_line(self, caller_id: str, line: int) -> int | None:
        """The line that had this id before; None if none had, and from now on `line` has it."""
        key = hash(caller_id) or 1  # 0 marks a free slot
        tag = hash(caller_id + "#") & _TAG
        keys, mask = self._keys, self._mask
        slot = key & mask
        while found := keys[slot]:
            if found == key and self._lines[slot] & _TAG == tag:
                return self._lines[slot] >> _TAG_BITS
            slot = (slot + 1) & mask
        keys[slot] = key
        self._lines[slot] = line << _TAG_BITS | tag
        self._room -= 1
        if not self._room:
            self._grow()
        return None

    def _allocate(self, slots: int) -> None:
        self._keys = array("q", [0]) * slots
        self._lines = array("Q", [0]) * slots
        self._mask = slots - 1
        self._room = slots // 2

    def _grow(self) -> None:
        old_keys, old_lines = self._keys, self._lines
        self._allocate(2 * len(old_keys))
        keys, lines, mask = self._keys, self._lines, self._mask
        for key, packed in zip(old_keys, old_lines, strict=True):
            if key:
                slot = key & mask
                while keys[slot]:
                    slot = (slot + 1) & mask
                keys[slot] = key
                lines[slot] = packed
        self._room -= len(old_keys) // 2
