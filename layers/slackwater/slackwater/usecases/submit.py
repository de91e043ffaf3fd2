"""From a staged shard to one batch job: the intent is written first, the create sent soon after, under one name.

Name and idempotency token are one (`batch_job_name`), so a create that is sent again makes no second job; a shard
leaves its region only when it is certain that no job of its name is there.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from slackwater.model import ids
from slackwater.model.batch_job import BatchCallFailed, BatchJob
from slackwater.model.clock import Clock, later
from slackwater.model.job import Route
from slackwater.model.native import RequestType
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.canary import Canary
from slackwater.policy.classify import BatchFault
from slackwater.policy.step import ABSENT_S, CHECK_S, INTENT_S
from slackwater.usecases.cancelled import never
from slackwater.usecases.leased import Alive, LeasesPort, leased

CALL_S: Final = 10  # connecting takes at most so long: the last moment at which a create may still begin lies before
FULL_S: Final = 300  # a region without a free slot is asked again after so long
MOVE_AFTER: Final = 3  # creates in a row without room, after which another region is tried


class ShardsPort(LeasesPort, Protocol):
    def change(self, shard: Shard, **fields: object) -> Shard: ...


class FilesPort(Protocol):
    def copy_input(self, shard: Shard, region: str) -> None: ...


class JobsPort(Protocol):
    """Bedrock's batch jobs; raises BatchCallFailed."""

    @property
    def regions(self) -> tuple[str, ...]: ...
    def create(
        self,
        *,
        region: str,
        name: str,
        model_id: str,
        request_type: RequestType,
        input_key: str,
        output_prefix: str,
        timeout_h: int,
        tags: Mapping[str, str] | None = None,
    ) -> str: ...
    def get(self, region: str, arn: str) -> BatchJob | None: ...
    def list(self, region: str, name_contains: str, *, since: datetime | None = None) -> Iterator[BatchJob]: ...
    def stop(self, region: str, arn: str) -> bool: ...


class SlotsPort(Protocol):
    """Places for open jobs; see usecases.slots."""

    def take(self, shard: Shard, others: Iterable[Route]) -> Route | None: ...
    def give(self, shard: Shard) -> None: ...
    def refused(self, shard: Shard) -> None: ...


