"""Aggregation: one row a line, in order, whatever the parts hold; and a receipt that adds up."""

from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model import names, result
from slackwater.model.job import Lane
from slackwater.policy.infrastructure import Counts, estimate_pico
from slackwater.usecases.aggregate import final_rows
from tests.unit.rig import ROUTES, START, aggregator, answer, job


def success(line, *, at_s=0.0, cost_pico=2_000_000, lane=Lane.ON_DEMAND, route=ROUTES[0]):
    reply = answer()
    return result.succeeded(
        job(line),
        lane=lane,
        route=route,
        tier="default",
        response=reply.response,
        usage=reply.usage,
        cost_pico=cost_pico,
        list_pico=2_200_000,
        price_version="p",
        attempts=1,
        latency_ms=3,
        finished_at=START + timedelta(seconds=at_s),
    )


def failure(line, *, at_s=0.0, code="deadline_missed"):
    return result.failed(job(line), code=code, message="m", finished_at=START + timedelta(seconds=at_s))


def refusal(line):
    return result.refused("r1", line, None, code="refused", message="m", pointer="/messages", at=START)


class Ledger:
    def __init__(self, meta=None, blocks=(), units=()):
        self.meta = {
            "kind": "file",
            "run_id": "r1",
            "repeats": 0,
            "started_at": "2026-11-25T12:00:00.000Z",
            "deadline_at": "2026-11-26T12:00:00.000Z",
            "profile": "default",
            "state": "open",
        } | (meta or {})
        self._blocks = blocks
        self._units = units

    def get(self, run_id):
        return self.meta

    def blocks(self, run_id):
        return iter(self._blocks)

    def units(self, run_id):
        return iter(self._units)


def put_part(bucket, block, source, rows, wave=0):
    bucket.put(names.part_key("r1", block, source, wave), b"".join(orjson.dumps(r) + b"\n" for r in rows))


def survey(bucket, *blocks, **more):
    listed = [{"block": b, "accepted": a, "refused": r, "first_line": 1, "last_line": a + r} for b, a, r in blocks]
    bucket.put_json(names.run_key("r1", "survey.json"), {"blocks": listed, "warnings": [], "reason": None} | more)


def aggregate(bucket, clock, ledger=None):
    return aggregator(bucket, ledger or Ledger(), clock)("r1")


def test_rows_come_in_the_order_of_the_input_whatever_the_parts_hold(bucket, clock):
    survey(bucket, ("00000", 3, 1), ("00001", 1, 0))
    put_part(bucket, "00000", "pack-p1", [success(4), success(2)])
    put_part(bucket, "00000", "refused", [refusal(3)])
    put_part(bucket, "00000", "shard-s1", [success(1, lane=Lane.BATCH, cost_pico=1_000_000)], wave=1)
    put_part(bucket, "00001", "pack-p2", [failure(5)])
    receipt = aggregate(bucket, clock)
    assert [row["line"] for row in bucket.rows("v1/runs/r1/results.jsonl")] == [1, 2, 3, 4, 5]
    assert [row["line"] for row in bucket.rows("v1/runs/r1/errors.jsonl")] == [3, 5]
    counts = {k: receipt[k] for k in ("lines", "accepted", "succeeded", "failed", "refused_lines")}
    assert counts == {"lines": 5, "accepted": 4, "succeeded": 3, "failed": 1, "refused_lines": 1}
    stored = orjson.loads(bucket.get("v1/runs/r1/receipt.json"))
    assert stored["cost_usd"] == 0.000005
    assert stored["lanes"]["batch"] == {"jobs": 1, "cost_usd": 0.000001}
    assert stored["saved_usd"] == 0.0000016


def test_the_infrastructure_is_estimated_from_the_counts_and_apart_from_the_cost(bucket, clock):
    survey(bucket, ("00000", 3, 0))
    rows = [success(1), success(2), success(3, lane=Lane.BATCH) | {"latency_ms": None}]
    put_part(bucket, "00000", "pack-p1", rows)
    receipt = aggregate(bucket, clock)
    counts = Counts(called=2, called_ms=6, batched=1, queued=0, calls_in_flight=32)
    stored = orjson.loads(bucket.get("v1/runs/r1/receipt.json"))
    assert stored["infrastructure_usd"] == pytest.approx(estimate_pico(counts) / 10**12)
    assert stored["cost_usd"] == 0.000006
    assert receipt["run_id"] == "r1"


