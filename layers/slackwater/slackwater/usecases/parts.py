"""Parts: files of finished result lines, each written once."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from slackwater.model import names
from slackwater.model.errors import Exists
from slackwater.usecases.ports import Documents

MAX_COLLISIONS: Final = 1_000


class Parts:
    """The parts of all runs in the home bucket."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def append(
        self, run_id: str, block: str, source: str, rows: Sequence[dict[str, Any]], *, first_wave: int = 0
    ) -> str:
        """Writes `rows` as the source's next part and gives its key; a wave that is taken means the next number."""
        body = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        for wave in range(first_wave, first_wave + MAX_COLLISIONS):
            key = names.part_key(run_id, block, source, wave)
            try:
                self._documents.put(key, body, content_type="application/x-ndjson", create_only=True)
            except Exists:
                continue
            return key
        raise RuntimeError(f"{source} of {run_id}/{block}: a thousand waves are taken")

    def keys(self, run_id: str, block: str, source: str) -> list[str]:
        """The source's parts of a block, by wave."""
        prefix = f"{names.parts_prefix(run_id, block)}{source}."
        return sorted(self._documents.keys(prefix), key=names.wave_of_part)

    def rows(self, run_id: str, block: str, source: str) -> Iterator[dict[str, Any]]:
        """Every row that the source has stored for a block."""
        for key in self.keys(run_id, block, source):
            yield from self.rows_of(key)

    def rows_of(self, key: str) -> Iterator[dict[str, Any]]:
        for line in self._documents.get(key).splitlines():
            yield orjson.loads(line)
