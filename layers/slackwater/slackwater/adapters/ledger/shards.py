"""SHARD items: every change names the state it comes from, so that a late or doubled worker changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import (
    ConditionFailed,
    Item,
    Key,
    Table,
    TransactionFailed,
    Write,
    due_partition,
)
from slackwater.model.clock import Clock, iso, parse_iso
from slackwater.model.errors import Lost
from slackwater.model.job import Lane, Route
from slackwater.model.native import RequestType
from slackwater.model.shard import OwnerKind, Shard, ShardState

_TIMES: Final = (
    "deadline_at", "guard_at", "intent_at", "submitted_at", "stop_asked_at", "stopped_seen_at", "next_check_at",
    "staged_at", "earliest_at",
)  # fmt: skip
_DAY_S: Final = 86_400
RUNS_A_TRANSACTION: Final = 90


class ShardLedger:
    """The shards of all runs and pools. Raises Lost where a change finds another state, attempt or owner."""

    def __init__(self, table: Table, clock: Clock, *, retain_days: int = 30) -> None:
        self._table = table
        self._clock = clock
        self._retain_s = retain_days * _DAY_S

    def create(self, shard: Shard) -> bool:
        """Registers a staged shard; False where it stands there already (the same jobs make the same id)."""
        item = {**_item(shard), "v": 1, "ttl": self._ttl(), "gsi1pk": due_partition(shard.id)}
        try:
            self._table.write(Write(_key(shard.id), put=item, condition="attribute_not_exists(#pk)"))
        except ConditionFailed:
            return False
        return True

    def get(self, shard_id: str) -> Shard | None:
        """The shard as it is now (a consistent read)."""
        item = self._table.get(_key(shard_id))
        return None if item is None else _shard(shard_id, item)

    def many(self, shard_ids: Sequence[str]) -> list[Shard]:
        """Those of these shards that there are, by id."""
        items = self._table.get_many([_key(shard_id) for shard_id in shard_ids])
        found = {str(item["pk"]).removeprefix("SHARD#"): item for item in items}
        return [_shard(name, found[name]) for name in sorted(found)]

    def settled_counts(self, shard_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What `settle` noted of these shards, with the region; a shard that was never collected has no more than
        that."""
        items = self._table.get_many([_key(shard_id) for shard_id in shard_ids])
        found = {str(item["pk"]).removeprefix("SHARD#"): item for item in items}
        return {name: {"region": found[name]["region"], **found[name].get("counts", {})} for name in sorted(found)}

    def lease(self, shard_id: str, worker: str, *, seconds: int) -> Shard | None:
        """Takes the shard for `worker`, or None while another lives. A second call by the same worker renews it.

        Raises Lost for an unknown shard.
        """
        now_s = int(self._clock.wall_s())
        write = Write(
            _key(shard_id),
            set_={"lease_until_s": now_s + seconds, "owner_worker": worker},
            condition="attribute_exists(#pk) AND (#lease_until_s <= :now OR #owner_worker = :me)",
            values={"now": now_s, "me": worker},
        )
        try:
            return _shard(shard_id, self._table.write(write, returns="ALL_NEW"))
        except ConditionFailed as exc:
            if exc.item is None:
                raise Lost(f"no shard {shard_id}") from None
            return None

    def release(self, shard_id: str, worker: str) -> None:
        """Gives the lease back, if it is still ours."""
        try:
            self._table.write(
                Write(
                    _key(shard_id),
                    set_={"lease_until_s": 0},
                    condition="#owner_worker = :me",
                    values={"me": worker},
                )
            )
        except ConditionFailed:
            return

    def change(self, shard: Shard, **fields: Any) -> Shard:
        """`shard` with `fields` set, if its state, attempt and owner are still the ones that `shard` holds.

        A field of None is removed. Raises Lost.
        """
        changed = replace(shard, **fields)
        wire = _item(changed)
        removed = [name for name in fields if fields[name] is None]
        conditions = ["#state = :was_state", "#attempt = :was_attempt"]
        values: dict[str, Any] = {"was_state": shard.state.value, "was_attempt": shard.attempt}
        if shard.owner_worker is not None:
            conditions.append("#owner_worker = :was_owner")
            values["was_owner"] = shard.owner_worker
        try:
            self._table.write(
                Write(
                    _key(shard.id),
                    set_={**{name: wire[name] for name in fields if fields[name] is not None}, "ttl": self._ttl()},
                    remove=removed,
                    condition=" AND ".join(conditions),
                    values=values,
                )
            )
        except ConditionFailed:
            raise Lost(f"shard {shard.id} is no longer {shard.state.value}, attempt {shard.attempt}") from None
        return changed

    def settle(
        self,
        shard: Shard,
        counts: Mapping[str, int],
        *,
        look_at: datetime | None = None,
        took: tuple[int, bool] | None = None,
    ) -> Shard:
        """The last change: `counts` (records by outcome) stay on the item, and how long the job `took` (seconds, and
        whether it ended by itself). Nothing is due any more, unless a job may still turn up for which `look_at` says
        when to look. Raises Lost."""
        set_: Item = {"state": ShardState.SETTLED.value, "counts": dict(counts), "lease_until_s": 0}
        if took is not None:
            set_ |= {"took_s": took[0], "took_whole": took[1]}
        if look_at is not None:
            set_["next_check_at"] = iso(look_at)
        try:
            self._table.write(
                Write(
                    _key(shard.id),
                    set_=set_,
                    remove=("gsi1pk", "next_check_at") if look_at is None else (),
                    condition="#state = :was_state AND #attempt = :was_attempt",
                    values={"was_state": shard.state.value, "was_attempt": shard.attempt},
                )
            )
        except ConditionFailed as exc:
            if exc.item is not None and exc.item.get("state") == ShardState.SETTLED.value:
                return replace(shard, state=ShardState.SETTLED)
            raise Lost(f"shard {shard.id} is no longer {shard.state.value}, attempt {shard.attempt}") from None
        return replace(shard, state=ShardState.SETTLED, next_check_at=look_at)

    def rest(self, shard_id: str) -> None:
        """Nothing is due any more for a settled shard."""
        try:
            self._table.write(
                Write(
                    _key(shard_id),
                    remove=("gsi1pk", "next_check_at"),
                    condition="#state = :settled",
                    values={"settled": ShardState.SETTLED.value},
                )
            )
        except ConditionFailed:
            return

    def count_repeats(self, shard: Shard, by_run: Mapping[str, int]) -> None:
        """Adds what may be paid twice to its runs, once for each shard and run."""
        runs = sorted(by_run)
        for start in range(0, len(runs), RUNS_A_TRANSACTION):
            some = runs[start : start + RUNS_A_TRANSACTION]
            mark = f"repeats_counted_{start}"
            writes = [
                Write(_key(shard.id), set_={mark: True}, condition=f"attribute_not_exists(#{mark})"),
                *(Write((f"RUN#{run}", "META"), add={"repeats": by_run[run]}) for run in some),
            ]
            try:
                transact(self._table, writes)
            except TransactionFailed as exc:
                if exc.reasons[0] != "ConditionalCheckFailed":
                    raise

    def look_again(self, shard_id: str, at: datetime, *, seen: datetime | None = None) -> bool:
        """Sets when tick looks next; with `seen` only if nobody has set it since. Never wakes a settled shard."""
        condition, values = "attribute_exists(#gsi1pk)", {}
        if seen is not None:
            condition, values = f"{condition} AND #next_check_at = :seen", {"seen": iso(seen)}
        try:
            self._table.write(
                Write(_key(shard_id), set_={"next_check_at": iso(at)}, condition=condition, values=values)
            )
        except ConditionFailed:
            return False
        return True

    def cut_short(self, shard_id: str, at: datetime) -> bool:
        """Its guard is `at` now, unless it was earlier: the tick stops what runs and settles what does not. False for
        a shard that has settled, or was cut short before."""
        try:
            self._table.write(
                Write(
                    _key(shard_id),
                    set_={"guard_at": iso(at), "next_check_at": iso(at), "cut": True},
                    condition="attribute_exists(#pk) AND #state <> :settled AND #guard_at > :at",
                    values={"settled": ShardState.SETTLED.value, "at": iso(at)},
                )
            )
        except ConditionFailed:
            return False
        return True

    def remember(
        self,
        shard: Shard,
        *,
        status: str,
        ended_at: datetime,
        counts: Mapping[str, int],
        took: tuple[int, bool] | None = None,
    ) -> None:
        """One HIST item per ended job: what a forecast can learn from (see adapters.ledger.history). Writing it again
        changes nothing."""
        item: Item = {
            "v": 1,
            "ttl": self._ttl(),
            "records": shard.records,
            "bytes": shard.bytes,
            "status": status,
            "submitted_at": None if shard.submitted_at is None else iso(shard.submitted_at),
            "ended_at": iso(ended_at),
            "took_s": None if took is None else took[0],
            "took_whole": None if took is None else took[1],
            "forecast": None if shard.forecast is None else dict(shard.forecast),
            "counts": dict(counts),
        }
        where = f"{shard.region}|{shard.base_model}"
        self._table.write(Write((f"HIST#{where}", f"{iso(ended_at)}#{shard.id}"), put=item))
        self._table.write(Write(("HISTS", where), put={"v": 1, "ttl": self._ttl()}))

    def _ttl(self) -> int:
        return int(self._clock.wall_s()) + self._retain_s


