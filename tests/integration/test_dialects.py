"""Bedrock's batch records, Anthropic's Message Batches and native bodies through the whole product, both lanes, with
results in the dialect of the input."""

import hashlib
import json

import pytest

from tests.integration.driver import Driver, Settled, check

CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"


def claude(text: str, **more) -> dict:
    messages = [{"role": "user", "content": text}]
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 60, "messages": messages, **more}


def params(text: str, **more) -> dict:
    return {"model": "claude-haiku-4-5", "max_tokens": 60, "messages": [{"role": "user", "content": text}], **more}


def chat(text: str) -> dict:
    return {"messages": [{"role": "user", "content": text}], "max_completion_tokens": 60}


def in_dialect(driver: Driver, run: Settled, dialect: str) -> list[dict]:
    return driver.lines(f"v1/runs/{run.run_id}/results.{dialect}.jsonl")


def paid(driver: Driver, requests: list[dict]) -> list[int]:
    """How often each prompt was billed; the emulator's bill counts native bodies by their own messages."""
    bill = driver.bill()
    counts = []
    for request in requests:
        key = {"messages": request["messages"], "system": request.get("system") or []}
        text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        counts.append(bill.get(hashlib.sha256(text.encode()).hexdigest(), {"count": 0})["count"])
    return counts


def test_a_native_body_is_called_from_the_queue_and_its_answer_is_the_models_own(driver: Driver):
    job = {
        "v": 1,
        "run_id": "native",
        "job_id": "n",
        "request_type": "invoke_model",
        "request": claude("natively"),
        "lane": "on_demand",
        "reply_to": driver.cloud.outputs["ReplyQueueArn"],
    }
    wrong = {**job, "job_id": "w", "request": {"prompt": "for a Llama", "max_gen_len": 5}}
    driver.send(job, wrong, {"v": 1, "close_run": "native", "expected": 2})
    replies = {reply["id"]: reply for reply in driver.replies(2)}
    good, bad = replies["n"], replies["w"]
    assert good["response"]["content"] == [{"type": "text", "text": "echo: natively"}]
    assert (good["request_type"], good["usage"]["output_tokens"]) == ("invoke_model", 4)
    assert good["cost_usd"] > 0
    assert (bad["error"]["code"], bad["error"]["pointer"]) == ("refused", "/request/max_gen_len")
    assert paid(driver, [claude("natively")]) == [1]


def test_bedrock_records_of_both_types_go_by_batch_each_in_shards_of_its_own(driver: Driver):
    native = [{"recordId": f"N{n:010d}", "modelInput": claude(f"native number {n}")} for n in range(120)]
    plain = [
        {
            "recordId": f"C{n:010d}",
            "modelInput": {
                "messages": [{"role": "user", "content": [{"text": f"converse number {n}"}]}],
                "inferenceConfig": {"maxTokens": 60},
            },
        }
        for n in range(120)
    ]
    lines = [line for pair in zip(native, plain, strict=True) for line in pair]
    lines.append({"recordId": "bad", "modelInput": {"prompt": "for another family", "max_gen_len": 5}})
    run = driver.settled(driver.drop("records", lines, deadline="24h", result_dialect="input"))
    check(run, 241)
    assert run.receipt["lanes"]["batch"]["jobs"] == 240
    assert run.receipt["unknown_usage_jobs"] == 0
    assert {row.get("request_type") for row in run.rows[:240]} == {None, "invoke_model"}
    output = in_dialect(driver, run, "bedrock")
    assert [line["recordId"] for line in output] == [line["recordId"] for line in lines]
    assert [line["modelInput"] for line in output[:240]] == [line["modelInput"] for line in lines[:240]]
    assert output[0]["modelOutput"]["content"] == [{"type": "text", "text": "echo: native number 0"}]
    assert output[1]["modelOutput"]["output"]["message"]["content"] == [{"text": "echo: converse number 0"}]
    assert output[240]["error"]["errorCode"] == 400
    assert "/modelInput/max_gen_len" in output[240]["error"]["errorMessage"]
    assert set(paid(driver, [line["modelInput"] for line in lines[:240]])) == {1}


