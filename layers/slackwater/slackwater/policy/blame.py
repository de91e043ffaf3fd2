"""Whose doing a broken call is, the job's or the route's: AWS answers a prompt that breaks the model and a model that
is broken with the same 500.

A job that breaks where others are answered is to blame itself; a route on which several jobs break, and hardly one is
answered, rests.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Final

WINDOW_S: Final = 60.0
"""What is older says nothing of a route now. Real seconds."""
KEPT: Final = 32
"""Of each route."""

MAX_BROKEN: Final = 5
"""Attempts of one job, over all its passes, after which it fails."""
MAX_BROKEN_ROUTES: Final = 3
"""Routes that break on one job in one pass while they answer others: enough to know that it is the job."""
MAX_BROKEN_IN_OUTAGE: Final = 12
"""Attempts after which it fails even if every route was to blame: a file of nothing but poison must end, too."""

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A call over a route that ended at `at_s`: answered, or broken on the job `broke`."""

    at_s: float
    broke: str | None = None


def recent(ended: tuple[Ended, ...], now_s: float) -> tuple[Ended, ...]:
    """The last ones that count."""
    return tuple(one for one in ended if now_s - one.at_s < WINDOW_S)[-KEPT:]


def is_suspect(ended: tuple[Ended, ...], now_s: float) -> bool:
    """Whether the route is to blame: at least two jobs broke on it lately, and fewer calls were answered than jobs
    broke."""
    lately = recent(ended, now_s)
    broken = {one.broke for one in lately if one.broke is not None}
    return len(broken) >= 2 and sum(one.broke is None for one in lately) < len(broken)


def answers(ended: tuple[Ended, ...], now_s: float) -> bool:
    """Whether it is known that the route answers: it did, lately, and is no suspect."""
    return any(one.broke is None for one in recent(ended, now_s)) and not is_suspect(ended, now_s)


def is_the_jobs(broken: int, cleared_routes: int, *, route_suspect: bool) -> bool:
    """Whether a job that has just broken again has failed for good.

    `broken` counts its attempts that broke, over all passes; `cleared_routes` the routes of this pass that broke on
    it and answer others.
    """
    if route_suspect:
        return broken >= MAX_BROKEN_IN_OUTAGE
    return broken >= MAX_BROKEN or cleared_routes >= MAX_BROKEN_ROUTES


def pause_s(broken: int, left_s: float) -> float:
    """How long a job that broke `broken` times waits for its next pass, `left_s` before its deadline: growing, so
    that a short outage is outlived, and never much of what is left."""
    return max(0.0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(broken, 10), left_s / 10))


@dataclass(frozen=True, slots=True)
class Blame:
    """What is known of a route when a call over it broke."""

    suspect: bool
    answers: bool


class Record:
    """What one container lately saw of its routes; safe in threads. Only a hint: what must be known by all is told to
    the fleet's health."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[Ended, ...]] = {}
        self._lock = Lock()

    def answered(self, route: str, now_s: float) -> None:
        """A call over this route was answered."""
        self._add(route, Ended(now_s))

    def broke(self, route: str, job: str, now_s: float) -> Blame:
        """A call of `job` broke on this route."""
        ended = self._add(route, Ended(now_s, job))
        return Blame(is_suspect(ended, now_s), answers(ended, now_s))

    def _add(self, route: str, one: Ended) -> tuple[Ended, ...]:
        with self._lock:
            ended = recent((*self._ended.get(route, ()), one), one.at_s)
            self._ended[route] = ended
        return ended
