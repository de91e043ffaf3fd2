"""Queued jobs from message to result: each answered once, whatever dies or comes twice."""

import logging

import orjson
import pytest

from slackwater.adapters.ledger.due import DueItems
from slackwater.model.clock import later
from slackwater.model.errors import CallFailed
from slackwater.model.profile import RouteSpec
from slackwater.model.run import throttles_of
from slackwater.policy.classify import Fault
from slackwater.usecases.tries import MAX_FAULTS
from tests.unit.queue_rig import (
    REPLY_ARN,
    Heart,
    Killed,
    QueueWorld,
    again,
    body,
    first,
    message,
    patient,
)
from tests.unit.rig import answer, fails

SECRET = "the patient is called Beatrix"


@pytest.fixture
def world(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


def test_a_job_is_answered_counted_and_replied_to(world, clock):
    outcome = world.work(first(clock, reply_to=REPLY_ARN))
    assert outcome.back == set()
    assert world.run() | {"accepted": 1, "succeeded": 1, "unsettled": 0, "failed": 0} == world.run()
    (row,) = world.rows()
    assert row["status"] == "succeeded" and row["id"] == "one" and row["line"] == 0
    assert world.replies.sent == [row]


def test_a_batch_of_jobs_is_one_part_and_weighted_over_three_regions(world, clock):
    world.work(*(first(clock, f"j{n}", f"q{n}") for n in range(10)))
    assert len(list(world.bucket.keys("v1/runs/"))) == 1
    regions = [row["region"] for row in world.rows()]
    assert [regions.count(r) for r in ("us-west-2", "us-east-1", "us-east-2")] == [5, 3, 2]


@pytest.mark.promise(2)
def test_the_same_id_again_changes_nothing(world, clock):
    world.work(first(clock, reply_to=REPLY_ARN))
    before = world.run()
    outcome = world.work(first(clock, reply_to=REPLY_ARN), worker="b")
    assert outcome.back == set() and outcome.counts == {"repeated_messages": 1}
    assert world.run() == before
    assert len(world.model.calls) == len(world.replies.sent) == 1


@pytest.mark.promise(2)
def test_the_same_id_twice_in_one_batch_is_called_once(world, clock):
    outcome = world.work(first(clock), first(clock))
    assert outcome.back == set() and len(world.model.calls) == 1 and world.run()["accepted"] == 1


def test_equal_requests_without_an_id_are_one_job(world, clock):
    world.work(first(clock, None), first(clock, None), first(clock, None, "another"))
    assert world.run()["accepted"] == 2
    assert all(row["id"] == row["job"] for row in world.rows())


def test_the_same_id_with_other_content_is_a_conflict_with_a_row_and_a_reply(world, clock):
    world.work(first(clock))
    world.work(first(clock, text="other", reply_to=REPLY_ARN), worker="b")
    assert world.run() | {"accepted": 1, "refused": 1, "succeeded": 1, "failed": 0, "unsettled": 0} == world.run()
    _, row = sorted(world.rows(), key=lambda r: r["line"])
    assert row["status"] == "failed" and row["error"]["code"] == "id_conflict" and row["job"] is None
    assert row["error"]["pointer"] == "/job_id" and world.replies.sent == [row]
    assert len(world.model.calls) == 1


def test_a_conflict_within_one_batch_is_found_too(world, clock):
    world.work(first(clock, text="a"), first(clock, text="b"))
    assert sorted(row["status"] for row in world.rows()) == ["failed", "succeeded"]


# ---------------------------------------------------------------------- killed workers


@pytest.mark.promise(2)
def test_killed_between_part_and_ledger_the_answer_is_found_and_not_paid_again(world, clock, monkeypatch):
    letter = first(clock, reply_to=REPLY_ARN)
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "settle", _dies)
        world.killed(letter)
    assert world.run()["unsettled"] == 1
    outcome = world.work(again(letter), worker="b")
    assert outcome.counts["answers_found"] == 1 and outcome.back == set()
    assert len(world.model.calls) == 1
    assert world.run() | {"unsettled": 0, "succeeded": 1, "repeats": 0} == world.run()
    assert world.replies.sent == world.rows()


@pytest.mark.promise(2)
def test_an_answer_is_found_even_if_the_first_heir_dies_too(world, clock, monkeypatch):
    letter = first(clock)
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "settle", _dies)
        world.killed(letter, worker="a")
        world.killed(again(letter), worker="b")
    world.work(again(letter), worker="c")
    assert len(world.model.calls) == 1 and world.run()["repeats"] == 0 and world.run()["succeeded"] == 1


