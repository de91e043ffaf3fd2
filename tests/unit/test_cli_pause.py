"""`slackwater pause`, `resume` and what `status` shows: one JSON document each, and the marks that workers read."""

import json
from datetime import timedelta

import boto3
import pytest

from slackwater.adapters.ledger.pauses import Pauses
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Write
from slackwater.model.clock import ScaledClock
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater_cli import connection, main, pause_commands
from slackwater_cli.cloud_reader import CloudReader
from slackwater_cli.connection import Connection


@pytest.fixture
def stack(table, monkeypatch):
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="home")
    deployed = Connection(
        client=lambda service, region: boto3.client(service, region_name=region or "us-east-1"),
        stack="mine",
        region="us-east-1",
        outputs={"TableName": "ledger", "BucketName": "home"},
        clock=ScaledClock(),
    )
    monkeypatch.setattr(connection, "connect", lambda screen, stack: deployed)
    return deployed


def document(capsys, *arguments: str, status: int = 0) -> dict:
    with pytest.raises(SystemExit) as ended:
        main.run([*arguments, "--json"])
    assert (ended.value.code or 0) == status
    return json.loads(capsys.readouterr().out)


def test_pause_marks_everything_or_one_profile_and_resume_takes_the_marks_away(stack, table, capsys):
    (all_of_it,) = document(capsys, "pause", "--reason", "too dear")["paused"]
    assert (all_of_it["profile"], all_of_it["reason"]) == ("*", "too dear")
    document(capsys, "pause", "--profile", "open-eu")
    assert set(Pauses(table).marks()) == {"*", "open-eu"}
    assert [mark["profile"] for mark in document(capsys, "resume", "--profile", "*")["paused"]] == ["open-eu"]
    assert document(capsys, "resume")["paused"] == []
    assert Pauses(table).marks() == {}


def test_pause_can_stop_running_batch_jobs_and_says_how_many(stack, table, capsys):
    shards = ShardLedger(table, stack.clock)
    soon = stack.clock.now() + timedelta(hours=9)
    for name, state, profile in (("s1", "open", "default"), ("s2", "staged", "default"), ("s3", "open", "open-eu")):
        shards.create(
            Shard(
                id=name, state=ShardState(state), region="us-west-2", model_id="m", base_model="m", kind="global",
                attempt=1, records=100, bytes=1, owner_kind=OwnerKind.RUN, owner="r1", profile=profile,
                home_region="us-east-1", deadline_at=soon, guard_at=soon, next_check_at=soon,
            )
        )  # fmt: skip
    assert document(capsys, "pause", "--profile", "default", "--stop-batch")["stopped_batch_jobs"] == 1
    assert shards.get("s1").guard_at < soon and shards.get("s2").guard_at == shards.get("s3").guard_at
    assert "stopped_batch_jobs" not in document(capsys, "pause")


def test_a_profile_that_is_not_in_force_is_not_paused_and_those_that_are_are_named(stack, table, capsys):
    refused = document(capsys, "pause", "--profile", "opem-eu", status=2)
    assert refused["error"]["code"] == "unknown_profile" and "open-eu" in refused["error"]["message"]
    assert Pauses(table).marks() == {}


def test_status_shows_what_is_paused_and_what_the_day_has_left(stack, table, capsys):
    budget = {"model": "anthropic.claude-haiku-4-5-20251001-v1:0", "home_region": "us-east-1",
              "budget": {"day_usd": "10"}}  # fmt: skip
    body = json.dumps({"v": 1, "profiles": {"news": budget}}).encode()
    boto3.client("s3", region_name="us-east-1").put_object(Bucket="home", Key="config/profiles.json", Body=body)
    day = f"DAY#{stack.clock.now():%Y-%m-%d}"
    spent = {"v": 1, "version": 1, "spent_pico": 4 * 10**12, "holds": {"a": {"pico": 10**12}}}
    table.write(Write(("BUDGET#news", day), set_=spent))
    document(capsys, "pause", "--profile", "news", "--reason", "a look")
    found = pause_commands.spending(CloudReader(stack))
    assert found.document()["budgets"] == [{"profile": "news", "day_usd": 10.0, "spent_usd": 4.0, "held_usd": 1.0}]
    assert [mark["profile"] for mark in found.document()["paused"]] == ["news"]
    lines = [str(part) for part in found.shown(stack.clock.now())]
    assert lines[0].startswith("profile news is paused since ") and ": a look;" in lines[0]


def test_status_tells_people_and_programs_of_a_pause(stack, table, capsys):
    document(capsys, "pause", "--reason", "a look")
    assert [mark["reason"] for mark in document(capsys, "status")["paused"]] == ["a look"]
    with pytest.raises(SystemExit):
        main.run(["status"])
    assert "everything is paused since" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.run(["resume"])
    assert "nothing is paused" in capsys.readouterr().out
