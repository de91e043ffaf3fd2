"""The demo's own inputs and judgement: the same at every call, no prompt twice, and it notices a broken promise."""

from __future__ import annotations

import copy
import json

import orjson
import pytest

from slackwater.model.dialects import recognise
from slackwater.model.errors import BadInput
from slackwater.model.message import CloseRun, JobMessage, job_message
from slackwater_cli.demo_inputs import demo_files, demo_messages
from slackwater_cli.demo_promises import Evidence, promises

ARN = "arn:aws:sqs:us-east-1:000000000000:replies"


def row(line, id_, job="j", finished_at="2026-11-25T12:10:00.000Z"):
    return {"line": line, "id": id_, "job": job, "finished_at": finished_at}


def receipt(**more):
    return {
        "lines": 3, "accepted": 2, "succeeded": 2, "failed": 0, "refused_lines": 1, "repeats": 0, "input_tokens": 20,
        "output_tokens": 10, "errors": {}, "deadline": "2026-11-25T12:30:00.000Z", **more,
    }  # fmt: skip


def evidence(**more):
    given = {
        "receipts": {"a": receipt()},
        "rows": {"a": [row(1, "x"), row(2, "y"), row(3, "y", job=None)]},
        "lines": {"a": 3},
        "replies": [{"id": "c1"}, {"id": "c2"}],
        "expected_replies": {"c1", "c2"},
        "bill": {"paid_again": 0, "prompts": 2, "input_tokens": 20, "output_tokens": 10},
    }
    return Evidence(**{**copy.deepcopy(given), **more})


def broken(found: Evidence) -> list[str]:
    return [promise.text for promise in promises(found) if not promise.kept]


def test_promises_that_hold():
    assert broken(evidence()) == []


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"receipts": {"a": receipt(succeeded=1)}}, "every id is accounted for"),
        ({"lines": {"a": 4}}, "every id is accounted for"),
        ({"receipts": {"a": receipt(succeeded=1, failed=1)}}, "bad lines harmed only themselves"),
        ({"rows": {"a": [row(2, "y"), row(1, "x"), row(3, "z")]}}, "one result row a line, in order"),
        ({"rows": {"a": [row(1, "x"), row(2, "x"), row(3, "z", None)]}}, "one result row a line, in order"),
        ({"rows": {"a": [row(1, "x"), row(3, "y")]}}, "one result row a line, in order"),
        (
            {"rows": {"a": [row(1, "x", finished_at="2026-11-25T13:00:00.000Z"), row(2, "y"), row(3, "z", None)]}},
            "deadlines held",
        ),
        ({"receipts": {"a": receipt(errors={"deadline_missed": 1})}}, "deadlines held"),
        ({"replies": [{"id": "c1"}]}, "every queued job got one reply"),
        ({"replies": [{"id": "c1"}, {"id": "c2"}, {"id": "c2"}]}, "every queued job got one reply"),
        (
            {"bill": {"paid_again": 1, "prompts": 2, "input_tokens": 30, "output_tokens": 15}},
            "no prompt was paid twice",
        ),
        (
            {"bill": {"paid_again": 0, "prompts": 2, "input_tokens": 21, "output_tokens": 10}},
            "the receipts agree with the bill",
        ),
        (
            {"bill": {"paid_again": 0, "prompts": 3, "input_tokens": 20, "output_tokens": 10}},
            "the receipts agree with the bill",
        ),
    ],
)
def test_a_broken_promise_is_noticed(more, text):
    assert text in broken(evidence(**more))


def way(count, inputs, outputs):
    return {
        "count": count, "input_tokens": inputs, "output_tokens": outputs, "cache_read_tokens": 0,
        "cache_write_tokens": 0,
    }  # fmt: skip


BILL = {"paid_again": 1, "prompts": 2, "input_tokens": 30, "output_tokens": 15}
HAIKU = "us-west-2|global.anthropic.claude-haiku-4-5-20251001-v1:0|on_demand|default"


@pytest.mark.parametrize(("cost_usd", "exact"), [(0.00007, True), (0.000070000001, False), (None, False)])
def test_the_money_of_the_receipts_is_the_bills_to_the_pico_dollar_but_for_what_nobody_heard_of(cost_usd, exact):
    ways = {HAIKU: {"all": way(3, 30, 15), "lost": way(1, 10, 5)}}  # 1 and 5 USD a million
    found = evidence(receipts={"a": receipt(repeats=1, cost_usd=cost_usd)}, bill=BILL | {"by_way": ways})
    assert ("the money is the bill's, exactly" not in broken(found)) is exact


def test_repeats_that_the_receipt_owns_up_to_are_no_broken_promise():
    found = evidence(
        receipts={"a": receipt(repeats=1)},
        bill={"paid_again": 1, "prompts": 2, "input_tokens": 30, "output_tokens": 15},
    )
    assert broken(found) == []


def test_inputs_are_the_same_at_every_call_and_no_prompt_comes_twice(tmp_path):
    assert [file.lines for file in demo_files()] == [file.lines for file in demo_files()]
    prompts = []
    for file in demo_files():
        assert file.write(tmp_path).read_bytes().count(b"\n") == len(file.lines)
        for line in file.lines:
            try:
                document = json.loads(line)
            except ValueError:
                continue
            if isinstance(document, dict) and (
                messages := document.get("messages") or document.get("body", {}).get("messages")
            ):
                prompts.append((document.get("id") or document.get("custom_id"), orjson.dumps(messages)))
    by_id = dict(prompts)
    assert len(prompts) == len(by_id) + 1  # the repeated id
    assert len(set(by_id.values())) == len(by_id)


@pytest.mark.parametrize(
    ("name", "dialect", "refused"), [("letters", "converse", 1), ("reviews", "openai", 0), ("urgent", "converse", 0)]
)
def test_lines_are_of_the_dialect_that_they_show(name, dialect, refused):
    (file,) = (file for file in demo_files() if file.name == f"{name}.jsonl")
    objects = []
    for line in file.lines:
        try:
            objects.append(json.loads(line))
        except ValueError:
            continue
    objects = [found for found in objects if isinstance(found, dict)]
    recognised = recognise(objects)
    assert recognised.name == dialect
    wrong = 0
    for found in objects:
        try:
            recognised.read(found)
        except BadInput:
            wrong += 1
    assert wrong == refused


def test_messages_are_jobs_but_for_one_and_the_closing_word():
    *jobs, wrong, close = demo_messages(ARN)
    assert all(isinstance(job_message(message), JobMessage) for message in jobs)
    with pytest.raises(BadInput, match="temperature"):
        job_message(wrong)
    assert CloseRun.model_validate(close).expected == len(jobs) + 1