@pytest.mark.promise(1)
def test_a_line_that_no_part_holds_fails_as_lost_and_is_said(bucket, clock):
    survey(bucket, ("00000", 3, 0))
    rows = [{"line": n, "id": f"id-{n}", "request": {}} for n in (1, 2, 3)]
    bucket.put(names.input_key("r1", "00000"), b"\n".join(map(orjson.dumps, rows)))
    put_part(bucket, "00000", "pack-p1", [success(1), success(3)])
    receipt = aggregate(bucket, clock)
    lost = bucket.rows("v1/runs/r1/results.jsonl")[1]
    assert (lost["line"], lost["id"], lost["error"]["code"]) == (2, "id-2", "lost")
    assert receipt["accepted"] == receipt["succeeded"] + receipt["failed"] == 3
    assert any("lost" in warning for warning in receipt["warnings"])


@pytest.mark.promise(1)
def test_queue_runs_are_checked_against_the_claims_of_their_blocks(bucket, clock):
    ledger = Ledger({"kind": "queue"}, [{"sk": "BLOCK#00000", "j_1": "job-a a", "j_2": "job-b b"}])
    put_part(bucket, "00000", "route-x", [success(2)])
    receipt = aggregate(bucket, clock, ledger)
    assert [(r["line"], r["status"]) for r in bucket.rows("v1/runs/r1/results.jsonl")] == [
        (1, "failed"),
        (2, "succeeded"),
    ]
    assert receipt["accepted"] == 2
    assert (
        bucket.rows("v1/runs/r1/results.jsonl")[0] | {"id": "a", "job": "job-a"}
        == bucket.rows("v1/runs/r1/errors.jsonl")[0]
    )


@pytest.mark.promise(7)
def test_an_unknown_price_is_null_and_counted_never_zero(bucket, clock):
    survey(bucket, ("00000", 2, 0))
    put_part(bucket, "00000", "pack-p1", [success(1, cost_pico=None), success(2, cost_pico=None)])
    aggregate(bucket, clock)
    stored = orjson.loads(bucket.get("v1/runs/r1/receipt.json"))
    assert stored["cost_usd"] is None
    assert stored["unknown_price_jobs"] == 2
    assert any("no known price" in warning for warning in stored["warnings"])


@pytest.mark.promise(7)
def test_a_price_that_nobody_knows_is_named_by_model_and_region_and_counted(bucket, clock):
    survey(bucket, ("00000", 4, 0))
    one, other = ROUTES[:2]
    assert one.region != other.region
    unpriced = [success(1, cost_pico=None, route=one), success(2, cost_pico=None, route=one)]
    unpriced += [success(3, cost_pico=None, route=other), success(4, route=other)]
    put_part(bucket, "00000", "pack-p1", unpriced)
    receipt = aggregate(bucket, clock)
    named = [warning for warning in receipt["warnings"] if warning.startswith("the price table lacks")]
    assert sorted(named) == sorted(
        [
            f"the price table lacks a price of {one.base_model} in {one.region}: 2 answers",
            f"the price table lacks a price of {other.base_model} in {other.region}: 1 answer",
        ]
    )
    assert receipt["unknown_price_jobs"] == 3


@pytest.mark.promise(7)
def test_an_answer_without_token_counts_says_nothing_against_the_price_table(bucket, clock):
    survey(bucket, ("00000", 1, 0))
    put_part(bucket, "00000", "pack-p1", [success(1, cost_pico=None) | {"usage": None}])
    receipt = aggregate(bucket, clock)
    assert (receipt["unknown_price_jobs"], receipt["unknown_usage_jobs"]) == (1, 1)
    assert not any("price table" in warning for warning in receipt["warnings"])


def test_a_run_whose_answers_were_priced_by_two_tables_says_so(bucket, clock):
    survey(bucket, ("00000", 3, 0))
    rows = [success(1), success(2) | {"price_version": "q"}, success(3)]
    put_part(bucket, "00000", "pack-p1", rows)
    said = "the price table was replaced while the run was under way: 2 answers by p, 1 answer by q"
    assert said in aggregate(bucket, clock)["warnings"]
    put_part(bucket, "00000", "pack-p1", [success(1), success(2), success(3)])
    assert said not in aggregate(bucket, clock)["warnings"]


def test_openai_lines_come_beside_the_results_when_asked_for(bucket, clock):
    survey(bucket, ("00000", 2, 0))
    put_part(bucket, "00000", "pack-p1", [success(1), failure(2)])
    aggregate(bucket, clock, Ledger({"result_dialect": "openai"}))
    first, second = bucket.rows("v1/runs/r1/results.openai.jsonl")
    assert first["response"]["body"]["choices"][0]["message"]["content"] == "hi"
    assert second["response"] is None
    assert second["error"]["code"] == "deadline_missed"


