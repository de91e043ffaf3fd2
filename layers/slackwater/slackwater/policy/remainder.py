"""What becomes of jobs that were bound for the batch lane and are too few for a job of their own: a question of money.

They wait in a pool for others where that is likely to save something before their time is up, else they are called.
Waiting endangers no deadline: a pool is released at its latest safe moment.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from slackwater.model.clock import iso
from slackwater.model.job import Lane
from slackwater.model.money import usd_text
from slackwater.model.words import counted

DAY_S: Final = 86_400
WORTH_PICO: Final = 10**10
"""0.01 USD: a run waits for its last record, so for less than this none is kept waiting."""


class Taken(StrEnum):
    """The way that a remainder takes."""

    JOIN = "join"  # with those that wait already they are enough
    WAIT = "wait"  # in a pool, for others that are likely to come in time
    FLEX = "flex"
    ON_DEMAND = "on_demand"

    @property
    def pooled(self) -> bool:
        return self in (Taken.JOIN, Taken.WAIT)


@dataclass(frozen=True, slots=True)
class Company:
    """Jobs of the same model, request type and residency: those in the open pool, and how many have come a day
    lately."""

    waiting: int = 0
    per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Remainder:
    """The decision; `reasons` are for the receipt."""

    jobs: int
    taken: Taken
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {"jobs": self.jobs, "taken": self.taken.value, "reasons": list(self.reasons)}


def remainder(  # noqa: PLR0911 - one return a reason
    jobs: int,
    *,
    company: Company,
    now: datetime,
    latest: datetime,
    calling: Lane,
    saving_pico: int | None,
    min_records: int,
) -> Remainder:
    """How `jobs` records, fewer than `min_records`, go on.

    `latest`: when a batch job must begin, so that a rescue still holds their deadline; `calling`: the lane that takes
    them otherwise; `saving_pico`: what batch costs less than that lane, None if a price is unknown.
    """

    def called(*reasons: str) -> Remainder:
        return Remainder(jobs, Taken.FLEX if calling is Lane.FLEX else Taken.ON_DEMAND, reasons)

    few = f"{counted(jobs, 'record')}: a batch job needs {min_records}"
    if now >= latest:
        return called(few, f"a batch job had to begin by {iso(latest)} to leave time for a rescue")
    if saving_pico is None:
        return called(few, "what batch would save is unknown")
    if saving_pico <= 0:
        return called(few, f"{calling} costs no more than batch")
    if saving_pico < WORTH_PICO:
        return called(few, f"batch would save {usd_text(saving_pico)} USD: too little to hold the run's results back")
    saves = f"batch saves {usd_text(saving_pico)} USD against {calling}"
    needed = min_records - jobs - company.waiting
    if needed <= 0:
        return Remainder(jobs, Taken.JOIN, (few, f"{company.waiting} others wait for the same: together enough", saves))
    if company.per_day <= 0:
        return called(few, "no other job of this kind has come lately: there is nobody to wait for")
    fill_s = needed / company.per_day * DAY_S
    slack_s = (latest - now).total_seconds()
    expected = f"{needed} more are needed, about {company.per_day:.0f} a day come"
    if fill_s > slack_s:
        return called(few, f"{expected}: more than the {_hours(slack_s)} until {iso(latest)}")
    return Remainder(jobs, Taken.WAIT, (few, f"{expected}: within the {_hours(slack_s)} until {iso(latest)}", saves))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"
