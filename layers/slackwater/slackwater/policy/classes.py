"""Classes of jobs: what a plan decides on, instead of two million jobs one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from slackwater.model.clock import iso, parse_iso
from slackwater.model.input_row import request_of
from slackwater.model.job import Lane
from slackwater.model.native import output_limit, shape
from slackwater.model.request import CACHE
from slackwater.policy.cache import Prefix, prefix_of
from slackwater.policy.durations import length_traits

MAX_CLASSES: Final = 200
STEPS_S: Final = (60, 3600, 86400, 10**12)
"""Deadlines that fall into one step share a class; steps widen when there are too many classes, the last one holds
all deadlines."""
MAX_PREFIXES: Final = 64
"""Cached prefixes that are told apart in a run; jobs with a later one are counted together."""


class ClassKey(NamedTuple):
    """`deadline_step` is the number of the step the deadline lies in, None for the file's (or the profile's)
    default. `prefix`: the prompt's cached beginning that its jobs share, if it is one of the first `MAX_PREFIXES`."""

    profile: str
    deadline_step: int | None
    lane: Lane | None
    traits: frozenset[str]
    prefix: Prefix | None = None


@dataclass(slots=True)
class Load:
    """What a class has in one block. `bytes` is at least what its batch records take, the tokens are estimates."""

    jobs: int = 0
    bytes: int = 0
    input_tokens: int = 0
    max_output_tokens: int = 0

    def add(self, other: "Load") -> None:
        self.jobs += other.jobs
        self.bytes += other.bytes
        self.input_tokens += other.input_tokens
        self.max_output_tokens += other.max_output_tokens


@dataclass(slots=True)
class JobClass:
    """Jobs that a plan need not tell apart. `deadline` is the earliest of theirs: what holds for it holds for all."""

    key: ClassKey
    deadline: datetime | None
    blocks: dict[str, Load] = field(default_factory=dict)

    @property
    def total(self) -> Load:
        """Over all blocks."""
        total = Load()
        for load in self.blocks.values():
            total.add(load)
        return total


class Classes:
    """The classes of a run, at most MAX_CLASSES as far as deadlines are to blame."""

    def __init__(
        self, profile: str, step_s: int = STEPS_S[0], classes: Mapping[ClassKey, JobClass] | None = None
    ) -> None:
        """`profile` is the file's: rows that name none have it."""
        self.profile = profile
        self.step_s = step_s
        self._classes: dict[ClassKey, JobClass] = dict(classes or {})
        self._prefixes = {key.prefix for key in self._classes if key.prefix is not None}

    def __iter__(self) -> Any:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    def told_apart(self, prefix: Prefix | None) -> Prefix | None:
        """The prefix, if jobs with it have classes of their own: the first of a run do, and then always."""
        if prefix is None or prefix in self._prefixes:
            return prefix
        if len(self._prefixes) >= MAX_PREFIXES:
            return None
        self._prefixes.add(prefix)
        return prefix

    def key(
        self,
        profile: str | None,
        deadline: datetime | None,
        lane: Lane | None,
        traits: frozenset[str],
        prefix: Prefix | None = None,
    ) -> ClassKey:
        """The key of a job's class at the present width of the steps."""
        step = None if deadline is None else int(deadline.timestamp() // self.step_s)
        return ClassKey(profile or self.profile, step, lane, traits, prefix)

    def of_row(self, row: Mapping[str, Any]) -> JobClass:
        """The class of a row of an input block. Raises KeyError for a row that was not surveyed here."""
        deadline = row.get("deadline")
        lane = row.get("lane")
        request = request_of(row)
        traits = shape(request) | length_traits(output_limit(request))
        prefix = prefix_of(request) if CACHE in traits else None
        return self._classes[
            self.key(
                row.get("profile"),
                None if deadline is None else parse_iso(deadline),
                None if lane is None else Lane(lane),
                traits,
                prefix if prefix in self._prefixes else None,
            )
        ]

    def load(self, block: str, key: ClassKey, deadline: datetime | None) -> Load:
        """Where to count a job of `block` whose class is `key`. Raises KeyError after `coarsen` made the key stale."""
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = JobClass(key, deadline)
        elif deadline is not None and found.deadline is not None and deadline < found.deadline:
            found.deadline = deadline
        load = found.blocks.get(block)
        if load is None:
            load = found.blocks[block] = Load()
        return load

    def coarsen(self) -> bool:
        """Widens the steps if there are too many classes; whether keys and loads from before are now stale."""
        stale = False
        while len(self._classes) > MAX_CLASSES and self.step_s != STEPS_S[-1]:
            self.step_s = STEPS_S[STEPS_S.index(self.step_s) + 1]
            stale = True
            old, self._classes = self._classes, {}
            for entry in old.values():
                key = self.key(entry.key.profile, entry.deadline, *entry.key[2:])
                for block, load in entry.blocks.items():
                    self.load(block, key, entry.deadline).add(load)
        return stale

    def to_json(self) -> dict[str, Any]:
        """For `survey.json`."""
        return {
            "profile": self.profile,
            "step_s": self.step_s,
            "classes": [
                {
                    "profile": entry.key.profile,
                    "deadline_step": entry.key.deadline_step,
                    "deadline": None if entry.deadline is None else iso(entry.deadline),
                    "lane": entry.key.lane,
                    "traits": sorted(entry.key.traits),
                    **({} if entry.key.prefix is None else {"prefix": list(entry.key.prefix)}),
                    "blocks": {
                        block: [load.jobs, load.bytes, load.input_tokens, load.max_output_tokens]
                        for block, load in sorted(entry.blocks.items())
                    },
                }
                for entry in self._classes.values()
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote."""
        classes = {}
        for entry in document["classes"]:
            lane = None if entry["lane"] is None else Lane(entry["lane"])
            prefix = Prefix(*entry["prefix"]) if "prefix" in entry else None
            key = ClassKey(entry["profile"], entry["deadline_step"], lane, frozenset(entry["traits"]), prefix)
            deadline = None if entry["deadline"] is None else parse_iso(entry["deadline"])
            blocks = {block: Load(*numbers) for block, numbers in entry["blocks"].items()}
            classes[key] = JobClass(key, deadline, blocks)
        return cls(document["profile"], document["step_s"], classes)


def reckoned(document: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What a survey's document reckoned with, by profile: jobs, estimated input tokens, most output tokens. A receipt
    keeps it beside the true numbers, so that the next plan can learn from both (usecases.learn)."""
    found: dict[str, Load] = {}
    for entry in document.get("classes", ()):
        for numbers in entry["blocks"].values():
            found.setdefault(entry["profile"], Load()).add(Load(*numbers))
    return {
        name: {"jobs": one.jobs, "input_tokens": one.input_tokens, "max_output_tokens": one.max_output_tokens}
        for name, one in sorted(found.items())
    }
