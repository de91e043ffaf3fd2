"""Where a survey's blocks go in the home bucket."""

from typing import Final

from slackwater.adapters.store import Exists, Store
from slackwater.model import names

_TYPE: Final = "application/x-ndjson"


class RunBlocks:
    """The input blocks and refused parts of one run."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id

    def put_input(self, block: str, rows: bytes) -> None:
        """Input blocks may be written again: a second survey of the same object writes the same bytes."""
        self._store.put(names.input_key(self._run_id, block), rows, content_type=_TYPE)

    def put_refused(self, block: str, rows: bytes) -> None:
        """Parts are create-only; the part of a survey that was repeated is there already and says the same."""
        try:
            self._store.put(
                names.part_key(self._run_id, block, "refused", 0), rows, content_type=_TYPE, create_only=True
            )
        except Exists:
            return
