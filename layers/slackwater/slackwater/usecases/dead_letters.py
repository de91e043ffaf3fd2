"""Why a message lies in a dead-letter queue, as far as the message and the ledger tell, and what redriving it would do.

Nothing of a message's words is given back: it may hold a prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from slackwater.model import ids
from slackwater.model.claim import Entry, JobState
from slackwater.model.errors import BadInput
from slackwater.model.message import CloseRun, Envelope, JobMessage, NotAnObject, parse_body
from slackwater.model.shard import Shard, ShardState

INTAKE: Final = "intake"
JOBS: Final = "jobs"
PACKS: Final = "packs"
WORK: Final = "work"
QUEUES: Final = (INTAKE, JOBS, PACKS, WORK)
FUNCTIONS: Final[Mapping[str, str]] = {
    INTAKE: "AdmitFunction",
    JOBS: "RouteFunction",
    PACKS: "DispatchFunction",
    WORK: "WorkFunction",
}


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message as it lies there. `sent_at` is real time, `receives` counts all looks at it."""

    message_id: str
    body: str
    receives: int
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reason:
    """`about`: the job, pack, shard, run or file; `useful`: whether redriving may do any good."""

    about: str
    why: str
    do: str
    useful: bool


class JobsPort(Protocol):
    def get(self, job: str) -> Entry | None: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def unit(self, run_id: str, unit_id: str) -> dict[str, Any] | None: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...


class Explain:
    """Reads the ledger only."""

    def __init__(self, *, jobs: JobsPort, runs: RunsPort, shards: ShardsPort) -> None:
        self._jobs = jobs
        self._runs = runs
        self._shards = shards

    def __call__(self, queue: str, message: DeadMessage) -> Reason:
        """Raises KeyError for a queue that is none of ours."""
        explain = {INTAKE: self._file, JOBS: self._job, PACKS: self._pack, WORK: self._work}[queue]
        body = _object(message.body)
        if body is None:
            who = "the sender mends it" if queue == JOBS else "nothing of ours sends such a thing: find who does"
            return Reason("", "its body is no JSON object, so nothing can be made of it", f"{who}; delete it", False)
        return explain(body, _failed(queue, message))

    def _job(self, body: Mapping[str, Any], failed: Reason) -> Reason:
        try:
            found = parse_body(orjson.dumps(body).decode())
        except (BadInput, NotAnObject):
            return _about(failed, "a message that is no valid job")  # it should have become a failed row
        match found:
            case Envelope():
                return self._envelope(found, failed)
            case CloseRun():
                return _about(failed, f"the word that closes run {found.close_run}")
            case JobMessage():
                return _about(failed, f"job {found.job_id or '(no id)'} of profile {found.profile or 'default'}")

    def _envelope(self, envelope: Envelope, failed: Reason) -> Reason:
        about = f"job {envelope.job}"
        entry = self._jobs.get(envelope.job)
        if entry is None:
            return Reason(about, "the ledger knows its job no more", "delete it", False)
        if entry.state is JobState.DONE:
            return Reason(about, f"its job has ended in run {entry.run_id}", "delete it, or send the job again", False)
        if entry.hop > envelope.hop:
            return Reason(about, "its job went on by a later message", "delete it", False)
        return _about(failed, about)

    def _pack(self, body: Mapping[str, Any], failed: Reason) -> Reason:
        run_id, pack = str(body.get("run_id")), str(body.get("pack_id"))
        about = f"pack {pack} of run {run_id}"
        unit = self._runs.unit(run_id, pack)
        if unit is None:
            return Reason(about, "the ledger knows no such pack", "delete it", False)
        if unit["state"] == "ended":
            why = "the pack has ended: what it had not answered failed as undeliverable, unless the run was over"
            return Reason(about, why, "send the failed rows of the run again as a new file; delete this", False)
        return _about(failed, about)

    def _work(self, body: Mapping[str, Any], failed: Reason) -> Reason:
        if "source" in body:
            return _about(failed, f"an event of {body['source']}")
        verb = str(body.get("do"))
        if isinstance(body.get("shard"), str):
            shard = self._shards.get(body["shard"])
            about = f"{verb} shard {body['shard']}"
            if shard is None or shard.state is ShardState.SETTLED or shard.attempt != body.get("attempt"):
                return Reason(about, "the shard has settled, or has gone on", "delete it", False)
            return _about(failed, about)
        return _about(failed, f"{verb} {body.get('pool') or body.get('run') or ''}".strip())

    def _file(self, body: Mapping[str, Any], failed: Reason) -> Reason:
        detail = body.get("detail")
        found = detail.get("object") if isinstance(detail, dict) else None
        if not isinstance(found, dict) or not isinstance(detail, dict) or not found.get("key"):
            return Reason("", "it is no event of the inbox", "delete it", False)
        bucket, key = str((detail.get("bucket") or {}).get("name")), str(found["key"])
        run_id = ids.run_of_object(bucket, key, str(found.get("version-id") or "null"))
        if self._runs.get(run_id) is not None:
            return Reason(key, f"its run {run_id} has started all the same", "delete it", False)
        return _about(failed, key)


def _failed(queue: str, message: DeadMessage) -> Reason:
    function = FUNCTIONS[queue]
    return Reason(
        "",
        f"{function} could not handle it; it was received {message.receives} times",
        f"read {function}'s log for message {message.message_id}, mend the cause, redrive",
        True,
    )


def _about(reason: Reason, about: str) -> Reason:
    return Reason(about, reason.why, reason.do, reason.useful)


def _object(body: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
