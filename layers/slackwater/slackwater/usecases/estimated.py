"""What an estimate found, share by share, and how it is summed and said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from slackwater.model.clock import iso
from slackwater.model.job import Lane
from slackwater.model.money import usd_float, usd_text
from slackwater.model.words import counted, usd_short
from slackwater.policy.baselines import ARTICLE_OFF_PERCENT, Baselines, added
from slackwater.policy.learned import Amount, Method, total

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that would not become a job, and why. Never its text."""

    line: int
    code: str
    message: str
    pointer: str | None


@dataclass(frozen=True, slots=True)
class Share:
    """Jobs of one profile that go one way. Money in pico-dollars, None where the price is unknown; `low_pico` and
    `high_pico` at the ends of both error bars. `rescue_pico` is what calling all of them after all would cost on top,
    if batch brought nothing in time (None also where that cannot be). `uncached`: they mark a cache point, and are
    priced without it."""

    model: str
    profile: str
    home_region: str
    lane: Lane
    regions: tuple[str, ...]
    jobs: int
    read: Amount
    written: Amount
    cost_pico: int | None
    low_pico: int | None
    high_pico: int | None
    rescue_pico: int | None
    compared: Baselines
    expected_finish: datetime | None
    uncached: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """`jobs` are the lines that were not refused; of them `unplaced` go by no lane, for `reasons`, and are in no sum.
    The sums over `shares` are `usecases.estimated.document`'s."""

    dialect: str | None
    lines: int
    refused_lines: int
    refused: tuple[Refusal, ...]
    jobs: int
    unplaced: int
    shares: tuple[Share, ...]
    planned_at: datetime
    deadline: datetime
    price_version: str
    warnings: tuple[str, ...]
    risks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """Shares added up. A sum with an unknown price in it is None; `unknown_jobs` says how many jobs have none."""

    jobs: int
    read: Amount
    written: Amount
    cost_pico: int | None
    low_pico: int | None
    high_pico: int | None
    unknown_jobs: int
    compared: Baselines
    expected_finish: datetime | None


def sums(shares: Iterable[Share]) -> Sums:
    """Of any shares; of none: zeros, which then are known."""
    each = list(shares)
    compared = [share.compared for share in each]
    return Sums(
        jobs=sum(share.jobs for share in each),
        read=total(share.read for share in each),
        written=total(share.written for share in each),
        cost_pico=_sum(share.cost_pico for share in each),
        low_pico=_sum(share.low_pico for share in each),
        high_pico=_sum(share.high_pico for share in each),
        unknown_jobs=sum(share.jobs for share in each if share.cost_pico is None),
        compared=Baselines(
            _sum(one.home_on_demand_pico for one in compared),
            _sum(one.home_batch_pico for one in compared),
            _sum(one.article_pico for one in compared),
        ),
        expected_finish=max((share.expected_finish for share in each if share.expected_finish), default=None),
    )


def by_way(shares: Iterable[Share]) -> Mapping[tuple[str, Lane], list[Share]]:
    """Shares of one profile and lane together, in the order of the lanes."""
    found: dict[tuple[str, Lane], list[Share]] = {}
    for share in sorted(shares, key=lambda share: (share.profile, list(Lane).index(share.lane))):
        found.setdefault((share.profile, share.lane), []).append(share)
    return found


def warnings_of(shares: Sequence[Share]) -> list[str]:
    """What of the sums is not known, and how many jobs it touches."""
    found = []
    for (profile, lane), alike in by_way(shares).items():
        unknown = sum(share.jobs for share in alike if share.cost_pico is None)
        if unknown:
            found.append(f"{counted(unknown, 'job')} of profile {profile}: the price of {lane} is unknown")
        cached = sum(share.jobs for share in alike if share.uncached)
        if cached:
            found.append(f"{counted(cached, 'job')} of profile {profile} mark a cache point: priced as if none hit")
    homeless = sum(share.jobs for share in shares if share.compared.home_on_demand_pico is None)
    if homeless:
        regions = ", ".join(sorted({s.home_region for s in shares if s.compared.home_on_demand_pico is None}))
        found.append(f"{counted(homeless, 'job')} have no list price at home ({regions}): no baseline for the file")
    batchless = sum(share.jobs for share in shares if share.compared.home_batch_pico is None) - homeless
    if batchless > 0:
        found.append(f"{counted(batchless, 'job')} have no batch price at home: no batch baseline for the file")
    if any(share.written.method == "max_tokens" for share in shares):
        found.append(
            "how long the answers will be is not known: output and cost are the most that the requests' limits allow, "
            "not what to expect; give the results of an earlier run with --history"
        )
    return found


