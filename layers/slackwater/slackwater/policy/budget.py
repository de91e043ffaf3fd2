"""Budgets: what may be spent under a cap while others spend under it too. Whole pico-dollars, pure functions.

Money is *held* before it is spent, at the most that the work may cost, and *settled* afterwards by what it did cost.
What has been spent and what is held together never pass the cap, so that the bill passes it only by what work costs
beyond the most that was reckoned: a prompt longer than estimated, an answer to a request without `maxTokens`, a call
that was repeated because its reply was lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from slackwater.model.money import usd_text
from slackwater.model.profile import Budget
from slackwater.policy.tokens import DEFAULT_MAX_OUTPUT_TOKENS

CODE: Final = "budget"
"""The error code of a job that is refused for a budget."""

CALLS_A_DRAW: Final = 64
"""What a worker holds money for at once, near the cap: as many calls as it may have open. A killed one leaves its hold,
which then counts as spent, for they may have been."""

PART_A_DRAW: Final = 16
"""Far from the cap it may hold one part in so many of what is left."""


class Cap(StrEnum):
    """Whose limit it is; the names that users set it by."""

    RUN = "budget.run_usd"
    DAY = "budget.day_usd"
    FILE = "max-cost-usd"


@dataclass(frozen=True, slots=True)
class Limit:
    """One cap that a job's cost counts against. `account` is where its spending is kept; `renews_at`: when there is a
    new one."""

    cap: Cap
    account: tuple[str, str]
    limit_pico: int
    profile: str | None = None
    renews_at: datetime | None = None

    @property
    def words(self) -> str:
        """For people: whose cap it is and how much."""
        whose = "of the file" if self.profile is None else f"of profile {self.profile}"
        return f"{self.cap.value} {whose}, {usd_text(self.limit_pico)} USD"


def limits_of(
    profile: str, budget: Budget, *, run_id: str, max_cost_pico: int | None, now: datetime
) -> tuple[Limit, ...]:
    """The caps that a job of a run counts against, should it be called (or its batch job be created) `now`."""
    found = []
    if max_cost_pico is not None:
        found.append(Limit(Cap.FILE, (f"RUN#{run_id}", "BUDGET"), max_cost_pico))
    if budget.run_pico is not None:
        found.append(Limit(Cap.RUN, (f"RUN#{run_id}", f"BUDGET#{profile}"), budget.run_pico, profile))
    if budget.day_pico is not None:
        account = (f"BUDGET#{profile}", f"DAY#{now.astimezone(UTC):%Y-%m-%d}")
        found.append(Limit(Cap.DAY, account, budget.day_pico, profile, next_day(now)))
    return tuple(found)


def next_day(now: datetime) -> datetime:
    """The next midnight, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


# ---------------------------------------------------------------------- one account


@dataclass(frozen=True, slots=True)
class Hold:
    """Money for work under way. `until_s` (real epoch seconds): when its worker must be dead; None: until settled."""

    pico: int
    until_s: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What was spent under one cap, and what is held."""

    spent_pico: int = 0
    holds: Mapping[str, Hold] = field(default_factory=dict)

    @property
    def held_pico(self) -> int:
        return sum(hold.pico for hold in self.holds.values())


@dataclass(frozen=True, slots=True)
class Want:
    """The most that a piece of work costs by its cheapest route, and by its dearest."""

    least_pico: int
    most_pico: int


class Verdict(StrEnum):
    TAKEN = "taken"
    WAIT = "wait"  # others hold what it needs, and may give some of it back
    REFUSED = "refused"  # what is not spent does not suffice


@dataclass(frozen=True, slots=True)
class Drawn:
    """`pico` is what is held for it: where that is less than it might have cost, it may only go by routes that cost no
    more."""

    verdict: Verdict
    pico: int = 0


def draw(
    account: Account,
    wants: Sequence[Want],
    *,
    limit_pico: int,
    holder: str,
    now_s: float,
    until_s: float | None,
) -> tuple[Account, tuple[Drawn, ...]]:
    """Holds money for as much of the work as fits, in its order, and as one worker may hold at once.

    `holder` has one hold: drawing again replaces it, so that an update whose reply was lost does no harm.
    """
    clean = _expired(replace(account, holds=_without(account.holds, holder)), now_s)
    unspent = limit_pico - clean.spent_pico
    room = unspent - clean.held_pico
    share = max(room // PART_A_DRAW, sum(want.most_pico for want in wants[:CALLS_A_DRAW]))
    drawn, held = [], 0
    for want in wants:
        if want.least_pico > unspent:
            drawn.append(Drawn(Verdict.REFUSED))
            continue
        near_the_cap = held + want.most_pico > room
        pico = want.least_pico if near_the_cap else want.most_pico
        if held + pico > min(room, share):
            drawn.append(Drawn(Verdict.WAIT))
            continue
        held += pico
        drawn.append(Drawn(Verdict.TAKEN, pico))
    if any(one.verdict is Verdict.TAKEN for one in drawn):
        hold = Hold(held, None if until_s is None else int(until_s))
        clean = replace(clean, holds={**clean.holds, holder: hold})
    return clean, tuple(drawn)


def settle(
    account: Account, holder: str, spent_pico: int, *, unknown_part: tuple[int, int] = (0, 1)
) -> tuple[Account, None]:
    """Ends a hold by what was spent, and for what nobody knows by its part (a fraction) of the hold. A hold that has
    gone was settled, or given up, before: nothing changes."""
    hold = account.holds.get(holder)
    if hold is None:
        return account, None
    part, whole = unknown_part
    spent = account.spent_pico + spent_pico + -(-hold.pico * part // whole)
    return Account(spent, _without(account.holds, holder)), None


def _expired(account: Account, now_s: float) -> Account:
    """Holds of dead workers count as spent: their calls may have been made."""
    dead = {name: hold for name, hold in account.holds.items() if hold.until_s is not None and hold.until_s < now_s}
    if not dead:
        return account
    holds = {name: hold for name, hold in account.holds.items() if name not in dead}
    return Account(account.spent_pico + sum(hold.pico for hold in dead.values()), holds)


def _without(holds: Mapping[str, Hold], holder: str) -> Mapping[str, Hold]:
    return {name: hold for name, hold in holds.items() if name != holder}


# ---------------------------------------------------------------------- words


def refusal(limit: Limit, account: Account, needed_pico: int) -> str:
    """Why a job is refused: which cap, how much is left of it, how much the job may cost."""
    left = max(0, limit.limit_pico - account.spent_pico)
    return (
        f"{limit.words}: {usd_text(left)} USD are left, and this job may cost {usd_text(needed_pico)} USD: "
        "raise the budget, or ask for fewer tokens"
    )


UNKNOWN_PRICE: Final = (
    "no route of this job has a known price, and a budget cannot hold what nobody knows: "
    "use a model of the price table, or take the budget away"
)


# ---------------------------------------------------------------------- a plan


def affordable(caps: Iterable[int | None], each_pico: int, *, max_tokens: int, most: int) -> int:
    """How many records of a batch job half of each of `caps` (None: no cap) holds, at most `most`, if one may cost
    `each_pico`: the other half is for what a hold reckons a little higher than a plan.

    A plan reckons requests that set no limit with the profile's `max_tokens`, a hold with the default: where that is
    more, jobs are cut smaller.
    """
    known = [cap for cap in caps if cap is not None]
    if not known or not each_pico:
        return most
    wider = max(max_tokens, DEFAULT_MAX_OUTPUT_TOKENS)
    return min(most, min(known) * max_tokens // (2 * each_pico * wider))
