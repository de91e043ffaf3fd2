from hypothesis import given
from hypothesis import strategies as st

from slackwater.policy.blocks import Cutter

MIB = 1024 * 1024


def cut(sizes: list[int]) -> list[int]:
    """The number of lines in each block."""
    cutter, blocks = Cutter(), []
    for line, size in enumerate(sizes, 1):
        if cutter.starts_block(line, size):
            blocks.append(0)
        blocks[-1] += 1
    return blocks


def test_a_block_has_at_most_a_thousand_lines() -> None:
    assert cut([10] * 2001) == [1000, 1000, 1]


def test_a_block_has_at_most_eight_mebibytes() -> None:
    assert cut([4 * MIB, 4 * MIB, 1]) == [2, 1]


def test_a_larger_line_is_a_block_of_its_own() -> None:
    assert cut([1, 9 * MIB, 1, 1]) == [1, 1, 2]
    assert cut([9 * MIB, 9 * MIB]) == [1, 1]


def test_many_blank_lines_end_a_block_because_positions_are_bits() -> None:
    cutter = Cutter(max_span=100)
    assert cutter.starts_block(1, 1)
    assert not cutter.starts_block(100, 1)
    assert cutter.starts_block(101, 1)


@given(st.lists(st.integers(1, 9 * MIB), max_size=60), st.integers(1, 10), st.data())
def test_cutting_piece_by_piece_is_cutting_line_by_line(sizes: list[int], max_lines: int, data: st.DataObject) -> None:
    one, other = Cutter(max_lines), Cutter(max_lines)
    expected = [one.starts_block(line, size) for line, size in enumerate(sizes, 1)]
    found: list[bool] = []
    while len(found) < len(sizes):
        piece = sizes[len(found) : len(found) + data.draw(st.integers(1, 10))]
        if other.fits(len(piece), sum(piece), len(found) + len(piece)):
            other.count(len(piece), sum(piece))
            found += [False] * len(piece)
        else:
            found.append(other.starts_block(len(found) + 1, piece[0]))
    assert found == expected
