"""What has become of a call so far in one pass, and when a failure is its last."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from slackwater.model.job import Job, Lane, Route
from slackwater.policy import blame, durations
from slackwater.policy.classify import Fault
from slackwater.policy.tokens import input_tokens, max_output_tokens
from slackwater.usecases.admission import Need

MAX_LOSSES: Final = 3  # lost replies of one job in one pass, after which it fails: each may have been billed
MAX_FAULTS: Final = 5  # replies of one job that may be lost, over all its passes


@dataclass(frozen=True, slots=True)
class Call:
    """A job on its way: `routes` in the order to try; `faults` counts what broke on it or was lost, over all passes."""

    job: Job
    lane: Lane
    routes: tuple[Route, ...]
    home_region: str
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A call nobody could take now: it goes back to its queue until `not_before` (product time)."""

    call: Call
    not_before: datetime


@dataclass
class Tries:
    """A call in this pass. `left`: the routes it has not failed on."""

    call: Call
    need: Need
    read_timeout_s: float
    left: list[Route]
    attempts: int = 0
    losses: int = 0
    denied: int = 0
    recorded: bool = False  # the sink knows that it has started
    last: Route | None = None
    room_at: datetime | None = None  # when one of its routes is expected to have room

    def final(self, fault: Fault, code: str, blamed: blame.Blame | None) -> tuple[str, str] | None:
        """Counts a failure; (code, message) once it is the last one: bounds for what may be paid or is the job's
        doing. `blamed`: what is known of the route, where something broke.
        """
        if fault.maybe_paid or fault.may_follow_job:
            self.call = replace(self.call, faults=self.call.faults + 1)
        if blamed is not None:
            its = blame.is_the_jobs(self.call.faults, blamed.cleared, route_suspect=blamed.suspect)
            return ("model_error", _FAULTS_REMEDY) if its else None
        match fault:
            case Fault.JOB:
                return code, _JOB_REMEDY
            case Fault.UNKNOWN | Fault.TIMEOUT:
                self.losses += 1
                enough = self.losses >= MAX_LOSSES or self.call.faults >= MAX_FAULTS
                return ("outcome_unknown", _LOST_REMEDY) if enough else None
            case Fault.US:
                self.denied += 1
                if self.denied == len(self.call.routes):
                    return "access_denied", _ACCESS_REMEDY
        return None


def begin(call: Call) -> Tries:
    """The call at the start of a pass. Raises ValueError for one that outlasts any invocation."""
    request = call.job.request
    max_tokens = max_output_tokens(request)
    timeout_s = durations.read_timeout_s(call.routes[0].base_model, max_tokens, flex=call.lane is Lane.FLEX)
    return Tries(call, Need(input_tokens(request), max_tokens), timeout_s, list(call.routes))


def rerouted(rows: Sequence[tuple[Call, dict[str, Any]]]) -> list[Call]:
    """The answered calls that did not go by their first route: it was full, or resting."""
    return [c for c, row in rows if row["status"] == "succeeded" and row["route"] != c.routes[0].name]


_JOB_REMEDY = "the model refuses this request: mend the request"
_LOST_REMEDY = (
    "the reply was lost several times; each call may have been billed: look at the network, then send it again"
)
_FAULTS_REMEDY = "this request failed on every try: send it again later, or mend it"
_ACCESS_REMEDY = "no route may be called: the account's administrator grants model access and bedrock:InvokeModel"