@pytest.mark.promise(2)
def test_killed_in_flight_the_call_is_made_once_more_and_counted(world, clock):
    letters = [first(clock, f"j{n}", f"q{n}") for n in range(3)]
    world.model.script = _dies
    world.killed(*letters)
    world.model.script = lambda route, request: answer()
    world.work(*map(again, letters), worker="b")
    made = len(world.model.calls) - 3
    assert made == 3
    assert world.run() | {"repeats": 3, "succeeded": 3, "unsettled": 0} == world.run()


def test_killed_before_its_calls_a_worker_costs_no_repeat(world, clock, monkeypatch):
    letter = first(clock)
    with monkeypatch.context() as patch:
        patch.setattr(world.workers, "start", _dies)
        world.killed(letter)
    world.work(again(letter), worker="b")
    assert world.run()["repeats"] == 0 and len(world.model.calls) == 1


def test_a_worker_that_was_given_up_begins_no_further_call(world, clock):
    from slackwater.model.errors import Lost

    world.workers.renew("a", stops_at_s=clock.wall_s() + 900)
    clock.advance(100)
    assert world.workers.fate("a").started == frozenset()
    with pytest.raises(Lost):
        world.workers.start("a", ["j"])
    with pytest.raises(Lost):
        world.workers.renew("a", stops_at_s=clock.wall_s() + 900)


def test_a_redelivery_waits_while_its_worker_lives(world, clock, monkeypatch):
    letter = first(clock)
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "settle", _dies)
        with pytest.raises(Killed):
            world.work(letter)  # dead, but nobody can know yet
    heart, late = Heart(), again(letter)
    outcome = world.work(late, worker="b", heart=heart)
    assert outcome.back == {letter.message_id} and outcome.faults == {}
    assert 60 <= heart.dropped[late.receipt] <= 100
    heart, later_still = Heart(), again(again(again(letter)))
    world.work(later_still, worker="b", heart=heart)
    assert heart.dropped[later_still.receipt] >= 900  # no fourth try before its worker must have ended
    assert len(world.model.calls) == 1


def test_a_second_copy_is_dropped_at_once_while_the_first_is_being_called(world, clock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "settle", _dies)
        with pytest.raises(Killed):
            world.work(first(clock))
    outcome = world.work(first(clock), worker="b")
    assert outcome.back == set() and outcome.counts == {"repeated_messages": 1}


def test_a_lost_reply_is_counted_before_its_call_is_repeated(world, clock):
    outcomes = iter([CallFailed("ReadTimeout", Fault.UNKNOWN), None])

    def script(route, request):
        failure = next(outcomes)
        if failure:
            raise failure
        return answer()

    world.model.script = script
    outcome = world.work(first(clock))
    assert world.run()["repeats"] == 1 and outcome.counts["repeats"] == 1 and world.run()["succeeded"] == 1


# ---------------------------------------------------------------------- full is not failed


@pytest.mark.promise(4)
def test_a_hundred_hops_one_of_them_killed_and_the_job_is_answered_once(world, clock, monkeypatch):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    letters = [first(clock, deadline="6h", lane="on_demand", reply_to=REPLY_ARN)]
    received: dict[str, int] = {}
    for hop in range(100):
        for letter in letters:
            received[letter.message_id] = received.get(letter.message_id, 0) + 1
        if hop == 40:
            with monkeypatch.context() as patch:
                patch.setattr(world.jobs, "wait", _dies)
                world.killed(*letters, worker=f"w{hop}")
            letters = [again(letter) for letter in letters] + world.sent_on()
        else:
            outcome = world.work(*letters, worker=f"w{hop}")
            assert outcome.back == set() and outcome.faults == {}
            letters = world.sent_on()
        clock.advance(61)
    assert orjson.loads(letters[0].body)["hop"] >= 99
    world.model.script = lambda route, request: answer()
    world.work(*letters, worker="last")
    assert max(received.values()) <= 2  # the dead-letter queue begins at ten
    assert world.run() | {"succeeded": 1, "failed": 0, "unsettled": 0, "accepted": 1} == world.run()
    assert len(world.rows()) == len(world.replies.sent) == 1


