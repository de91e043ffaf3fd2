"""Pictures as SVG that fit any width: places are percent, texts and heights are pixels, colours come from the CSS.

Each picture has a title and a description; the numbers stand in a table beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slackwater.report.markup import Child, Markup, tag

DAY_S: Final = 86_400
_STEPS_S: Final = (
    1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
    DAY_S, 2 * DAY_S, 5 * DAY_S, 10 * DAY_S, 30 * DAY_S,
)  # fmt: skip
_TICKS: Final = 4  # what a phone has room for
_AXIS_PX: Final = 22
_SIDE: Final = 1000  # of the square in which areas are drawn before they are stretched


@dataclass(frozen=True, slots=True)
class Axis:
    """Time from left to right."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return max(1.0, (self.end - self.start).total_seconds())

    def x(self, moment: datetime) -> float:
        """Where a moment is, in percent; what lies outside is put on the edge."""
        return min(100.0, max(0.0, 100 * (moment - self.start).total_seconds() / self.seconds))

    def ticks(self) -> list[tuple[float, str]]:
        """Round moments and their names: at most four, and as many as there is room for."""
        step_s = next((step for step in _STEPS_S if self.seconds / step <= _TICKS), _STEPS_S[-1])
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        first = -(-(self.start - midnight).total_seconds() // step_s) * step_s
        found: list[tuple[float, str]] = []
        moment = midnight + timedelta(seconds=first)
        while moment <= self.end and len(found) <= _TICKS:
            found.append((self.x(moment), _named(moment, step_s)))
            moment += timedelta(seconds=step_s)
        return found


def _named(moment: datetime, step_s: int) -> str:
    if step_s >= DAY_S or (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M:%S}" if step_s < 60 else f"{moment:%H:%M}"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a stack: its height at each of the equally spaced moments."""

    shade: str
    heights: Sequence[int]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a line of its own."""

    at: datetime
    label: str
    shade: str = "mark"


def picture(title: str, description: str, *shapes: Child, height: float, class_: str = "") -> Markup:
    """An SVG as wide as its place."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *shapes,
        role="img",
        width="100%",
        height=height,
        class_=class_ or None,
    )


def bar(title: str, parts: Iterable[tuple[str, float]], *, height: float = 14) -> Markup:
    """A bar of parts side by side: (shade, share of the whole width from 0 to 1)."""
    shapes, x = [], 0.0
    for shade, part in parts:
        width = max(0.0, min(100.0 - x, 100 * part))
        if width:
            shapes.append(_rect(x, 0, max(width, 0.4), height, shade))
        x += width
    return picture(title, title, tag("g", shapes), height=height, class_="bar")


def stack(  # noqa: PLR0917
    title: str, description: str, axis: Axis, layers: Sequence[Layer], top: int, marks: Sequence[Mark]
) -> Markup:
    """Layers on each other, from the bottom, as steps: a moment's heights hold until the next."""
    height = 210.0
    areas, below = [], [0] * max((len(layer.heights) for layer in layers), default=0)
    for layer in layers:
        above = [low + high for low, high in zip(below, layer.heights, strict=True)]
        if any(layer.heights):
            areas.append(tag("path", d=_steps(below, above, max(1, top)), class_=f"fill {layer.shade}"))
        below = above
    return picture(
        title,
        description,
        tag("line", x1="0", x2="100%", y1=18.0, y2=18.0, class_="grid"),
        tag("text", f"{top:,}", x="0", y=12.0, class_="tick"),
        tag(
            "svg",
            areas,
            x="0",
            y=18.0,
            width="100%",
            height=height - 18,
            viewBox=f"0 0 {_SIDE} {_SIDE}",
            preserveAspectRatio="none",
        ),
        [_mark(axis, mark, height) for mark in marks],
        _foot(axis, height),
        height=height + _AXIS_PX,
    )


def rates(title: str, description: str, axis: Axis, heights: Sequence[float], limit: float | None) -> Markup:
    """Upright bars, one a slice of time, and a limit as a broken line."""
    height, above = 76.0, 16.0
    highest = max([*heights, 0.0])
    top = max(highest, limit if limit is not None and limit <= 3 * highest else 0.0) or 1.0
    width = 100 / max(1, len(heights))
    bars = [
        _rect(n * width, height - (height - above) * value / top, max(0.3, width * 0.86), None, "rate", bottom=height)
        for n, value in enumerate(heights)
        if value
    ]
    line: Child = None
    if limit is not None and limit <= top:
        y = height - (height - above) * limit / top
        line = tag("line", x1="0", x2="100%", y1=y, y2=y, class_="limit")
    return picture(title, description, bars, line, _foot(axis, height), height=height + _AXIS_PX)


