"""Replies: the result line of a job, in the dialect it asked for, on the queue that its message named; sent before
the ledger is told, so that none is lost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from slackwater.model.claim import Entry
from slackwater.model.dialects.answers import translated
from slackwater.model.dialects.outputs import FROM_THE_LINE
from slackwater.model.errors import SlackwaterError

MAX_REPLY_BYTES: Final = 900_000  # a longer line is named by its part's place in S3


class ReplyFailed(SlackwaterError):
    """A reply queue took no reply: mend the queue or its policy; the job is done, the reply is tried again with its
    message."""


class ReplyQueues(Protocol):
    """Queues by ARN. `send` raises ReplyFailed."""

    def send(self, arn: str, bodies: Sequence[Mapping[str, Any]]) -> None: ...


class Ledger(Protocol):
    def replied(self, job: str) -> None: ...


class PartsPort(Protocol):
    def rows_of(self, key: str) -> Iterable[dict[str, Any]]: ...


class Replies:
    """Sends each reply at least once, and once where nothing breaks between sending and marking."""

    def __init__(self, *, queues: ReplyQueues, jobs: Ledger, parts: PartsPort, bucket: str) -> None:
        self._queues = queues
        self._jobs = jobs
        self._parts = parts
        self._bucket = bucket

    def send(self, answered: Iterable[tuple[Entry, dict[str, Any], str]]) -> frozenset[str]:
        """Replies for (job, its row, its part) where the job asks for one; gives the jobs whose reply could not be
        sent."""
        by_queue: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for entry, row, part in answered:
            if entry.reply_to is not None and not entry.replied:
                by_queue.setdefault(entry.reply_to, []).append((entry.job, self._body(entry, row, part)))
        unsent: set[str] = set()
        for arn, replies in by_queue.items():
            try:
                self._queues.send(arn, [body for _, body in replies])
            except ReplyFailed:
                unsent |= {job for job, _ in replies}
                continue
            for job, _ in replies:
                self._jobs.replied(job)
        return frozenset(unsent)

    def send_again(self, entry: Entry) -> bool:
        """The reply of a job that is done, if it was never sent; False if it still cannot be sent."""
        if entry.reply_to is None or entry.replied or entry.part is None:
            return True
        rows = [row for row in self._parts.rows_of(entry.part) if row["line"] == entry.ordinal]
        return not self.send((entry, row, entry.part) for row in rows[:1])

    def _body(self, entry: Entry, row: dict[str, Any], part: str) -> dict[str, Any]:
        """The row, in the dialect that the job asked for; above the limit, where our own line lies."""
        translate = FROM_THE_LINE.get(entry.result_dialect or "")
        said = row if translate is None else translated(translate, row)
        if len(orjson.dumps(said)) <= MAX_REPLY_BYTES:
            return said
        return {"v": 1, "id": row["id"], "job": row["job"], "result_s3": f"s3://{self._bucket}/{part}"}
