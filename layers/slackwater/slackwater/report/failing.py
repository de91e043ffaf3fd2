"""What failed or was refused, by cause, with what to do about it; and what the run warns of."""

from collections import Counter
from collections.abc import Iterator, Sequence

from slackwater.model.words import count, counted
from slackwater.report import charts
from slackwater.report.data import Story
from slackwater.report.markup import Child, Markup, tag
from slackwater.report.tables import behind, figure, line, section


def failing(story: Story) -> Markup:
    """The section on failures."""
    errors = story.receipt.get("errors") or {}
    if not errors:
        return section("Failures", tag("p", "None: every row was answered.", class_="calm"), id_="failures")
    refused: Counter[str] = Counter()
    for cell, number in story.timeline.cells:
        if cell.refused and cell.code is not None:
            refused[cell.code] += number
    most = max(errors.values())
    return section(
        "Failures, by cause",
        figure([_cause(story, code, number, refused[code], most) for code, number in errors.items()]),
        behind("By cause and lane", ("cause", "lane", "rows"), _table(story)),
        id_="failures",
    )


def _cause(story: Story, code: str, number: int, refused: int, most: int) -> Markup:
    first = story.timeline.causes.get(code)
    what = (
        "refused at the door" if refused == number else "failed" if not refused else f"{count(refused)} of them refused"
    )
    note = None if first is None else f"First on line {first.line}: {first.message}"
    shade = "refused" if refused == number else "failed"
    return line(
        [tag("code", code), tag("i", f" {what}")],
        counted(number, "row"),
        charts.bar(f"{code}: {counted(number, 'row')}", [(shade, number / most)], height=10),
        note,
    )


def _table(story: Story) -> Iterator[Sequence[Child]]:
    sums: Counter[tuple[str, str]] = Counter()
    for cell, number in story.timeline.cells:
        if cell.code is not None:
            lane = "never a job" if cell.refused else (cell.lane or "none").replace("_", " ")
            sums[cell.code, lane] += number
    for (code, lane), number in sums.most_common():
        yield tag("code", code), lane, count(number)


def warnings(story: Story) -> Child:
    """The receipt's own warnings."""
    said = story.receipt.get("warnings") or ()
    if not said:
        return None
    return section(
        "What the run warns of", tag("ul", [tag("li", one) for one in said], class_="warnings"), id_="warnings"
    )
