from typing import Any

import pytest

from slackwater.policy.tokens import TOKENS_PER_IMAGE, input_tokens, max_output_tokens, of_text


def request(*texts: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text} for text in texts]}], **more}


@pytest.mark.parametrize(("size", "least", "most"), [(0, 8, 10), (3600, 1000, 1015), (360_000, 100_000, 100_010)])
def test_text_is_reckoned_by_its_bytes(size: int, least: int, most: int) -> None:
    assert least <= of_text(size, 1) <= most


def test_a_request_of_text_is_reckoned_alike_in_one_piece_or_many() -> None:
    assert input_tokens(request("a" * 3600)) == input_tokens(request("a" * 1800, "a" * 1800)) == of_text(3600, 1)
    assert input_tokens(request("a" * 1800, system=[{"text": "a" * 1800}])) == of_text(3600, 1)


def test_letters_outside_ascii_count_by_their_bytes() -> None:
    assert input_tokens(request("中" * 100)) == of_text(300, 1)


def test_everything_that_reaches_the_model_counts() -> None:
    base = input_tokens(request("x"))
    blocks = [
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": "y" * 360}}},
        {"toolResult": {"toolUseId": "a", "content": [{"text": "y" * 360}]}},
        {"reasoningContent": {"reasoningText": {"text": "y" * 360}}},
        {"guardContent": {"text": {"text": "y" * 360}}},
        {"document": {"name": "d", "source": {"text": "y" * 360}}},
        {"image": {"format": "png", "source": {"bytes": "aGk="}}},
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/x"}}}},
    ]
    for block in blocks:
        assert input_tokens({"messages": [{"role": "user", "content": [{"text": "x"}, block]}]}) >= base + 100
    assert input_tokens(request("x", toolConfig={"tools": [{"toolSpec": {"name": "f" * 360}}]})) >= base + 100


def test_a_picture_is_no_text() -> None:
    picture = {"image": {"format": "png", "source": {"bytes": "A" * 4_000_000}}}
    in_a_result = {"toolResult": {"toolUseId": "a", "content": [picture]}}
    for block in (picture, in_a_result):
        found = input_tokens({"messages": [{"role": "user", "content": [block]}]})
        assert TOKENS_PER_IMAGE <= found <= TOKENS_PER_IMAGE + 20


def test_a_cache_point_costs_nothing() -> None:
    marked = request("x")
    marked["messages"][0]["content"].append({"cachePoint": {"type": "default"}})
    assert input_tokens(marked) == input_tokens(request("x"))


def test_a_request_without_a_limit_is_reckoned_with_the_default() -> None:
    assert max_output_tokens(request("x"), 77) == 77
    assert max_output_tokens(request("x", inferenceConfig={"temperature": 0}), 77) == 77
    assert max_output_tokens(request("x", inferenceConfig={"maxTokens": 5}), 77) == 5
