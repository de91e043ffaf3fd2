"""Replies on queues named by ARN."""

import boto3
import orjson
import pytest

from slackwater.adapters.replies import QueuesByArn
from slackwater.usecases.replies import MAX_REPLY_BYTES, ReplyFailed
from tests.unit.queue_rig import REPLY_ARN, QueueWorld, first, patient
from tests.unit.rig import answer


def test_a_reply_above_900_kb_names_its_part(table, bucket, clock):
    world = QueueWorld(table, bucket, clock)
    world.model.script = lambda route, request: answer(text="y" * MAX_REPLY_BYTES)
    world.work(first(clock, reply_to=REPLY_ARN))
    (reply,) = world.replies.sent
    (row,) = world.rows()
    assert reply == {"v": 1, "id": "one", "job": row["job"], "result_s3": reply["result_s3"]}
    place, _, key = reply["result_s3"].removeprefix("s3://").partition("/")
    assert place == "home" and bucket.rows(key) == [row]


def test_killed_between_reply_and_mark_the_reply_may_come_twice_but_never_not_at_all(table, bucket, clock, monkeypatch):
    from tests.unit.queue_rig import Killed, again

    world, letter = QueueWorld(table, bucket, clock), first(clock, reply_to=REPLY_ARN)

    def dies(job):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "replied", dies)
        world.killed(letter)
    world.work(again(letter), worker="b")
    world.work(again(letter), worker="c")
    assert world.replies.sent == world.rows() * 2 and len(world.model.calls) == 1


def test_queues_are_found_by_their_arn_in_their_region(table, clock):
    regions: list[str] = []

    def client(region: str):
        regions.append(region)
        return boto3.client("sqs", region_name=region)

    sqs = boto3.client("sqs", region_name="eu-west-2")
    url = sqs.create_queue(QueueName="answers")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    queues = QueuesByArn(client, clock)
    queues.send(arn, [{"v": 1}])
    queues.send(arn, [{"v": 2}])
    got = [
        m["Body"]
        for _ in range(2)
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    ]
    assert sorted(map(orjson.loads, got), key=lambda b: b["v"]) == [{"v": 1}, {"v": 2}] and regions == ["eu-west-2"]


def test_a_queue_that_is_not_there_is_said_by_its_code(table, clock):
    queues = QueuesByArn(lambda region: boto3.client("sqs", region_name=region), clock)
    with pytest.raises(ReplyFailed, match=r"NonExistentQueue|QueueDoesNotExist"):
        queues.send("arn:aws:sqs:eu-west-2:123456789012:gone", [{"v": 1}])


@pytest.mark.parametrize(
    ("dialect", "names"),
    [("openai", "custom_id"), ("anthropic", "custom_id"), ("converse", "id")],
)
def test_a_reply_is_in_the_dialect_that_the_job_asked_for(table, bucket, clock, dialect, names):
    world = QueueWorld(table, bucket, clock)
    world.work(first(clock, reply_to=REPLY_ARN, result_dialect=dialect))
    (reply,), (row,) = world.replies.sent, world.rows()
    assert reply[names] == "one" and "run_id" not in reply
    assert row["run_id"] and row["response"]  # what is kept is ours


def test_an_error_comes_in_the_shape_of_that_dialect_too(table, bucket, clock):
    world = QueueWorld(table, bucket, clock)
    world.work(first(clock, reply_to=REPLY_ARN, result_dialect="openai", temperature=1))
    (reply,) = world.replies.sent
    assert reply["custom_id"] == "one" and reply["response"] is None
    assert reply["error"]["code"] == "refused" and "temperature" in reply["error"]["message"]


@pytest.mark.parametrize("dialect", ["slackwater", "input"])
def test_our_own_dialect_needs_no_reply_queue(table, bucket, clock, dialect):
    world = QueueWorld(table, bucket, clock)
    world.work(first(clock, result_dialect=dialect))
    assert [row["status"] for row in world.rows()] == ["succeeded"]


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        ({"result_dialect": "bedrock", "reply_to": REPLY_ARN}, "repeats the request"),
        ({"result_dialect": "openai"}, "name a queue in reply_to"),
    ],
)
def test_a_dialect_without_effect_is_refused_by_name(table, bucket, clock, more, remedy):
    world = QueueWorld(table, bucket, clock)
    world.work(first(clock, **more))
    (row,) = world.rows()
    assert (row["error"]["code"], row["error"]["pointer"]) == ("refused", "/result_dialect")
    assert remedy in row["error"]["message"] and not world.model.calls


def test_a_job_that_waited_in_a_pool_is_answered_in_its_dialect(table, bucket, clock):
    world = QueueWorld(table, bucket, clock)
    world.work(patient(clock, "p", reply_to=REPLY_ARN, result_dialect="anthropic"))
    (entry,) = world.closing.open_jobs(world.run()["run_id"])
    assert entry.result_dialect == "anthropic"