class Submit:
    """Sends a shard's create. Gives a word on what happened, for the log."""

    def __init__(
        self,
        *,
        shards: ShardsPort,
        files: FilesPort,
        jobs: JobsPort,
        clock: Clock,
        stack_arn: str,
        cancelled: Callable[[str], bool] = never,
        slots: SlotsPort | None = None,
        canaries: Callable[[Shard], Canary] | None = None,
    ) -> None:
        """`slots`: the places for open jobs (usecases.slots); without it Bedrock alone says what is full;
        `canaries` tells whether a shard of a new shape may begin (usecases.canaries)."""
        self._slots = slots
        self._canaries = canaries
        self._shards = shards
        self._files = files
        self._jobs = jobs
        self._clock = clock
        self._stack_arn = stack_arn
        self._cancelled = cancelled

    def __call__(self, shard_id: str, attempt: int, *, worker: str, alive: Alive, may_move: bool = True) -> str:
        """Raises Lost when another worker has taken the shard over meanwhile."""
        with leased(self._shards, shard_id, worker, alive) as shard:
            if shard is None:
                return "busy"
            if shard.attempt != attempt:
                return "stale"
            if self._clock.now() >= shard.guard_at or self._is_cancelled(shard):
                return "too late"  # the tick rescues or settles it
            match shard.state:
                case ShardState.STAGED:
                    return self._begin(shard)
                case ShardState.INTENT:
                    return self._again(shard, may_move)
                case _:
                    return "stale"

    def _begin(self, shard: Shard) -> str:
        """Takes a slot, in another region if its own has none, and sends the create."""
        if shard.canaries and self._canaries is not None:
            match self._canaries(shard):
                case Canary.ASKED:
                    self._shards.change(shard, next_check_at=later(self._clock.now(), CHECK_S))
                    return "waiting for its canaries"
                case Canary.REFUSED:
                    self._shards.change(shard, state=ShardState.COLLECTING, next_check_at=self._clock.now())
                    return "its canaries were refused"
        if self._slots is None:
            return self._create(self._intend(shard))
        place = self._slots.take(shard, self._alternatives(shard))
        if place is None:
            self._shards.change(shard, delays=shard.delays + 1, next_check_at=later(self._clock.now(), FULL_S))
            return "no slot in any region"
        if place.region != shard.region:
            shard = self._moved(shard, place, refused=False)
        return self._create(self._intend(shard))

    def _is_cancelled(self, shard: Shard) -> bool:
        """Whether no job should be made for it. One that may exist is looked for all the same."""
        owned = shard.owner_kind is OwnerKind.RUN and shard.state is ShardState.STAGED
        return owned and self._cancelled(shard.owner)

    def _intend(self, shard: Shard) -> Shard:
        now = self._clock.now()
        return self._shards.change(
            shard,
            state=ShardState.INTENT,
            job_name=ids.batch_job_name(self._stack_arn, shard.id, shard.attempt),
            intent_at=now,
            intent_wall_s=int(self._clock.wall_s()),
            next_check_at=later(now, CHECK_S),
        )

    def _again(self, shard: Shard, may_move: bool) -> str:
        """An earlier create has no reply: the same again while that is allowed, later only if no job came of it."""
        if shard.intent_at is None or self._clock.now() < shard.intent_at + timedelta(seconds=INTENT_S + ABSENT_S):
            return self._create(shard) if self._in_time(shard) else "waiting for the list"
        try:
            job = find(self._jobs, shard)
        except BatchCallFailed:
            return "the list cannot be read"
        if job is not None:
            adopt(self._shards, shard, job, self._clock)
            return "adopted"
        other = self._alternative(shard) if may_move else None
        if other is not None:
            return self._move(shard, other, refused=False)
        return self._create(self._intend(shard))

    def _create(self, shard: Shard) -> str:
        if not self._in_time(shard):
            return "the intent is too old"
        now = self._clock.now()
        try:
            arn = self._jobs.create(
                region=shard.region,
                name=str(shard.job_name),
                model_id=shard.model_id,
                request_type=shard.request_type,
                input_key=shard.input_key,
                output_prefix=shard.output_prefix,
                timeout_h=math.ceil((shard.deadline_at - now).total_seconds() / 3600),
                tags=cost_tags(self._stack_arn, shard),
            )
        except BatchCallFailed as exc:
            return self._failed(shard, exc)
        self._shards.change(
            shard, state=ShardState.OPEN, arn=arn, submitted_at=now, delays=0, next_check_at=later(now, CHECK_S)
        )
        return "open"

    def _failed(self, shard: Shard, exc: BatchCallFailed) -> str:
        match exc.fault:
            case BatchFault.EXISTS:
                return self._adopt(shard)
            case BatchFault.SLOTS | BatchFault.THROTTLED | BatchFault.UNSENT:
                if self._slots is not None:
                    if exc.fault is BatchFault.SLOTS:
                        self._slots.refused(shard)
                    self._slots.give(shard)
                return self._full(shard, exc.code)
            case BatchFault.REFUSED | BatchFault.DENIED:
                other = self._alternative(shard)
                if other is not None:
                    return self._move(shard, other, refused=True)
                self._shards.change(
                    shard,
                    state=ShardState.COLLECTING,
                    refused_regions=(*shard.refused_regions, shard.region),
                    job_name=None,
                    next_check_at=self._clock.now(),
                )
                return f"refused everywhere: {exc.code}"
            case _:  # it may have been done: the list will show
                return f"unknown: {exc.code}"

    def _adopt(self, shard: Shard) -> str:
        try:
            job = find(self._jobs, shard)
        except BatchCallFailed:
            return "the list cannot be read"
        if job is None:
            return "the name is taken, the list does not show by what"  # the list lags: the tick looks again
        adopt(self._shards, shard, job, self._clock)
        return "adopted"

    def _full(self, shard: Shard, code: str) -> str:
        """Full is not failed: back to staged, and after some tries to another region. Nothing was created."""
        other = self._alternative(shard) if shard.delays + 1 >= MOVE_AFTER else None
        if other is not None:
            return self._move(shard, other, refused=False)
        self._shards.change(
            shard,
            state=ShardState.STAGED,
            job_name=None,
            intent_at=None,
            intent_wall_s=None,
            delays=shard.delays + 1,
            next_check_at=later(self._clock.now(), FULL_S),
        )
        return f"no room: {code}"

    def _alternative(self, shard: Shard) -> Route | None:
        """The next batch route that has a bucket of ours and has not refused this shard."""
        return next(iter(self._alternatives(shard)), None)

    def _alternatives(self, shard: Shard) -> list[Route]:
        regions = set(self._jobs.regions) - set(shard.refused_regions)
        return [route for route in shard.alternatives if route.region in regions]

    def _move(self, shard: Shard, to: Route, *, refused: bool) -> str:
        self._moved(shard, to, refused=refused)
        return f"moved to {to.region}"

    def _moved(self, shard: Shard, to: Route, *, refused: bool) -> Shard:
        """To another region under the next attempt's name. A region that was only full may be tried again later."""
        if self._slots is not None:
            self._slots.give(shard)
        self._files.copy_input(shard, to.region)
        left = tuple(route for route in shard.alternatives if route != to)
        return self._shards.change(
            shard,
            state=ShardState.STAGED,
            attempt=shard.attempt + 1,
            region=to.region,
            model_id=to.model_id,
            kind=to.kind,
            alternatives=left if refused else (*left, shard.route),
            refused_regions=(*shard.refused_regions, shard.region) if refused else shard.refused_regions,
            job_name=None,
            intent_at=None,
            intent_wall_s=None,
            delays=0,
            next_check_at=self._clock.now(),
        )

    def _in_time(self, shard: Shard) -> bool:
        if shard.intent_wall_s is None:
            return False
        return self._clock.wall_s() - shard.intent_wall_s <= INTENT_S - CALL_S


