"""The bench of the batch lane runs, and says what it has measured."""

import orjson
import pytest

from bench import batch
from bench.batch_lib import work
from bench.batch_lib.rig import RUN, Folder
from slackwater.model import names


def test_a_shard_is_assembled_and_collected_by_the_real_use_cases(tmp_path):
    work.make_input(tmp_path, 150, 200)
    assert work.assemble(tmp_path) == pytest.approx(work.assemble_floor(tmp_path), rel=0.05)
    work.make_output(tmp_path, 100)
    assert work.collect(tmp_path) == work.collect_floor(tmp_path) > 0
    ((part,),) = [list(tmp_path.glob("v1/runs/*/parts/*/*"))]
    assert sorted(orjson.loads(row)["line"] for row in part.read_bytes().splitlines()) == list(range(1, 151))


def test_a_run_is_aggregated_to_what_its_parts_hold(tmp_path):
    work.make_parts(tmp_path, 2_300, 100)
    assert work.aggregate(tmp_path) == work.aggregate_floor(tmp_path) == work.aggregate_copy(tmp_path)
    results = Folder(tmp_path).get(names.run_key(RUN, "results.jsonl")).splitlines()
    assert [orjson.loads(row)["line"] for row in results] == list(range(1, 2_301))


def test_ratios_are_those_within_a_round():
    def turn(floor_s, own_s):
        took = {"bytes": 1e6, "peak_mb": 50.0}
        return {
            "collect_floor": took | {"wall_s": floor_s, "cpu_s": floor_s},
            "collect": took | {"wall_s": own_s, "cpu_s": own_s},
        }

    found = batch.summary("collect", 1_000, [turn(1, 2), turn(10, 40), turn(2, 6)])
    assert (found["times_floor_cpu"], found["times_floor_cpu_range"]) == (3, [2, 4])
    assert (found["wall_s"], found["rows_per_s"], found["us_cpu_per_row"]) == (6, 167, 6000)


def test_requests_are_told_per_thousand_records_with_their_list_price():
    calls = {"dynamodb:UpdateItem": 30, "dynamodb:GetItem": 10, "s3:PutObject": 4, "s3:GetObject": 6}
    found = batch.per_thousand(calls | {"sqs:SendMessage": 2, "states:StartExecution": 1}, 500)
    assert found["dynamodb"]["units"] == {"dynamodb read unit": 20, "dynamodb write unit": 120}
    assert found["s3"]["usd"] == pytest.approx(8 * 0.005 / 1e3 + 12 * 0.0004 / 1e3, abs=1e-6)
    assert found["sqs"]["units"] == {"sqs request": 4}


def test_requests_that_were_counted_before_are_read_from_the_page_of_costs():
    (found,) = batch.requests_told((batch.ROOT / "docs/costs.md").read_text()).values()
    assert [sorted(one["units"]) for one in found.values()] == [
        ["dynamodb read unit", "dynamodb write unit"],
        ["s3 get", "s3 put or list"],
        ["sqs request"],
    ]
    assert all(0 < one["usd"] < 0.01 for one in found.values())


def test_the_table_has_a_line_for_each_measurement():
    one = batch.summary(
        "aggregate",
        10,
        [{f"aggregate{n}": {"bytes": 9, "wall_s": 1, "cpu_s": 1, "peak_mb": 50} for n in ("", "_floor", "_copy")}],
    )
    shard = {"records": 10, "assemble": one, "collect": one}
    report = {"rounds": 1, "shards": {"short": shard}, "aggregate": [{"results": 10} | one]}
    told = batch.text(report | {"requests": {"file": batch.per_thousand({"s3:GetObject": 1}, 1000)}})
    for name in ("assemble, short", "collect, short", "aggregate", "file, per 1,000 records", "s3 get"):
        assert name in told
