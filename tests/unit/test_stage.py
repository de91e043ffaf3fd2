"""Staging: what becomes of a request on its way into a batch job's file."""

from datetime import timedelta

import orjson
import pytest

from slackwater.model.native import NativeBody
from slackwater.usecases.stage import Stage, StageRecord
from tests.unit.rig import HAIKU, START, StillClock

POINT = {"cachePoint": {"type": "default"}}
SAYS_SO = 'the words cachePoint and "cache_control" are in this prompt'


class Kept:
    """Files and ledger of one shard."""

    def __init__(self):
        self.input = self.index = self.shard = None

    def put_input(self, shard, file):
        self.input = [orjson.loads(line) for line in file.read().splitlines()]

    def put_index(self, shard, file):
        self.index = [orjson.loads(line) for line in file.read().splitlines()]

    def create(self, shard):
        self.shard = shard
        return True


def staged(*requests):
    kept = Kept()
    records = [
        StageRecord("r1", "00000", n, f"id-{n}", f"job-{n}", request, 1) for n, request in enumerate(requests, 1)
    ]
    Stage(shards=kept, files=kept, clock=StillClock()).shard(
        owner_kind="run",
        owner="r1",
        profile="default",
        home_region="us-east-1",
        records=records,
        region="us-west-2",
        model_id=f"global.{HAIKU}",
        base_model=HAIKU,
        kind="global",
        deadline_at=START + timedelta(days=1),
        guard_at=START + timedelta(hours=20),
        generation=1,
        min_records=1,
    )
    return kept


def text(words, *more):
    return {"messages": [{"role": "user", "content": [{"text": words}, *more]}]}


def test_cache_points_do_not_go_into_a_batch_job_and_nothing_else_is_lost():
    kept = staged(text("long", POINT), text(SAYS_SO), text("plain"))
    assert [row["modelInput"] for row in kept.input] == [text("long"), text(SAYS_SO), text("plain")]
    assert [row["recordId"] for row in kept.input] == ["R0000000000", "R0000000001", "R0000000002"]
    assert [(row["r"], row["id"]) for row in kept.index] == [(0, "id-1"), (1, "id-2"), (2, "id-3")]


def test_native_cache_marks_do_not_go_into_a_batch_job_either():
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": [marked]}]}
    (row,) = staged(NativeBody(body)).input
    assert row["modelInput"] == {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "long"}]}],
    }


def test_the_bytes_of_a_shard_are_those_of_its_file():
    kept = staged(text("a"), text("é" * 1000))
    assert kept.shard.bytes == sum(len(orjson.dumps(row)) + 1 for row in kept.input)


def test_one_job_is_not_staged_twice():
    record = StageRecord("r1", "00000", 1, "a", "job", text("a"), 1)
    with pytest.raises(ValueError, match="twice"):
        Stage(shards=Kept(), files=Kept(), clock=StillClock()).shard(
            owner_kind="run",
            owner="r1",
            profile="default",
            home_region="us-east-1",
            records=[record, record],
            region="us-west-2",
            model_id=HAIKU,
            base_model=HAIKU,
            kind="regional",
            deadline_at=START,
            guard_at=START,
            generation=1,
            min_records=1,
        )
