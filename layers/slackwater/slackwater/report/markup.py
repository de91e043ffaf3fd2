"""HTML and SVG that cannot be written unescaped: what is no `Markup` is text."""

import re
from collections.abc import Iterable
from html import escape
from typing import Final

_DATED: Final = re.compile(r"(-\d{8})?(-v\d+(:\d+)*)?$")
_VOID: Final = frozenset({"br", "link", "meta"})
_CONTROL: Final = {code: " " for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}


class Markup(str):
    """Text that is HTML already: only `tag` and `raw` make it."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def tag(name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. Children and values of attributes are escaped; None is left out. `class_` is `class`, other
    underscores are dashes."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = join(children)
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{inside}</{name}>")


def join(children: Child) -> Markup:
    """Children one after the other."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return text(str(children))
    return Markup("".join(join(child) for child in children))


def text(content: str) -> Markup:
    """Escaped text without characters that HTML forbids; what has no place in UTF-8 becomes `?`."""
    clean = content.translate(_CONTROL).encode("utf-8", "replace").decode("utf-8")
    return Markup(escape(clean, quote=True))


def raw(trusted: str) -> Markup:
    """Our own HTML or CSS, as it is."""
    return Markup(trusted)


def name(given: str) -> Markup:
    """A name that somebody else chose: its writing direction must not reach its neighbours."""
    return tag("bdi", given, class_="name")


def model(model_id: str) -> Markup:
    """A model's id without its maker, date and version, which the tables have."""
    return name(_DATED.sub("", model_id.partition(".")[2] or model_id))


def _plain(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
