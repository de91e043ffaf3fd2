"""The emulator's decisions: quota, faults, lifecycle, rows, answers, bill. Time and randomness are handed in."""

from __future__ import annotations

import asyncio
import hashlib
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.bedrock.answers import Answerer, Prompt, compose, json_instance
from local.bedrock.batch import OutcomeBook, Timeline, draw_timeline, ending, expires_from_queue, plan_rows, rows_at
from local.bedrock.batch_api import JOB_NAME, S3_URI
from local.bedrock.batch_rows import RowWorker
from local.bedrock.bill import Bill, prompt_key
from local.bedrock.cache import PromptCache
from local.bedrock.clock import Clock
from local.bedrock.config import AnswerRule, Answers, Batch, Config, ConfigError, Fault, Outcome, merge, parse
from local.bedrock.converse_shape import check_converse
from local.bedrock.errors import ApiError
from local.bedrock.faults import draw, resolve
from local.bedrock.models import ModelRef, burn_down, parse_model
from local.bedrock.quota import REQUESTS, TOKENS, TOKENS_A_DAY, Limits, QuotaKey, Quotas
from local.bedrock.runtime import limits_for
from local.bedrock.tokens import cut, text_tokens
from local.bedrock.wire_check import body_checker
from local.bedrock.world import World

KEY = QuotaKey("us-east-1", "on_demand", "m")
CHECK = body_checker("bedrock-runtime", "Converse")
HOUR = 3600.0
STAGES = Timeline(submitted_s=5, validating_s=30, scheduled_s=100, base_s=100, per_record_s=1, stopping_s=5)


def model(name: str = "openai.gpt-oss-120b-1:0") -> ModelRef:
    found = parse_model(name)
    assert found is not None
    return found


def body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text}]}], **more}


def refusal(quotas: Quotas, limits: Limits, tokens: int, now: float, floor: float = 0.0) -> str:
    with pytest.raises(ApiError) as refused:
        quotas.reserve(KEY, limits, tokens, now, floor)
    assert refused.value.status == 429
    return refused.value.message


# quota


def test_a_call_reserves_input_and_max_tokens_and_gets_back_what_it_did_not_use() -> None:
    quotas, limits = Quotas(), Limits(tpm=1000)
    held = quotas.reserve(KEY, limits, 900, now=0.0)
    assert refusal(quotas, limits, 200, 0.0) == TOKENS
    quotas.settle(held, 100, 0.0)
    quotas.reserve(KEY, limits, 900, now=0.0)


def test_output_burn_down_can_cost_more_than_was_reserved() -> None:
    quotas, limits = Quotas(), Limits(tpm=1000)
    quotas.settle(quotas.reserve(KEY, limits, 100, now=0.0), 1500, 0.0)
    assert refusal(quotas, limits, 1, 29.0) == TOKENS  # level −500 + 29 × 1000 ∕ 60 is still below zero
    quotas.reserve(KEY, limits, 1, now=31.0)


def test_requests_refill_evenly_within_the_minute() -> None:
    quotas, limits = Quotas(), Limits(rpm=60)
    for _ in range(60):
        quotas.reserve(KEY, limits, 1, now=0.0)
    assert refusal(quotas, limits, 1, 0.5) == REQUESTS
    quotas.reserve(KEY, limits, 1, now=1.0)


def test_the_day_is_counted_until_midnight_utc() -> None:
    quotas, limits = Quotas(), Limits(tpd=100)
    quotas.reserve(KEY, limits, 100, now=86_399.0)
    assert refusal(quotas, limits, 1, 86_399.5) == TOKENS_A_DAY
    quotas.reserve(KEY, limits, 100, now=86_400.0)


def test_a_refused_call_takes_nothing() -> None:
    quotas, limits = Quotas(), Limits(rpm=1, tpm=10)
    assert refusal(quotas, limits, 11, 0.0) == TOKENS
    quotas.reserve(KEY, limits, 10, now=0.0)


