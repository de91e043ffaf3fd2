"""Counts the calls that a region refused for its quota, for the metric `Throttles`."""

from collections import Counter
from threading import Lock

from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane, Route
from slackwater.model.native import Request
from slackwater.policy.classify import Fault
from slackwater.usecases.ports import Answer, OnDemand


class CountingThrottles:
    """Makes calls by another caller and counts its throttles by region; safe in threads."""

    def __init__(self, caller: OnDemand) -> None:
        self._caller = caller
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def converse(self, route: Route, lane: Lane, request: Request, *, read_timeout_s: float) -> Answer:
        """The other's call. Raises CallFailed."""
        try:
            return self._caller.converse(route, lane, request, read_timeout_s=read_timeout_s)
        except CallFailed as failure:
            if Fault(failure.fault).is_quota:
                with self._lock:
                    self._counts[route.region] += 1
            raise

    def take(self) -> dict[str, int]:
        """Throttles by region since it was last asked."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return dict(counts)
