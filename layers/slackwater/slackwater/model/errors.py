"""Errors say who must act: each class's docstring is its remedy."""


class SlackwaterError(Exception):
    """Base of everything this product raises on purpose. Messages never quote a prompt or an answer."""


class BadInput(SlackwaterError):
    """The caller must mend the input: names the field (a JSON pointer, or empty) and the remedy."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class ConfigurationError(SlackwaterError):
    """The operator must mend the stack or the profile: names the setting."""


class Lost(SlackwaterError):
    """Another worker owns this now: stop, write nothing more."""


class NotYet(SlackwaterError):
    """Too early or already being done: leave the message on the queue, it comes back."""


class CallFailed(SlackwaterError):
    """A model call that brought no answer; `fault` (policy.classify) says who must act. Holds codes, never provider
    text.
    """

    def __init__(self, code: str, fault: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.fault = fault
        self.retry_after_s = retry_after_s


class Contended(SlackwaterError):
    """Others changed the same row each time we tried: nothing was done, ask again a little later."""


class Exists(SlackwaterError):
    """A create-only key is taken: somebody wrote it before; read it, or take the next name."""


class Missing(SlackwaterError):
    """No such object (or version) in the bucket."""
