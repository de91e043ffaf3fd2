"""The work queue's verbs: each message names one step of one shard, pool or run. Doing a message again is harmless."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model import ids
from slackwater.model.batch_job import BatchCallFailed
from slackwater.model.clock import Clock, parse_iso
from slackwater.model.errors import Lost, NotYet
from slackwater.model.run import RunKind, StrangeMessage
from slackwater.model.words import counted
from slackwater.usecases.collect import Ended
from slackwater.usecases.fail_units import FailUnits
from slackwater.usecases.leased import Alive
from slackwater.usecases.shard_spending import CollectPort, SubmitPort
from slackwater.usecases.stage_pool import StagePool
from slackwater.usecases.submit import Adopt, Stop

BEDROCK: Final = "aws.bedrock"
STEP_FUNCTIONS: Final = "aws.states"


class ClosingPort(Protocol):
    """usecases.queue_runs.Closing."""

    def close_queue_run(self, run_id: str) -> bool: ...
    def expire(self, run_id: str) -> int: ...


class KeeperPort(Protocol):
    def release_pool(self, pool: str) -> int: ...


class ShardsPort(Protocol):
    def look_again(self, shard_id: str, at: datetime, *, seen: datetime | None = None) -> bool: ...


class RunsPort(Protocol):
    def get(self, run_id: str) -> dict[str, Any] | None: ...
    def update(self, run_id: str, **attributes: Any) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Worked:
    """What a message was about and what came of it, for the log."""

    do: str
    subject: str
    outcome: str


class Work:
    """Does one message. What the tick will ask for again anyway (a lease that is held, a region that cannot be asked)
    is dropped with a word; anything else that goes wrong is raised, so that the message comes back."""

    def __init__(
        self,
        *,
        submit: SubmitPort,
        adopt: Adopt,
        stop: Stop,
        collect: CollectPort,
        stage_pool: StagePool,
        keeper: KeeperPort,
        closing: ClosingPort,
        fail_units: FailUnits,
        announce: Callable[[str, str, str], None],
        fail_jobs: Callable[[Iterable[Mapping[str, Any]]], int],
        cancel: Callable[[str], str],
        shards: ShardsPort,
        runs: RunsPort,
        clock: Clock,
        stack_arn: str,
    ) -> None:
        self._submit = submit
        self._adopt = adopt
        self._stop = stop
        self._collect = collect
        self._stage_pool = stage_pool
        self._keeper = keeper
        self._closing = closing
        self._fail_units = fail_units
        self._announce = announce
        self._fail_jobs = fail_jobs
        self._cancel = cancel
        self._shards = shards
        self._runs = runs
        self._clock = clock
        self._prefix = ids.job_name_prefix(stack_arn)

    def __call__(self, message: Mapping[str, Any], *, worker: str, alive: Alive) -> Worked:
        """Raises StrangeMessage or KeyError for what is no work message: our own bug, to be redriven."""
        if message.get("source") == BEDROCK:
            return self._hint(message["detail"])
        if message.get("source") == STEP_FUNCTIONS:
            return self._workflow_failed(message["detail"])
        do = str(message.get("do"))
        subject = str(message.get("shard") or message.get("pool") or message.get("run") or "")
        try:
            outcome = self._do(do, message, worker, alive)
        except BatchCallFailed as exc:
            outcome = f"asked in vain: {exc.code}"
        except (Lost, NotYet) as exc:
            outcome = str(exc)
        return Worked(do, subject, outcome)

    def _do(self, do: str, message: Mapping[str, Any], worker: str, alive: Alive) -> str:
        if do in ("submit", "adopt", "stop", "collect", "rescue"):
            return self._of_shard(do, message, worker, alive)
        with alive(lambda: None):
            match do:
                case "stage_pool":
                    outcome = self._stage_pool(message["pool"])
                case "release_pool":
                    outcome = counted(self._keeper.release_pool(message["pool"]), "job is called", "jobs are called")
                case "close_run":
                    outcome = self._close_run(message)
                case "cancel_run":
                    outcome = self._cancel(message["run"])
                case "fail_units":
                    outcome = self._fail(message)
                case "fail_jobs":
                    outcome = counted(self._fail_jobs(message["jobs"]), "job failed", "jobs failed")
                case _:
                    raise StrangeMessage("this is no verb of the work queue", "/do")
        return outcome

    def _of_shard(self, do: str, message: Mapping[str, Any], worker: str, alive: Alive) -> str:
        shard, attempt = message["shard"], message["attempt"]
        match do:
            case "submit":
                return self._submit(shard, attempt, worker=worker, alive=alive, may_move=message.get("may_move", True))
            case "adopt":
                return self._adopt(shard, attempt, worker=worker, alive=alive)
            case "stop":
                return self._stop(shard, attempt, message["arn"], message["region"], worker=worker, alive=alive)
            case "collect":
                ended_at = message.get("ended_at")
                ended = Ended(
                    status=message["status"],
                    processed=message["processed"],
                    ended_at=None if ended_at is None else parse_iso(ended_at),
                    final=message["final"],
                )
            case _:
                ended = Ended("Rescued", final=True, without_output=True, repeats=message["repeats"])
        return self._collect(shard, attempt, ended, worker=worker, alive=alive)

    def _close_run(self, message: Mapping[str, Any]) -> str:
        run_id, warning = message["run"], message.get("warning")
        if warning:
            meta = self._runs.get(run_id) or {}
            if warning not in meta.get("warnings", ()):
                self._runs.update(run_id, warnings=[*meta.get("warnings", ()), warning])
        return "settling" if self._closing.close_queue_run(run_id) else "had ended"

    def _fail(self, message: Mapping[str, Any]) -> str:
        run_id = message["run"]
        meta = self._runs.get(run_id)
        if meta is not None and meta["kind"] == RunKind.QUEUE.value:
            return counted(self._closing.expire(run_id), "job expired", "jobs expired")
        failed = self._fail_units(run_id, message["code"], message.get("units"))
        return f"{counted(failed, 'unit')} failed: {message['code']}"

    def _workflow_failed(self, detail: Mapping[str, Any]) -> Worked:
        """The run's workflow ended without announcing it: the ledger and whoever waits must know."""
        run_id = str(detail["name"])
        self._announce(run_id, "failed", f"workflow_{str(detail['status']).lower()}")
        return Worked("announce", run_id, "failed")

    def _hint(self, detail: Mapping[str, Any]) -> Worked:
        """An event of Bedrock's: nothing is believed of it but that the tick should look now."""
        name = str(detail.get("batchJobName", ""))
        parts = ids.JOB_NAME.match(name)
        if parts is None or not name.startswith(self._prefix):
            return Worked("hint", "", "another's job")
        woken = self._shards.look_again(parts["shard"], self._clock.now())
        return Worked("hint", parts["shard"], "looked at next" if woken else "settled")
