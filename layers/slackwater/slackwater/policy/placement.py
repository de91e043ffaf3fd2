"""A plan, read back: where each row of an input block goes. What the plan decided by class is found again by the row
alone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from slackwater.model.clock import parse_iso
from slackwater.model.job import Lane, Route
from slackwater.policy.classes import Classes, ClassKey


@dataclass(frozen=True, slots=True)
class ToShard:
    """The row is a record of shard `shard` of group `group`."""

    group: int
    shard: int


@dataclass(frozen=True, slots=True)
class ToLane:
    """The row is called."""

    lane: Lane


@dataclass(frozen=True, slots=True)
class Refusal:
    """The row fails now: the lane that it asks for cannot be taken."""

    code: str
    message: str


Destination = ToShard | ToLane | Refusal


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of the plan. `deadline_at` is the latest of its jobs' deadlines, `guard_at` follows from the
    earliest; `alternatives`: the other batch routes, to try after a definite refusal. `blocks`: those that hold its
    records, in order."""

    route: Route
    records: int
    blocks: tuple[str, ...]
    profile: str
    home_region: str
    deadline_at: datetime
    guard_at: datetime
    rescue_lane: Lane
    alternatives: tuple[Route, ...]


class Placement:
    """What `usecases.plan` wrote, for looking rows up. Immutable."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        """From the document `plan.json`."""
        self._blocks: list[str] = [block["block"] for block in plan["blocks"]]
        self._first_lines = {block["block"]: int(block["first_line"]) for block in plan["blocks"]}
        self._classes = Classes.from_json(plan)
        entries = {
            ClassKey(
                e["profile"], e["deadline_step"], Lane(e["lane"]) if e["lane"] else None, frozenset(e["traits"])
            ): e
            for e in plan["classes"]
        }
        self._decided: Mapping[ClassKey, Mapping[str, Any]] = {key: e["plan"] for key, e in entries.items()}
        self._called_blocks = {block for e in entries.values() if e["plan"]["group"] is None for block in e["blocks"]}
        self._groups: list[Mapping[str, Any]] = plan["groups"]
        for group in self._groups:
            for first, last in (piece["blocks"] for piece in group["leftover"]):
                self._called_blocks.update(self._between(first, last))

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> Self:
        """The same as the constructor, named for what it reads."""
        return cls(plan)

    def first_line(self, block: str) -> int:
        """The number of a block's first line. Raises KeyError for an unknown block."""
        return self._first_lines[block]

    def blocks(self, item: Mapping[str, Any]) -> list[str]:
        """The blocks that an item of the plan has to read: of a `packs` item those that hold rows for calling lanes,
        or refused ones."""
        between = self._between(*item["blocks"])
        return [b for b in between if b in self._called_blocks] if item["kind"] == "packs" else between

    def shard(self, group: int, shard: int) -> PlannedShard:
        """Raises IndexError for a shard that the plan does not have."""
        of = self._groups[group]
        piece = of["shards"][shard]
        routes = [_route(entry) for entry in of["routes"]]
        chosen = next(route for route in routes if route.region == piece["region"])
        return PlannedShard(
            route=chosen,
            records=piece["records"],
            blocks=tuple(self._between(*piece["blocks"])),
            profile=of["profile"],
            home_region=of["home_region"],
            deadline_at=parse_iso(of["deadline_at"]),
            guard_at=parse_iso(of["guard_at"]),
            rescue_lane=Lane(of["rescue_lane"]),
            alternatives=tuple(route for route in routes if route != chosen),
        )

    def sort(self, block: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Destination]]:
        """Each row of `block` (all of them, in order) with its destination. Raises KeyError for a row that was not
        surveyed."""
        places = [_Place(group, block) for group in self._groups]
        for row in rows:
            decided = self._decided[self._classes.of_row(row).key]
            index = decided["group"]
            if index is None:
                yield row, _called(decided)
                continue
            shard = places[index].next()
            yield row, _called(decided) if shard is None else ToShard(index, shard)

    def _between(self, first: str, last: str) -> list[str]:
        return [block for block in self._blocks if first <= block <= last]


class _Place:
    """Counts a group's records through one block."""

    def __init__(self, group: Mapping[str, Any], block: str) -> None:
        self._ordinal: int = group["offsets"].get(block, 0)
        self._shards = group["shards"]
        self._at = 0

    def next(self) -> int | None:
        """The shard of the group's next record in the block; None if no shard holds it."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        while (
            self._at < len(self._shards)
            and ordinal >= self._shards[self._at]["first"] + self._shards[self._at]["records"]
        ):
            self._at += 1
        if self._at == len(self._shards) or ordinal < self._shards[self._at]["first"]:
            return None
        return self._at


def _called(decided: Mapping[str, Any]) -> ToLane | Refusal:
    refused = decided["refused"]
    return Refusal(refused["code"], refused["message"]) if refused else ToLane(Lane(decided["calling_lane"]))


def _route(entry: Mapping[str, Any]) -> Route:
    return Route(entry["region"], entry["model_id"], entry["base_model"], entry["kind"], entry["weight"])
