"""What an operator sees of a stack: queues and what is open; why messages were given up; and sending them back."""

import json
import time
from datetime import timedelta
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from slackwater.adapters.account import AwsAccount
from slackwater.adapters.ledger.due import DueItems
from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.operator import DeadLetterQueue, QueueGauge
from slackwater.model.run import RunState
from slackwater.usecases.check_stack import CannotAsk
from slackwater.usecases.dead_letters import DeadMessage, Explain
from slackwater.usecases.overview import Gauge, Overviews
from tests.unit.batch_rig import BatchWorld
from tests.unit.queue_rig import QueueWorld, first
from tests.unit.rig import fails

SECRET = "the patient is called Beatrix"


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


@pytest.fixture
def explain(world):
    explained = Explain(jobs=Jobs(world.table, world.clock), runs=world.runs, shards=world.shards)
    return lambda queue, body: explained(
        queue, DeadMessage("m1", body if isinstance(body, str) else json.dumps(body), 10, None)
    )


# ---------------------------------------------------------------------- why


def test_a_body_that_is_no_object_is_the_senders_and_is_not_quoted(explain):
    reason = explain("jobs", SECRET)
    assert "no JSON object" in reason.why and not reason.useful
    assert SECRET not in repr(reason)


def test_a_job_that_never_became_one_is_worth_a_redrive_and_its_words_stay_hidden(explain):
    request = {"messages": [{"role": "user", "content": [{"text": SECRET}]}]}
    reason = explain("jobs", {"v": 1, "job_id": "ticket", "request": request})
    assert reason.useful and reason.about == "job ticket of profile default"
    assert "RouteFunction" in reason.why and "m1" in reason.do
    assert SECRET not in repr(reason)
    assert explain("jobs", {"v": 1, "request": {"messages": SECRET}}).about == "a message that is no valid job"
    assert "closes run evening" in explain("jobs", {"v": 1, "close_run": "evening"}).about


def test_an_envelope_is_judged_by_what_became_of_its_job(table, bucket, clock):
    queue = QueueWorld(table, bucket, clock)
    queue.model.script = fails("ThrottlingException", "quota")
    queue.work(first(clock, "a"))
    body = queue.queue.sent[0].body
    explained = Explain(jobs=queue.jobs, runs=queue.runs, shards=SimpleNamespace(get=lambda shard: None))
    message = DeadMessage("m1", json.dumps(body), 10, None)
    assert explained("jobs", message).useful
    older = DeadMessage("m2", json.dumps({**body, "hop": 0}), 10, None)
    assert "went on by a later message" in explained("jobs", older).why
    queue.cancel_run(queue.run()["run_id"])
    assert "has ended" in explained("jobs", message).why
    other = DeadMessage("m3", json.dumps({**body, "job": "nobody"}), 10, None)
    assert not explained("jobs", other).useful


def test_packs_and_steps_that_are_over_are_not_worth_a_redrive(world, explain):
    shard = world.file_run(250)
    step = {"v": 1, "do": "submit", "shard": shard, "attempt": 1}
    assert explain("work", step).useful
    assert not explain("work", {**step, "attempt": 7}).useful
    assert explain("work", {"v": 1, "do": "stage_pool", "pool": "l1"}).useful
    assert explain("work", {"source": "aws.states", "detail": {}}).about == "an event of aws.states"
    assert "knows no such pack" in explain("packs", {"run_id": "r1", "pack_id": "p9"}).why
    world.runs.end_unit("r1", shard)
    assert "has ended" in explain("packs", {"run_id": "r1", "pack_id": shard}).why


def test_a_dropped_file_is_named_by_its_key(world, explain):
    event = {"detail": {"bucket": {"name": "home"}, "object": {"key": "inbox/default/x.jsonl", "version-id": "v"}}}
    assert explain("intake", event).about == "inbox/default/x.jsonl"
    assert explain("intake", event).useful
    assert not explain("intake", {"detail": {}}).useful


# ---------------------------------------------------------------------- what is open