def test_flex_is_throttled_before_the_default_tier() -> None:
    quotas, limits = Quotas(), Limits(tpm=100)
    assert refusal(quotas, limits, 95, 0.0, floor=0.1) == TOKENS
    quotas.reserve(KEY, limits, 95, now=0.0)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 600), st.floats(0, 30)), max_size=40))
def test_a_minutes_bucket_never_grants_more_than_it_holds_plus_the_refill(calls: list[tuple[int, int, float]]) -> None:
    quotas, limits, now, used = Quotas(), Limits(tpm=1000), 0.0, 0
    for tokens, charge, pause in calls:
        now += pause
        try:
            held = quotas.reserve(KEY, limits, tokens, now)
        except ApiError:
            continue
        quotas.settle(held, min(charge, tokens), now)
        used += min(charge, tokens)
    assert used <= 1000 + now * 1000 / 60 + 1e-6


def test_limits_come_from_the_most_specific_cell_that_names_the_family() -> None:
    table = {"us-east-1": {"*": {"global": {"rpm": 1}}}, "*": {"*": {"*": {"rpm": 9}}}}
    world = World(parse({"quotas": table}), Clock(), 1)
    assert limits_for(world, "us-east-1", model("global.amazon.nova-2-lite-v1:0")) == Limits(rpm=1)
    assert limits_for(world, "us-east-1", model("amazon.nova-2-lite-v1:0")) == Limits(rpm=9)


# models


@pytest.mark.parametrize(
    ("given_id", "base", "family"),
    [
        ("openai.gpt-oss-20b-1:0", "openai.gpt-oss-20b-1:0", "on_demand"),
        ("us.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", "cross_region"),
        ("us-gov.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", "cross_region"),
        ("global.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", "global"),
        ("arn:aws:bedrock:eu-west-1::foundation-model/deepseek.v3.2", "deepseek.v3.2", "on_demand"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
            "amazon.nova-pro-v1:0",
            "cross_region",
        ),
    ],
)
def test_a_model_id_names_its_base_and_its_quota_family(given_id: str, base: str, family: str) -> None:
    assert (model(given_id).base, model(given_id).family) == (base, family)


def test_claude_output_burns_quota_and_others_do_not() -> None:
    names = [
        "anthropic.claude-opus-4-8",
        "anthropic.claude-sonnet-5",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "a.b",
    ]
    assert [burn_down(name) for name in names] == [15, 10, 5, 1]


# faults and configuration


def test_the_more_specific_fault_wins_field_by_field() -> None:
    table = {
        "*": {"*": Fault(latency_ms=(1, 2), reset_after=0.5)},
        "us-east-1": {"*": Fault(reset_after=0.1), "m": Fault(down=True)},
    }
    found = resolve(table, "us-east-1", "m")
    assert (found.down, found.reset_after, found.latency_ms) == (True, 0.1, (1, 2))
    assert resolve(table, "eu-west-1", "m").reset_after == 0.5


def test_error_probabilities_are_shares_of_one_roll() -> None:
    fault, rng = Fault(errors={"ThrottlingException": 0.3, "ServiceUnavailableException": 0.2}), Random(7)
    seen = [draw(fault, rng).error for _ in range(4000)]
    assert 0.27 < seen.count("ThrottlingException") / 4000 < 0.33
    assert 0.17 < seen.count("ServiceUnavailableException") / 4000 < 0.23


def test_the_same_prompt_meets_the_same_fate_whatever_else_is_called() -> None:
    one, other = (World(Config(), Clock(), 5) for _ in range(2))
    other.dice("another", "us-east-1", "m")
    assert one.dice("sha", "us-east-1", "m").random() == other.dice("sha", "us-east-1", "m").random()
    assert (
        one.dice("sha", "us-east-1", "m").random() != World(Config(), Clock(), 5).dice("sha", "us-east-1", "m").random()
    )


