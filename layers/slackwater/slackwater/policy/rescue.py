"""What becomes of the records that a batch job did not answer, and how many of them may be on the bill already."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from slackwater.model.job import Lane
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.forecast import Forecast, latest_start

MAX_SHARD_GENERATIONS: Final = 3
"""So often the same jobs go by batch; what is missing then is called."""
MIN_RECORDS: Final = 100


class RowVerdict(StrEnum):
    """What an error row of a batch output means for its job."""

    RETRY = "retry"  # any lane, batch too
    OTHER_LANE = "other_lane"  # batch would fail alike
    FINAL = "final"  # the job is wrong: a failed result


_RETRY_STATUS: Final = frozenset({429, 500, 502, 503, 504})
_FINAL_STATUS: Final = frozenset({400, 413, 415, 422})
_RETRY_NAMES: Final = frozenset(
    {"InternalServerException", "ModelNotReadyException", "ServiceUnavailableException", "ThrottlingException"}
)


def row_verdict(code: object) -> RowVerdict:
    """The verdict on `error.errorCode` of an output row: a number in AWS's example, but names are understood too.

    Only what says that the request is malformed is final. Anything else that is not worth a second batch job
    (time-outs, the model's own errors, access, codes that are new) is tried once more as a call, where the error has
    a name. https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html
    """
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    if isinstance(code, int) and not isinstance(code, bool):
        if code in _RETRY_STATUS:
            return RowVerdict.RETRY
        return RowVerdict.FINAL if code in _FINAL_STATUS else RowVerdict.OTHER_LANE
    if code == "ValidationException":
        return RowVerdict.FINAL
    return RowVerdict.RETRY if isinstance(code, str) and code in _RETRY_NAMES else RowVerdict.OTHER_LANE


@dataclass(frozen=True, slots=True)
class RescuePlan:
    """`lane` batch: the retryable ones as a new shard of `generation`, the rest by `calling_lane`; else all by
    `lane`."""

    lane: Lane
    calling_lane: Lane
    generation: int
    reason: str


def plan_rescue(
    *,
    missing: int,
    generation: int,
    now: datetime,
    deadline: datetime,
    forecast: Forecast,
    drain_s: float,
    batch_possible: bool,
    calling_lane: Lane = Lane.ON_DEMAND,
    min_records: int = MIN_RECORDS,
    stopped: bool = False,
) -> RescuePlan:
    """How `missing` records (those whose verdict is `retry`, and those without a row) of a shard of `generation` go on.

    `deadline` is the earliest of theirs, `drain_s` how long they take on `calling_lane`; `batch_possible`: the
    profile allows batch and it is enabled; `stopped`: its job was stopped at its guard, so that it is its turn to be
    called, before other shards that need the same quotas. The generation rises by one either way, so that a rescue of a
    rescue has an end.
    """

    def to(lane: Lane, reason: str) -> RescuePlan:
        return RescuePlan(lane, calling_lane, generation + 1, reason)

    if not batch_possible:
        return to(calling_lane, "batch is not possible")
    if stopped:
        return to(calling_lane, "its batch job was stopped for the deadline")
    if missing < min_records:
        return to(calling_lane, f"fewer than {min_records} records")
    if generation + 1 >= MAX_SHARD_GENERATIONS:
        return to(calling_lane, f"went by batch {MAX_SHARD_GENERATIONS} times")
    if now > latest_start(deadline, forecast, drain_s):
        return to(calling_lane, "no time for another batch job")
    return to(Lane.BATCH, "time and records enough for another batch job")


def called_share(shard: Shard, now: datetime, forecast: Forecast, drain_s: float, before: int) -> float:
    """Which part of this shard's records may have to be called at once when its job ends.

    All, if it has no job yet and might get none, has gone by batch often enough (`before`: so often before this time),
    or has no time for it; else fewer than a batch job's minimum.
    """
    deadline = shard.earliest_at or shard.deadline_at
    if (
        shard.state in (ShardState.STAGED, ShardState.INTENT)
        or before + 1 >= MAX_SHARD_GENERATIONS
        or shard.owner_kind is OwnerKind.POOL
        or now > latest_start(deadline, forecast, drain_s)
    ):
        return 1.0
    return min(1.0, (MIN_RECORDS - 1) / max(1, shard.records))


def lost_records(*, missing: int, processed: int | None, rows_seen: int, any_output: bool) -> int:
    """How many of `missing` records may have been paid for without our having their answer: what `repeats` grows by.

    `processed` is Bedrock's count (successes and errors), `rows_seen` the output rows that were read. Without any
    output and without a count, all of them may.
    """
    if processed is None:
        return 0 if any_output else missing
    return max(0, min(missing, processed - rows_seen))
