"""Collect: whatever a batch job leaves behind, each record ends once, and nothing that was answered is paid again."""

import random
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model import ids
from slackwater.model.shard import ShardState
from slackwater.usecases.batch_output import Join, Rows, members_of
from tests.unit.batch_rig import (
    PRICES,
    BatchWorld,
    Fuse,
    Killed,
    a_shard,
    all_answered,
    answered,
    index_row,
    record,
    refused,
)
from tests.unit.rig import START


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def accounted(world: BatchWorld, jobs: int, run: str = "r1") -> dict[int, dict[str, Any]]:
    """The rows by line: each line has one, or waits in exactly one pack, and the ledger knows which."""
    rows = {}
    for row in world.rows(run):
        assert row["line"] not in rows, "two rows for a line"
        rows[row["line"]] = row
    assert world.covered(run) == set(rows)
    waiting = [line for lines in world.waiting(run).values() for line in lines]
    assert sorted([*rows, *waiting]) == list(range(1, jobs + 1))
    return rows


def finished(world: BatchWorld, shard: str) -> None:
    for _ in range(30):
        world.beat()
        if world.shard(shard).state is ShardState.SETTLED:
            return
        world.clock.advance(61)
    raise AssertionError(world.outcomes)


@pytest.mark.promise(1)
def test_rows_in_any_order_are_joined_on_their_record_id(world):
    shard = world.file_run(250)
    world.opened(shard)
    world.bedrock.ends(output=lambda records: random.Random(1).sample(all_answered(records), len(records)))
    finished(world, shard)
    rows = accounted(world, 250)
    assert len(rows) == 250
    assert rows[17]["response"]["output"]["message"]["content"][0]["text"] == "echo of prompt 17"
    assert rows[17] | {"response": None} == {
        "v": 1, "id": "id-17", "job": "job-r1-17", "run_id": "r1", "line": 17, "status": "succeeded", "lane": "batch",
        "region": "us-west-2", "model": "anthropic.claude-haiku-4-5-20251001-v1:0",
        "route": "us-west-2|global.anthropic.claude-haiku-4-5-20251001-v1:0|default", "tier": "default",
        "response": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 0, "cache_write_tokens": 0},
        "cost_usd": pytest.approx(10 * 0.5e-6 + 5 * 2.5e-6), "list_usd": pytest.approx(10 * 1.1e-6 + 5 * 5.5e-6),
        "price_version": rows[17]["price_version"], "attempts": 1, "latency_ms": None,
        "finished_at": rows[17]["finished_at"], "error": None,
    }  # fmt: skip
    assert world.workflow.answered == ["token of r1"]
    assert world.meta()["unsettled"] == 0
    assert world.meta()["repeats"] == 0


@pytest.mark.promise(1)
def test_a_completed_job_is_not_believed_without_counting_its_lines(world):
    shard = world.file_run(250)
    world.opened(shard)
    world.bedrock.ends(
        "Completed", lambda records: all_answered(records[:-30]), total_records=250, processed_records=250
    )
    finished(world, shard)
    assert len(accounted(world, 250)) == 220
    assert sum(len(lines) for lines in world.waiting().values()) == 30
    assert world.meta()["repeats"] == 30  # Bedrock says that it processed them: they may be on the bill
    assert world.workflow.answered == []


@pytest.mark.promise(2)
def test_records_that_bedrock_has_not_processed_are_no_repeats(world):
    shard = world.file_run(250)
    world.opened(shard)
    world.bedrock.ends("PartiallyCompleted", lambda records: all_answered(records[:200]), processed_records=200)
    finished(world, shard)
    accounted(world, 250)
    assert world.meta()["repeats"] == 0


def test_a_doubled_row_is_taken_once_and_foreign_and_broken_lines_are_counted(world):
    shard = world.file_run(120)
    world.opened(shard)

    def output(records: list[dict[str, Any]]) -> list[Any]:
        double = answered(records[3], "the second answer")
        foreign = [{"recordId": name, "modelOutput": {}} for name in ("R0000009999", "rowling", 7, None)]
        return [*all_answered(records), double, *foreign, b"{not json", {"recordId": "R0000000001"}]

    world.bedrock.ends(output=output)
    finished(world, shard)
    rows = accounted(world, 120)
    assert rows[4]["response"]["output"]["message"]["content"][0]["text"] == "echo of prompt 4"
    item = world.table.get((f"SHARD#{shard}", "META"))
    assert item["counts"] == {
        "lines": 127, "seen": 120, "succeeded": 120, "failed": 0, "unanswered": 0, "doubled": 2, "foreign": 4,
        "unreadable": 1, "repeats": 0, "called": 0, "batched": 0, "row_input_tokens": 1200, "row_output_tokens": 600,
        "unknown_usage": 0,
    }  # fmt: skip