def test_refusals_for_quota_are_counted_by_region_on_the_run_before_it_may_settle(world, clock, monkeypatch):
    def script(route, request):
        if route.region == "us-west-2":
            raise CallFailed("ThrottlingException", Fault.QUOTA)
        return answer()

    world.model.script = script
    seen_at_settling = []
    settle = world.jobs.settle
    monkeypatch.setattr(
        world.jobs, "settle", lambda *a: (seen_at_settling.append(throttles_of(world.run())), settle(*a))[1]
    )
    world.work(first(clock, deadline="6h", lane="on_demand"))
    assert world.run()["succeeded"] == 1
    assert seen_at_settling == [{"us-west-2": 1}] == [throttles_of(world.run())]


@pytest.mark.promise(4)
def test_the_wait_is_until_room_is_expected_and_never_past_the_deadline(world, clock):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    world.work(first(clock, deadline="6h", lane="on_demand"))
    assert 60 <= world.queue.sent[0].delay_s <= 60 * 1.5
    world.work(first(clock, "two", deadline="30s"))
    assert world.queue.sent[1].delay_s == 30
    assert [message.group for message in world.queue.sent] == [message.body["run"] for message in world.queue.sent]


def test_killed_between_send_and_mark_both_messages_lead_to_one_answer(world, clock, monkeypatch):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    old = first(clock)
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "wait", _dies)
        world.killed(old)
    (new,) = world.sent_on()
    world.model.script = lambda route, request: answer()
    calls = len(world.model.calls)
    outcome = world.work(new, again(old), worker="b")
    assert outcome.back == set() and len(world.model.calls) == calls + 1 and world.run()["succeeded"] == 1


def test_killed_between_mark_and_delete_the_old_message_is_dropped(world, clock):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    old = first(clock)
    world.work(old)
    world.model.script = lambda route, request: answer()
    calls = len(world.model.calls)
    outcome = world.work(again(old), worker="b")
    assert outcome.back == set() and len(world.model.calls) == calls
    (new,) = world.sent_on()
    clock.advance(70)
    world.work(new, worker="c")
    assert world.run()["succeeded"] == 1 and len(world.model.calls) == calls + 1


def test_a_newer_message_waits_while_the_older_is_with_a_living_worker(world, clock, monkeypatch):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "wait", _dies)
        with pytest.raises(Killed):
            world.work(first(clock))
    (new,) = world.sent_on()
    assert world.work(new, worker="b").back == {new.message_id}


def test_a_body_too_large_for_an_envelope_goes_by_its_key(world, clock):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    world.work(first(clock, text="x" * 1_010_000, lane="on_demand"))
    envelope = world.queue.sent[0].body
    assert "body" not in envelope and envelope["body_key"] == f"v1/held/{envelope['job']}.json"
    clock.advance(70)
    world.model.script = lambda route, request: answer()
    world.work(*world.sent_on(), worker="b")
    assert world.run()["succeeded"] == 1


def test_faults_are_remembered_over_hops(world, clock):
    world.model.script = fails("InternalServerException", Fault.MODEL_ERROR)
    world.work(first(clock, deadline="6h", lane="on_demand"))
    for worker in "bcdefgh":
        clock.advance(70)
        world.work(*world.sent_on(), worker=worker)
    (row,) = world.rows()
    assert row["status"] == "failed" and row["error"]["code"] == "model_error"
    assert len(world.model.calls) == MAX_FAULTS


def test_past_its_deadline_a_job_fails_and_is_not_called(world, clock):
    letter = first(clock)
    clock.advance(601)
    world.work(letter)
    (row,) = world.rows()
    assert row["error"]["code"] == "deadline_missed" and world.model.calls == []
    assert world.run() | {"failed": 1, "unsettled": 0} == world.run()


# ---------------------------------------------------------------------- bad messages


@pytest.mark.promise(5)
def test_a_bad_message_harms_only_itself(world, clock):
    good = first(clock)
    junk = message("this is no JSON", sent_at=clock.now())
    refused = message({**body("bad", reply_to=REPLY_ARN), "temperature": 1}, sent_at=clock.now())
    outcome = world.work(junk, good, refused)
    assert outcome.back == {junk.message_id} and outcome.faults == {junk.message_id: "not_a_json_object"}
    assert world.run() | {"accepted": 1, "refused": 1, "succeeded": 1, "failed": 0, "unsettled": 0} == world.run()
    (row,) = [r for r in world.rows() if r["status"] == "failed"]
    assert row["id"] == "bad" and row["error"]["code"] == "refused" and row["error"]["pointer"] == "/temperature"
    assert "take it out" in row["error"]["message"] and world.replies.sent == [row]


