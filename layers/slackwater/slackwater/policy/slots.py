"""Where a batch job begins: AWS allows so many open jobs per model and region, other people's among them.

Pure: places in, an order out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slackwater.model.job import Route
from slackwater.policy.weights import PriceOf

MAX_OPEN: Final = 100
"""Submitted and running jobs of one base model in one region (https://docs.aws.amazon.com/general/latest/gr/bedrock.html,
"Sum of in-progress and submitted batch inference jobs using a base model"); older accounts have 20."""


@dataclass(frozen=True, slots=True)
class Slots:
    """`SLOT#region|model` `COUNT`: `taken` by us, `others` open jobs that are not ours, at most `limit` together.
    `queued_s`: how long the oldest of our jobs there that has not begun has waited; 0 if none waits."""

    taken: int = 0
    others: int = 0
    limit: int = MAX_OPEN
    queued_s: float = 0.0

    @property
    def free(self) -> int:
        return max(0, self.limit - self.others - self.taken)


@dataclass(frozen=True, slots=True)
class Place:
    """A route that a shard may take, and what is known of it. `here`: the shard's file lies there already."""

    route: Route
    slots: Slots
    here: bool = False


def placement(places: Sequence[Place], *, price: PriceOf, patience_s: float) -> list[Route]:
    """The places with a free slot, in the order to try them.

    The cheapest first (an unknown price last): batch prices differ by region. Among equals one whose queue moves
    before one where a job of ours has waited longer than `patience_s`; then the region where the file lies, since
    moving it costs a transfer; then the younger queue, then the one with more free slots, then the order given.
    Residency is the routes' own: only allowed ones are places.
    """
    open_places = [place for place in places if place.slots.free]

    def rank(numbered: tuple[int, Place]) -> tuple[bool, int, bool, bool, float, int, int]:
        index, place = numbered
        cost, slots = price(place.route), place.slots
        stuck = slots.queued_s > patience_s
        return cost is None, cost or 0, stuck, not place.here, slots.queued_s, -slots.free, index

    return [place.route for _, place in sorted(enumerate(open_places), key=rank)]
