"""A line that was checked, as a template for those that differ from it in their id and their last text only.

Most files are like that, and comparing a parsed line with a parsed line is one call, whereas checking it again takes a hundred.
"""

from collections.abc import Iterator
from typing import Any, Final, Self

from slackwater.model.dialects.row import Label, Usual
from slackwater.model.message import MAX_ID_CHARS

Path = tuple[str | int, ...]

_NOTHING: Final = ""  # stands for the id and the text while two lines are compared


class Template:
    """Made by `learn`; `match` takes a parsed line, `row` and `written_text` give what is to be written for it."""

    __slots__ = ("_expected", "_id_field", "_numbers", "_text_name", "_to_text", "constant_bytes", "label", "limit", "messages", "row")
    __slots__ += ("traits", "written_text")  # the block of `row` whose text the line's text becomes

    @classmethod
    def learn(cls, found: dict[str, Any], id_field: str, text_at: Path, known: Usual) -> Self | None:
        """The template of an accepted line: `found` freshly parsed and whole, `known` what the dialect made of it."""
        id_, request, (traits, text_bytes, limit), label = known
        self = cls()
        self._id_field = None if id_ is None else id_field
        *to_text, name = text_at
        self._to_text, self._text_name = tuple(to_text), str(name)
        holder = _walk(found, self._to_text)
        text = holder[self._text_name]
        if type(text) is not str or not text:
            return None
        holder[self._text_name] = _NOTHING
        if id_ is not None:
            found[id_field] = _NOTHING
        self._expected = found
        self._numbers = tuple(_numbers(found, ()))
        self.label: Label | None = label
        self.traits, self.limit = traits, limit
        self.messages = len(request["messages"])
        self.constant_bytes = text_bytes - len(text.encode())
        self.row: dict[str, Any] = {"line": 0, "id": id_, "request": request}
        self.written_text: dict[str, str] = request["messages"][-1]["content"][-1]
        return self

    def match(self, found: Any) -> tuple[str | None, str] | None:
        """Id and text of a line that is otherwise equal, down to the types of its numbers; else None, and `found` as it was."""
        id_field, name = self._id_field, self._text_name
        try:
            id_ = None if id_field is None else found[id_field]
            holder = found
            for key in self._to_text:
                holder = holder[key]
            text = holder[name]
        except (KeyError, IndexError, TypeError):
            return None
        if type(text) is not str or not text:
            return None
        if id_field is not None:
            if type(id_) is not str or not 0 < len(id_) <= MAX_ID_CHARS:
                return None
            found[id_field] = _NOTHING
        holder[name] = _NOTHING
        if found == self._expected:
            for path, key, kind in self._numbers:  # true equals 1, and 1.0 too
                if type(_walk(found, path)[key]) is not kind:
                    break
            else:
                return id_, text
        holder[name] = text
        if id_field is not None:
            found[id_field] = id_
        return None


def _walk(found: Any, path: Path) -> Any:
    for key in path:
        found = found[key]
    return found


def _numbers(found: Any, path: Path) -> Iterator[tuple[Path, str | int, type]]:
    entries = found.items() if type(found) is dict else enumerate(found) if type(found) is list else ()
    for key, value in entries:
        if type(value) in (int, float, bool):
            yield path, key, type(value)
        else:
            yield from _numbers(value, (*path, key))