def test_what_the_manifest_counts_is_noted_beside_what_the_rows_took(world):
    shard = world.file_run(120)
    world.opened(shard)
    world.bedrock.ends(output=lambda records: all_answered(records[:110]))
    ((_, bucket, key),) = [
        (region, store, key)
        for region, store in world.bedrock._stores.items()
        for key in store.keys("v1/shards/")
        if key.endswith("manifest.json.out")
    ]
    bucket.put(key, b'{"inputTokenCount": 1200, "outputTokenCount": 600, "processedRecordCount": 120}')
    finished(world, shard)
    counts = world.shards.settled_counts([shard, "unknown"])[shard]
    assert (counts["row_input_tokens"], counts["manifest_input_tokens"]) == (1100, 1200)
    assert (counts["row_output_tokens"], counts["manifest_output_tokens"]) == (550, 600)
    assert (counts["unanswered"], counts["region"]) == (10, "us-west-2")


@pytest.mark.promise(5)
def test_a_record_that_the_model_refuses_fails_and_one_that_met_an_error_is_called(world):
    shard = world.file_run(150)
    world.opened(shard)

    def output(records: list[dict[str, Any]]) -> list[Any]:
        lines = all_answered(records)
        lines[4], lines[5], lines[6] = refused(records[4]), refused(records[5], 503), refused(records[6], 408)
        return lines

    world.bedrock.ends(output=output, processed_records=150)
    finished(world, shard)
    rows = accounted(world, 150)
    assert len(rows) == 148
    assert rows[5]["status"] == "failed"
    assert rows[5]["error"]["code"] == "batch_400"
    assert [lines for lines in world.waiting().values()] == [{6, 7}]
    assert world.meta()["repeats"] == 0  # an error row is no lost answer


@pytest.mark.promise(6)
def test_the_providers_text_and_the_prompt_are_in_no_row_of_a_refused_record_and_in_no_item(world, caplog):
    shard = world.file_run(120)
    world.opened(shard)
    quote = "Malformed input: 'prompt 1' is not allowed SECRET"
    codes = [400, "ValidationException", f"what {quote}", {"text": quote}]
    world.bedrock.ends(output=lambda records: [refused(r, codes[i % 4], quote) for i, r in enumerate(records)])
    finished(world, shard)
    stored = b"".join(body for key, body in world.home.objects.items() if "/parts/" in key or key.endswith(".json"))
    stored += b"".join(body for key, body in world.stores["us-west-2"].objects.items() if "collected" in key)
    items = repr(list(world.table._client.scan(TableName="ledger")["Items"]))
    for text in ("SECRET", "Malformed", "prompt 1"):
        assert text.encode() not in stored
        assert text not in items + caplog.text + repr(world.outcomes) + repr(world.packs.sent)
    assert {row["error"]["code"] for row in world.rows()} == {"batch_400", "batch_ValidationException"}


def test_the_missing_go_into_packs_of_at_most_200_jobs_of_one_block(world):
    shard = world.file_run(700, deadline_s=3600 * 5)  # too little time for another batch job
    world.opened(shard)
    world.bedrock.ends("Expired", None)
    finished(world, shard)
    assert accounted(world, 700) == {}
    sizes = sorted(len(lines) for lines in world.waiting().values())
    assert sizes == [100] * 7
    assert {m.body["pack_id"] for m in world.packs.sent} == set(world.waiting())
    assert {m.group for m in world.packs.sent} == {m.body["run_id"] for m in world.packs.sent}
    units = [u for u in world.runs.units("r1") if u["kind"] == "pack"]
    assert {u["generation"] for u in units} == {2}
    assert world.meta()["repeats"] == 0  # it never started