class Adopt:
    """The create's reply was lost, the job was not: its ARN is noted."""

    def __init__(self, *, shards: ShardsPort, jobs: JobsPort, clock: Clock) -> None:
        self._shards = shards
        self._jobs = jobs
        self._clock = clock

    def __call__(self, shard_id: str, attempt: int, *, worker: str, alive: Alive) -> str:
        """Finds the job by its name; raises Lost, and BatchCallFailed where Bedrock cannot be asked."""
        with leased(self._shards, shard_id, worker, alive) as shard:
            if shard is None:
                return "busy"
            if shard.attempt != attempt or shard.job_name is None or shard.state is not ShardState.INTENT:
                return "stale"
            job = find(self._jobs, shard)
            if job is None:
                return "the list does not show it"
            adopt(self._shards, shard, job, self._clock)
            return "adopted"


class Stop:
    """Asks Bedrock to stop a job; what it has finished is collected later."""

    def __init__(self, *, shards: ShardsPort, jobs: JobsPort, clock: Clock) -> None:
        self._shards = shards
        self._jobs = jobs
        self._clock = clock

    def __call__(self, shard_id: str, attempt: int, arn: str, region: str, *, worker: str, alive: Alive) -> str:
        """Also stops a job that a settled, moved or lost shard has left behind. Raises BatchCallFailed; Lost
        where there is no shard to note it on."""
        asked = self._jobs.stop(region, arn)
        with leased(self._shards, shard_id, worker, alive) as shard:
            if shard is None:
                return "busy"  # the tick sees it
            if shard.state is ShardState.OPEN and shard.attempt == attempt and shard.arn == arn:
                now = self._clock.now()
                self._shards.change(
                    shard, state=ShardState.STOPPING, stop_asked_at=now, next_check_at=later(now, CHECK_S)
                )
        return "stopping" if asked else "had ended"


def cost_tags(stack_arn: str, shard: Shard) -> dict[str, str]:
    """The tags of its batch job, by which a bill can be split: stack, profile, and the run or the pool of several runs.
    Always the same for a shard, since a create that is repeated under its token must ask for the same."""
    return {
        "slackwater:stack": stack_arn.partition("/")[2].partition("/")[0] or "unnamed",
        "slackwater:profile": shard.profile,
        f"slackwater:{shard.owner_kind.value}": shard.owner,
    }


def find(jobs: JobsPort, shard: Shard) -> BatchJob | None:
    """The job of the shard's present name in its region. Raises BatchCallFailed."""
    if shard.job_name is None:
        return None
    return next((job for job in jobs.list(shard.region, shard.job_name) if job.name == shard.job_name), None)


def adopt(shards: ShardsPort, shard: Shard, job: BatchJob, clock: Clock) -> Shard:
    """Notes the ARN of a job that was found by its name."""
    return shards.change(
        shard,
        state=ShardState.OPEN,
        arn=job.arn,
        submitted_at=job.submitted_at or clock.now(),
        delays=0,
        next_check_at=clock.now(),
    )