def _key(shard_id: str) -> Key:
    return f"SHARD#{shard_id}", "META"


def _item(shard: Shard) -> Item:
    item: Item = {}
    for name in Shard.__dataclass_fields__:
        value = getattr(shard, name)
        if name == "id" or value is None:
            continue
        if name in _TIMES:
            value = iso(value)
        elif name == "alternatives":
            value = [{"region": r.region, "model_id": r.model_id, "kind": r.kind} for r in value]
        elif name in ("refused_regions", "quotas", "canaries"):
            value = list(value)
        elif isinstance(value, ShardState | OwnerKind | Lane | RequestType):
            value = value.value
        item[name] = value
    return item


def _shard(shard_id: str, item: Item) -> Shard:
    given = {name: item[name] for name in Shard.__dataclass_fields__ if item.get(name) is not None}
    for name in _TIMES:
        if name in given:
            given[name] = parse_iso(given[name])
    given["id"] = shard_id
    given["state"] = ShardState(given["state"])
    given["owner_kind"] = OwnerKind(given["owner_kind"])
    given["rescue_lane"] = Lane(given["rescue_lane"])
    if "request_type" in given:  # an item of before there were two
        given["request_type"] = RequestType(given["request_type"])
    given["refused_regions"] = tuple(given.get("refused_regions", ()))
    given["quotas"] = tuple(given.get("quotas", ()))
    given["canaries"] = tuple(given.get("canaries", ()))
    given["alternatives"] = tuple(
        Route(a["region"], a["model_id"], given["base_model"], a["kind"]) for a in given.get("alternatives", ())
    )
    return Shard(**given)
