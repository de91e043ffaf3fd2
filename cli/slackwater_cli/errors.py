"""How the command ends: exit statuses, and the one error that carries one."""

from __future__ import annotations

from typing import Final

SETTLED: Final = 0
BROKEN: Final = 1  # the cloud or the command failed, not the caller
USAGE: Final = 2  # bad usage, an unknown run, or input in which there was nothing to run
UNSETTLED: Final = 3  # not settled within --timeout
INTERRUPTED: Final = 130  # Ctrl-C


class Complaint(Exception):
    """What stops a command: `message` says in one line who must do what; `code` names the case for programs."""

    def __init__(self, message: str, *, status: int = USAGE, code: str = "usage") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