def test_anthropic_batches_on_claude_stay_what_they_are(driver: Driver):
    lines = [{"custom_id": f"a{n}", "params": params(f"anthropic number {n}")} for n in range(8)]
    lines.append({"custom_id": "odd", "params": params("odd", container="box")})
    run = driver.settled(driver.drop("messages", lines, lane="on_demand", result_dialect="anthropic"))
    check(run, 9)
    output = in_dialect(driver, run, "anthropic")
    assert [line["custom_id"] for line in output] == [line["custom_id"] for line in lines]
    first = output[0]["result"]
    assert (first["type"], first["message"]["type"]) == ("succeeded", "message")
    assert first["message"]["content"] == [{"type": "text", "text": "echo: anthropic number 0"}]
    refused = output[8]["result"]
    assert refused["type"] == "errored"
    assert refused["error"]["error"]["type"] == "invalid_request_error"
    assert "/params/container" in refused["error"]["error"]["message"]
    assert set(paid(driver, [line["params"] for line in lines[:8]])) == {1}


def test_anthropic_batches_on_another_model_become_converse_and_come_back_as_messages(driver: Driver):
    lines = [{"custom_id": f"o{n}", "params": params(f"carried over {n}")} for n in range(5)]
    lines.append({"custom_id": "k", "params": params("with top_k", top_k=5)})
    key = driver.drop("carried", lines, profile="open-eu", lane="on_demand", result_dialect="input")
    run = driver.settled(key)
    check(run, 6)
    output = in_dialect(driver, run, "anthropic")
    message = output[0]["result"]["message"]
    assert message["content"] == [{"type": "text", "text": "echo: carried over 0"}]
    assert (message["stop_reason"], message["role"]) == ("end_turn", "assistant")
    assert message["usage"]["output_tokens"] > 0
    assert run.rows[5]["error"]["pointer"] == "/params/top_k"
    assert "request_type" not in run.rows[0]


def test_open_weight_bodies_are_called_natively_and_come_back_in_any_dialect(driver: Driver):
    lines = [{"recordId": f"g{n}", "modelInput": chat(f"gpt number {n}")} for n in range(5)]
    key = driver.drop("chat-bodies", lines, profile="open-eu", lane="flex", result_dialect="openai")
    run = driver.settled(key)
    check(run, 5)
    assert {row["request_type"] for row in run.rows} == {"invoke_model"}
    assert {row["tier"] for row in run.rows} == {"flex"}
    completion = in_dialect(driver, run, "openai")[0]["response"]["body"]
    assert completion["choices"][0]["message"]["content"] == "echo: gpt number 0"
    assert completion["usage"]["prompt_tokens"] == run.rows[0]["usage"]["input_tokens"]


def test_the_files_option_says_what_nova_like_records_are(driver: Driver):
    body = {"messages": [{"role": "user", "content": [{"text": "which is it"}]}]}
    key = driver.drop("typed", [{"recordId": "t", "modelInput": body}], lane="on_demand", request_type="invoke_model")
    run = driver.settled(key)
    assert run.rows[0]["error"]["pointer"] == "/modelInput/anthropic_version"


@pytest.mark.promise(2)
def test_a_batch_job_of_native_records_that_leaves_rows_out_is_finished_on_demand(driver: Driver):
    lines = [{"recordId": f"m{n}", "modelInput": claude(f"left out {n}")} for n in range(100)]
    with driver.emulator(batch={"outcomes": [{"missing_rows": 0.1, "times": 1}]}):
        run = driver.settled(driver.drop("left-out", lines, lane="batch", deadline="24h"))
    check(run, 100)
    assert run.receipt["succeeded"] == 100
    assert {row["request_type"] for row in run.rows} == {"invoke_model"}
    assert max(paid(driver, [line["modelInput"] for line in lines])) <= 1 + run.receipt["repeats"]


NATIVE = {
    "us.anthropic.claude-haiku-4-5-20251001-v1:0": claude("hello"),
    "us.amazon.nova-micro-v1:0": {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
    "us.meta.llama3-1-8b-instruct-v1:0": {"prompt": "hello", "max_gen_len": 9},
    "openai.gpt-oss-20b-1:0": chat("hello"),
}


@pytest.mark.parametrize("model", NATIVE)
def test_the_emulator_counts_tokens_in_headers_for_every_family(driver: Driver, model: str):
    runtime = driver.cloud.client("bedrock-runtime")
    reply = runtime.invoke_model(modelId=model, body=json.dumps(NATIVE[model]))
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert "echo: hello" in reply["body"].read().decode()
    assert headers["x-amzn-bedrock-input-token-count"] == "2"
    assert headers["x-amzn-bedrock-output-token-count"] == "3"
