"""Whose doing a broken call is, the job's or the route's: AWS answers a prompt that breaks the model and a model that
is broken with the same 500.

A job that breaks where others are answered is to blame itself; a route on which several jobs break, one after the
other, rests. Moments are seconds of product time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Final

WINDOW_S: Final = 600.0
"""What broke longer ago says nothing of now."""
QUIET_S: Final = 30.0
"""After so long without an answer two jobs are enough to suspect a route; until then it takes three, for two poison
prompts may well follow each other."""

MAX_BROKEN: Final = 5
"""Attempts of one job, over all its passes, after which it fails."""
MAX_CLEARED: Final = 3
"""Routes that broke on one job and have answered calls begun since: enough to know that it is the job."""
MAX_BROKEN_IN_OUTAGE: Final = 12
"""Attempts after which it fails even if every route was to blame: a file of nothing but poison must end, too."""

MAX_JOBS: Final = 1_000
"""Jobs that broke and are remembered."""

_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a route: when it last answered, when the youngest answered call began, and the jobs that broke
    on it since its last answer, with the moments."""

    answered_at: float | None = None
    answered_from: float | None = None
    broken: tuple[tuple[str, float], ...] = ()


def after_answer(seen: Seen, began_at: float, now: float) -> Seen:
    """Once a call that `began_at` was answered."""
    return Seen(now, max(began_at, seen.answered_from or began_at))


def after_break(seen: Seen, job: str, now: float) -> Seen:
    """Once a call of `job` broke."""
    others = tuple((other, at) for other, at in seen.broken if other != job and now - at < WINDOW_S)
    return replace(seen, broken=(*others, (job, now)))


def is_suspect(seen: Seen, now: float) -> bool:
    """Whether the route is to blame: job after job breaks on it, and nothing is answered in between."""
    jobs = sum(now - at < WINDOW_S for _, at in seen.broken)
    quiet = seen.answered_at is None or now - seen.answered_at >= QUIET_S
    return jobs >= (2 if quiet else 3)


def cleared(broke_at: Mapping[str, float], routes: Mapping[str, Seen]) -> frozenset[str]:
    """The routes among those that broke on a job, at these moments, which have answered a call begun since."""
    found = {name: routes[name].answered_from for name in broke_at if name in routes}
    return frozenset(name for name, began in found.items() if began is not None and began > broke_at[name])


def is_the_jobs(broken: int, cleared_routes: int, *, route_suspect: bool) -> bool:
    """Whether a job that has just broken again has failed for good. `broken` counts its attempts that broke, over all
    passes; `cleared_routes` those of its routes that have been cleared."""
    if cleared_routes >= MAX_CLEARED:
        return True
    return broken >= (MAX_BROKEN_IN_OUTAGE if route_suspect else MAX_BROKEN)


def pause_s(broken: int, left_s: float) -> float:
    """How long a job that broke `broken` times waits for its next pass, `left_s` before its deadline: growing, so
    that an outage is outlived even by a job that is alone, and never much of what is left."""
    return max(0.0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(broken, 10), left_s / 10))


@dataclass(frozen=True, slots=True)
class Blame:
    """What is known when a call broke: whether its route is a suspect, and how many of the job's routes are
    cleared."""

    suspect: bool
    cleared: int


@dataclass(slots=True)
class _Broken:
    at: dict[str, float] = field(default_factory=dict)
    cleared: frozenset[str] = frozenset()


class Record:
    """What one container has seen of its routes; safe in threads. Only a hint: what all must know is told to the
    fleet's health."""

    def __init__(self) -> None:
        self._routes: dict[str, Seen] = {}
        self._jobs: dict[str, _Broken] = {}
        self._lock = Lock()

    def answered(self, route: str, began_at: float, now: float) -> None:
        """A call over this route was answered."""
        with self._lock:
            self._routes[route] = after_answer(self._routes.get(route, Seen()), began_at, now)

    def broke(self, route: str, job: str, now: float) -> Blame:
        """A call of `job` broke on this route."""
        with self._lock:
            seen = self._routes[route] = after_break(self._routes.get(route, Seen()), job, now)
            known = self._jobs.pop(job, None) or _Broken()
            known.cleared |= cleared(known.at, self._routes)
            known.at[route] = now
            self._jobs[job] = known  # the youngest last
            if len(self._jobs) > MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]
            return Blame(is_suspect(seen, now), len(known.cleared))