def span(title: str, axis: Axis, start: datetime, end: datetime, shade: str) -> Markup:
    """One bar from moment to moment."""
    x = axis.x(start)
    shapes = [
        tag("line", x1="0", x2="100%", y1=7.0, y2=7.0, class_="grid"),
        _rect(x, 1, max(0.6, axis.x(end) - x), 12, shade),
    ]
    return picture(title, title, shapes, height=14)


def expectation(
    title: str, whole_s: float, band: tuple[float, float], labels: tuple[str, str], actual_s: Sequence[float]
) -> Markup:
    """A band from the half-time to the 95 % time of a forecast, and a dot for each thing that happened; in seconds
    from 0 to `whole_s`."""
    height = 24.0
    whole = max(1.0, whole_s)
    low, high, *actual = (2 + 96 * min(1.0, second / whole) for second in (*band, *actual_s))
    shapes = [
        tag("line", x1="0", x2="100%", y1=height / 2, y2=height / 2, class_="grid"),
        _rect(low, 4, max(0.6, high - low), height - 8, "band"),
        _tick(low, height, "median"),
        [tag("circle", cx=f"{_plain(x)}%", cy=height / 2, r=5.5, class_="actual") for x in actual],
        tag("text", "started", x="0", y=height + 15, class_="tick"),
        _beside(low, high, height + 15, labels),
    ]
    return picture(title, title, shapes, height=height + _AXIS_PX)


def _beside(low: float, high: float, y: float, labels: tuple[str, str]) -> Child:
    """The names of a band's two ends, where both have room; else the second alone."""
    ends = [(low, labels[0]), (high, labels[1])] if high - low > 30 and low > 20 else [(high, labels[1])]
    return [tag("text", label, x=f"{_plain(x)}%", y=y, text_anchor=_anchor(x), class_="tick") for x, label in ends]


def foot(axis: Axis) -> Markup:
    """The axis alone, below bars that share it."""
    return picture("time", "time from left to right", _foot(axis, 0), height=_AXIS_PX, class_="foot")


def _foot(axis: Axis, y: float) -> Markup:
    parts: list[Child] = [tag("line", x1="0", x2="100%", y1=y + 0.5, y2=y + 0.5, class_="axis")]
    for x, label in axis.ticks():
        parts.append(_tick(x, y + 5, "axis", y))
        parts.append(tag("text", label, x=f"{_plain(x)}%", y=y + 18, text_anchor=_anchor(x), class_="tick"))
    return tag("g", parts)


def _mark(axis: Axis, mark: Mark, height: float) -> Markup:
    x = axis.x(mark.at)
    anchor = "start" if x < 50 else "end"
    shift = 5.0 if x < 50 else -5.0
    return tag(
        "g",
        _tick(x, height, mark.shade),
        tag("text", mark.label, x=f"{_plain(x)}%", dx=shift, y=12.0, text_anchor=anchor, class_="label"),
    )


def _tick(x: float, y2: float, shade: str, y1: float = 0) -> Markup:
    return tag("line", x1=f"{_plain(x)}%", x2=f"{_plain(x)}%", y1=y1, y2=y2, class_=shade)


def _anchor(x: float) -> str:
    return "start" if x < 6 else "end" if x > 94 else "middle"


def _rect(x: float, y: float, width: float, height: float | None, shade: str, *, bottom: float = 0.0) -> Markup:
    return tag(
        "rect",
        x=f"{_plain(x)}%",
        y=y,
        width=f"{_plain(width)}%",
        height=bottom - y if height is None else height,
        class_=f"fill {shade}",
    )


def _steps(below: Sequence[int], above: Sequence[int], top: int) -> str:
    """The area between two lines of steps, as an SVG path in a square."""
    forth = _line(above, top, range(len(above)))
    back = _line(below, top, range(len(below) - 1, -1, -1), end_first=True)
    return f"M0 {_y(above[0], top)}{forth}L{_SIDE} {_y(below[-1], top)}{back}Z"


def _line(values: Sequence[int], top: int, order: Iterable[int], *, end_first: bool = False) -> str:
    count = len(values)
    written, last = [], None
    for n in order:
        y = _y(values[n], top)
        if y != last:
            at = (n + 1 if end_first else n) * _SIDE // count
            written.append(f"H{at}V{y}")
            last = y
    written.append("H0" if end_first else f"H{_SIDE}")
    return "".join(written)


def _y(value: int, top: int) -> int:
    return _SIDE - round(_SIDE * value / top)


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
