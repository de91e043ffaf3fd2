"""A dropped file's first step: entered in the ledger, surveyed, its survey kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from slackwater.model import names
from slackwater.model.clock import Clock, iso, later
from slackwater.model.errors import BadInput, Missing
from slackwater.model.profile import DEFAULT_PROFILE, Profiles
from slackwater.model.run import RunKind
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.ports import Documents, EventSink
from slackwater.usecases.survey import BAD_OPTION, Survey, refuse_file, survey

GRACE_S = 900.0
"""After its deadline a run is looked at again by the tick: what is still unanswered then fails."""


class File(Protocol):
    """What is known of an object before it is read."""

    size_bytes: int
    last_modified: datetime
    metadata: dict[str, str]


class Inbox(Documents, Protocol):
    def head(self, key: str, version_id: str | None = None) -> Any: ...
    def stream(self, key: str, version_id: str | None = None) -> Iterator[bytes]: ...


class CurrentProfiles(Protocol):
    def current(self) -> tuple[Profiles, str]: ...
    def pinned(self, version: str) -> Profiles: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def open(self, run_id: str, attributes: Mapping[str, Any], *, next_check_at: datetime) -> dict[str, Any]: ...
    def list_under(self, run_id: str, started_at: str, attributes: Mapping[str, Any]) -> None: ...
    def update(self, run_id: str, **attributes: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class _Blocks:
    """Where the survey's blocks go. Surveying again writes the same bytes but for the time of refusals."""

    documents: Documents
    run_id: str

    def put_input(self, block: str, rows: bytes) -> None:
        self.documents.put(names.input_key(self.run_id, block), rows, content_type="application/x-ndjson")

    def put_refused(self, block: str, rows: bytes) -> None:
        self.documents.put(names.part_key(self.run_id, block, "refused", 0), rows, content_type="application/x-ndjson")


class SurveyFile:
    """Surveys an object once or again; the run pins the profiles that were in force the first time."""

    def __init__(
        self, *, documents: Inbox, runs: RunsPort, profiles: CurrentProfiles, events: EventSink, clock: Clock
    ) -> None:
        self._documents = documents
        self._runs = runs
        self._profiles = profiles
        self._events = events
        self._clock = clock

    def __call__(self, event: Mapping[str, Any]) -> str:
        """`event` is the workflow's input; gives `surveyed`, or `failed` where nothing of the file can run."""
        run_id, key, version = event["run_id"], event["key"], event["version_id"]
        known = self._runs.get(run_id)
        profiles, profiles_version = self._pinned(known)
        found = self._read(run_id, key, version, profiles)
        if known is None:
            self._enter(run_id, event, found, profiles_version)
        document = found.survey.to_json()
        self._documents.put_json(names.run_key(run_id, "survey.json"), document)
        self._runs.update(
            run_id,
            accepted=found.survey.accepted,
            refused=found.survey.refused_lines,
            lines=found.survey.lines,
            dialect=found.survey.dialect or "",
            **({"reason": found.survey.reason} if found.survey.reason else {}),
        )
        return "failed" if found.survey.reason else "surveyed"

    def _pinned(self, known: Mapping[str, Any] | None) -> tuple[Profiles, str]:
        if known is None:
            return self._profiles.current()
        return self._profiles.pinned(known["profiles_version"]), known["profiles_version"]

    def _read(self, run_id: str, key: str, version: str, profiles: Profiles) -> "_Found":
        try:
            head = self._documents.head(key, version)
        except Missing:
            remedy = "the object was deleted before it was read: drop it again"
            return _Found(refuse_file(run_id, "gone", remedy), None, self._clock.now(), 0)
        sent_at = self._clock.at(head.last_modified)
        try:
            options = FileOptions.from_object(key, head.metadata, sent_at)
        except BadInput as exc:
            return _Found(
                refuse_file(run_id, BAD_OPTION, exc.message, size_bytes=head.size_bytes), None, sent_at, head.size_bytes
            )
        result = survey(
            self._documents.stream(key, version),
            _Blocks(self._documents, run_id),
            run_id=run_id,
            options=options,
            models={name: profile.model for name, profile in profiles.profiles.items()},
            profiles={name: profile.max_tokens for name, profile in profiles.profiles.items()},
            size_bytes=head.size_bytes,
            now=self._clock.now(),
            bounds={name: one.check_output_limit for name, one in profiles.profiles.items() if one.bounds_output},
        )
        profile = profiles.profiles.get(options.profile)
        deadline = options.deadline or later(sent_at, profile.default_deadline_s if profile else 0.0)
        return _Found(result, options, deadline, head.size_bytes)

    def _enter(self, run_id: str, event: Mapping[str, Any], found: "_Found", profiles_version: str) -> None:
        options = found.options
        profile = options.profile if options else DEFAULT_PROFILE
        attributes: dict[str, Any] = {
            "kind": RunKind.FILE.value,
            "profile": profile,
            "name": event["key"],
            "bucket": event["bucket"],
            "key": event["key"],
            "version_id": event["version_id"],
            "bytes": found.size_bytes,
            "deadline_at": iso(found.deadline),
            "profiles_version": profiles_version,
        }
        if options and options.result_dialect:
            attributes["result_dialect"] = options.result_dialect
        if options and options.max_cost_pico is not None:
            attributes["max_cost_pico"] = options.max_cost_pico
        meta = self._runs.open(run_id, attributes, next_check_at=later(found.deadline, GRACE_S))
        self._runs.list_under(run_id, meta["started_at"], {"profile": profile, "name": event["key"]})
        self._events.announce("Run Started", {"v": 1, "run_id": run_id, "profile": profile, "counts": {}})


@dataclass(frozen=True)
class _Found:
    """What a look at the object gave; no `options` where they could not be read."""

    survey: Survey
    options: FileOptions | None
    deadline: datetime
    size_bytes: int
