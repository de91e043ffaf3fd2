"""When the rows of a run were finished, and why some failed: counts in bounded memory, for the run report.

A moment is kept as the beginning of its ISO text, which sorts, and which becomes coarser by being cut shorter. So
nothing must be known of a run's length before it has been read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple

MAX_CELLS: Final = 20_000
MAX_CAUSES: Final = 100
WIDTHS: Final[Mapping[int, int]] = MappingProxyType({19: 1, 18: 10, 16: 60, 15: 600, 13: 3600, 10: 86_400})
"""Characters of an ISO moment → the seconds that share them."""
_COARSER: Final[Mapping[int, int]] = MappingProxyType(dict(pairwise(WIDTHS)))
_REST: Final = "0001-01-01T00:00:00"  # what a cut moment lacks


_Key = tuple[str, str | None, str | None, str | None, bool]


class Cell(NamedTuple):
    """What the rows counted together have in common. `code` is None for an answer; `refused`: never was a job."""

    at: str
    lane: str | None
    route: str | None
    code: str | None
    refused: bool


@dataclass(frozen=True, slots=True)
class Cause:
    """The first row of an error code: its line, and our message (a provider's never gets there)."""

    line: int
    message: str


class Timeline:
    """Counts final rows one by one; about a microsecond each."""

    def __init__(self, max_cells: int = MAX_CELLS) -> None:
        self._cells: dict[_Key, int] = {}
        self._max_cells = max_cells
        self._width = next(iter(WIDTHS))
        self.models: dict[str, str] = {}  # of each route
        self.causes: dict[str, Cause] = {}  # by error code
        self.last: dict[str, str] = {}  # lane → when its last answer was finished (ISO)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts the final row of one line."""
        at, lane, route, error = row["finished_at"], row["lane"], row["route"], row["error"]
        if error is None:
            code = None
            if at > self.last.get(lane, ""):
                self.last[lane] = at
        else:
            code = error["code"]
            if code not in self.causes and len(self.causes) < MAX_CAUSES:
                self.causes[code] = Cause(row["line"], error["message"])
        if route is not None and route not in self.models:
            self.models[route] = row["model"]
        self._count((at[: self._width], lane, route, code, row["job"] is None), 1)

    def add_answers(self, lane: str, route: str, model: str, finished_at: Sequence[str]) -> None:
        """Counts answers of one lane and route, as `add` would one by one."""
        self.last[lane] = max(*finished_at, self.last.get(lane, ""))
        self.models.setdefault(route, model)
        width = self._width
        for at, number in Counter([moment[:width] for moment in finished_at]).items():
            self._count((at[: self._width], lane, route, None, False), number)  # it may have become coarser meanwhile

    def _count(self, key: "_Key", number: int) -> None:
        cells = self._cells
        if key in cells:
            cells[key] += number
        else:
            cells[key] = number
            if len(cells) > self._max_cells:
                self._fold()

    @property
    def grain_s(self) -> int:
        """Seconds that are counted together."""
        return WIDTHS[self._width]

    @property
    def cells(self) -> Iterator[tuple[Cell, int]]:
        """What was counted, in no order."""
        return ((Cell(*key), number) for key, number in self._cells.items())

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Timeline":
        """The timeline of these rows."""
        timeline = cls()
        for row in rows:
            timeline.add(row)
        return timeline

    def _fold(self) -> None:
        """Cuts the moments shorter, once; days are left as they are however many there are."""
        if self._width not in _COARSER:
            self._max_cells *= 2
            return
        self._width = _COARSER[self._width]
        before, self._cells = self._cells, {}
        for (at, *rest), number in before.items():
            key = (at[: self._width], *rest)
            self._cells[key] = self._cells.get(key, 0) + number  # type: ignore[index, arg-type]


def moment(at: str) -> datetime:
    """The first moment of a cell."""
    return datetime.fromisoformat(at + _REST[len(at) :]).replace(tzinfo=UTC)
