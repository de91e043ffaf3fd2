"""What people see: progress, receipts, words; rendered with fakes at a width of 100."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from rich.console import Console

from slackwater.model.batch_job import BatchJob
from slackwater.model.run import RunKind
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.usecases.inspect import LaneShare, Progress
from slackwater_cli import progress, receipts, words
from slackwater_cli.cloud_reader import Snapshot
from tests.unit.rig import HAIKU, START

RUN = "r" + "a" * 20


def shown(renderable) -> str:
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(renderable)
    return out.getvalue()


def shard(id_="s1", state=ShardState.OPEN, attempt=1):
    return Shard(
        id=id_, state=state, region="us-west-2", model_id=f"global.{HAIKU}", base_model=HAIKU, kind="global",
        attempt=attempt, records=500, bytes=1, owner_kind=OwnerKind.RUN, owner=RUN, profile="default",
        home_region="us-east-1", deadline_at=START, guard_at=START, arn="arn:x/abc",
    )  # fmt: skip


def snapshot(*, state="open", accepted=800, done=200, shards=(), jobs=None, resting=None):
    run = Progress(
        run_id=RUN, kind=RunKind.FILE, state=state, profile="default", name="inbox/default/q.jsonl", accepted=accepted,
        refused=0, done=done, repeats=0, reason=None, started_at="2026-11-25T12:00:00.000Z",
        deadline_at="2026-11-26T12:00:00.000Z", shards=tuple(shards),
        lanes=(LaneShare("on_demand", 300, 200), LaneShare("batch", 500, 0)),
    )  # fmt: skip
    return Snapshot(run, {"us-west-2": 120, "us-east-1": 80}, jobs or {}, resting or {})


RECEIPT = {
    "v": 1, "run_id": RUN, "status": "settled", "reason": None, "lines": 1321, "accepted": 1319, "succeeded": 1318,
    "failed": 1, "refused_lines": 2, "input_tokens": 123456, "output_tokens": 98765, "cost_usd": 0.012345,
    "list_usd": 0.02469, "saved_usd": 0.012345, "repeats": 3, "unknown_price_jobs": 0, "price_version": "2026-11-20",
    "lanes": {
        "on_demand": {"jobs": 19, "cost_usd": 0.0001}, "flex": {"jobs": 0, "cost_usd": 0},
        "batch": {"jobs": 1300, "cost_usd": 0.012245},
    },
    "regions": {"us-west-2": {"jobs": 800, "cost_usd": 0.007}, "us-east-1": {"jobs": 519, "cost_usd": 0.005345}},
    "errors": {"refused": 2, "deadline_missed": 1}, "warnings": ["the model in 12 lines was overridden"],
    "started_at": "2026-11-25T12:00:00.000Z", "finished_at": "2026-11-25T12:20:00.000Z",
    "deadline": "2026-11-26T12:00:00.000Z", "profile": "default", "name": "inbox/default/q.jsonl",
}  # fmt: skip


def test_the_board_fits_and_shows_lanes_regions_shards_bedrocks_word_and_rests():
    one = snapshot(
        shards=[shard(), shard("s2", ShardState.STAGED), shard("s3", ShardState.SETTLED, attempt=2)],
        jobs={"s1": BatchJob("n", "arn:x/abc", "InProgress", "us-west-2", processed_records=260)},
        resting={f"us-east-2|global.{HAIKU}|default": START + timedelta(seconds=12)},
    )
    text = shown(progress.board({"q.jsonl": one, "late.jsonl": None}, START, 23, "a title"))
    for piece in (
        "200/800", "on_demand 200/300", "batch 0/500", "us-west-2 120", "InProgress 260/500", "(staged)",
        "collected, attempt 2", "us-east-2 for 12 s", "in 24 h", "waiting",
    ):  # fmt: skip
        assert piece in text, piece
    assert max(map(len, text.splitlines())) <= 100


def test_the_board_of_a_survey_says_so():
    assert "surveying" in shown(progress.board({"q": snapshot(accepted=None, done=0)}, START, 1, ""))


def test_many_shards_are_summed_up():
    text = shown(progress.board({"q": snapshot(shards=[shard(f"s{n}") for n in range(9)])}, START, 1, ""))
    assert "and 3 more shards: 3 open" in text


def test_names_are_no_markup():
    assert "[red]q[/red].jsonl" in shown(progress.board({"[red]q[/red].jsonl": snapshot()}, START, 1, ""))


def test_a_line_for_a_log_has_no_control_characters():
    text = progress.line("q.jsonl", snapshot(shards=[shard()]))
    assert text == ("q.jsonl: open, 200 of 800 done, on_demand 200/300, batch 0/500, shard in us-west-2 (open)")
    assert progress.line("q", None) == "q: waiting for its workflow"


def test_a_receipt_shows_counts_money_ways_errors_and_warnings():
    text = shown(receipts.receipt_view(RECEIPT))
    for piece in (
        "settled: 1,319 accepted = 1,318 succeeded + 1 failed; 2 lines refused", "1,300", "us-east-1", "$0.012345",
        "$0.02469", "(50 %)", "123,456 in, 98,765 out", "deadline_missed 1", "overridden", "2026-11-25 12:20:00",
    ):  # fmt: skip
        assert piece in text, piece
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.promise(7)
def test_an_unknown_price_is_a_dash_and_never_zero():
    text = shown(receipts.receipt_view({**RECEIPT, "cost_usd": None, "saved_usd": None, "unknown_price_jobs": 7}))
    assert f"cost      {words.DASH}  without 7 jobs of unknown price" in text
    total = receipts.comparison({"a": RECEIPT, "b": {**RECEIPT, "cost_usd": None}})
    assert total.columns[7].footer == words.DASH
    assert total.columns[8].footer == "$0.0494"


def test_sums_of_receipts_are_exact():
    tenth = {**RECEIPT, "cost_usd": 0.1}
    table = receipts.comparison({str(n): tenth for n in range(3)})
    assert table.columns[7].footer == "$0.300"  # floats would say 0.30000000000000004


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (48, "48 s"), (60, "1 min"), (725, "12 min 5 s"), (3600, "1 h"), (12_000, "3 h 20 min"),
     (86_400, "24 h"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_spans(seconds, text):
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, words.DASH), (0, "$0"), (1234.5, "$1,234.50"), (0.012345, "$0.012345"), (0.5, "$0.5"),
     (0.000_000_000_25, "$0.00000000025"), (-0.002, "-$0.002")],
)  # fmt: skip
def test_money_keeps_the_digits_that_small_amounts_need(amount, text):
    assert words.usd(amount) == text


@pytest.mark.parametrize(
    ("number", "many", "text"),
    [(0, None, "0 jobs"), (1, None, "1 job"), (2_000, None, "2,000 jobs"), (1, "jobs are", "1 job"), (3, "x", "3 x")],
)
def test_words_agree_with_their_number(number, many, text):
    assert words.counted(number, "job", many) == text
