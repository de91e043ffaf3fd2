"""The timeline of a run: everything is counted once, in bounded memory, however long the run was."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.clock import iso
from slackwater.model.timeline import Timeline, moment
from tests.unit.rig import START


def row(line, at_s, *, lane="batch", code=None, region="us-west-2"):
    error = None if code is None else {"code": code, "message": f"message of line {line}", "line": line}
    at = iso(START + timedelta(seconds=at_s))
    return {
        "line": line, "job": f"job-{line}", "lane": lane, "route": f"{region}|m|default", "model": "m", "error": error,
        "finished_at": at,
    }  # fmt: skip


@given(st.lists(st.integers(0, 40 * 86_400), max_size=300), st.integers(3, 40))
def test_every_row_is_counted_once_within_the_bound_and_near_its_moment(offsets, bound):
    timeline = Timeline(max_cells=bound)
    for line, offset in enumerate(offsets):
        timeline.add(row(line, offset))
    cells = list(timeline.cells)
    assert sum(number for _, number in cells) == len(offsets)
    assert len(cells) <= max(bound, 41)  # days are not cut shorter
    begins = sorted(moment(cell.at) for cell, _ in cells)
    for offset in offsets:
        at = START + timedelta(seconds=offset)
        assert any(0 <= (at - begin).total_seconds() < timeline.grain_s for begin in begins)


def test_seconds_are_kept_while_there_is_room_and_then_coarser_ones():
    short = Timeline.of(row(n, n % 10) for n in range(100))
    assert (short.grain_s, len(list(short.cells))) == (1, 10)
    long = Timeline(max_cells=100)
    for n in range(1000):
        long.add(row(n, n))
    assert long.grain_s == 10


def test_causes_keep_their_first_row_and_lanes_their_last_answer():
    rows = [row(1, 5), row(2, 9, code="expired"), row(3, 7, lane="flex"), row(4, 1, code="expired"), row(5, 2)]
    timeline = Timeline.of(rows)
    assert {code: cause.line for code, cause in timeline.causes.items()} == {"expired": 2}
    assert timeline.last == {"batch": iso(START + timedelta(seconds=5)), "flex": iso(START + timedelta(seconds=7))}
    assert timeline.models == {"us-west-2|m|default": "m"}


@pytest.mark.parametrize("kept", ["2026-11-25T12:00:00", "2026-11-25T12:00:0", "2026-11-25T12:00", "2026-11-25T12:0"])
def test_a_cut_moment_is_the_first_it_can_mean(kept):
    assert moment(kept) == START


def test_a_refused_line_is_no_failed_job():
    refused = row(1, 0, code="refused", lane=None) | {"job": None, "route": None, "model": None}
    ((cell, number),) = Timeline.of([refused]).cells
    assert (cell.refused, cell.code, cell.route, number) == (True, "refused", None, 1)
