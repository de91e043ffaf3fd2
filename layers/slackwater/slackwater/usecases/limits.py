"""The caps of a run's jobs: what its profiles' budgets say, in the version that the run has pinned, and its file."""

from typing import Any, Final, Protocol

from slackwater.model.clock import Clock
from slackwater.model.profile import Profiles
from slackwater.policy.budget import Limit, limits_of

KNOWN_RUNS: Final = 1_000


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...


class Pinned(Protocol):
    def pinned(self, version: str) -> Profiles: ...


class RunLimits:
    """Remembers what cannot change of a run."""

    def __init__(self, *, runs: RunsPort, profiles: Pinned, clock: Clock) -> None:
        self._runs = runs
        self._profiles = profiles
        self._clock = clock
        self._known: dict[str, tuple[str, int | None]] = {}

    def __call__(self, run_id: str, profile: str) -> tuple[Limit, ...]:
        """The caps that count now. Raises LookupError for a run that is not in the ledger, BadInput for a profile that
        is not in its version."""
        version, max_cost_pico = self._of(run_id)
        budget = self._profiles.pinned(version).named(profile).budget
        return limits_of(profile, budget, run_id=run_id, max_cost_pico=max_cost_pico, now=self._clock.now())

    def _of(self, run_id: str) -> tuple[str, int | None]:
        if run_id not in self._known:
            meta = self._runs.get(run_id)
            if meta is None:
                raise LookupError(f"no run {run_id}")
            if len(self._known) >= KNOWN_RUNS:
                self._known.clear()
            self._known[run_id] = (meta["profiles_version"], meta.get("max_cost_pico"))
        return self._known[run_id]


def no_limits(run_id: str, profile: str) -> tuple[Limit, ...]:  # noqa: ARG001 - the shape of RunLimits
    """For callers that know no budgets."""
    return ()
