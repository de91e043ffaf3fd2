"""A pack on the on-demand lane: claimed, called, stored, handed back, and what a killed worker costs."""

import random
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import orjson
import pytest

from slackwater.model import bits, names
from slackwater.model.errors import CallFailed, Lost
from slackwater.model.job import Job, Lane
from slackwater.model.run import PackMessage, Unit
from slackwater.policy.prices import load_price_book
from slackwater.usecases.dispatch import Dispatch
from slackwater.usecases.engine import Engine
from slackwater.usecases.parts import Parts
from slackwater.usecases.settle import Settle
from slackwater.usecases.tries import Call, Unfinished
from tests.unit.rig import ROUTES, START, Doors, Executions, Model, Outbox, Rested, answer, fails

MESSAGE = PackMessage("r1", "p1", "00000")
JOBS = 100


class Killed(BaseException):
    """SIGKILL, as far as a test can have it: nothing after it runs."""


class World:
    def __init__(self, runs, bucket, clock):
        self.runs, self.bucket, self.clock = runs, bucket, clock
        self.model, self.queue, self.workflow = Model(), Outbox(), Executions()
        self.settle = Settle(runs=runs, packs=self.queue, workflow=self.workflow)
        rows = _rows(JOBS)
        bucket.put(names.input_key("r1", "00000"), b"\n".join(map(orjson.dumps, rows)))
        runs.open("r1", {"kind": "file"}, next_check_at=clock.now())
        unit = Unit("p1", "pack", "00000", "on_demand", bits.pack(range(JOBS)), first_line=1, jobs=JOBS)
        runs.register("r1", [unit])

    def dispatch(self, owner="a", message=MESSAGE, concurrency=16):
        engine = Engine(
            caller=self.model,
            admission=Doors(Rested(self.clock)),
            prices=load_price_book(),
            clock=self.clock,
            rng=random.Random(1),
            concurrency=concurrency,
        )
        use_case = Dispatch(
            packs=self.runs,
            parts=Parts(self.bucket),
            documents=self.bucket,
            engine=engine,
            calls_of=_calls,
            queue=self.queue,
            settle=self.settle,
            clock=self.clock,
            rng=random.Random(1),
        )
        return use_case(
            message, owner=owner, stop_at_wall_s=self.clock.wall_s() + 800, alive=lambda renew: nullcontext()
        )

    def stored(self):
        return [row for key in self.bucket.keys("v1/runs/r1/parts/") for row in self.bucket.rows(key)]


@pytest.fixture
def world(runs, bucket, clock):
    return World(runs, bucket, clock)


def _request(text):
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 50}}


def _rows(count):
    return [{"line": n, "id": f"id-{n}", "request": _request(f"q{n}")} for n in range(1, count + 1)]


def _calls(run_id, lane, rows, block):
    deadline = START.replace(year=2027)
    jobs = (Job(run_id, block, r["line"], r["id"], r["id"], "default", deadline, r["request"]) for r in rows)
    return [Call(job, Lane(lane), ROUTES, "us-east-1") for job in jobs]


def test_a_pack_is_answered_stored_and_settled(world):
    done = world.dispatch()
    assert (done.stored, done.unfinished, done.repeats) == (JOBS, 0, 0)
    assert sorted(row["line"] for row in world.stored()) == list(range(1, JOBS + 1))
    assert world.runs.get("r1")["unsettled"] == 0
    assert world.runs.covered("r1") == JOBS


@pytest.mark.promise(2)
def test_a_redelivered_message_of_a_finished_pack_calls_nothing(world):
    world.dispatch()
    with pytest.raises(Lost):
        world.dispatch(owner="b")
    assert len(world.model.calls) == JOBS


@pytest.mark.promise(2)
def test_after_a_kill_what_is_stored_is_not_called_again_and_what_was_in_flight_is_counted(world):
    answered = []

    def script(route, request):
        if len(answered) >= 80:
            raise Killed
        answered.append(request)
        return answer()

    world.model.script = script
    with pytest.raises(Killed):
        world.dispatch(concurrency=1)
    before = {row["line"] for row in world.stored()}
    assert before, "parts are flushed while the pack runs"
    world.clock.advance(90)
    world.model.script = lambda route, request: answer()
    done = world.dispatch(owner="b")
    rows = world.stored()
    assert sorted(row["line"] for row in rows) == list(range(1, JOBS + 1))  # each line once
    paid = len(world.model.calls)
    assert done.repeats <= 64
    assert paid - JOBS <= done.repeats == world.runs.get("r1")["repeats"]


@pytest.mark.promise(4)
def test_a_pack_that_finds_everything_full_goes_back_a_hundred_times_and_is_answered_once(world):
    world.model.script = fails("ThrottlingException", "quota")
    message = MESSAGE
    for hop in range(100):
        done = world.dispatch(owner=f"w{hop}", message=message)
        assert done.unfinished == JOBS
        sent = world.queue.sent[-1]
        assert sent.body["hop"] == hop + 1
        assert sent.delay_s >= 1
        message = PackMessage.of(sent.body)
        world.clock.advance(61)
    world.model.script = lambda route, request: answer()
    calls_before = len(world.model.calls)
    world.dispatch(owner="last", message=message)
    assert len(world.model.calls) - calls_before == JOBS
    assert world.runs.get("r1")["repeats"] == 0
    with pytest.raises(Lost):
        world.dispatch(owner="late", message=MESSAGE)  # an early message that comes again is void