def test_the_overview_shows_what_is_open_and_nothing_that_has_ended(world, clock):
    shard = world.file_run(250)
    world.runs.open("r2", {"kind": "file", "profile": "default"}, next_check_at=clock.now() + timedelta(days=9))
    world.runs.open("r3", {"kind": "file", "profile": "default"}, next_check_at=clock.now())
    world.runs.finish("r3", RunState.SETTLED)
    found = Overviews(
        items=DueItems(world.table), runs=world.runs, shards=world.shards, pools=world.pools,
        gauges=[lambda: Gauge("jobs", 1, 2, 3, None)], history=History(world.table),
    )()  # fmt: skip
    assert {meta["run_id"] for meta in found.runs} == {"r1", "r2"}
    assert [one.id for one in found.shards] == [shard]
    assert found.queues[0].messages == 6
    assert found.complete


# ---------------------------------------------------------------------- the queues themselves


@pytest.fixture
def sqs(table):
    return boto3.client("sqs", region_name="us-east-1")


def _unsupported(*_, **__):
    from botocore.exceptions import ClientError

    raise ClientError({"Error": {"Code": "InvalidAction", "Message": ""}}, "StartMessageMoveTask")


def test_without_move_tasks_messages_are_sent_first_and_deleted_then(sqs, monkeypatch):
    source, dead = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("source", "dead"))
    for number in range(23):
        sqs.send_message(QueueUrl=dead, MessageBody=f'{{"n": {number}}}')
    queue = DeadLetterQueue(sqs, dead, source)
    monkeypatch.setattr("slackwater.adapters.operator.LOOK_HIDDEN_S", 1)
    assert len({message.message_id for message in queue.look(15)}) == 15
    monkeypatch.setattr(sqs, "start_message_move_task", _unsupported)
    order = []
    send, delete = sqs.send_message, sqs.delete_message
    monkeypatch.setattr(sqs, "send_message", lambda **arguments: order.append("send") or send(**arguments))
    monkeypatch.setattr(sqs, "delete_message", lambda **arguments: order.append("delete") or delete(**arguments))
    moved = queue.redrive(1)
    assert moved == 23 == order.count("send") == order.count("delete")
    assert all(order[:n].count("send") >= order[:n].count("delete") for n in range(len(order) + 1))
    assert QueueGauge(sqs, _unsupported, "source", source)().messages == moved


def test_what_another_looker_hides_is_waited_for_and_nothing_is_when_the_queue_is_empty(sqs):
    source, dead = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("source", "dead"))
    sqs.send_message(QueueUrl=dead, MessageBody="{}")
    hidden = sqs.receive_message(QueueUrl=dead, VisibilityTimeout=2)["Messages"]
    found = list(DeadLetterQueue(sqs, dead, source).look(5))
    assert [message.message_id for message in found] == [hidden[0]["MessageId"]]
    sqs.purge_queue(QueueUrl=dead)
    before = time.monotonic()
    assert not list(DeadLetterQueue(sqs, dead, source).look(5))
    assert time.monotonic() - before < 6


