"""What a caller asks of a whole file: in its key (`inbox/<profile>/…`) and in its object metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Self

from slackwater.model import deadline, names
from slackwater.model.checks import shortened
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.money import MoneyError, pico_from_usd
from slackwater.model.native import RequestType
from slackwater.model.profile import DEFAULT_PROFILE

RESULT_DIALECTS: Final = ("slackwater", "openai", "anthropic", "bedrock", "converse", "input")


@dataclass(frozen=True, slots=True)
class FileOptions:
    """`sent_at` is when the object was written, in the product's time: a relative deadline counts from there."""

    profile: str
    sent_at: datetime
    deadline: datetime | None = None  # None: the default of the profile
    lane: Lane | None = None
    max_cost_pico: int | None = None
    result_dialect: str = "slackwater"
    request_type: RequestType | None = None  # of Bedrock's batch records
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_object(cls, key: str, metadata: Mapping[str, str], last_modified: datetime) -> Self:
        """From a decoded key, metadata (names without `x-amz-meta-`) and LastModified.

        Raises BadInput whose pointer is the option. Metadata that is no option is left alone, with a warning.
        """
        found: dict[str, Any] = {}
        warnings = []
        for name, value in sorted(metadata.items()):
            read = _OPTIONS.get(name.lower())
            if read is None:
                warnings.append(f"object metadata `{shortened(name)}` is no option of ours and was not used")
                continue
            try:
                found[name.lower().replace("-", "_")] = read(value.strip(), last_modified)
            except BadInput as exc:
                raise BadInput(f"object metadata `{name}`: {exc.message}", f"/{name}") from None
        if "max_cost_usd" in found:
            found["max_cost_pico"] = found.pop("max_cost_usd")
        return cls(profile=profile_of_key(key), sent_at=last_modified, warnings=tuple(warnings), **found)

    def deadline_or(self, default: str) -> datetime:
        """The file's deadline; `default` (`24h`), counted from sending, where it names none."""
        return self.deadline or deadline.resolve(default, self.sent_at)


def profile_of_key(key: str) -> str:
    """The profile named by a key; `default` for an object that lies directly in the inbox. Raises BadInput for other
    places."""
    inside = key.removeprefix(names.INBOX)
    if inside == key:
        raise BadInput(f"the object does not lie under {names.INBOX}: put it to {names.INBOX}<profile>/<name>.jsonl")
    profile, slash, _ = inside.partition("/")
    return profile if slash and profile else DEFAULT_PROFILE


def _deadline(value: str, sent_at: datetime) -> datetime:
    moment = deadline.resolve(value, sent_at)
    if moment <= sent_at:
        raise BadInput("the deadline had passed when the file was sent: name a later one")
    return moment


def _lane(value: str, _: datetime) -> Lane:
    if value not in tuple(Lane):
        raise BadInput(f"must be one of {', '.join(Lane)}")
    return Lane(value)


def _max_cost(value: str, _: datetime) -> int:
    try:
        amount = pico_from_usd(value)
    except MoneyError as exc:
        raise BadInput(f"must be an amount in USD such as 12.50 ({exc})") from None
    if amount <= 0:
        raise BadInput("must be more than 0")
    return amount


def _result_dialect(value: str, _: datetime) -> str:
    if value not in RESULT_DIALECTS:
        raise BadInput(f"must be one of {', '.join(RESULT_DIALECTS)}")
    return value


def _request_type(value: str, _: datetime) -> RequestType:
    if value not in tuple(RequestType):
        raise BadInput(f"must be one of {', '.join(RequestType)}")
    return RequestType(value)


_OPTIONS: Final[Mapping[str, Callable[[str, datetime], Any]]] = MappingProxyType(
    {
        "deadline": _deadline,
        "lane": _lane,
        "max-cost-usd": _max_cost,
        "request-type": _request_type,
        "result-dialect": _result_dialect,
    }
)
