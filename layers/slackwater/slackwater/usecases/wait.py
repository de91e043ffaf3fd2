"""The workflow's side of a run's end: the token is stored, then it is looked whether all has settled already."""

from typing import Any, Protocol

from slackwater.model.run import RunState
from slackwater.usecases.settle import Settle


class RunsPort(Protocol):
    def set_token(self, run_id: str, token: str) -> dict[str, Any]: ...
    def reopen(self, run_id: str) -> dict[str, Any]: ...


class Wait:
    """Stores the token and looks in one answer of the table, so that the last settler and this waiter cannot miss
    each other.
    """

    def __init__(self, *, runs: RunsPort, settle: Settle) -> None:
        self._runs = runs
        self._settle = settle

    def __call__(self, run_id: str, token: str) -> None:
        meta = self._runs.set_token(run_id, token)
        if meta["state"] == RunState.FAILED:  # a redrive after a workflow that failed
            meta = self._runs.reopen(run_id)
        self._settle.answer(meta)
