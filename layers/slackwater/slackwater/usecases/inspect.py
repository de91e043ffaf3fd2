"""What a person may ask of a run: which one a name means, how far it is, what it cost, where its files lie."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from slackwater.model import bits, ids, names
from slackwater.model.clock import iso
from slackwater.model.errors import Missing
from slackwater.model.job import Lane
from slackwater.model.run import ENDED, RunKind
from slackwater.model.shard import Shard, ShardState
from slackwater.usecases.ports import Documents

RUN_ID: Final = re.compile(r"r[a-z2-7]{20}")
KEPT_DAYS: Final = 31  # META items live for RetainDays (30 by default) and a day
OUTPUTS: Final = ("results", "errors", "receipt", "report")  # how the names of a run's finished files begin


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def units(self, run_id: str) -> Iterator[dict[str, Any]]: ...
    def blocks(self, run_id: str) -> Iterator[dict[str, Any]]: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class ItemsPort(Protocol):
    """The table, as far as lists and names are looked up."""

    def get(self, key: tuple[str, str]) -> dict[str, Any] | None: ...
    def query(
        self, pk: str, *, prefix: str = "", forward: bool = True, limit: int | None = None
    ) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class LaneShare:
    """Jobs that go this way, and how many of them have a final row."""

    lane: str
    jobs: int
    done: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. `accepted` and `refused` are None while its input is being surveyed."""

    run_id: str
    kind: RunKind
    state: str
    profile: str
    name: str
    accepted: int | None
    refused: int | None
    done: int
    repeats: int
    reason: str | None
    started_at: str
    deadline_at: str | None
    lanes: tuple[LaneShare, ...] = ()
    shards: tuple[Shard, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen: settled, failed or cancelled."""
        return self.state in ENDED


class Inspect:
    """Answers about runs from the ledger and the home bucket."""

    def __init__(self, *, runs: RunsPort, shards: ShardsPort, items: ItemsPort, documents: Documents) -> None:
        self._runs = runs
        self._shards = shards
        self._items = items
        self._documents = documents

    def run_of(self, name: str, profiles: Iterable[str], now: datetime) -> str | None:
        """The run that `name` means: our id, a caller's `run_id` (its newest generation, of these profiles), or a file.

        A file is named by its base name, its key or its `s3://` address; of several the one that started last.
        """
        if RUN_ID.fullmatch(name) and self._runs.get(name):
            return name
        found = [item for profile in profiles if (item := self._items.get(_name_key(profile, name))) is not None]
        if found:
            metas = [meta for item in found if (meta := self._runs.get(item["run_id"])) is not None]
            return max(metas, key=lambda meta: str(meta["started_at"]))["run_id"] if metas else None
        return next((run["run_id"] for run in self.runs(now) if _is_called(name, run)), None)

    def runs(self, now: datetime, days: int = KEPT_DAYS) -> Iterator[dict[str, Any]]:
        """META of the runs that started in the last `days` days, newest first."""
        for back in range(days + 1):
            day = iso(now - timedelta(days=back))[:10]
            for entry in self._items.query(f"RUNS#{day}", forward=False):
                meta = self._runs.get(entry["run_id"])
                if meta is not None:
                    yield meta

    def meta(self, run_id: str) -> dict[str, Any] | None:
        """The run's own item, as it is."""
        return self._runs.get(run_id)

    def progress(self, run_id: str) -> Progress | None:
        """How far the run is; None for a run that nobody has opened yet."""
        meta = self._runs.get(run_id)
        if meta is None:
            return None
        if meta["kind"] == RunKind.QUEUE:
            done = int(meta.get("succeeded", 0)) + int(meta.get("failed", 0))
            return _progress(meta, done, (), ())
        units = list(self._runs.units(run_id))
        total, by_source = _coverage(self._runs.blocks(run_id))
        shards = tuple(
            shard for unit in units if unit["kind"] == "shard" and (shard := self._shards.get(unit["unit"])) is not None
        )
        return _progress(meta, total, _lanes(units, by_source), shards)

    def receipt(self, run_id: str) -> dict[str, Any] | None:
        """`receipt.json`, or None while there is none."""
        try:
            document: dict[str, Any] = self._documents.get_json(names.run_key(run_id, "receipt.json"))
        except Missing:
            return None
        return document

    def outputs(self, run_id: str) -> dict[str, str]:
        """The run's finished files: name → key in the home bucket."""
        keys = (key for stem in OUTPUTS for key in self._documents.keys(names.run_key(run_id, stem)))
        return {key.rpartition("/")[2]: key for key in keys}


def _coverage(blocks: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, int]]:
    """Accepted lines with a final row, and the lines that each source has covered (`pack_<id>`, `shard_<id>` …)."""
    total = 0
    by_source: dict[str, int] = {}
    for block in blocks:
        sources = {name[2:]: value for name, value in block.items() if name.startswith("s_")}
        total += bits.count(bits.union(*(value for name, value in sources.items() if name != "refused")))
        for name, value in sources.items():
            by_source[name] = by_source.get(name, 0) + bits.count(value)
    return total, by_source


def _lanes(units: Sequence[Mapping[str, Any]], by_source: Mapping[str, int]) -> tuple[LaneShare, ...]:
    """An ended unit counts what it covered: what it left undone went on in a unit of its own."""
    sums = {lane.value: [0, 0] for lane in Lane}
    for unit in units:
        done = by_source.get(f"{unit['kind']}_{unit['unit']}", 0)
        row = sums.setdefault(unit["lane"], [0, 0])
        row[0] += done if unit["state"] == "ended" else max(done, int(unit.get("jobs", 0)))
        row[1] += done
    return tuple(LaneShare(lane, jobs, done) for lane, (jobs, done) in sums.items() if jobs)


def _progress(meta: Mapping[str, Any], done: int, lanes: tuple[LaneShare, ...], shards: tuple[Shard, ...]) -> Progress:
    return Progress(
        run_id=meta["run_id"],
        kind=RunKind(meta["kind"]),
        state=meta["state"],
        profile=meta.get("profile") or "",
        name=meta.get("name") or "",
        accepted=meta.get("accepted"),
        refused=meta.get("refused"),
        done=done,
        repeats=int(meta.get("repeats", 0)),
        reason=meta.get("reason"),
        started_at=meta["started_at"],
        deadline_at=meta.get("deadline_at"),
        lanes=lanes,
        shards=tuple(sorted(shards, key=lambda shard: (shard.state is ShardState.SETTLED, shard.region, shard.id))),
    )


def _name_key(profile: str, name: str) -> tuple[str, str]:
    return f"NAME#{ids.h(f'{profile}|{name}')}", "META"


def _is_called(name: str, meta: Mapping[str, Any]) -> bool:
    """A run's own name, or a file's key, its end at a slash, or its address."""
    key = str(meta.get("key") or "")
    called = {meta.get("name"), meta.get("shown"), key, f"s3://{meta.get('bucket')}/{key}"} - {None, ""}
    return name in called or (bool(name) and key.endswith("/" + name))
