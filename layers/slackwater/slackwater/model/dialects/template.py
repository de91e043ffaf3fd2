"""A line that was checked, as a template for those that differ from it in their id and their last text only.

Most files are like that. With both taken out, the two lines are the same bytes: one call, whereas checking a line
takes a hundred.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from slackwater.model.dialects.row import Label, Usual
from slackwater.model.input_row import request_fields
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.native import plain

_NOTHING: Final = ""  # stands for the id and the text while two lines are compared


class Template:
    """`match` takes a parsed line; what is to be written for it is `row` with its line, id and text in
    `written_text`."""

    __slots__ = (
        "_expected",
        "_holder_of",
        "_id_field",
        "_text_field",
        "constant_bytes",  # of text, apart from the text that varies
        "label",
        "limit",
        "messages",
        "row",
        "traits",
        "written_field",
        "written_text",  # what of `row` holds the text, under `written_field`
    )

    def __init__(
        self, found: dict[str, Any], known: Usual, id_field: str, text_field: str, text_holder: Callable[[Any], Any]
    ) -> None:
        """From an accepted line: `found` freshly parsed and whole, `known` what the dialect made of it, the rest as
        in `Dialect`."""
        id_, request, (traits, text_bytes, limit), label = known
        self._id_field = None if id_ is None else id_field
        self._text_field, self._holder_of = text_field, text_holder
        holder = text_holder(found)
        self.constant_bytes = text_bytes - len(holder[text_field].encode())
        holder[text_field] = _NOTHING
        if id_ is not None:
            found[id_field] = _NOTHING
        self._expected = orjson.dumps(found)
        self.label: Label | None = label
        self.traits, self.limit = traits, limit
        messages = plain(request)["messages"]
        self.messages = len(messages)
        self.row: dict[str, Any] = {"line": 0, "id": id_, **request_fields(request)}
        whole = type(messages[-1]["content"]) is str
        self.written_field = "content" if whole else "text"
        self.written_text: dict[str, str] = messages[-1] if whole else messages[-1]["content"][-1]

    def match(self, found: Any) -> tuple[str | None, str] | None:
        """Id and text of a line that is the same in all else; else None, and `found` as it was."""
        id_field, name = self._id_field, self._text_field
        try:
            id_ = None if id_field is None else found[id_field]
            holder = self._holder_of(found)
            text = holder[name]
        except (KeyError, IndexError, TypeError):
            return None
        if type(text) is not str or not text:  # an empty text is another matter in some places
            return None
        if id_field is not None:
            if type(id_) is not str or not 0 < len(id_) <= MAX_ID_CHARS:
                return None
            found[id_field] = _NOTHING
        holder[name] = _NOTHING
        try:
            if orjson.dumps(found) == self._expected:
                return id_, text
        except orjson.JSONEncodeError:  # nested more deeply than can be written
            pass
        holder[name] = text
        if id_field is not None:
            found[id_field] = id_
        return None