def test_a_merge_patch_changes_one_cell_and_null_takes_it_back() -> None:
    document = merge({"faults": {"a": {"*": {"down": True}}, "b": {}}}, {"faults": {"a": {"*": {"down": None}}}})
    assert document == {"faults": {"a": {"*": {}}, "b": {}}}


@pytest.mark.parametrize(
    "document",
    [
        {"batsh": {}},
        {"batch": {"outcomes": [{"status": "Done"}]}},
        {"faults": {"*": {"*": {"errors": {"NoSuchException": 1}}}}},
        {"answers": {"rules": [{"match": "("}]}},
        {"events": {"lost": 2}},
    ],
)
def test_a_wrong_setting_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse(document)


# clock


def test_virtual_time_follows_the_formula_and_can_be_advanced() -> None:
    clock = Clock(rate=60, origin=1000, wall=lambda: 1010)
    assert clock.now() == 1600
    clock.set(advance_s=5)
    assert clock.now() == 1605
    with pytest.raises(ValueError, match="rate"):
        clock.set(rate=0)


def test_a_wait_ends_early_when_it_is_woken() -> None:
    async def scene() -> bool:
        wake = asyncio.Event()
        wake.set()
        return await Clock().until(9e12, wake)

    assert asyncio.run(scene())


# batch lifecycle


def test_a_job_of_a_thousand_records_takes_ten_to_twenty_minutes() -> None:
    for seed in range(50):
        line = draw_timeline(Batch(), Outcome(), Random(seed))
        total = line.submitted_s + line.validating_s + line.scheduled_s + line.running_s(1000)
        assert 600 <= total <= 1200


def test_a_job_that_outlasts_its_time_out_is_partially_completed_with_the_rows_done_so_far() -> None:
    end = ending(Outcome(), STAGES, started_at=0, expires_at=550, records=1000)
    assert (end.status, end.at, end.processed, end.write_output) == ("PartiallyCompleted", 550, 500, True)


def test_outcomes_end_as_ordered() -> None:
    def status(**fields: Any) -> tuple[str, int, bool]:
        end = ending(Outcome(**fields), STAGES, started_at=0, expires_at=24 * HOUR, records=1000)
        return end.status, end.processed, end.write_output

    assert status() == ("Completed", 1000, True)
    assert status(status="PartiallyCompleted", fraction=0.25) == ("PartiallyCompleted", 250, True)
    assert status(status="Failed") == ("Failed", 500, False)
    assert status(status="Stopped", write_output=False) == ("Stopped", 500, False)


def test_a_job_expires_in_the_queue_at_its_time_out_or_earlier_if_so_ordered() -> None:
    assert expires_from_queue(Outcome(), 10, 86_400) is None
    assert expires_from_queue(Outcome(status="Expired"), 10, 86_400) == 86_400
    assert expires_from_queue(Outcome(status="Expired", after_s=60), 10, 86_400) == 70


@given(st.floats(0, 1e6), st.floats(0.1, 1e5), st.integers(0, 100_000))
def test_progress_stays_between_none_and_all(now: float, running_s: float, records: int) -> None:
    assert 0 <= rows_at(now, 0.0, running_s, records) <= records


def test_outcomes_are_used_in_order_by_name_and_then_the_default_holds() -> None:
    batch = Batch(
        outcomes=[Outcome(match="^a", status="Failed"), Outcome(match="^a", times=None, status="Stopped")],
        default=Outcome(status="PartiallyCompleted"),
    )
    book = OutcomeBook()
    names = ["b1", "a1", "a2", "a3"]
    taken = [book.take(batch, name, "us-east-1", model(), Random(0)).status for name in names]
    assert taken == ["PartiallyCompleted", "Failed", "Stopped", "Stopped"]


