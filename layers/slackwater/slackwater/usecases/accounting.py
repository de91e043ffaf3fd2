"""The part of a receipt that looks beyond its rows: what they would have cost elsewhere, and whether Bedrock's own
counts agree."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from slackwater.model.errors import Missing
from slackwater.model.profile import Profile, Profiles
from slackwater.model.receipt import number
from slackwater.model.shard import Shard
from slackwater.model.words import counted
from slackwater.policy.capability import Capability
from slackwater.policy.counterfactuals import Account, Sum, Terms, otherwise
from slackwater.policy.prices import PriceBook
from slackwater.usecases.forecasts import foretold

TOLD: Final = 10  # differences that get a warning each; the receipt lists all
_TOKENS: Final = ("row_input_tokens", "row_output_tokens", "manifest_input_tokens", "manifest_output_tokens")


class ShardsPort(Protocol):
    def settled_counts(self, shard_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]: ...
    def many(self, shard_ids: Sequence[str]) -> Sequence[Shard]: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


@dataclass(frozen=True, slots=True)
class Accounted:
    """Fields of the receipt, and what it should warn of."""

    fields: dict[str, Any]
    warnings: list[str]


class Accounting:
    """Counterfactuals, baselines, rescue and reconciliation of one run, from sums and the ledger: no row is read."""

    def __init__(self, *, shards: ShardsPort, profiles: Pinned, prices: PriceBook, capability: Capability) -> None:
        self._shards = shards
        self._profiles = profiles
        self._prices = prices
        self._capability = capability

    def __call__(
        self, meta: Mapping[str, Any], survey: Mapping[str, Any], account: Account, shards: Iterable[str]
    ) -> Accounted:
        """`shards`: all batch jobs that the run's rows came from, or should have."""
        found = otherwise(account, self._prices, self._capability, self._terms_of(meta, survey))
        ids = sorted(set(shards))
        reconciled = reconciliation(self._shards.settled_counts(ids))
        rescue = found.rescue
        fields = {
            "counterfactuals": {name: _sum(one) for name, one in found.counterfactuals.items()},
            "baselines": {
                "home_on_demand_usd": _usd(found.baselines.home_on_demand_pico),
                "home_batch_usd": _usd(found.baselines.home_batch_pico),
                "article_usd": _usd(found.baselines.article_pico),
            },
            "rescued_jobs": rescue.jobs + rescue.unknown_jobs,
            "rescue_usd": _usd(rescue.paid_pico - rescue.cost_pico if rescue.jobs or not rescue.unknown_jobs else None),
            "reconciliation": reconciled,
            "forecasts": foretold(self._shards.many(ids)),
        }
        return Accounted(fields, _warnings(reconciled["differences"]))

    def _terms_of(self, meta: Mapping[str, Any], survey: Mapping[str, Any]) -> Callable[[str], Terms]:
        """What the run's profiles of a model agree on: rows do not say by which of them they went."""
        profiles: Mapping[str, Profile] = {}
        if meta.get("profiles_version"):
            try:
                profiles = self._profiles.pinned(meta["profiles_version"]).profiles
            except Missing:  # the version was deleted: what follows from profiles is unknown, and says so
                profiles = {}
        named = {str(meta.get("profile")), *(entry["profile"] for entry in survey.get("classes", ()))}
        used = [profiles[name] for name in sorted(named & profiles.keys())]

        def terms_of(model: str) -> Terms:
            return Terms.of(profile for profile in used if profile.model == model)

        return terms_of


def reconciliation(shards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Tokens of the rows of each batch job against its manifest (`manifest.json.out`), to the token.

    `unreported`: jobs that left no manifest, which only a job that ran to its end is documented to write
    (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html).
    """
    sums = dict.fromkeys(_TOKENS, 0)
    agreeing = unreported = 0
    differences = []
    for shard, counts in shards.items():
        if "manifest_input_tokens" not in counts or "row_input_tokens" not in counts:
            unreported += 1
            continue
        for name in sums:
            sums[name] += int(counts[name])
        rows = counts["row_input_tokens"], counts["row_output_tokens"]
        manifest = counts["manifest_input_tokens"], counts["manifest_output_tokens"]
        if rows == manifest:
            agreeing += 1
        else:
            differences.append(_difference(shard, counts))
    return {
        "batch_jobs": len(shards),
        "agreeing": agreeing,
        "unreported": unreported,
        **{name: int(value) for name, value in sums.items()},
        "differences": differences,
    }


def _difference(shard: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """`unanswered`: records that it left no line for; `doubled`, `foreign`: lines that are no result of ours."""
    more = ("unanswered", "doubled", "foreign", "unknown_usage")
    return {
        "shard": shard,
        "region": counts.get("region"),
        **{name: int(counts[name]) for name in _TOKENS},
        **{name: int(counts.get(name, 0)) for name in more},
    }


def _warnings(differences: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [
        f"batch job {one['shard']} in {one['region']}: its manifest counts {one['manifest_input_tokens']:,} input and "
        f"{one['manifest_output_tokens']:,} output tokens, its rows {one['row_input_tokens']:,} and "
        f"{one['row_output_tokens']:,} ({counted(one['unanswered'], 'record')} without a line)"
        for one in differences[:TOLD]
    ]
    if len(differences) > TOLD:
        told.append(f"{counted(len(differences) - TOLD, 'more batch job')} with other tokens than their manifests")
    return told


def _sum(one: Sum) -> dict[str, Any]:
    known = one.jobs or not one.unknown_jobs
    return {
        "jobs": one.jobs,
        "unknown_jobs": one.unknown_jobs,
        "cost_usd": number(one.cost_pico) if known else None,
        "paid_usd": number(one.paid_pico) if known else None,
    }


def _usd(pico: int | None) -> Any:
    return None if pico is None else number(pico)
