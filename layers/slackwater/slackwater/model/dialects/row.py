"""What a dialect makes of one line."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from slackwater.model.checks import fail
from slackwater.model.job import Lane
from slackwater.model.message import MAX_ID_CHARS
from slackwater.model.native import NativeBody, Request, check, shape
from slackwater.model.request import Outline

MAX_MODEL_CHARS: Final = 2048  # Converse: modelId


Label = tuple[str | None, str | None, str | None, Lane | None]
"""Model, profile, deadline (as written), lane: what a line says beside id, request and tags. Few lines of a file
differ in it, so that a reader can keep what follows from it."""

NO_LABEL: Final[Label] = (None, None, None, None)

Usual = tuple[str | None, Request, Outline, Label | None]
"""Id, request, its outline, label (None: NO_LABEL) of a line of the usual kind. Bare tuples: one is made for every
line of a file."""


Fit = Callable[[str], tuple[Request, frozenset[str]]]
"""What a request becomes for a base model id, and its traits. Raises BadInput with the pointer into the line."""


class Row(NamedTuple):
    """A line whose request was checked. None: the line does not say, the file's default applies. With `fit` the request
    is good only for what it becomes for the model of the line's profile."""

    id: str | None
    request: Request
    traits: frozenset[str]
    label: Label = NO_LABEL
    tags: dict[str, str] | None = None
    fit: Fit | None = None


def native_fit(body: Any, at: str) -> Fit:
    """A native body as it is, if the model takes such ones."""

    def fit(model_id: str) -> tuple[Request, frozenset[str]]:
        request = NativeBody(body)
        check(request, model_id, at)
        return request, shape(request)

    return fit


def checked_id(value: Any, at: str) -> str:
    """A caller's id. Raises BadInput for what is no text, empty or too long."""
    if type(value) is not str:
        fail("must be text", at)
    if not 0 < len(value) <= MAX_ID_CHARS:
        fail(f"must have 1 to {MAX_ID_CHARS} characters", at)
    return str(value)


def checked_model(value: Any, at: str) -> str:
    """A line's model name. Raises BadInput."""
    if type(value) is not str or not 0 < len(value) <= MAX_MODEL_CHARS:
        fail("must be the name of a model or a profile", at)
    return str(value)
