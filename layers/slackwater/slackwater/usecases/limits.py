"""The caps of a run's jobs: what its profiles' budgets say, in the version that the run has pinned, and its file."""

from dataclasses import dataclass
from datetime import datetime
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
        self._known: dict[str, _Run] = {}

    def __call__(self, run_id: str, profile: str) -> tuple[Limit, ...]:
        """The caps that count now. Raises LookupError for a run that is not in the ledger, BadInput for a profile that
        is not in its version."""
        return self.of_shard(run_id, profile, self._clock.now())

    def of_shard(self, run_id: str, profile: str | None, at: datetime) -> tuple[Limit, ...]:
        """The caps that counted at a moment; without a profile those of the run's own."""
        run = self._of(run_id)
        name = run.profile if profile is None else profile
        budget = self._profiles.pinned(run.version).named(name).budget
        return limits_of(name, budget, run_id=run_id, max_cost_pico=run.max_cost_pico, now=at)

    def profile_of(self, run_id: str) -> str:
        """The run's own profile. Raises LookupError."""
        return self._of(run_id).profile

    def _of(self, run_id: str) -> "_Run":
        if run_id not in self._known:
            meta = self._runs.get(run_id)
            if meta is None:
                raise LookupError(f"no run {run_id}")
            if len(self._known) >= KNOWN_RUNS:
                self._known.clear()
            self._known[run_id] = _Run(meta["profiles_version"], meta["profile"], meta.get("max_cost_pico"))
        return self._known[run_id]


@dataclass(frozen=True, slots=True)
class _Run:
    version: str
    profile: str
    max_cost_pico: int | None
