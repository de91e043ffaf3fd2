"""The profiles that a queue run works by: those that were in force when its generation was opened, whatever is applied
while it runs."""

from typing import Protocol

from slackwater.model.claim import QueueRun
from slackwater.model.profile import Profiles
from slackwater.model.run import RunState


class SourcePort(Protocol):
    """adapters.profiles.ProfileStore."""

    def current(self) -> tuple[Profiles, str]: ...
    def pinned(self, version: str) -> Profiles: ...


class RunsPort(Protocol):
    def newest(self, profile: str, name: str) -> QueueRun | None: ...
    def get(self, run_id: str) -> QueueRun | None: ...


class RunProfiles:
    """Asked anew for each batch of messages (`refresh`): between two, profiles may be applied and runs may close."""

    def __init__(self, source: SourcePort, runs: RunsPort) -> None:
        self._source = source
        self._runs = runs
        self._now: tuple[Profiles, str] | None = None
        self._open: dict[tuple[str, str], str | None] = {}
        self._versions: dict[str, str] = {}

    def refresh(self) -> None:
        """Reads the profiles in force; forgets the runs."""
        self._now = self._source.current()
        self._open.clear()
        self._versions.clear()

    @property
    def in_force(self) -> Profiles:
        """What a run that begins now works by."""
        return self._read()[0]

    @property
    def version(self) -> str:
        return self._read()[1]

    def at_door(self, profile: str, name: str) -> Profiles:
        """What a message for the run called `name` is judged by: the open run's, else what is in force."""
        key = (profile, name)
        if key not in self._open:
            run = self._runs.newest(profile, name)
            opened = None if run is None or run.state != RunState.OPEN else run
            self._open[key] = None if opened is None else self._keep(opened)
        version = self._open[key]
        return self.in_force if version is None else self._source.pinned(version)

    def of_run(self, run_id: str) -> tuple[Profiles, str]:
        """The run's profiles and their version. Raises LookupError for a run that is not in the ledger, Missing if
        somebody has deleted its version from the bucket."""
        if run_id not in self._versions:
            run = self._runs.get(run_id)
            if run is None:
                raise LookupError(f"no run {run_id}")
            self._keep(run)
        version = self._versions[run_id]
        return self._source.pinned(version), version

    def _keep(self, run: QueueRun) -> str:
        self._versions[run.run_id] = run.profiles_version
        return run.profiles_version

    def _read(self) -> tuple[Profiles, str]:
        if self._now is None:
            self._now = self._source.current()
        return self._now
