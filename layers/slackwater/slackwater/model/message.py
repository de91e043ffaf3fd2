"""What may lie in the job queue: a job, the word that closes a run, or a job that went back to the queue in an
envelope.

Readers accept `v` and `v − 1`; as 1 is the first version, that is 1. A message without `v` is read as version 1.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from slackwater.model import native
from slackwater.model import request as converse
from slackwater.model.checks import shortened, step
from slackwater.model.errors import BadInput, SlackwaterError
from slackwater.model.job import Lane

MAX_ID_CHARS: Final = 512
MAX_PROFILE_CHARS: Final = 128
MAX_DEADLINE_CHARS: Final = 64

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=256)]],
    Field(max_length=50),
]
ResultDialect = Literal["slackwater", "openai", "anthropic", "bedrock", "converse", "input"]


class _Checked(BaseModel):
    # strict: "1" is no 1; hide_input: a validation error must not carry somebody's prompt into a log
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class JobMessage(_Checked):
    """A job as a caller sends it (also a line of a file in Slackwater's own dialect)."""

    v: Literal[1] = 1
    job_id: Id | None = None
    profile: Annotated[str, Field(min_length=1, max_length=MAX_PROFILE_CHARS)] | None = None
    deadline: Annotated[str, Field(min_length=1, max_length=MAX_DEADLINE_CHARS)] | None = None
    run_id: Id | None = None
    request: dict[str, Any]
    request_type: Literal["converse", "invoke_model"] | None = None
    lane: Annotated[Lane, Field(strict=False)] | None = None
    tags: Tags | None = None
    reply_to: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+$")] | None = None
    result_dialect: ResultDialect | None = None

    def typed_request(self) -> native.Request:
        """The request, which knows its type."""
        return native.typed(self.request, self.request_type)


class CloseRun(_Checked):
    """No more jobs of this run will be sent; `expected` is how many were (accepted and refused)."""

    v: Literal[1] = 1
    close_run: Id
    expected: Annotated[int, Field(ge=0)] | None = None
    profile: Annotated[str, Field(min_length=1, max_length=MAX_PROFILE_CHARS)] | None = None


class Envelope(_Checked):
    """A job that went back to the queue. Exactly one of `body` and `body_key` is there; both times are absolute."""

    v: Literal[1] = 1
    hop: Annotated[int, Field(ge=0)]
    first_sent_at: Annotated[AwareDatetime, Field(strict=False)]
    deadline_at: Annotated[AwareDatetime, Field(strict=False)]
    job: str
    run: str
    body: dict[str, Any] | None = None
    body_key: str | None = None
    lane: Annotated[Lane, Field(strict=False)] | None = None
    rescued: bool = False

    def message(self) -> JobMessage | None:
        """The job inside; None if it lies in S3 under `body_key`."""
        return None if self.body is None else job_message(self.body)


@dataclass(frozen=True, slots=True)
class Known:
    """What could still be read of a message that is refused: enough for a failed row and a reply."""

    job_id: str | None = None
    profile: str | None = None
    run_id: str | None = None
    reply_to: str | None = None
    result_dialect: str | None = None


class NotAnObject(SlackwaterError):
    """The body is no JSON object: leave it to the queue's redrive, nobody can be told."""


class BadMessage(BadInput):
    """The caller must mend the message; `known` says whom to tell."""

    def __init__(self, message: str, pointer: str, known: Known) -> None:
        super().__init__(message, pointer)
        self.known = known


def parse_body(body: str | bytes) -> JobMessage | CloseRun | Envelope:
    """The message in an SQS body, its request checked. Raises NotAnObject, or BadMessage (a BadInput) that names
    field and remedy."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotAnObject("the body is no JSON") from None
    if type(found) is not dict:
        raise NotAnObject("the body is JSON, but no object")
    if "close_run" in found:
        return _validated(CloseRun, found)
    if "hop" in found:
        envelope = _validated(Envelope, found)
        if (envelope.body is None) == (envelope.body_key is None):
            raise BadMessage("an envelope has either `body` or `body_key`", "", _known(found))
        return envelope
    return job_message(found)


def job_message(found: dict[str, Any]) -> JobMessage:
    """The job message in a JSON object, its request checked. Raises BadMessage."""
    message = job_frame(found)
    try:
        if message.request_type == native.INVOKE_MODEL:
            native.check_any(message.request, "/request")  # the rest follows from the profile's model
        else:
            converse.check(message.request, "/request")
    except BadInput as exc:
        raise BadMessage(exc.message, exc.pointer, _known(found)) from None
    return message


def job_frame(found: dict[str, Any]) -> JobMessage:
    """The job message in a JSON object, its request not looked at. Raises BadMessage."""
    return _validated(JobMessage, found)


_M = TypeVar("_M", bound=_Checked)


def _validated(model: type[_M], found: dict[str, Any]) -> _M:
    try:
        return model.model_validate(found)
    except ValidationError as exc:
        _refuse(exc, found)


def _refuse(exc: ValidationError, found: dict[str, Any]) -> NoReturn:
    first = exc.errors(include_url=False, include_context=True, include_input=False)[0]
    pointer = ""
    for part in first["loc"]:
        if part != "[key]":
            pointer = step(pointer, str(part))
    raise BadMessage(_words(first, pointer), pointer, _known(found)) from None


def _words(error: Any, pointer: str) -> str:
    kind = error["type"]
    if kind == "string_pattern_mismatch" and pointer == "/reply_to":
        return "must be the ARN of an SQS queue"
    words = _WORDS.get(kind)
    if words is None:
        return f"is not valid ({kind})"  # pydantic's names of what is wrong never quote the input
    return words.format(name=shortened(str(error["loc"][-1])), **error.get("ctx", {}))


_WORDS: Final = {
    "extra_forbidden": "unknown field `{name}`: take it out",
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "string_type": "must be text",
    "dict_type": "must be an object",
    "int_type": "must be a whole number, 0 or more",
    "greater_than_equal": "must be a whole number, 0 or more",
    "timezone_aware": "must be a time with its zone",
}


def _known(found: dict[str, Any]) -> Known:
    """Every field that is good by itself; an envelope's come from the body inside."""
    inner = found.get("body")
    source = inner if "hop" in found and type(inner) is dict else found

    def good(name: str) -> str | None:
        value = source.get(name)
        return value if type(value) is str and 0 < len(value) <= MAX_ID_CHARS else None

    return Known(good("job_id"), good("profile"), good("run_id"), good("reply_to"), good("result_dialect"))
