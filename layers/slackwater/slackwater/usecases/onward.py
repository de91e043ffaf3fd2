"""Jobs that go back to the job queue: as fresh messages, so that no wait ever counts as a failed receive."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from slackwater.model.claim import Entry
from slackwater.model.clock import Clock, iso
from slackwater.model.job import Lane
from slackwater.policy import send_back
from slackwater.usecases.ports import Documents, Outgoing, Sender

MAX_ENVELOPE_BYTES: Final = 1_000_000  # below SQS's 1 MiB


class Ledger(Protocol):
    def wait(self, held: Entry, *, faults: int) -> bool: ...
    def leave_pool(self, waiting: Entry) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """A job and its message; the message lies in `body` or, in S3, under `body_key`."""

    entry: Entry
    first_sent_at: datetime
    body: dict[str, Any] | None = None
    body_key: str | None = None
    lane: Lane | None = None
    not_before: datetime | None = None
    faults: int = 0
    rescued: bool = False  # a batch job left it over


class Onward:
    """Order: send; mark waiting with the next hop, if still as it was seen; the caller deletes the old message last."""

    def __init__(self, *, queue: Sender, documents: Documents, jobs: Ledger, clock: Clock, rng: random.Random) -> None:
        self._queue = queue
        self._documents = documents
        self._jobs = jobs
        self._clock = clock
        self._rng = rng

    def hand_on(self, parcels: Sequence[Parcel]) -> None:
        """Held jobs nobody could take now."""
        self._queue.send(self._outgoing(parcel) for parcel in parcels)
        for parcel in parcels:
            self._jobs.wait(parcel.entry, faults=parcel.faults)

    def release(self, parcels: Sequence[Parcel]) -> None:
        """Pooled jobs that are called on demand after all."""
        self._queue.send(self._outgoing(parcel) for parcel in parcels)
        for parcel in parcels:
            self._jobs.leave_pool(parcel.entry)

    def _outgoing(self, parcel: Parcel) -> Outgoing:
        entry = parcel.entry
        envelope: dict[str, Any] = {
            "v": 1,
            "hop": entry.hop + 1,
            "first_sent_at": iso(parcel.first_sent_at),
            "deadline_at": iso(entry.deadline),
            "job": entry.job,
            "run": entry.run_id,
        }
        if parcel.lane is not None:
            envelope["lane"] = parcel.lane.value
        if parcel.rescued:
            envelope["rescued"] = True
        if parcel.body_key is not None:
            envelope["body_key"] = parcel.body_key
        elif len(orjson.dumps(parcel.body)) > MAX_ENVELOPE_BYTES:
            envelope["body_key"] = key = held_key(entry.job)
            self._documents.put(key, orjson.dumps(parcel.body))
        else:
            envelope["body"] = parcel.body
        return Outgoing(envelope, delay_s=self._delay_s(parcel), group=entry.run_id)

    def _delay_s(self, parcel: Parcel) -> float:
        if parcel.not_before is None:
            return 0.0
        return send_back.delay_s(self._clock.now(), parcel.not_before, parcel.entry.deadline, self._rng.random())


def held_key(job: str) -> str:
    """Where the message of a job lies that is too large for an envelope."""
    return f"v1/held/{job}.json"
