"""Ids that were seen before, with the line that had them first: two million in 64 MiB."""

from array import array
from typing import Final

_MIN_SLOTS: Final = 1 << 10


class SeenIds:
    """An open-addressed table of 64-bit hashes and line numbers, 16 bytes a slot, at most half full.

    The hash is the interpreter's own SipHash, keyed at random per process, so nobody can prepare ids that collide. By chance a file of
    two million ids has two different ones that count as one in one of ten million such files; the line is then refused, not lost.
    """

    __slots__ = ("_mask", "_room", "_table")

    def __init__(self, expected: int = 0) -> None:
        """Sized for `expected` ids; grows by doubling beyond."""
        self._allocate(max(_MIN_SLOTS, 1 << (2 * expected).bit_length()))

    def first_line(self, caller_id: str, line: int) -> int | None:
        """The line that had this id before; None if none had, and from now on `line` has it."""
        key = hash(caller_id) or 1  # 0 marks a free slot
        table, mask = self._table, self._mask
        slot = (key << 1) & mask  # key and line are neighbours: one cache line
        while found := table[slot]:
            if found == key:
                return table[slot + 1]
            slot = (slot + 2) & mask
        table[slot] = key
        table[slot + 1] = line
        self._room -= 1
        if not self._room:
            self._grow()
        return None

    def _allocate(self, slots: int) -> None:
        self._table = array("q", [0]) * (2 * slots)
        self._mask = 2 * slots - 1
        self._room = slots // 2

    def _grow(self) -> None:
        old = self._table
        self._allocate(len(old))
        table, mask = self._table, self._mask
        for place in range(0, len(old), 2):
            key = old[place]
            if key:
                slot = (key << 1) & mask
                while table[slot]:
                    slot = (slot + 2) & mask
                table[slot] = key
                table[slot + 1] = old[place + 1]
                self._room -= 1
