"""Physical lines of a stream of chunks, at flat memory whatever the lines are."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final, Self

MAX_LINE_BYTES: Final = 20_000_000
"""A longer line is refused: no model takes it (InvokeModel and Converse end at 25 MB), and a worker has to hold it."""

BATCH_BYTES: Final = 64 * 1024
"""About so much is handed on at a time: it is still in the processor's cache when it is parsed."""

_BOM: Final = b"\xef\xbb\xbf"


class TooLong(bytes):
    """Stands for a line that was longer than allowed and was not kept: no bytes, but the length that it had."""

    size_bytes: int

    def __new__(cls, size_bytes: int) -> Self:
        made = super().__new__(cls)
        made.size_bytes = size_bytes
        return made

    def __len__(self) -> int:
        return self.size_bytes


def batches(chunks: Iterable[bytes], max_bytes: int = MAX_LINE_BYTES) -> Iterator[list[bytes]]:
    """The lines that end in each chunk, with their `\\n`; a byte-order mark before the first is dropped.

    Every `\\n` ends a line, blank ones too, so that counting them gives line numbers; a last line may lack it.
    """
    begun: list[bytes] = []  # the pieces of the line that the chunks so far left open; none of one that is too long
    size = 0  # of that line
    for chunk in _without_bom(chunks):
        reader = BytesIO(chunk)  # finds line ends by memchr; bytes.split goes byte by byte
        while lines := reader.readlines(BATCH_BYTES):
            tail = b"" if lines[-1].endswith(b"\n") else lines.pop()
            if lines:
                lines[0] = _line([*begun, lines[0]], size + len(lines[0]), max_bytes)
                begun, size = [], 0
                yield lines
            size += len(tail)
            begun = [*begun, tail] if size <= max_bytes else []
    if size:
        yield [_line(begun, size, max_bytes)]


def _line(pieces: list[bytes], size: int, max_bytes: int) -> bytes:
    return TooLong(size) if size > max_bytes else b"".join(pieces)


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    start = b""
    stream = iter(chunks)
    for chunk in stream:
        start += chunk
        if len(start) >= len(_BOM):
            break
    yield start.removeprefix(_BOM)
    yield from stream
