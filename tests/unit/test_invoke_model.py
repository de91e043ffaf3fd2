"""InvokeModel as the second request type: how it is called, pooled, planned, staged and collected beside Converse."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import boto3
import orjson
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from slackwater.adapters.bedrock_runtime import BedrockRuntime
from slackwater.model import request as traits_of
from slackwater.model.errors import CallFailed
from slackwater.model.job import Lane
from slackwater.model.native import ANTHROPIC_VERSION, INVOKE_MODEL, NativeBody, RequestType
from slackwater.model.shard import ShardState
from slackwater.model.usage import Usage
from slackwater.policy.choose import JobLoad
from slackwater.policy.classify import Fault
from slackwater.usecases.batch_output import Join, Rows, members_of
from slackwater.usecases.ports import Answer
from tests.unit import test_choose
from tests.unit.batch_rig import PRICES, BatchWorld, record
from tests.unit.queue_rig import QueueWorld, body, first, patient
from tests.unit.rig import ROUTES
from tests.unit.test_plan import Run, line

SECRET = "my secret prompt"


def native(text: str = SECRET, **more):
    messages = [{"role": "user", "content": text}]
    return {"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 50, "messages": messages, **more}


def claude_answer(text: str = "hi", **more):
    usage = {"input_tokens": 10, "output_tokens": 5}
    content = [{"type": "text", "text": text}]
    return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage, **more}


# ---------------------------------------------------------------------- the call


@pytest.fixture
def runtime(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return BedrockRuntime(boto3.Session(), connections=4)


@pytest.fixture
def client(runtime):
    return runtime._client(ROUTES[0].region, 60.0)


def reply(written: bytes, headers=None, **more):
    meta = {"HTTPStatusCode": 200, "HTTPHeaders": headers or {}}
    return {
        "body": StreamingBody(io.BytesIO(written), len(written)),
        "contentType": "application/json",
        "ResponseMetadata": meta,
        **more,
    }


def ask(runtime, lane=Lane.ON_DEMAND, route=ROUTES[0]):
    return runtime.converse(route, lane, NativeBody(native()), read_timeout_s=60.0)


def expected(**more):
    return {
        "modelId": ROUTES[0].model_id,
        "body": orjson.dumps(native()),
        "contentType": "application/json",
        "accept": "application/json",
        **more,
    }


def test_a_native_body_goes_as_it_is_and_its_answer_comes_back_as_it_is(runtime, client):
    with Stubber(client) as stub:
        stub.add_response("invoke_model", reply(orjson.dumps(claude_answer())), expected())
        answered = ask(runtime)
    assert (answered.response, answered.usage, answered.tier) == (claude_answer(), Usage(10, 5), "default")


def test_the_tier_is_asked_for_in_invoke_models_own_way_and_billed_as_served(runtime, client):
    written = orjson.dumps(claude_answer())
    with Stubber(client) as stub:
        stub.add_response("invoke_model", reply(written), expected(serviceTier="flex"))
        stub.add_response("invoke_model", reply(written, serviceTier="default"), expected(serviceTier="flex"))
        stub.add_response("invoke_model", reply(written), expected(serviceTier="priority"))
        assert ask(runtime, Lane.FLEX).tier == "flex"
        assert ask(runtime, Lane.FLEX).tier == "default"
        assert ask(runtime, route=replace(ROUTES[0], tier="priority")).tier == "priority"


@pytest.mark.promise(7)
def test_usage_comes_from_the_headers_where_the_body_has_none_and_is_unknown_without(runtime, client):
    told = {"x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "4"}
    with Stubber(client) as stub:
        for headers in (told, {}):
            stub.add_response("invoke_model", reply(b'{"outputs": [{"text": "hi"}]}', headers), expected())
        assert ask(runtime).usage == Usage(3, 4)
        assert ask(runtime).usage is None


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [("ThrottlingException", 429, Fault.QUOTA), ("ValidationException", 400, Fault.JOB)],
)
def test_an_error_keeps_its_code_and_loses_its_text(runtime, client, code, status, fault):
    with Stubber(client) as stub:
        stub.add_client_error("invoke_model", code, f"you wrote: {SECRET}", http_status_code=status)
        with pytest.raises(CallFailed) as caught:
            ask(runtime)
    assert (caught.value.code, caught.value.fault) == (code, fault)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("written", [b"", b"{", b"[]", b'"text"'])
def test_an_answer_that_cannot_be_read_is_like_a_lost_reply(runtime, client, written):
    with Stubber(client) as stub:
        stub.add_response("invoke_model", reply(written), expected())
        with pytest.raises(CallFailed) as caught:
            ask(runtime)
    assert caught.value.fault == Fault.UNKNOWN


def test_a_reply_that_breaks_off_while_it_is_read_is_lost(runtime, client):
    answered = reply(b"{}")
    with (
        patch.object(answered["body"], "read", side_effect=ReadTimeoutError(endpoint_url="u")),
        patch.object(client, "_make_api_call", return_value=answered),
        pytest.raises(CallFailed) as caught,
    ):
        ask(runtime)
    assert caught.value.fault == Fault.UNKNOWN


# ---------------------------------------------------------------------- from the queue


@pytest.fixture
def queue(table, bucket, clock) -> QueueWorld:
    return QueueWorld(table, bucket, clock)


class Native:
    """Answers native bodies and keeps them."""

    def __init__(self):
        self.requests = []

    def converse(self, route, lane, request, *, read_timeout_s):
        self.requests.append(request)
        return Answer(claude_answer(), Usage(10, 5), 12, "default")


def asked(**more):
    return {"request_type": "invoke_model", "request": native(), **more}


def test_a_queued_native_job_is_called_natively_and_its_row_says_so(queue, clock, monkeypatch):
    model = Native()
    monkeypatch.setattr(queue.model, "converse", model.converse)
    queue.work(first(clock, "n", **asked()))
    assert model.requests == [NativeBody(native())]
    (row,) = queue.rows()
    assert (row["status"], row["request_type"], row["response"]) == ("succeeded", "invoke_model", claude_answer())
    assert row["usage"] == Usage(10, 5).to_json()


def test_a_body_that_the_profiles_model_does_not_take_is_refused_by_pointer(queue, clock):
    queue.work(first(clock, "n", **asked(request={"prompt": "x", "max_gen_len": 5})))
    (row,) = queue.rows()
    assert (row["error"]["code"], row["error"]["pointer"]) == ("refused", "/request/max_gen_len")
    assert queue.model.calls == []


def test_the_same_id_for_another_type_is_a_conflict(queue, clock, monkeypatch):
    monkeypatch.setattr(queue.model, "converse", Native().converse)
    queue.work(first(clock, "n"))
    queue.work(first(clock, "n", **asked()))
    assert sorted((row["error"] or {}).get("code", "") for row in queue.rows()) == ["", "id_conflict"]


def test_native_and_converse_jobs_wait_in_pools_of_their_own(queue, clock):
    queue.work(patient(clock, "c"), patient(clock, "n", **asked()), patient(clock, "d"))
    items = queue.table._client.scan(TableName="ledger")["Items"]
    keys = [i["pool"]["S"] for i in items if i["pk"]["S"].startswith("POOL#") and i["sk"]["S"] == "META"]
    pools = {queue.pools.get(pool).key.split("|")[1]: pool for pool in keys}
    assert {kind: queue.pools.get(pool).count for kind, pool in pools.items()} == {"converse": 2, "invoke_model": 1}
    (staged,) = queue.keeper.stage_pool(pools["invoke_model"])
    assert staged.request == NativeBody(native())


def test_a_job_message_of_before_is_a_converse_request(queue, clock):
    queue.work(first(clock, "c", "plain"))
    assert queue.asked_texts() == ["plain"]
    assert "request_type" not in queue.rows()[0]
    assert "request_type" not in body()


# ---------------------------------------------------------------------- plan, stage, collect


def native_line(number):
    return {"request_type": "invoke_model", "request": native(f"native {number}")}


def test_a_runs_shards_hold_one_type_each_and_too_few_of_one_are_called():
    run = Run([native_line(i) if i % 3 == 0 else line(i) for i in range(600)]).place()
    types = [{type(record.request) for record in records} for records, _ in run.shards]
    assert all(len(found) == 1 for found in types)
    assert {NativeBody, dict} == set().union(*types)
    assert [number for number, _ in run.lines()] == list(range(1, 601))
    few = Run([native_line(i) if i < 20 else line(i) for i in range(220)]).place()
    assert [where for _, where in few.lines()[:20]] == ["on_demand"] * 20
    assert {type(record.request) for records, _ in few.shards for record in records} == {dict}


def test_batch_takes_native_records_only_where_its_jobs_do():
    load = JobLoad(1000, 100_000, 50_000, frozenset({INVOKE_MODEL}))
    assert test_choose.decide(load=load, of=test_choose.ways(flex=())).lane is Lane.BATCH
    only_converse = test_choose.ways(flex=(), batch_types=frozenset({RequestType.CONVERSE}))
    decision = test_choose.decide(load=load, of=only_converse)
    assert decision.lane is Lane.ON_DEMAND
    assert any("no invoke_model records" in reason for reason in decision.reasons)
    with_tools = replace(load, traits=load.traits | {traits_of.TOOLS})
    assert test_choose.decide(load=with_tools, of=test_choose.ways(flex=())).lane is Lane.ON_DEMAND


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def native_shard(world, jobs=120):
    deadline = world.clock.now() + timedelta(days=1)
    world.file_run(jobs)
    records = [
        replace(record(n, run="r1", block=100), request=NativeBody(native(f"n {n}"))) for n in range(1, jobs + 1)
    ]
    return world.staged(records, run="r1", deadline=deadline, generation=2)


def test_a_native_shard_is_one_invoke_model_job_of_the_bodies_as_they_are(world):
    shard = native_shard(world)
    assert world.shard(shard).request_type is RequestType.INVOKE_MODEL
    store = world.stores["us-west-2"]
    first_record = store.rows(world.shard(shard).input_key)[0]
    assert first_record["modelInput"] == native("n 1")
    world.beat()
    created = next(job for job in world.bedrock.created if shard in job["name"])
    assert created["request_type"] is RequestType.INVOKE_MODEL


def test_a_shard_of_two_types_is_refused(world):
    records = [record(n, run="r1", block=100) for n in range(1, 121)]
    records[5] = replace(records[5], request=NativeBody(native()))
    with pytest.raises(ValueError, match="two request types"):
        world.staged(records, run="r1", deadline=world.clock.now() + timedelta(days=1))


def test_native_answers_of_a_batch_job_are_joined_with_usage_and_cost(world):
    shard = world.shard(native_shard(world))
    members = members_of(world.files.index(shard), shard)
    outputs = [
        {"recordId": "R0000000000", "modelInput": {}, "modelOutput": claude_answer()},
        {
            "recordId": "R0000000001",
            "modelInput": {},
            "modelOutput": {"content": [{"type": "text", "text": "no usage"}]},
        },
        {"recordId": "R0000000002", "modelInput": {}, "modelOutput": {}},
        {"recordId": "R0000000003", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "bad"}},
    ]
    with Rows() as rows:
        join = Join(shard, members, PRICES, rows, finished_at=world.clock.now())
        for output in outputs:
            join.take(orjson.dumps(output))
        missing = join.finish(world.clock.now())
        found = [json.loads(raw) for _, lines in rows.parts() for raw in lines.splitlines()]
    told, untold, refused = sorted(found, key=lambda row: row["line"])
    assert (told["request_type"], told["response"], told["usage"]) == (
        "invoke_model",
        claude_answer(),
        Usage(10, 5).to_json(),
    )
    assert told["cost_usd"] > 0
    assert (untold["usage"], untold["cost_usd"]) == (None, None)
    assert refused["error"]["code"] == "batch_400"
    assert join.counts.unreadable == 1
    assert len(missing.retry) == 117


def test_missing_native_records_are_staged_again_as_native_ones(world):
    shard = world.shard(native_shard(world))
    members = members_of(world.files.index(shard), shard)
    again = list(world.work._collect._again(shard, members, set(range(100))))
    assert len(again) == 100
    assert {type(found.request) for found in again} == {NativeBody}
    assert shard.state is ShardState.STAGED
