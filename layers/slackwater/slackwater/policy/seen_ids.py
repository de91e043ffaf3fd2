"""Ids that were seen before, with the line that had them first: two million in 64 MiB."""

from array import array
from typing import Final

_MIN_SLOTS: Final = 1 << 10


class SeenIds:
    """First only a list, for as long as each id is greater than the one before (most callers count); then an
    open-addressed table.

    The table holds 64-bit hashes and line numbers, 16 bytes a slot, at most half full. The hash is the interpreter's
    own SipHash, keyed at random per process, so nobody can prepare ids that collide. By chance a file of two million
    ids has two different ones that count as one in one of ten million such files; the line is then refused, not lost.
    """

    __slots__ = ("_expected", "_keys", "_last", "_last_length", "_lines", "_mask", "_room", "_table")

    def __init__(self, expected: int = 0) -> None:
        """The table is sized for `expected` ids; it grows by doubling beyond."""
        self._expected = expected
        self._keys, self._lines = array("q"), array("q")  # of the list
        self._last, self._last_length = "", 0
        self._table: array[int] | None = None
        self._mask = self._room = 0

    def first_line(self, caller_id: str, line: int) -> int | None:
        """The line that had this id before; None if none had, and from now on `line` has it."""
        table = self._table
        if table is None:
            length = len(caller_id)
            if length > self._last_length or (length == self._last_length and caller_id > self._last):
                self._last, self._last_length = caller_id, length
                self._keys.append(hash(caller_id))
                self._lines.append(line)
                return None
            table = self._make_table()
        key = hash(caller_id) or 1  # 0 marks a free slot
        mask = self._mask
        slot = (key << 1) & mask  # key and line are neighbours: one cache line
        while found := table[slot]:
            if found == key:
                return table[slot + 1]
            slot = (slot + 2) & mask
        table[slot] = key
        table[slot + 1] = line
        self._room -= 1
        if not self._room:
            self._fill(2 * len(table), table[::2], table[1::2])
        return None

    def _make_table(self) -> "array[int]":
        keys, lines = self._keys, self._lines
        self._keys = self._lines = array("q")
        slots = max(_MIN_SLOTS, 1 << (2 * max(self._expected, len(keys))).bit_length())
        return self._fill(2 * slots, array("q", (key or 1 for key in keys)), lines)

    def _fill(self, size: int, keys: "array[int]", lines: "array[int]") -> "array[int]":
        table = array("q", [0]) * size
        mask, room = size - 1, size // 4
        for key, line in zip(keys, lines, strict=True):
            if key:
                slot = (key << 1) & mask
                while table[slot]:
                    slot = (slot + 2) & mask
                table[slot] = key
                table[slot + 1] = line
                room -= 1
        self._table, self._mask, self._room = table, mask, room
        return table
