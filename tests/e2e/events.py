"""What every sample event in `events/` must be answered with, by whoever runs the functions: Lambda's image by `sam
local invoke`, its runtime interface, a deployed stack.

`SAMPLES` are the events as they lie there, before a stack that knows none of the runs they name: a message of such a
run is dropped, a step of its workflow fails and says so. `RUN_SAMPLES` are the workflow's events about a run that has
settled in the stack (`settle_a_run`), which every step answers as it did the first time.

An event's messages are always sent now: a deadline of ten minutes runs from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.cloud import Cloud
from tests.integration.driver import Driver, converse

EVENTS = Path(__file__).parents[2] / "events"
NO_SUCH_RUN = "raaaaaaaaaaaaaaaaaaaa"  # the run that the workflow's events name
_MESSAGE = "00000000-0000-4000-8000-{:012d}"
Check = Callable[[Any], None]


@dataclass(frozen=True)
class Sample:
    """One event of one function, and what its answer and its log must be."""

    name: str  # of the file in events/, without its ending
    check: Check  # fails with what is wrong with the answer, a JSON value
    logged: tuple[str, ...] = ()  # what the function's log must hold

    @property
    def function(self) -> str:
        """Its logical id in the template."""
        return f"{self.name.partition('.')[0].capitalize()}Function"

    @property
    def path(self) -> Path:
        return EVENTS / f"{self.name}.json"

    def event(self, *, now_s: float, run_id: str = NO_SUCH_RUN) -> dict[str, Any]:
        """The event with its messages sent at `now_s` (epoch seconds), about the run `run_id`."""
        found: dict[str, Any] = json.loads(self.path.read_text().replace(NO_SUCH_RUN, run_id))
        for record in found.get("Records", []):
            record["attributes"]["SentTimestamp"] = str(int(now_s * 1000))
        return found

    def judge(self, answer: Any, log: str) -> None:
        """Fails unless the answer and the log are what they must be."""
        self.check(answer)
        for words in self.logged:
            assert words in log, f"{self.name}: no {words!r} in the log:\n{log[-4000:]}"
        assert "the parcel has not arrived" not in log, f"{self.name}: a prompt in the log"


def goes_back(*numbers: int) -> Check:
    """Exactly the messages of these numbers are reported as failed; none: all are done with."""
    expected = {"batchItemFailures": [{"itemIdentifier": _MESSAGE.format(number)} for number in numbers]}

    def check(answer: Any) -> None:
        assert answer == expected

    return check


def fails_with(message: str) -> Check:
    """The function raises: AWS's error document. Its type is left open, local runtimes name it in their own ways."""

    def check(answer: Any) -> None:
        assert answer["errorMessage"] == message, answer
        assert answer["errorType"], answer

    return check


def is_exactly(expected: Any) -> Check:
    """This document and nothing else."""

    def check(answer: Any) -> None:
        assert answer == expected

    return check


def counts_the_due(answer: Any) -> None:
    """A tick's three counts; all that was due was looked at, and no more was sent than that."""
    assert answer.keys() == {"due", "sent", "left"}, answer
    assert answer["left"] == 0 <= answer["sent"], answer
    assert answer["due"] >= 0, answer


_DONE, _UNKNOWN = goes_back(), fails_with(f"no run {NO_SUCH_RUN}")
_SURVEYED_NOTHING = is_exactly({"run_id": "rbbbbbbbbbbbbbbbbbbbb", "status": "failed"})  # there is no such file

_CHECKS: Mapping[str, tuple[Check, tuple[str, ...]]] = {
    "admit.sqs.dropped_file": (_DONE, ("run started",)),
    "admit.sqs.folder_marker": (_DONE, ()),
    "admit.sqs.no_event": (goes_back(1), ('"field":"/detail"',)),
    "aggregate.workflow.run": (_UNKNOWN, ()),
    "announce.workflow.settled": (_UNKNOWN, ()),
    "dispatch.sqs.malformed": (goes_back(1), ('"field":"/pack_id"',)),
    "dispatch.sqs.one_pack": (_DONE, ("message dropped",)),
    "place.workflow.packs": (_UNKNOWN, ()),
    "place.workflow.shard": (_UNKNOWN, ()),
    "plan.workflow.run": (_UNKNOWN, ()),
    "route.sqs.close_run": (_DONE, ("batch done",)),
    "route.sqs.envelope": (_DONE, ("batch done",)),
    "route.sqs.native_job": (_DONE, ("batch done",)),
    "route.sqs.one_good_one_malformed": (goes_back(2), ("not_a_json_object",)),
    "route.sqs.one_job": (_DONE, ("batch done",)),
    "route.sqs.one_refused": (_DONE, ('"refused":1',)),
    "route.sqs.patient_job": (_DONE, ("batch done",)),
    "route.sqs.same_id_other_content": (_DONE, ("batch done",)),
    "survey.workflow.file": (_SURVEYED_NOTHING, ("surveyed",)),
    "tick.schedule.minute": (counts_the_due, ()),
    "tick.schedule.quotas": (
        is_exactly({"told": 0, "kept": 0, "missing": 0}),  # there is no Service Quotas here
        ("could not be asked",),
    ),
    "wait.workflow.token": (_UNKNOWN, ()),
    "work.sqs.adopt": (_DONE, ("work done",)),
    "work.sqs.bedrock_event": (_DONE, ("work done",)),
    "work.sqs.cancel_run": (_DONE, ("work done",)),
    "work.sqs.close_run": (_DONE, ("work done",)),
    "work.sqs.collect": (_DONE, ("work done",)),
    "work.sqs.fail_jobs": (_DONE, ("work done",)),
    "work.sqs.fail_units": (_DONE, ("work done",)),
    "work.sqs.malformed": (goes_back(1), ('"field":"/do"',)),
    "work.sqs.release_pool": (_DONE, ("work done",)),
    "work.sqs.rescue": (_DONE, ("work done",)),
    "work.sqs.stage_pool": (_DONE, ("work done",)),
    "work.sqs.stop": (_DONE, ("work done",)),
    "work.sqs.submit": (_DONE, ("work done",)),
    "work.sqs.workflow_failed": (_DONE, ("work done",)),
}

SAMPLES = tuple(Sample(name, check, logged) for name, (check, logged) in sorted(_CHECKS.items()))


def run_samples(run_id: str) -> tuple[Sample, ...]:
    """What the workflow's steps say of the settled run `run_id`: the same as when they did it."""
    one_pack = [{"kind": "packs", "blocks": ["00000", "00000"]}]
    answers = {
        "plan.workflow.run": {"run_id": run_id, "items": one_pack},
        "place.workflow.packs": {"run_id": run_id, "units": 1},
        "wait.workflow.token": {"run_id": run_id},
        "aggregate.workflow.run": {"run_id": run_id, "status": "settled"},
        "announce.workflow.settled": {"run_id": run_id, "status": "settled"},
    }
    return tuple(Sample(name, is_exactly(answer)) for name, answer in answers.items())


RUN_SAMPLES = tuple(sample.name for sample in run_samples(NO_SUCH_RUN))


def settle_a_run(cloud: Cloud) -> str:
    """Runs a file of two calls to its end in `cloud`, by its own functions; gives the run."""
    driver = Driver(cloud)
    key = driver.drop("sample", [converse("Name a tide."), converse("Name another.")], deadline="1d", lane="on_demand")
    settled = driver.settled(key)
    assert settled.receipt["succeeded"] == 2, settled.receipt
    return settled.run_id