def risks_of(shares: Sequence[Share]) -> list[str]:
    """What may come otherwise, and what that would cost."""
    found = []
    batch = [share for share in shares if share.lane is Lane.BATCH]
    rescued = [share for share in batch if share.rescue_pico is not None]
    if batch:
        most = _sum(share.rescue_pico for share in rescued)
        cost = f", for at most {usd_short(usd_float(most))} on top" if rescued and most is not None else ""
        jobs = counted(sum(share.jobs for share in batch), "job")
        found.append(f"batch promises no time: what of {jobs} is not back by its guard is called after all{cost}")
    flex = sum(share.jobs for share in shares if share.lane is Lane.FLEX)
    if flex:
        found.append(f"flex is served last: some of {counted(flex, 'job')} may have to be called on demand")
    return found


def document(estimate: Estimate) -> dict[str, Any]:
    """What `slackwater plan --json` prints (format version 1)."""
    whole = sums(estimate.shares)
    compared = whole.compared
    return {
        "v": VERSION,
        "dialect": estimate.dialect,
        "lines": estimate.lines,
        "refused_lines": estimate.refused_lines,
        "jobs": estimate.jobs,
        "unplaced_jobs": estimate.unplaced,
        "input_tokens": whole.read.tokens,
        "output_tokens": whole.written.tokens,
        "token_method": token_method(whole.read.method, whole.written.method),
        "tokens": {"input": _amount(whole.read), "output": _amount(whole.written)},
        "cost_usd": _usd(whole.cost_pico),
        "cost_low_usd": _usd(whole.low_pico),
        "cost_high_usd": _usd(whole.high_pico),
        "unknown_price_jobs": whole.unknown_jobs,
        "baselines": {
            "home_on_demand_usd": _usd(compared.home_on_demand_pico),
            "home_batch_usd": _usd(compared.home_batch_pico),
            "article_usd": _usd(compared.article_pico),
            "article_claim": f"{ARTICLE_OFF_PERCENT} % off home_on_demand_usd: the article's claim, no price list's",
        },
        "lanes": {lane.value: _lane(sums(s for s in estimate.shares if s.lane is lane)) for lane in Lane},
        "ways": [_way(alike) for alike in by_way(estimate.shares).values()],
        "planned_at": iso(estimate.planned_at),
        "deadline": iso(estimate.deadline),
        "expected_finish": None if whole.expected_finish is None else iso(whole.expected_finish),
        "price_version": estimate.price_version,
        "refused": [
            {"line": one.line, "code": one.code, "message": one.message, "pointer": one.pointer}
            for one in estimate.refused
        ],
        "risks": list(estimate.risks),
        "warnings": list(estimate.warnings),
    }


def token_method(read: Method, written: Method) -> str:
    """`given`, `history` (both), `estimated` (neither is known from history), or which of the two is."""
    if read == written:
        return read
    if "history" in (read, written):
        return f"input {read}, output {written}"
    return "estimated"


def _way(alike: Sequence[Share]) -> dict[str, Any]:
    first, added_up = alike[0], sums(alike)
    finish = added_up.expected_finish
    return {
        "profile": first.profile,
        "model": first.model,
        "lane": first.lane.value,
        "regions": list(dict.fromkeys(region for share in alike for region in share.regions)),
        **_lane(added_up),
        "expected_finish": None if finish is None else iso(finish),
    }


def _lane(added_up: Sums) -> dict[str, Any]:
    return {
        "jobs": added_up.jobs,
        "input_tokens": added_up.read.tokens,
        "output_tokens": added_up.written.tokens,
        "cost_usd": _usd(added_up.cost_pico),
        "unknown_price_jobs": added_up.unknown_jobs,
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {"tokens": amount.tokens, "low": amount.low, "high": amount.high, "method": amount.method}


def _sum(amounts: Iterable[int | None]) -> int | None:
    so_far: int | None = 0
    for amount in amounts:
        so_far = added(so_far, amount)
    return so_far


def _usd(pico: int | None) -> orjson.Fragment | None:
    """Every digit: orjson writes floats, which hold 15."""
    return None if pico is None else orjson.Fragment(usd_text(pico))
