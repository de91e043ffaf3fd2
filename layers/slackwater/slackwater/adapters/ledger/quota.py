"""The quota ledger: one row for each region, quota family and model, changed by versioned updates."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from slackwater.adapters.ledger.table import ConditionFailed, Item, Table, Write
from slackwater.model.errors import Contended
from slackwater.policy.quota import Meter, Pool
from slackwater.policy.quota_limits import Told

Answer = TypeVar("Answer")
ATTEMPTS: Final = 4
_MICRO: Final = 10**6
_METER: Final = tuple(field.name for field in fields(Meter) if field.name != "told_per_s")
_OPTIONAL: Final = frozenset({"learned_per_s", "ceiling_per_s", "bucket_s"})
KEEP_S: Final = 7 * 86_400


class QuotaLedger:
    """Numbers are stored as millionths. The told limits stand in the same row and are left alone by updates; a row that
    has some does not expire. Not thread-safe."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: dict[str, Item] = {}

    def change(self, pool: str, change: Callable[[Pool], tuple[Pool, Answer]], now_s: float) -> tuple[Pool, Answer]:
        """Applies `change` (a pure function: it may run several times) to the row. Raises Contended."""
        item = self._known.get(pool)
        if item is None:
            item = self._table.get(_key(pool)) or {}
        for _ in range(ATTEMPTS):
            after, answer = change(_pool(item))
            version = int(item.get("version", 0))
            kept = {} if "told_by" in item else {"ttl": int(now_s + KEEP_S)}
            try:
                self._known[pool] = self._table.write(
                    Write(
                        _key(pool),
                        set_={**_attributes(after), **kept, "version": version + 1, "v": 1},
                        condition="#version = :version" if version else "attribute_not_exists(#version)",
                        values={"version": version} if version else {},
                    ),
                    returns="ALL_NEW",
                )
            except ConditionFailed as failed:
                item = failed.item or {}
            else:
                return after, answer
        self._known.pop(pool, None)
        raise Contended(pool)

    def get(self, pool: str) -> tuple[Pool, Told | None]:
        """The pool as it stands (an empty one where nobody has dealt with it), and who told its limits."""
        item = self._table.get(_key(pool)) or {}
        if "told_by" not in item:
            return _pool(item), None
        return _pool(item), Told(
            rpm=_whole(item.get("told_rpm")), tpm=_whole(item.get("told_tpm")), by=item["told_by"], at=item["told_at"]
        )

    def tell(self, pool: str, told: Told) -> None:
        """Keeps limits that somebody knows. Whoever changes the row at this moment begins anew, with them."""
        limits = {"told_rpm": told.rpm, "told_tpm": told.tpm}
        known = {name: value for name, value in limits.items() if value is not None}
        self._table.write(
            Write(
                _key(pool),
                set_={**known, "told_by": told.by, "told_at": told.at, "v": 1},
                add={"version": 1},
                remove=[*(name for name in limits if name not in known), "ttl"],
            )
        )

    def untell(self, pool: str, now_s: float) -> None:
        """Takes the told limits back; what was learned stays."""
        self._table.write(
            Write(
                _key(pool),
                set_={"v": 1, "ttl": int(now_s + KEEP_S)},
                add={"version": 1},
                remove=("told_rpm", "told_tpm", "told_by", "told_at"),
            )
        )


def _key(pool: str) -> tuple[str, str]:
    return f"QUOTA#{pool}", "LEDGER"


def _pool(item: Mapping[str, Any]) -> Pool:
    return Pool(
        requests=_meter(item, "r", item.get("told_rpm")),
        tokens=_meter(item, "t", item.get("told_tpm")),
        input_ratio=item.get("input_ratio", _MICRO) / _MICRO,
        output_ratio=item.get("output_ratio", _MICRO) / _MICRO,
        answers=int(item.get("answers", 0)),
        draws=int(item.get("draws", 0)) / _MICRO,
        drawn_at_s=int(item.get("drawn_at_s", 0)) / _MICRO,
    )


def _meter(item: Mapping[str, Any], prefix: str, told_a_minute: int | None) -> Meter:
    values: dict[str, Any] = {}
    for name in _METER:
        stored = item.get(f"{prefix}_{name}")
        if stored is not None:
            values[name] = int(stored) if name == "throttles" else int(stored) / _MICRO
    return Meter(told_per_s=None if told_a_minute is None else int(told_a_minute) / 60, **values)


def _attributes(pool: Pool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "input_ratio": round(pool.input_ratio * _MICRO),
        "output_ratio": round(pool.output_ratio * _MICRO),
        "answers": pool.answers,
        "draws": round(pool.draws * _MICRO),
        "drawn_at_s": round(pool.drawn_at_s * _MICRO),
    }
    for prefix, meter in (("r", pool.requests), ("t", pool.tokens)):
        for name in _METER:
            value = getattr(meter, name)
            if name == "throttles":
                found[f"{prefix}_{name}"] = value
            elif value is not None or name in _OPTIONAL:
                found[f"{prefix}_{name}"] = None if value is None else round(value * _MICRO)
    return found


def _whole(stored: Any) -> int | None:
    return None if stored is None else int(stored)
