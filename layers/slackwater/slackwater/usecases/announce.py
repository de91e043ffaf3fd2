"""The last word of a run: its state in the ledger and an event for whoever waits."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from slackwater.model import names
from slackwater.model.clock import Clock, iso
from slackwater.model.errors import Missing
from slackwater.model.run import RunState
from slackwater.usecases.ports import Documents, EventSink


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def finish(self, run_id: str, state: RunState, **attributes: Any) -> None: ...


_EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {RunState.SETTLED: "Run Completed", RunState.FAILED: "Run Failed", RunState.CANCELLED: "Run Cancelled"}
)


class Announce:
    """Writes the end of a run; saying it again changes nothing and only repeats the event."""

    def __init__(self, *, runs: RunsPort, documents: Documents, events: EventSink, clock: Clock) -> None:
        self._runs = runs
        self._documents = documents
        self._events = events
        self._clock = clock

    def __call__(self, run_id: str, status: str, error: str | None = None) -> None:
        """`error` says that the workflow failed. Then there may be no receipt, nor even a run in the ledger."""
        state = RunState.FAILED if error is not None or status not in _EVENTS else RunState(status)
        receipt = self._receipt(run_id)
        reason = receipt.get("reason") or error
        finished_at = receipt.get("finished_at") or iso(self._clock.now())
        try:
            self._runs.finish(run_id, state, finished_at=finished_at, **({"reason": reason} if reason else {}))
        except LookupError:
            if error is None:
                raise
        self._events.announce(_EVENTS[state], self._detail(run_id, receipt, reason))

    def _receipt(self, run_id: str) -> Mapping[str, Any]:
        try:
            document: Mapping[str, Any] = self._documents.get_json(names.run_key(run_id, "receipt.json"))
        except Missing:
            return {}
        return document

    def _detail(self, run_id: str, receipt: Mapping[str, Any], reason: str | None) -> dict[str, Any]:
        counts = {name: receipt.get(name) for name in ("lines", "accepted", "succeeded", "failed", "refused_lines")}
        key = names.run_key(run_id, "receipt.json")
        return {
            "v": 1,
            "run_id": run_id,
            "profile": receipt.get("profile"),
            "counts": counts,
            "cost_usd": receipt.get("cost_usd"),
            "reason": reason,
            "receipt_s3": f"s3://{self._documents.bucket}/{key}" if receipt else None,
        }