@pytest.mark.promise(5)
def test_a_lane_that_breaks_for_one_job_leaves_its_neighbours_alone(world, clock, monkeypatch):
    lane = world.router._lanes.lane

    def breaks(mine, profile, version):
        if mine.entry.id == "odd":
            raise ZeroDivisionError(SECRET)
        return lane(mine, profile, version)

    monkeypatch.setattr(world.router._lanes, "lane", breaks)
    odd = first(clock, "odd")
    outcome = world.work(odd, first(clock, "two"))
    assert outcome.faults == {odd.message_id: "ZeroDivisionError"} and world.run()["succeeded"] == 1


def test_a_refused_message_is_refused_once_however_often_it_comes(world, clock):
    letter = message({**body("bad"), "temperature": 1}, sent_at=clock.now())
    world.work(letter)
    world.work(again(letter), worker="b")
    assert world.run()["refused"] == 1 and len(world.rows()) == 1


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"profile": "no-such"}, "/profile"),
        ({"deadline": "tomorrow"}, "/deadline"),
        ({"reply_to": REPLY_ARN + "-of-others"}, "/reply_to"),
        ({"request": {"messages": []}}, "/request/messages"),
    ],
)
def test_a_refusal_names_the_field(world, clock, more, pointer):
    world.work(first(clock, **more))
    (row,) = world.rows()
    assert row["error"]["pointer"].startswith(pointer) and row["job"] is None and world.model.calls == []


def test_a_lane_that_cannot_be_taken_fails_the_job_with_its_reason(world, clock):
    world.work(first(clock, lane="flex"))
    (row,) = world.rows()
    assert row["error"]["code"] == "no_lane" and "flex" in row["error"]["message"] and row["job"] is not None


# ---------------------------------------------------------------------- what nobody may read


@pytest.mark.promise(6)
def test_no_prompt_in_items_or_log_lines(world, clock, table, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG, logger="slackwater")
    world.model.script = lambda route, request: answer(text=SECRET)
    world.work(first(clock, "a", SECRET), patient(clock, "b", request=body("b", SECRET)["request"]))
    world.work(message({**body("c", SECRET), "wrong": SECRET}, sent_at=clock.now()), worker="b")
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    world.work(first(clock, "d", SECRET), worker="c")
    items = table._client.scan(TableName="ledger")["Items"]
    assert len(items) > 8
    assert "Beatrix" not in str(items) and "Beatrix" not in caplog.text


# ---------------------------------------------------------------------- patient jobs


def test_patient_jobs_wait_in_a_pool_and_their_copies_are_dropped(world, clock):
    letters = [patient(clock, f"p{n}") for n in range(3)]
    outcome = world.work(*letters)
    assert outcome.counts["pooled"] == 3 and world.model.calls == []
    assert world.work(*map(again, letters), worker="b").counts == {"repeated_messages": 3}
    assert world.run() | {"accepted": 3, "unsettled": 3} == world.run()


def test_killed_before_it_joined_its_pool_a_job_joins_it_later(world, clock, monkeypatch):
    letter = patient(clock, "p")
    with monkeypatch.context() as patch:
        patch.setattr(world.pools, "join", _dies)
        world.killed(letter)
    outcome = world.work(again(letter), worker="b")
    assert outcome.counts["pooled"] == 1 and world.run()["repeats"] == 0


# ---------------------------------------------------------------------- replies


def test_a_reply_that_cannot_be_sent_brings_its_message_back_until_it_is(world, clock):
    letter = first(clock, reply_to=REPLY_ARN)
    world.replies.broken = True
    outcome = world.work(letter)
    assert outcome.faults == {letter.message_id: "reply_failed"} and world.run()["unsettled"] == 0
    assert world.work(again(letter), worker="b").back == {letter.message_id}
    world.replies.broken = False
    assert world.work(again(letter), worker="c").back == set()
    assert world.work(again(letter), worker="d").back == set()
    assert world.replies.sent == world.rows() and len(world.model.calls) == 1


def test_jobs_without_a_run_share_the_run_of_their_hour(world, clock):
    world.work(message({k: v for k, v in body().items() if k != "run_id"}, sent_at=clock.now()))
    assert world.run("2026-11-25T12")["accepted"] == 1


def test_a_job_out_of_its_profiles_bounds_is_refused_with_the_remedy(world, clock):
    world.applied.apply(max_tokens_max=20, max_tokens=20)
    world.work(first(clock, "asks-for-50"))
    (row,) = world.rows()
    assert row["error"]["pointer"] == "/request/inferenceConfig/maxTokens"
    assert "at most 20 tokens" in row["error"]["message"]
    assert world.asked_texts() == []