@pytest.mark.promise(4)
def test_a_pack_comes_back_when_a_useful_part_of_it_may_start_in_its_runs_group_and_not_past_its_deadline(world):
    later = [Unfinished(c, c.job.deadline - timedelta(days=1)) for c in _calls("r1", "on_demand", _rows(99), "00000")]

    def sent_back(unfinished):
        engine = SimpleNamespace(run=lambda calls, sink, stop_at_wall_s: unfinished, take_throttles=dict)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.unit.test_dispatch.Engine", lambda **_: engine)
            world.dispatch(message=PackMessage("r1", "p1", "00000", len(world.queue.sent)))
        return world.queue.sent[-1]

    now = world.clock.now()
    soon = [Unfinished(u.call, now + timedelta(seconds=20 + n)) for n, u in enumerate(later)]
    sent = sent_back([*soon[:30], *later[30:]])
    assert (sent.group, len(later)) == ("r1", 99)
    assert 44 <= sent.delay_s <= 44 * 1.5  # the 25th of 99, not the first
    assert sent_back([soon[0], *later[1:]]).delay_s == 900
    due = replace(soon[0].call.job, deadline=now + timedelta(seconds=7))
    assert sent_back([Unfinished(replace(soon[0].call, job=due), due.deadline), *later[1:]]).delay_s == 7


@pytest.mark.promise(4)
def test_killed_between_send_and_mark_both_messages_work_and_one_answers(world):
    world.model.script = fails("ThrottlingException", "quota")
    mark = world.runs.hand_back
    world.runs.hand_back = lambda *a, **k: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        world.dispatch()
    world.runs.hand_back = mark
    onward = PackMessage.of(world.queue.sent[-1].body)
    world.clock.advance(90)
    world.model.script = lambda route, request: answer()
    world.dispatch(owner="b", message=onward)
    with pytest.raises(Lost):
        world.dispatch(owner="c", message=MESSAGE)
    assert sorted(row["line"] for row in world.stored()) == list(range(1, JOBS + 1))


@pytest.mark.promise(5)
def test_one_bad_job_in_a_pack_fails_alone(world):
    def script(route, request):
        if request["messages"][0]["content"][0]["text"] == "q7":
            raise CallFailed("ValidationException", "job")
        return answer()

    world.model.script = script
    world.dispatch()
    failed = [row for row in world.stored() if row["status"] == "failed"]
    assert [(row["line"], row["error"]["code"], row["error"]["line"]) for row in failed] == [
        (7, "ValidationException", 7)
    ]


def test_the_workflow_is_woken_by_whoever_comes_last(world):
    world.dispatch()
    assert world.workflow.answered == []
    world.settle.answer(world.runs.set_token("r1", "token-1"))
    assert world.workflow.answered == ["token-1"]


def test_a_job_on_which_the_model_breaks_is_bounded_over_all_hops(world):
    def script(route, request):
        if request["messages"][0]["content"][0]["text"] == "q7":
            if route.region == ROUTES[-1].region:
                raise CallFailed("ServiceUnavailableException", "capacity")  # full: not counted
            raise CallFailed("ModelErrorException", "model_error")
        return answer()

    world.model.script = script
    message, passes = MESSAGE, 0
    while world.runs.get("r1")["unsettled"]:
        passes += 1
        assert passes < 10
        world.dispatch(owner=f"w{passes}", message=message)
        if world.queue.sent:
            message = PackMessage.of(world.queue.sent[-1].body)
        world.clock.advance(120)
    (failed,) = [row for row in world.stored() if row["status"] == "failed"]
    assert (failed["line"], failed["error"]["code"]) == (7, "model_error")
    assert passes == 3
    assert sum(text == "q7" and region != ROUTES[-1].region for region, text in world.model.calls) == 5


def test_calls_that_leave_their_preferred_route_are_counted(world):
    def script(route, request):
        if route.region == ROUTES[0].region:
            raise CallFailed("ServiceUnavailableException", "capacity")
        return answer()

    world.model.script = script
    world.dispatch()
    assert world.runs.get("r1")["rerouted"] == JOBS
    assert all(row["region"] != ROUTES[0].region for row in world.stored())


def test_the_batch_jobs_that_left_a_job_over_are_among_its_attempts(world):
    unit = Unit("p2", "pack", "00000", "on_demand", bits.pack([0]), first_line=1, generation=3, jobs=1, rescued=True)
    world.runs.register("r1", [unit])
    world.dispatch(message=PackMessage("r1", "p2", "00000"))
    (row,) = world.stored()
    assert (row["attempts"], row["rescued"]) == (3, True)
