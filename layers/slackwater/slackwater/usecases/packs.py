"""Packs: jobs of one block that are called together."""

from collections.abc import Sequence
from typing import Final

from slackwater.model import bits, ids
from slackwater.model.job import Job
from slackwater.model.run import Unit

PACK_JOBS: Final = 200


def packs_of(
    run_id: str, block: str, lane: str, jobs: Sequence[Job], *, first_line: int, generation: int
) -> list[Unit]:
    """The packs of some jobs of one block: at most 200 each, in the order of their lines."""
    units = []
    for start in range(0, len(jobs), PACK_JOBS):
        some = jobs[start : start + PACK_JOBS]
        units.append(
            Unit(
                id=ids.pack_id(run_id, [job.job for job in some], generation),
                kind="pack",
                block=block,
                lane=lane,
                lines=bits.pack(job.line - first_line for job in some),
                first_line=first_line,
                generation=generation,
                jobs=len(some),
            )
        )
    return units
