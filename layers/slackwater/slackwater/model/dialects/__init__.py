"""How input files may be written. A dialect is recognised per file and checked per line.

A new dialect is a module with `ID_FIELD`, `LIMIT_POINTER`, `TEXT_FIELD`, `is_telltale(found)`, `read(found)`
`usual(found)` and `text_holder(found)`, and an entry in `DIALECTS`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from slackwater.model.dialects import anthropic, bedrock, converse, openai, slackwater
from slackwater.model.dialects.row import Row, Usual
from slackwater.model.dialects.template import Template
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.native import NativeBody, Request, RequestType, limit_pointer

_CONVERSE_LIMIT: Final = "/inferenceConfig/maxTokens"

RECOGNISE_FROM: Final = 50
"""The first so many lines that are JSON objects decide what a file is."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """`read` gives the job of a line or raises BadInput whose pointer leads into that line; it may take `found` apart.

    `usual` says the same, much faster, of most lines of most files; None (and `found` as it was) where it does not
    know the kind. `text_holder` finds what holds, under `text_field`, the last text of a line of the usual kind
    (LookupError, TypeError: another kind).
    """

    name: str
    id_field: str
    limit_pointer: str  # where a line sets its `maxTokens`
    text_field: str
    text_holder: Callable[[Any], Any]
    is_telltale: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Row]
    usual: Callable[[Any], Usual | None]
    body_field: str | None = None  # where a line has a request that depends on its profile's model (`Row.fit`)

    def caller_id(self, found: dict[str, Any]) -> str | None:
        """The id of a line that was refused, if it has a good one; call it before `read`."""
        value = found.get(self.id_field)
        return value if type(value) is str and 0 < len(value) <= MAX_ID_CHARS else None

    def limit_at(self, request: Request, model_id: str) -> str:
        """Where a line with this request sets its output limit."""
        body, converse_field, _ = self.limit_pointer.partition(_CONVERSE_LIMIT)
        if isinstance(request, NativeBody) and converse_field:
            return body + limit_pointer(model_id)
        return self.limit_pointer

    def template(self, found: dict[str, Any], known: Usual) -> Template:
        """An accepted line of the usual kind as a template; `found` is freshly parsed, `known` what `usual` made of
        it."""
        return Template(found, known, self.id_field, self.text_field, self.text_holder)

    def fitted_template(self, found: dict[str, Any], known: Usual) -> Template:
        """The same for a line of which `Row.fit` made `known`: its text is the content of its last message, or that's
        last block's."""
        name = str(self.body_field)
        whole = type(found[name]["messages"][-1]["content"]) is str

        def holder(line: Any) -> Any:
            last = line[name]["messages"][-1]
            return last if whole else last["content"][-1]

        return Template(found, known, self.id_field, "content" if whole else "text", holder)


DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        name: Dialect(
            name,
            module.ID_FIELD,
            module.LIMIT_POINTER,
            module.TEXT_FIELD,
            module.text_holder,
            module.is_telltale,
            module.read,
            module.usual,
            body_field,
        )
        for name, module, body_field in (
            ("slackwater", slackwater, "request"),
            ("converse", converse, None),
            ("bedrock", bedrock, "modelInput"),
            ("openai", openai, None),
            ("anthropic", anthropic, "params"),
        )
    }
)


def recognise(objects: Iterable[dict[str, Any]], request_type: RequestType | None = None) -> Dialect:
    """The dialect that most of these lines show by a key that only it has; our own when none does (its refusals name
    the fields). `request_type`: what the file's option says of Bedrock's records."""
    votes = dict.fromkeys(DIALECTS, 0)
    for line in objects:
        for name, dialect in DIALECTS.items():
            if dialect.is_telltale(line):
                votes[name] += 1
                break
    found = DIALECTS[max(votes, key=lambda name: votes[name])]
    if request_type is None or found.name != "bedrock":
        return found
    usual = found.usual if request_type is RequestType.CONVERSE else _not_usual
    return replace(found, read=bedrock.reader_of(request_type), usual=usual)


def _not_usual(_: Any) -> None:
    """No line of such a file is of a usual kind."""