@pytest.mark.promise(3)
def test_many_missing_records_with_time_enough_go_into_a_new_shard(world):
    shard = world.file_run(300, deadline_s=86_400 * 2)
    world.opened(shard)
    world.bedrock.ends("PartiallyCompleted", lambda records: all_answered(records[:150]), processed_records=150)
    finished(world, shard)
    (new,) = world.waiting()
    assert world.shard(new).records == 150
    assert world.shard(new).generation == 2
    world.clock.advance(61)
    world.opened(new)
    assert len(world.bedrock.created) == 2
    world.bedrock.ends(output=all_answered)
    finished(world, new)
    rows = {row["line"]: row for row in world.rows()}
    assert len(rows) == 300
    assert rows[300]["response"]["output"]["message"]["content"][0]["text"] == "echo of prompt 300"
    assert rows[300]["attempts"] == 2
    assert world.workflow.answered == ["token of r1"]


@pytest.mark.promise(3)
def test_what_is_missing_at_the_deadline_fails_with_deadline_missed(world):
    shard = world.file_run(120)
    world.opened(shard)
    world.clock.advance(86_400)
    world.bedrock.ends("Stopped", lambda records: all_answered(records[:100]))
    finished(world, shard)
    rows = accounted(world, 120)
    assert len(rows) == 120
    assert {row["error"]["code"] for row in rows.values() if row["status"] == "failed"} == {"deadline_missed"}
    assert world.workflow.answered == ["token of r1"]


@pytest.mark.promise(2)
def test_output_that_follows_the_end_is_waited_for(world):
    shard = world.file_run(150)
    world.opened(shard)
    world.bedrock.ends("Stopped", None)
    world.beat()
    assert world.shard(shard).state is not ShardState.SETTLED
    world.clock.advance(600)
    world.bedrock.writes(next(iter(world.bedrock.jobs.values())), all_answered)
    finished(world, shard)
    assert len(accounted(world, 150)) == 150
    assert world.meta()["repeats"] == 0


@pytest.mark.promise(2)
def test_fifteen_minutes_after_a_stop_without_output_all_are_rescued_and_counted_as_repeats(world):
    shard = world.file_run(150, deadline_s=3600 * 6)
    world.opened(shard)
    world.bedrock.ends("Stopped", None)
    world.beat()
    world.clock.advance(14 * 60)
    world.beat()
    assert world.shard(shard).state is not ShardState.SETTLED
    world.clock.advance(61)
    finished(world, shard)
    assert accounted(world, 150) == {}
    assert world.meta()["repeats"] == 150


@pytest.mark.promise(3)
def test_a_job_that_was_stopped_before_it_processed_anything_is_rescued_at_once(world):
    shard = world.file_run(150, deadline_s=3600 * 6)
    world.opened(shard)
    world.bedrock.ends("Stopped", None, processed_records=0)
    world.beat()
    assert world.shard(shard).state is ShardState.SETTLED
    assert accounted(world, 150) == {}
    assert world.meta()["repeats"] == 0


def test_several_output_files_are_all_read(world):
    shard = world.file_run(150)
    world.opened(shard)
    job = next(iter(world.bedrock.jobs.values()))
    world.bedrock.writes(job, lambda records: all_answered(records[:70]), "in.jsonl.out")
    world.bedrock.writes(job, lambda records: all_answered(records[70:]), "more.jsonl.out")
    world.bedrock.ends(output=None)
    finished(world, shard)
    assert len(accounted(world, 150)) == 150


@pytest.mark.promise(2)
def test_collecting_twice_changes_nothing(world):
    shard = world.file_run(150)
    world.opened(shard)
    world.bedrock.ends(output=lambda records: all_answered(records[:149]), processed_records=150)
    world.tick(stop_at_wall_s=world.clock.wall_s() + 100)
    (message,) = (m.body for m in world.sent.sent)
    world.sent.sent.clear()
    assert world.do(message).outcome == "settled"
    before = dict(world.home.objects), world.meta(), sorted(u["unit"] for u in world.runs.units("r1"))
    assert world.do(message).outcome == "stale"
    assert (dict(world.home.objects), world.meta(), sorted(u["unit"] for u in world.runs.units("r1"))) == before