def test_a_pool_takes_no_more_than_its_profile_wants_in_one_batch_job(world, clock):
    world.applied.apply(batch_max_records=3)
    world.work(*(patient(clock, f"j{n}") for n in range(4)))
    due = DueItems(world.table).due(later(clock.now(), 86_400), limit=10)
    pools = [world.pools.get(item.id) for item in due if item.kind == "POOL"]
    assert sorted(pool.count for pool in pools) == [1, 3]


def test_an_open_run_keeps_the_profiles_under_which_it_began(world, clock):
    world.work(first(clock, "before"))
    world.applied.apply(max_tokens_max=20, max_tokens=20, residency="us", home_region="us-west-2")
    world.work(first(clock, "after"), first(clock, "elsewhere", run_id="late"), worker="b")
    assert {row["id"]: row["status"] for row in world.rows()} == {"before": "succeeded", "after": "succeeded"}
    assert world.run()["profiles_version"] == "v1"
    (refused,) = world.rows("late")
    assert world.run("late")["profiles_version"] == "v2" and "at most 20 tokens" in refused["error"]["message"]


def test_a_profile_that_is_taken_away_serves_the_runs_that_have_it(world, clock):
    world.work(first(clock, "before", profile="open-eu"))
    world.applied.apply("open-eu")
    world.work(first(clock, "after", profile="open-eu"), worker="b")
    eu = world.run(profile="open-eu")
    assert (eu["accepted"], eu["refused"], eu["succeeded"]) == (2, 0, 2)
    world.work(first(clock, "new", profile="open-eu", run_id="tomorrow"), worker="c")
    (refused,) = world.rows("tomorrow")
    assert refused["error"]["code"] == "refused" and "no profile open-eu" in refused["error"]["message"]


def test_the_next_generation_of_a_name_works_by_what_is_then_in_force(world, clock):
    world.work(first(clock, "before"))
    world.closing.close_queue_run(world.run()["run_id"])
    world.applied.apply(max_tokens_max=20, max_tokens=20)
    world.work(first(clock, "after"), worker="b")
    (refused,) = world.rows()
    assert world.run()["profiles_version"] == "v2" and refused["error"]["code"] == "refused"


def test_a_job_that_waited_goes_the_ways_of_its_run(world, clock):
    world.model.script = fails("ThrottlingException", Fault.QUOTA)
    world.work(first(clock))
    world.model.script = lambda route, request: answer()
    world.applied.apply(routes=(RouteSpec(region="eu-west-1", via="eu"),), residency="eu", home_region="eu-west-1")
    clock.advance(70)
    world.work(*world.sent_on(), worker="b")
    (row,) = world.rows()
    assert row["status"] == "succeeded" and row["region"] == "us-west-2"


def test_jobs_of_runs_under_other_profiles_gather_in_other_pools(world, clock):
    world.work(patient(clock, "before"))
    world.applied.apply(batch_max_records=500)  # something that a batch job has to do with
    world.work(patient(clock, "after"), patient(clock, "other", run_id="late"), worker="b")
    due = DueItems(world.table).due(later(clock.now(), 86_400), limit=10)
    pools = [world.pools.get(item.id) for item in due if item.kind == "POOL"]
    assert {pool.profiles_version: pool.count for pool in pools} == {"v1": 2, "v2": 1}


def _dies(*args, **kwargs):
    raise Killed


def long_request(text="hello"):
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 64_000}}


def test_an_answer_that_could_outlast_a_call_waits_for_batch_where_there_is_time(world, clock):
    outcome = world.work(patient(clock, "one", request=long_request()))
    assert outcome.counts["pooled"] == 1 and world.model.calls == []


@pytest.mark.parametrize("more", [{"deadline": "10m"}, {"lane": "on_demand", "deadline": "2d"}])
def test_an_answer_that_could_outlast_a_call_fails_with_the_reason_where_batch_cannot_take_it(world, clock, more):
    world.work(first(clock, "one", request=long_request(), **more), first(clock, "two"))
    rows = {row["id"]: row for row in world.rows()}
    assert rows["one"]["error"]["code"] == "no_lane" and "outlast a call" in rows["one"]["error"]["message"]
    assert rows["two"]["status"] == "succeeded" and len(world.model.calls) == 1