@given(st.integers(0, 400), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.2))
def test_no_row_has_two_mishaps_and_each_is_processed_once(rows: int, bad: float, gone: float, twice: float) -> None:
    plan = plan_rows(rows, Outcome(error_rows=bad, missing_rows=gone, doubled_rows=twice), Random(3))
    assert sorted(plan.order) == list(range(rows))
    assert not plan.errors & plan.missing and not plan.errors & plan.doubled and not plan.missing & plan.doubled


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a b/", "s3://bucket/dt=1/", "s3://bucket/ä/", "s3://b", "bucket/key", "s3://bucket//x"]
)
def test_uris_that_bedrock_refuses(uri: str) -> None:
    assert not S3_URI.fullmatch(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/v1/shards/s(1)'!*_/in.jsonl"])
def test_uris_that_bedrock_takes(uri: str) -> None:
    assert S3_URI.fullmatch(uri)


def test_job_names_take_letters_digits_and_a_few_marks() -> None:
    assert JOB_NAME.fullmatch("sw-abc234-s7x-a1")
    assert not any(JOB_NAME.fullmatch(name) for name in ("-a", "a_b", "a/b", "a:b", "a b", "", "a" * 64))


def worker(config: Config | None = None, kind: str = "Converse") -> RowWorker:
    return RowWorker(config or Config(), CHECK, Answerer(), "us-east-1", model(), kind, "1")


def test_a_row_is_answered_with_its_input_echoed_and_charged() -> None:
    result = worker().process({"recordId": "R1", "modelInput": body("hi")}, 0)
    line = json.loads(result.line)
    assert (line["recordId"], line["modelInput"]) == ("R1", body("hi"))
    assert line["modelOutput"]["output"]["message"]["content"] == [{"text": "echo: hi"}]
    assert result.charge is not None and result.charge.sha == prompt_key(body("hi")["messages"], [])


@pytest.mark.parametrize(
    "model_input",
    [
        {},
        body(surprise=1),
        body(inferenceConfig={"maxTokens": 0}),
        body(toolConfig={"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}]}),
        {"messages": [*body()["messages"], {"role": "assistant", "content": [{"text": "a"}]}, *body()["messages"]]},
    ],
    ids=["empty", "unknown", "limit", "tools", "turns"],
)
def test_what_batch_does_not_take_becomes_an_error_row_that_is_not_charged(model_input: dict[str, Any]) -> None:
    result = worker().process({"modelInput": model_input}, 3)
    line = json.loads(result.line)
    assert (line["recordId"], line["error"]["errorCode"], result.charge) == ("CALL0000003", 400, None)
    assert "modelOutput" not in line


# answers, tokens, bill


def prompt(text: str = "hello", **more: Any) -> Prompt:
    return Prompt(text, "us-east-1", model(), "on_demand", **more)


def test_the_echo_is_cut_at_max_tokens() -> None:
    answer = compose(prompt("x" * 100, max_tokens=5), None, 100)
    assert (answer.stop_reason, answer.output_tokens, len(answer.text)) == ("max_tokens", 5, 20)


def test_a_stop_sequence_ends_the_text() -> None:
    answer = compose(prompt("one STOP two", stop_sequences=("STOP",)), None, 100)
    assert (answer.text, answer.stop_reason) == ("echo: one ", "stop_sequence")


def test_a_rule_answers_as_often_as_it_may_and_its_error_quotes_the_prompt() -> None:
    rules = Answers(
        rules=[
            AnswerRule(match="hel", text="hi", output_tokens=7, times=1),
            AnswerRule(match="bad", error="ValidationException"),
        ]
    )
    answerer = Answerer()
    assert answerer.answer(prompt(), rules, Random(1)).output_tokens == 7
    assert answerer.answer(prompt(), rules, Random(1)).text == "echo: hello"
    with pytest.raises(ApiError) as refused:
        answerer.answer(prompt("bad secret"), rules, Random(1))
    assert "bad secret" in refused.value.message


def test_a_json_schema_is_answered_with_an_instance() -> None:
    schema = {"type": "object", "required": ["a", "n"], "properties": {"a": {"enum": ["x"]}, "n": {"type": "integer"}}}
    assert json.loads(json_instance(json.dumps(schema))) == {"a": "x", "n": 0}


@given(st.text(), st.integers(1, 50))
def test_a_cut_text_is_a_prefix_within_the_limit(text: str, limit: int) -> None:
    assert text.startswith(cut(text, limit))
    assert text_tokens(cut(text, limit)) <= limit


def test_the_bills_key_is_the_sorted_compact_utf8_json() -> None:
    messages = [{"role": "user", "content": [{"text": "Grüße \u2028"}]}]
    raw = '{"messages":[{"content":[{"text":"Grüße \u2028"}],"role":"user"}],"system":[]}'
    assert prompt_key(messages, None) == hashlib.sha256(raw.encode()).hexdigest()


def test_the_bill_shows_what_was_paid_again() -> None:
    bill = Bill()
    for lane in ("on_demand", "batch"):
        bill.add("s", lane, region="us-east-1", model="m", input_tokens=3, output_tokens=2)
    assert bill.prompts()["s"] == {
        "count": 2, "on_demand": 1, "flex": 0, "batch": 1, "input_tokens": 6, "output_tokens": 4
    }  # fmt: skip
    bill.add("t", "batch", region="us-east-1", model="m", input_tokens=9, output_tokens=2, cache_read=4, lost=True)
    batch = bill.totals()["by_way"]["us-east-1|m|batch|default"]
    assert (batch["all"]["count"], batch["all"]["input_tokens"], batch["all"]["cache_read_tokens"]) == (2, 8, 4)
    assert (batch["lost"]["count"], batch["lost"]["input_tokens"], batch["lost"]["output_tokens"]) == (1, 5, 2)


def test_totals_count_each_prompt_once_and_each_lane_by_itself() -> None:
    bill = Bill()
    for lane in ("on_demand", "batch"):
        bill.add("s", lane, region="us-east-1", model="m", input_tokens=3, output_tokens=2)
    totals = bill.totals()
    assert (totals["paid_again"], totals["calls"], totals["rows"], totals["input_tokens"]) == (1, 1, 1, 6)


def test_a_cached_prefix_is_written_once_then_read_until_it_is_cold() -> None:
    request = {
        "system": [{"text": "s" * 8000}, {"cachePoint": {"type": "default"}}],
        "messages": body()["messages"],
    }
    cache = PromptCache()
    assert cache.use(request, "us-east-1", "amazon.nova-pro-v1:0", 0.0) == (0, 2000)
    assert cache.use(request, "us-east-1", "amazon.nova-pro-v1:0", 299.0) == (2000, 0)
    assert cache.use(request, "us-east-1", "amazon.nova-pro-v1:0", 700.0) == (0, 2000)
    assert cache.use(request, "us-east-1", "anthropic.claude-haiku-4-5", 0.0) == (0, 0)


# request checks


@pytest.mark.parametrize(
    "request_body",
    [
        body(extra=1),
        {"messages": []},
        {},
        {"messages": [{"role": "assistant", "content": [{"text": "a"}]}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"text": "  "}]}]},
        {"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]},
        {"messages": [{"role": "nobody", "content": [{"text": "a"}]}]},
        body(inferenceConfig={"maxTokens": 0}),
        body(inferenceConfig={"maxTokens": True}),
        body(inferenceConfig={"temperature": 1.5}),
        body(inferenceConfig={"temperature": "1"}),
        body(serviceTier={"type": "cheap"}),
        body(system="be brief"),
    ],
)
def test_converse_refuses(request_body: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        check_converse(request_body, CHECK)
    assert refused.value.code == "ValidationException"


def test_converse_takes_a_rich_body() -> None:
    check_converse(
        body(
            system=[{"text": "be brief"}, {"cachePoint": {"type": "default"}}],
            inferenceConfig={"maxTokens": 5, "temperature": 0, "topP": 1.0, "stopSequences": ["x"]},
            additionalModelRequestFields={"anything": [1, {"deep": None}]},
            requestMetadata={"run": "r1"},
            serviceTier={"type": "flex"},
        ),
        CHECK,
    )
