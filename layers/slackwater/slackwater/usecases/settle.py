"""The last step of every unit of a file run, and the look that wakes the run's workflow."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from slackwater.model.run import ENDED, PackMessage, Unit
from slackwater.usecases.ports import Outgoing, Sender, Workflow


class RunsPort(Protocol):
    def cover(self, run_id: str, block: str, source: str, lines: bytes) -> None: ...
    def register(self, run_id: str, units: Sequence[Unit]) -> None: ...
    def end_unit(self, run_id: str, unit_id: str) -> None: ...
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class Settle:
    """Register replacements, send them, end the unit, look: in this order, so that a crash between two steps loses
    nothing.
    """

    def __init__(self, *, runs: RunsPort, packs: Sender, workflow: Workflow) -> None:
        self._runs = runs
        self._packs = packs
        self._workflow = workflow

    def unit(
        self,
        run_id: str,
        unit_id: str,
        source: str,
        covered: Mapping[str, bytes],
        replacements: Sequence[Unit] = (),
    ) -> None:
        """Ends a unit whose final rows are in S3; `covered` maps blocks to positions, `replacements` take over the
        rest.
        """
        for block, lines in covered.items():
            self._runs.cover(run_id, block, source, lines)
        self.release(run_id, replacements)
        self._runs.end_unit(run_id, unit_id)
        self.look(run_id)

    def release(self, run_id: str, units: Sequence[Unit]) -> None:
        """Makes the run wait for these units and sends the packs among them on their way."""
        self._runs.register(run_id, units)
        self._packs.send(
            Outgoing(PackMessage(run_id, unit.id, unit.block).body(), group=run_id)
            for unit in units
            if unit.kind == "pack" and unit.block is not None
        )

    def look(self, run_id: str) -> bool:
        """Wakes the workflow if nothing is left to wait for; says whether it did."""
        return self.answer(self._runs.get(run_id))

    def answer(self, meta: Mapping[str, Any] | None) -> bool:
        """As `look`, for a META just read. Answering twice is harmless."""
        if meta is None or meta["unsettled"] != 0 or not meta.get("token") or meta["state"] in ENDED:
            return False
        return self._workflow.answer(meta["token"], {"run_id": meta["run_id"], "status": "settled"})