@pytest.mark.promise(2)
def test_a_collect_that_dies_between_any_two_steps_is_finished_by_the_next(table, clock):
    """Also if more output has turned up meanwhile: each line has one row or waits in one pack, repeats count once."""
    deaths, at = 0, 1
    while True:
        run, fuse = f"r{at}", Fuse()
        world = BatchWorld(table, clock, fuse=fuse)
        shard, job = world.file_run_with_job(150, run=run)
        world.bedrock.ends(output=lambda records: all_answered(records[:140]), processed_records=145)
        message = world.collects(shard, status="Completed", processed=145)
        fuse.burnt, fuse.at = 0, at
        try:
            world.do(message)
        except Killed:
            deaths += 1
        else:
            break
        fuse.at = None
        if at // 2 % 2:
            world.bedrock.writes(job, lambda records: all_answered(records[:148]))
        clock.advance(91)
        world.do(message)
        rows = accounted(world, 150, run)
        assert len(rows) >= 140
        assert world.meta(run)["unsettled"] == len(world.waiting(run))
        assert world.meta(run)["repeats"] in ((5,) if len(rows) == 140 else (0, 2, 5))
        assert {m.body["pack_id"] for m in world.packs.sent} == set(world.waiting(run))
        assert world.shard(shard).state is ShardState.SETTLED
        clock.advance(4 * 86_400)  # each on days of its own: the next one has nobody to wait for
        at += 1
    assert deaths >= 15


def test_a_shard_whose_unit_was_failed_meanwhile_brings_no_rescue(world):
    shard = world.file_run(150)
    world.opened(shard)
    world.runs.end_unit("r1", shard)
    world.bedrock.ends("Expired", None)
    finished(world, shard)
    assert world.packs.sent == []
    assert world.waiting() == {}


KINDS = ["answered", "missing", "refused", "retry", "doubled", "error then answer"]


@pytest.mark.promise(1)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_record_ends_once_whatever_the_output_looks_like(data):
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=30))
    late = data.draw(st.booleans())
    now = START + timedelta(hours=2)
    shard = a_shard(len(kinds), deadline_at=now if late else now + timedelta(seconds=1))
    records = [{"recordId": ids.record_id(i), "modelInput": record(i + 1, block=7).request} for i in range(len(kinds))]
    lines: list[Any] = []
    for kind, one in zip(kinds, records, strict=True):
        match kind:
            case "answered":
                lines.append(answered(one))
            case "refused":
                lines.append(refused(one))
            case "retry":
                lines.append(refused(one, 500))
            case "doubled":
                lines += [answered(one), answered(one, "again")]
            case "error then answer":
                lines += [refused(one, 500), answered(one)]
    members = members_of((index_row(i) for i in range(len(kinds))), shard)
    with Rows() as rows:
        join = Join(shard, members, PRICES, rows, finished_at=START)
        for line in data.draw(st.permutations(lines)):
            join.take(orjson.dumps(line))
        missing = join.finish(now)
        found = {}
        for (run, block), some in rows.parts():
            for row in map(orjson.loads, some.splitlines()):
                assert row["line"] not in found
                assert (run, block) == (row["run_id"], f"{(row['line'] - 1) // 7:05d}")
                found[row["line"]] = row["status"]
    ends = {"answered": "succeeded", "doubled": "succeeded", "error then answer": "succeeded", "refused": "failed"}
    expected = {line: ends.get(kind, "failed" if late else None) for line, kind in enumerate(kinds, start=1)}
    assert {line: found.get(line) for line in expected} == expected
    assert sorted([*found, *(i + 1 for i in missing.retry + missing.other_lane)]) == list(expected)
    assert join.counts.seen == len(kinds) - kinds.count("missing")
    assert join.counts.doubled == kinds.count("doubled") + kinds.count("error then answer")


@pytest.mark.promise(1)
@pytest.mark.parametrize("status", ["Completed", "PartiallyCompleted", "Stopped", "Failed", "Expired"])
def test_every_end_of_a_job_is_collected(world, status):
    shard = world.file_run(120, deadline_s=18_000)
    world.opened(shard)
    world.bedrock.ends(status, lambda records: random.Random(2).sample(all_answered(records), 90), processed_records=93)
    finished(world, shard)
    assert len(accounted(world, 120)) == 90
    assert world.meta()["repeats"] == (0 if status == "Expired" else 3)
