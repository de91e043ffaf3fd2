"""What is wrong with a document of profiles, in words: which field, which value, and what would be allowed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from slackwater.model.errors import ConfigurationError

SHOWN_CHARS: Final = 60
_UNION: Final = ("literal[", "tuple[")  # how pydantic names the branches of `"auto" | list`


@dataclass(frozen=True, slots=True)
class Problem:
    """`profile` is empty for the document itself; `value` is None where there is none (a missing field)."""

    profile: str
    field: str
    value: str | None
    allowed: str

    def __str__(self) -> str:
        where = f"profiles.{self.profile}.{self.field}" if self.profile else self.field
        return f"{where}: {'' if self.value is None else f'{self.value}: '}{self.allowed}"

    def as_json(self) -> dict[str, str | None]:
        return {"profile": self.profile or None, "field": self.field, "value": self.value, "allowed": self.allowed}


class BadProfiles(ConfigurationError):
    """Whoever keeps the profiles must mend them: `problems` names every field, its value and what would be allowed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("profiles.json: " + "; ".join(map(str, problems)))
        self.problems = tuple(problems)


class BadProfile(ConfigurationError):
    """The same for one profile and what AWS offers."""

    def __init__(self, name: str, field: str, value: str, allowed: str) -> None:
        super().__init__(f"profile {name or '(unnamed)'}: {field}: {value!r} is not possible; allowed is {allowed}")
        self.problem = Problem(name, field, repr(value), f"not possible; allowed is {allowed}")


def problems_of(exc: ValidationError, fields: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Pydantic's findings as ours; `fields` are the names allowed in a `document`, `profile`, `route` and `budget`."""
    found = []
    for error in exc.errors(include_url=False):
        loc = list(error["loc"])
        if _is_other_branch(loc, error):
            continue
        path = [part for part in loc if not (isinstance(part, str) and part.startswith(_UNION))]
        profile = str(path[1]) if len(path) > 1 and path[0] == "profiles" else ""
        rest = path[2:] if profile else path
        field = _field(rest, error)
        found.append(Problem(profile, field, _value(error, field), _allowed(rest, profile, error, fields)))
    return list(dict.fromkeys(found))


def _is_other_branch(loc: Sequence[Any], error: Any) -> bool:
    """A list is not told that it is no word, nor a word that it is no list."""
    branch = next((part for part in loc if isinstance(part, str) and part.startswith(_UNION)), None)
    if branch is None:
        return False
    if branch.startswith("literal["):
        return isinstance(error["input"], list | tuple)
    return bool(error["type"] == "tuple_type")


def _field(rest: Sequence[Any], error: Any) -> str:
    text = ""
    for part in rest:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    if not text and error["type"] == "value_error":  # a rule about several fields begins with the one to mend
        text = str(error["ctx"]["error"]).partition(":")[0]
    return text or "document"


def _value(error: Any, field: str) -> str | None:
    value = error["input"]
    if isinstance(value, dict):
        value = value.get(field)
    if value is None or error["type"] in ("missing", "json_invalid"):
        return None
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def _allowed(rest: Sequence[Any], profile: str, error: Any, fields: Mapping[str, Sequence[str]]) -> str:
    match error["type"]:
        case "extra_forbidden":
            inner = "budget" if rest[:1] == ["budget"] else "route"
            level = "document" if not profile else "profile" if len(rest) == 1 else inner
            return f"unknown field; allowed are {', '.join(fields[level])}"
        case "missing":
            return "is missing"
        case "value_error":
            text = str(error["ctx"]["error"])
            return text.partition(": ")[2] if not rest and ": " in text else text
        case "json_invalid":
            return f"is no JSON: {error['ctx']['error']}"
        case "literal_error" if rest and rest[0] in ("routes", "batch_regions"):
            return f"should be {error['ctx']['expected']} or a list"
        case _:
            return str(error["msg"]).replace("Input should be", "should be")
