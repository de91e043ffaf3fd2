"""The on-demand engine: what becomes of a call, whatever its routes answer."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.errors import CallFailed, Lost
from slackwater.policy.blame import MAX_BROKEN, MAX_BROKEN_IN_OUTAGE
from slackwater.policy.prices import load_price_book
from slackwater.usecases.engine import FLUSH_ROWS, MAX_OPEN, Engine
from slackwater.usecases.tries import Call, Unfinished
from tests.unit.rig import ROUTES, Doors, Model, Rested, StillClock, answer, call, fails


class Notes:
    """A sink that checks the books: nothing is stored that was not started, and never too much is open."""

    def __init__(self) -> None:
        self.started: set[int] = set()
        self.rows: dict[int, dict[str, Any]] = {}
        self.losses: list[int] = []
        self.flushes: list[int] = []
        self.most_open = 0

    def starting(self, calls: Sequence[Call]) -> None:
        self.started |= {c.job.line for c in calls}
        self.most_open = max(self.most_open, len(self.started - self.rows.keys()))

    def losing(self, call: Call) -> None:
        self.losses.append(call.job.line)

    def store(self, rows: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        self.flushes.append(len(rows))
        self.rows |= {c.job.line: row for c, row in rows}


def run(
    model: Model, calls: Sequence[Call], *, clock: StillClock | None = None, concurrency: int = 8, left_s: float = 3600
):
    clock = clock or StillClock()
    notes = Notes()
    engine = Engine(
        caller=model,
        admission=Doors(Rested(clock)),
        prices=load_price_book(),
        clock=clock,
        rng=random.Random(1),
        concurrency=concurrency,
    )
    unfinished = engine.run(calls, notes, stop_at_wall_s=clock.wall_s() + left_s)
    return notes, unfinished


def test_an_answer_becomes_a_row_with_its_price_and_what_home_would_have_charged():
    notes, unfinished = run(Model(lambda route, request: answer(input_tokens=1000, output_tokens=200)), [call(1)])
    assert unfinished == []
    row = notes.rows[1]
    assert (row["status"], row["lane"], row["region"], row["attempts"]) == ("succeeded", "on_demand", "us-west-2", 1)
    assert row["cost_usd"] == 0.002  # 1,000 × 1 + 200 × 5 USD a million: the global price
    assert row["list_usd"] == 0.0022  # home, regional: 1.10 and 5.50


def test_a_throttled_route_passes_the_call_to_the_next_and_rests():
    def script(route, request):
        if route.region == "us-west-2":
            raise CallFailed("ThrottlingException", "quota")
        return answer()

    model = Model(script)
    notes, unfinished = run(model, [call(line) for line in range(1, 21)], concurrency=1)
    assert unfinished == []
    assert {row["status"] for row in notes.rows.values()} == {"succeeded"}
    assert Counter(region for region, _ in model.calls) == {"us-west-2": 1, "us-east-1": 20}


@pytest.mark.promise(4)
@pytest.mark.parametrize("fault", ["quota", "quota_tokens", "quota_daily", "capacity"])
def test_full_everywhere_is_not_failed(fault):
    model = Model(fails("ThrottlingException", fault))
    notes, unfinished = run(model, [call(line) for line in range(1, 11)], concurrency=1)
    assert notes.rows == {}
    assert len(unfinished) == 10
    assert all(u.not_before > StillClock().now() for u in unfinished)
    assert len(model.calls) == len(ROUTES)  # the other nine were not thrown at closed doors


@pytest.mark.promise(5)
def test_a_job_the_model_refuses_fails_alone_and_rests_no_route():
    def script(route, request):
        if request["messages"][0]["content"][0]["text"] == "bad":
            raise CallFailed("ValidationException", "job")
        return answer()

    notes, unfinished = run(Model(script), [call(1, text="bad"), *(call(line) for line in range(2, 12))], concurrency=1)
    assert unfinished == []
    assert notes.rows[1]["error"]["code"] == "ValidationException"
    assert notes.rows[1]["attempts"] == 1
    assert [notes.rows[line]["status"] for line in range(2, 12)] == ["succeeded"] * 10


@pytest.mark.promise(2)
def test_a_lost_reply_is_counted_before_the_call_is_repeated():
    seen = []

    def script(route, request):
        seen.append(list(notes_box[0].losses) if notes_box else [])
        if len(seen) == 1:
            raise CallFailed("ReadTimeoutError", "unknown")
        return answer()

    notes_box: list[Notes] = []
    clock = StillClock()
    notes = Notes()
    notes_box.append(notes)
    engine = Engine(
        caller=Model(script),
        admission=Doors(Rested(clock)),
        prices=load_price_book(),
        clock=clock,
        rng=random.Random(1),
        concurrency=1,
    )
    engine.run([call(1)], notes, stop_at_wall_s=clock.wall_s() + 3600)
    assert seen == [[], [1]]
    assert notes.rows[1]["attempts"] == 2


@pytest.mark.promise(2)
def test_replies_lost_again_and_again_end_in_a_failure_not_in_endless_paid_calls():
    model = Model(fails("ReadTimeoutError", "unknown"))
    notes, _ = run(model, [call(1)])
    assert len(model.calls) == 3
    assert notes.rows[1]["error"]["code"] == "outcome_unknown"
    assert notes.losses == [1, 1]  # three calls may be on the bill: one, and two repeats


@pytest.mark.promise(3)
def test_what_is_past_its_deadline_is_not_called():
    clock = StillClock()
    late = call(1, deadline_s=10)
    clock.advance(11)
    model = Model()
    notes, _ = run(model, [late, call(2)], clock=clock)
    assert notes.rows[1]["error"]["code"] == "deadline_missed"
    assert notes.rows[2]["status"] == "succeeded"
    assert len(model.calls) == 1


def test_no_call_starts_that_the_remaining_time_cannot_cover():
    model = Model()
    notes, unfinished = run(model, [call(1)], left_s=30)
    assert model.calls == []
    assert [u.call.job.line for u in unfinished] == [1]
    assert notes.started == set()


@pytest.mark.promise(2)
def test_never_more_than_64_calls_are_started_and_not_yet_stored():
    notes, unfinished = run(Model(), [call(line) for line in range(1, 301)], concurrency=64)
    assert unfinished == []
    assert len(notes.rows) == 300
    assert notes.most_open <= MAX_OPEN
    assert max(notes.flushes) <= FLUSH_ROWS


def test_expensive_answers_are_flushed_early():
    dear = Model(lambda route, request: answer(input_tokens=5_000, output_tokens=2_000))  # 0.015 USD each
    notes, _ = run(dear, [call(line) for line in range(1, 9)], concurrency=1)
    assert max(notes.flushes) <= 2


def test_when_every_route_denies_access_the_error_names_the_administrator():
    notes, _ = run(Model(fails("AccessDeniedException", "us")), [call(1)])
    assert notes.rows[1]["error"]["code"] == "access_denied"
    assert "administrator" in notes.rows[1]["error"]["message"]


def test_a_model_that_breaks_on_one_job_does_so_a_bounded_number_of_times():
    clock = StillClock()
    model = Model(fails("ModelErrorException", "model_error"))
    pending: list[Call] = [call(1, deadline_s=10**6)]
    rows: dict[int, Any] = {}
    for _ in range(20):
        clock.advance(3600)
        notes, unfinished = run(model, pending, clock=clock)
        rows |= notes.rows
        pending = [u.call for u in unfinished]
        if not pending:
            break
    assert rows[1]["error"]["code"] == "model_error"
    assert len(model.calls) == 5


def test_a_worker_that_lost_its_work_stops():
    class Taken(Notes):
        def starting(self, calls):
            raise Lost("taken")

    clock = StillClock()
    model = Model()
    engine = Engine(
        caller=model,
        admission=Doors(Rested(clock)),
        prices=load_price_book(),
        clock=clock,
        rng=random.Random(1),
        concurrency=4,
    )
    with pytest.raises(Lost):
        engine.run([call(1)], Taken(), stop_at_wall_s=clock.wall_s() + 3600)
    assert model.calls == []


@pytest.mark.promise(6)
def test_rows_of_failures_hold_no_prompt():
    notes, _ = run(Model(fails("ValidationException", "job")), [call(1, text="my secret prompt")])
    assert "secret" not in str(notes.rows[1])


def test_unfinished_calls_know_when_the_first_route_is_rested():
    clock = StillClock()
    _, unfinished = run(Model(fails("ServiceUnavailableException", "capacity")), [call(1)], clock=clock)
    assert [type(u) for u in unfinished] == [Unfinished]
    assert unfinished[0].not_before == clock.now() + timedelta(seconds=60)


def poisoned(code, fault):
    def script(route, request):
        if request["messages"][0]["content"][0]["text"] == "poison":
            raise CallFailed(code, fault)
        return answer()

    return script


def to_the_end(model, calls, *, pause_s=600.0):
    """Passes until nothing is left, a while apart."""
    clock, notes = StillClock(), Notes()
    health = Rested(clock)
    engine = Engine(
        caller=model,
        admission=Doors(health),
        prices=load_price_book(),
        clock=clock,
        rng=random.Random(1),
        concurrency=4,
    )
    passes = 0
    while calls:
        passes += 1
        calls = [u.call for u in engine.run(calls, notes, stop_at_wall_s=clock.wall_s() + 3600)]
        clock.advance(pause_s)
    return notes, health, passes


BROKEN = [("InternalServerException", "internal"), ("ModelErrorException", "model_error")]


@pytest.mark.promise(5)
@pytest.mark.parametrize(("code", "fault"), BROKEN)
def test_a_poison_prompt_ends_after_bounded_attempts_while_others_go_on_and_no_route_rests(code, fault):
    model = Model(poisoned(code, fault))
    jobs = [call(line, text="poison" if line == 3 else "hello", deadline_s=10**6) for line in range(1, 61)]
    notes, health, _ = to_the_end(model, jobs)
    assert [line for line, row in notes.rows.items() if row["status"] == "failed"] == [3]
    assert notes.rows[3]["error"]["code"] == "model_error" and len(notes.rows) == 60
    assert sum(text == "poison" for _, text in model.calls) <= MAX_BROKEN
    assert sum(text == "hello" for _, text in model.calls) == 59  # each once: nobody waited, nobody was moved
    assert health.until == {}


@pytest.mark.promise(5)
@pytest.mark.parametrize(("code", "fault"), BROKEN)
def test_a_file_of_nothing_but_poison_ends_too(code, fault):
    model = Model(poisoned(code, fault))
    notes, _, passes = to_the_end(model, [call(line, text="poison", deadline_s=10**7) for line in range(1, 31)])
    assert {row["error"]["code"] for row in notes.rows.values()} == {"model_error"} and len(notes.rows) == 30
    assert len(model.calls) <= 30 * MAX_BROKEN_IN_OUTAGE and passes < 500


def test_a_route_that_breaks_on_every_job_rests_and_they_are_answered_elsewhere():
    def script(route, request):
        if route.region == "us-west-2":
            raise CallFailed("InternalServerException", "internal")
        return answer()

    model = Model(script)
    notes, unfinished = run(model, [call(line) for line in range(1, 41)], concurrency=1)
    assert unfinished == []
    assert {row["status"] for row in notes.rows.values()} == {"succeeded"}
    assert Counter(region for region, _ in model.calls) == {"us-west-2": 2, "us-east-1": 40}


@pytest.mark.promise(4)
def test_an_outage_of_every_route_fails_no_job_that_has_time():
    broken_until = StillClock().now() + timedelta(minutes=10)
    clock, notes = StillClock(), Notes()

    def script(route, request):
        if clock.now() < broken_until:
            raise CallFailed("InternalServerException", "internal")
        return answer()

    engine = Engine(
        caller=Model(script),
        admission=Doors(Rested(clock)),
        prices=load_price_book(),
        clock=clock,
        rng=random.Random(1),
        concurrency=1,
    )
    waiting = [(clock.now(), call(line, deadline_s=10**6)) for line in range(1, 31)]
    while waiting:
        clock.moment = max(clock.now(), min(when for when, _ in waiting))
        due = [c for when, c in waiting if when <= clock.now()]
        later = [(when, c) for when, c in waiting if when > clock.now()]
        unfinished = engine.run(due, notes, stop_at_wall_s=clock.wall_s() + 3600)
        waiting = later + [(u.not_before, u.call) for u in unfinished]
    assert Counter(row["status"] for row in notes.rows.values()) == {"succeeded": 30}


def test_replies_lost_in_pass_after_pass_are_bounded_too():
    clock = StillClock()
    model = Model(fails("ModelTimeoutException", "timeout"))
    pending: list[Call] = [call(1, routes=ROUTES[:1], deadline_s=10**6)]
    rows: dict[int, Any] = {}
    losses = passes = 0
    while pending:
        passes += 1
        clock.advance(3600)
        notes, unfinished = run(model, pending, clock=clock)
        rows |= notes.rows
        losses += len(notes.losses)
        pending = [u.call for u in unfinished]
    assert rows[1]["error"]["code"] == "outcome_unknown"
    assert (passes, len(model.calls), losses) == (5, 5, 4)


def test_a_call_that_could_outlast_the_function_is_failed_with_the_reason_and_never_made():
    long = call(1)
    long.job.request["inferenceConfig"]["maxTokens"] = 64_000
    model = Model()
    notes, unfinished = run(model, [long, call(2)])
    assert unfinished == []
    assert notes.rows[1]["error"]["code"] == "too_long_for_a_call"
    assert "batch" in notes.rows[1]["error"]["message"]
    assert [text for _, text in model.calls] == ["hello"]


@given(st.integers(1, 40_000), st.floats(0, 900))
def test_no_call_starts_whose_read_timeout_does_not_fit_into_what_is_left(max_tokens, left_s):
    asked = call(1)
    asked.job.request["inferenceConfig"]["maxTokens"] = max_tokens
    waits: list[float] = []

    class Timed(Model):
        def converse(self, route, lane, request, *, read_timeout_s):
            waits.append(read_timeout_s)
            return answer()

    _, unfinished = run(Timed(), [asked], left_s=left_s)
    assert all(max_tokens / 40 < wait < left_s for wait in waits)  # Haiku: 40 tokens a second at worst
    if left_s >= 880 and max_tokens <= 33_600:
        assert waits and not unfinished