def test_a_run_that_had_nothing_to_run_gets_a_receipt_all_the_same(bucket, clock):
    survey(bucket, reason="empty_input")
    receipt = aggregate(bucket, clock)
    assert (receipt["status"], receipt["reason"], receipt["lines"]) == ("failed", "empty_input", 0)
    assert bucket.get("v1/runs/r1/results.jsonl") == b""


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 3)), max_size=12), st.randoms())
def test_the_earliest_success_of_a_line_wins_in_any_order_of_parts(found, rng):
    rows = [
        (f"part.{i}.jsonl", orjson.dumps(success(line, at_s=at) if good else failure(line, at_s=at)))
        for i, (line, good, at) in enumerate(found)
    ]
    shuffled = list(rows)
    rng.shuffle(shuffled)
    winners, extras = final_rows(shuffled)
    again, _ = final_rows(rows)
    assert [w.raw for w in winners] == [w.raw for w in again]
    assert extras == len(rows) - len(winners)
    for winner in winners:
        results = [orjson.loads(raw) for _, raw in rows]
        times = [r["finished_at"] for r in results if r["line"] == winner.line and r["status"] == "succeeded"]
        if times:
            assert winner.value["finished_at"] == min(times)
        assert (winner.value["status"] == "succeeded") == bool(times)


def test_bedrock_lines_echo_the_request_of_their_own_line_over_blocks_and_refusals(bucket, clock):
    survey(bucket, ("00000", 2, 1), ("00001", 1, 1), dialect="bedrock")
    for block, lines in (("00000", (1, 3)), ("00001", (5,))):
        rows = [{"line": n, "id": f"id-{n}", "request": {"n": n}} for n in lines]
        bucket.put(names.input_key("r1", block), b"".join(orjson.dumps(row) + b"\n" for row in rows))
    put_part(bucket, "00000", "pack-a", [success(1), failure(3)])
    put_part(bucket, "00000", "refused", [refusal(2)])
    put_part(bucket, "00001", "pack-b", [success(5)])
    put_part(bucket, "00001", "refused", [refusal(4)])
    aggregate(bucket, clock, Ledger({"result_dialect": "input"}))
    found = bucket.rows("v1/runs/r1/results.bedrock.jsonl")
    assert [line["recordId"] for line in found] == ["id-1", "line-2", "id-3", "line-4", "id-5"]
    assert [line["modelInput"] for line in found] == [{"n": 1}, None, {"n": 3}, None, {"n": 5}]
    assert ["modelOutput" in line for line in found] == [True, False, False, False, True]
    assert [line["error"]["errorCode"] for line in found if "error" in line] == [400, 408, 400]


@pytest.mark.parametrize("meta", [{"result_dialect": "slackwater"}, {"result_dialect": "input"}, {}])
def test_our_own_dialect_is_the_results_file_itself(bucket, clock, meta):
    survey(bucket, ("00000", 1, 0), dialect="slackwater")
    put_part(bucket, "00000", "pack-a", [success(1)])
    aggregate(bucket, clock, Ledger(meta))
    assert not [key for key in bucket.objects if "results." in key and not key.endswith("/results.jsonl")]


def test_the_receipt_says_what_became_of_remainders_why_lanes_were_taken_and_how_often_jobs_were_tried(bucket, clock):
    survey(bucket, ("00000", 3, 0))
    plan = {
        "lane": "on_demand",
        "jobs": 2,
        "reasons": ["on_demand: the cheapest", "batch: batch knows no tool calling"],
    }
    more = {**plan, "lane": "batch", "jobs": 30, "reasons": ["batch: the cheapest that meets the deadline"]}
    bucket.put_json(
        names.run_key("r1", "plan.json"),
        {
            "warnings": [],
            "remainders": [{"jobs": 30, "taken": "join", "reasons": ["together enough"]}],
            "classes": [
                {"profile": "default", "traits": ["tools"], "plan": plan},
                {"profile": "default", "traits": [], "plan": more},
            ],
        },
    )
    put_part(bucket, "00000", "pack-p1", [success(1), success(2) | {"attempts": 3}, failure(3) | {"attempts": 3}])
    noted = {"jobs": 7, "taken": "on_demand", "reasons": ["nobody to wait for"]}
    receipt = aggregate(bucket, clock, Ledger({"remainder_sabc": noted, "canary_sdef": 250}))
    assert receipt["remainders"] == [{"jobs": 30, "taken": "join", "reasons": ["together enough"]}, noted]
    assert [(c["jobs"], c["lane"]) for c in receipt["choices"]] == [(30, "batch"), (2, "on_demand")]
    assert "batch: batch knows no tool calling" in receipt["choices"][1]["reasons"]
    assert receipt["attempts"] == {"1": 1, "3": 2}
    (warning,) = (text for text in receipt["warnings"] if "250" in text)
    assert warning == "250 records went by no batch job: the first calls of their shape were refused"
