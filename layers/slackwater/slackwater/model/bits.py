"""Sets of small numbers (positions in a block) as bytes: bit i of byte i // 8, least significant first."""

from collections.abc import Iterable, Iterator


def pack(positions: Iterable[int]) -> bytes:
    """The set as bytes, at least one; a thousand positions take 125."""
    number = 0
    for position in positions:
        number |= 1 << position
    return _bytes(number)


def unpack(bits: bytes | None) -> Iterator[int]:
    """The positions in ascending order; None is the empty set."""
    number = int.from_bytes(bits or b"", "little")
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def union(*sets: bytes | None) -> bytes:
    number = 0
    for bits in sets:
        number |= int.from_bytes(bits or b"", "little")
    return _bytes(number)


def count(bits: bytes | None) -> int:
    """How many positions are in the set."""
    return int.from_bytes(bits or b"", "little").bit_count()


def _bytes(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "little")
