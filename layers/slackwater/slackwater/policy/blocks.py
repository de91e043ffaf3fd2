"""Where a run's input is cut into blocks: the unit of ordering and of aggregation."""

from dataclasses import dataclass, field
from typing import Final

MAX_BLOCK_LINES: Final = 1_000
MAX_BLOCK_BYTES: Final = 8 * 1024 * 1024
MAX_BLOCK_SPAN: Final = 4_000
"""Blank lines are numbered but not counted; settled lines are bits by position, so a block of few lines and many
blanks is cut too."""


@dataclass(slots=True)
class Cutter:
    """Says of each line, in order, whether a new block starts with it. The same input is always cut alike.

    A line larger than `max_bytes` ends the block before it and fills one of its own.
    """

    max_lines: int = MAX_BLOCK_LINES
    max_bytes: int = MAX_BLOCK_BYTES
    max_span: int = MAX_BLOCK_SPAN
    _lines: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _end: int = field(default=0, init=False)  # the first line number that cannot belong to the block any more

    @property
    def room(self) -> int:
        """How many more lines the open block takes, if their bytes and numbers allow."""
        return self.max_lines - self._lines

    def fits(self, lines: int, size_bytes: int, last_line: int) -> bool:
        """Whether so many lines, together so large, surely go into the open block, whatever they are like one by
        one."""
        return (
            self._lines + lines <= self.max_lines
            and self._bytes + size_bytes <= self.max_bytes
            and last_line < self._end
        )

    def count(self, lines: int, size_bytes: int) -> None:
        """Counts lines that fitted."""
        self._lines += lines
        self._bytes += size_bytes

    def starts_block(self, line: int, size_bytes: int) -> bool:
        """Whether line number `line` of `size_bytes` opens a new block; counts it to its block."""
        if self.fits(1, size_bytes, line):
            self.count(1, size_bytes)
            return False
        self._lines = 1
        self._bytes = size_bytes
        self._end = line + self.max_span
        return True