def test_where_sqs_moves_by_itself_it_is_asked_to_and_its_count_is_told():
    client = boto3.client("sqs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    arns = {"dead": "arn:aws:sqs:us-east-1:1:dead", "source": "arn:aws:sqs:us-east-1:1:source"}
    with Stubber(client) as stub:
        for name in ("dead", "source"):
            stub.add_response("get_queue_attributes", {"Attributes": {"QueueArn": arns[name]}})
        stub.add_response(
            "start_message_move_task", {"TaskHandle": "h"},
            {"SourceArn": arns["dead"], "DestinationArn": arns["source"]},
        )  # fmt: skip
        stub.add_response(
            "list_message_move_tasks", {"Results": [{"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 4}]}
        )
        assert DeadLetterQueue(client, "https://q/dead", "https://q/source").redrive(1) == 4


def test_an_age_that_nobody_measures_is_unknown(sqs):
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    cloudwatch = boto3.client("cloudwatch", region_name="us-east-1")
    gauge = QueueGauge(sqs, lambda: cloudwatch, "jobs", url)()
    assert (gauge.visible, gauge.oldest_s) == (1, None)


# ---------------------------------------------------------------------- the account


def account(service: str) -> tuple[AwsAccount, Stubber]:
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    return AwsAccount(lambda name, region: client), Stubber(client)


def test_a_refusal_is_told_as_such_and_absence_as_absence():
    asked, stub = account("iam")
    with stub:
        stub.add_client_error("get_role", "AccessDenied")
        stub.add_client_error("get_role", "NoSuchEntity")
        with pytest.raises(CannotAsk, match="AccessDenied"):
            asked.role_trusts("x")
        assert asked.role_trusts("x") is None


@pytest.mark.parametrize(("code", "answer"), [("404", None), ("403", CannotAsk), ("400", CannotAsk)])
def test_a_bucket_that_is_hidden_is_not_a_bucket_that_is_missing(code, answer):
    asked, stub = account("s3")
    with stub:
        stub.add_client_error("head_bucket", code, http_status_code=int(code))
        if answer is None:
            assert asked.bucket_region("us-east-1", "b") is None
        else:
            with pytest.raises(answer):
                asked.bucket_region("us-east-1", "b")


def test_only_what_iam_says_to_be_allowed_is_allowed():
    asked, stub = account("iam")
    results = [
        {"EvalActionName": "a:A", "EvalDecision": "allowed"},
        {"EvalActionName": "a:B", "EvalDecision": "implicitDeny"},
        {"EvalActionName": "a:C", "EvalDecision": "explicitDeny"},
    ]
    with stub:
        stub.add_response("simulate_principal_policy", {"EvaluationResults": results})
        arn = "arn:aws:iam::123456789012:role/x"
        assert asked.denied(arn, ["a:A", "a:B", "a:C"], "*", {"iam:PassedToService": "b"}) == ["a:B", "a:C"]


def entry(name: str, code: str, **more) -> dict:
    """As ListServiceQuotas gives it."""
    return {
        "ServiceCode": "bedrock", "ServiceName": "Amazon Bedrock", "QuotaName": name, "QuotaCode": code, "Unit": "None",
        "QuotaArn": f"arn:aws:servicequotas:us-east-1:123456789012:bedrock/{code}", "Adjustable": True,
        "GlobalQuota": False, "QuotaAppliedAtLevel": "ACCOUNT", **more,
    }  # fmt: skip


def test_quotas_are_read_to_the_last_page_and_by_default_where_aws_keeps_no_applied_value():
    asked, stub = account("service-quotas")
    page = {"ServiceCode": "bedrock", "MaxResults": 100}
    with stub:
        stub.add_response(
            "list_service_quotas", {"Quotas": [entry("a", "L-A", Value=0.0)], "NextToken": "more"}, dict(page)
        )
        broken = entry("b", "L-B", ErrorReason={"ErrorCode": "DEPENDENCY_THROTTLING_ERROR", "ErrorMessage": "x"})
        stub.add_response(
            "list_service_quotas",
            {"Quotas": [broken, entry("c", "L-C", Value=3.0, Adjustable=False)]},
            {**page, "NextToken": "more"},
        )
        defaults = [entry("a", "L-A", Value=9.0), entry("d", "L-D", Value=4.0)]
        stub.add_response("list_aws_default_service_quotas", {"Quotas": defaults}, dict(page))
        found = asked.quotas("us-east-1")
        assert asked.quotas("us-east-1") is found  # once a check
    assert [(q.name, q.value, q.code, q.adjustable) for q in found] == [
        ("a", 0.0, "L-A", True), ("c", 3.0, "L-C", False), ("d", 4.0, "L-D", True),
    ]  # fmt: skip


def test_quotas_that_may_not_be_listed_are_unknown():
    asked, stub = account("service-quotas")
    with stub:
        stub.add_client_error("list_service_quotas", "AccessDeniedException")
        with pytest.raises(CannotAsk, match="AccessDeniedException"):
            asked.quotas("us-east-1")
