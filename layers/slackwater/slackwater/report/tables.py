"""Tables behind the pictures, and small parts that every section has."""

from collections.abc import Iterable, Sequence

from slackwater.report.markup import Child, Markup, tag

LANES = (("batch", "batch"), ("flex", "flex"), ("on_demand", "on demand"))
"""Cheapest first: from the bottom of a stack, from the left of a bar."""


def section(heading: str, *children: Child, id_: str) -> Markup:
    """A part of the page under its heading."""
    return tag("section", tag("h2", heading, id=f"{id_}-h"), *children, id=id_, aria_labelledby=f"{id_}-h")


def figure(picture: Child, *, caption: Child = None, class_: str | None = None) -> Markup:
    """A picture with its words."""
    return tag("figure", picture, None if caption is None else tag("figcaption", caption), class_=class_)


def legend(entries: Iterable[tuple[str, Child, Child]]) -> Markup:
    """What the shades mean, each with its number: (shade, words, number)."""
    rows = [
        tag("li", tag("span", class_=f"swatch {shade}"), tag("span", words), tag("b", number))
        for shade, words, number in entries
    ]
    return tag("ul", rows, class_="legend")


def behind(summary: str, head: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """The numbers of a picture as a table, folded away on a screen, open on paper. The first column names the row."""
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    table = tag(
        "table",
        tag("caption", summary, class_="unseen"),
        tag("thead", tag("tr", [tag("th", column, scope="col") for column in head])),
        tag("tbody", body),
    )
    return tag(
        "details",
        tag("summary", summary),
        tag("div", table, class_="wide", tabindex="0", role="region", aria_label=summary),
    )


def line(label: Child, value: Child, picture: Child = None, note: Child = None) -> Markup:
    """One row of a bar chart: words and number above the bar, so that both have room on a phone."""
    return tag(
        "div",
        tag("div", tag("span", label), tag("b", value), class_="said"),
        picture,
        None if note is None else tag("p", note, class_="note"),
        class_="line",
    )


def unknown(why: str) -> Markup:
    """A place where a number would stand, if it were known."""
    return tag("p", why, class_="unknown")
