"""One row of a batch file: from `{"recordId", "modelInput"}` to a success or an error line.

(docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html and batch-inference-results.html)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from . import invoke_shape, tokens
from .answers import Answerer
from .bill import prompt_key
from .config import Config
from .converse_shape import check_converse, converse_response, usage_of
from .dice import dice
from .errors import ApiError, invalid
from .models import ModelRef
from .runtime import converse_prompt, native_prompt
from .wire_check import Check


@dataclass(frozen=True, slots=True)
class Charge:
    """What a processed row costs."""

    sha: str
    input_tokens: int
    output_tokens: int
    lost: bool = False  # its line is not written


@dataclass(frozen=True, slots=True)
class RowResult:
    """One output line, and its charge (None for an error)."""

    line: bytes
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class RowWorker:
    """Processes the rows of one job; used in one thread, the answerer's counts are shared."""

    config: Config
    check: Check
    answerer: Answerer
    region: str
    model: ModelRef
    invocation_type: str
    seed: str

    def error(self, record: dict[str, Any], number: int, code: int, message: str) -> RowResult:
        """A failed line: `error` stands in place of `modelOutput`."""
        return RowResult(_line(record, number, {"error": {"errorCode": code, "errorMessage": message}}), None)

    def process(self, record: dict[str, Any], number: int) -> RowResult:
        """Answer one record; what the model would refuse becomes an error line."""
        try:
            output, charge = self._answer(record["modelInput"], number)
        except ApiError as error:
            return self.error(record, number, error.status, error.message)
        return RowResult(_line(record, number, {"modelOutput": output}), charge)

    def _answer(self, model_input: Any, number: int) -> tuple[dict[str, Any], Charge]:
        rng = dice(self.seed, number)
        if self.invocation_type == "InvokeModel":
            native = invoke_shape.read(self.model.base, model_input)
            self._native_restrictions(native)
            prompt = native_prompt(native, self.region, self.model, "batch")
            answer = self.answerer.answer(prompt, self.config.answers, rng)
            usage = usage_of(native.input_tokens, answer.output_tokens)
            sha = prompt_key(native.messages, native.system)
            return invoke_shape.write(native, answer, usage), Charge(sha, native.input_tokens, answer.output_tokens)
        body = check_converse(model_input, self.check)
        self._restrictions(body)
        count = tokens.converse_tokens(body)
        answer = self.answerer.answer(converse_prompt(body, self.region, self.model, "batch"), self.config.answers, rng)
        latency_ms = 80 + 920 * rng.random()
        output = converse_response(answer, usage_of(count, answer.output_tokens), latency_ms, None)
        return output, Charge(prompt_key(body["messages"], body.get("system")), count, answer.output_tokens)

    def _native_restrictions(self, native: invoke_shape.Native) -> None:
        """The same note, for native bodies. Raises ApiError."""
        batch = self.config.batch
        turns = [message for message in native.messages if message.get("role") not in ("system", "developer")]
        for refused, rule, what in (
            (native.tools, batch.tools, "Tool use is"),
            (len(turns) > 1, batch.multi_turn, "Multi-turn conversations are"),
            (native.json_schema is not None, batch.structured_output, "Structured output is"),
            (native.cacheable is not None, batch.cache_points, "Prompt caching is"),
        ):
            if refused and rule == "refuse":
                raise invalid(f"{what} not supported in batch inference.")

    def _restrictions(self, body: dict[str, Any]) -> None:
        """What batch does not take (the note on the batch-inference page). Raises ApiError."""
        batch = self.config.batch
        if batch.tools == "refuse" and body.get("toolConfig"):
            raise invalid("Tool use is not supported in batch inference.")
        if batch.multi_turn == "refuse" and len(body["messages"]) > 1:
            raise invalid("Multi-turn conversations are not supported in batch inference.")
        if batch.structured_output == "refuse" and (body.get("outputConfig") or {}).get("textFormat"):
            raise invalid("Structured output is not supported in batch inference.")
        if batch.cache_points == "refuse" and _has_cache_point(body):
            raise invalid("Prompt caching is not supported in batch inference.")


def _has_cache_point(body: dict[str, Any]) -> bool:
    blocks = [*(body.get("system") or []), *(block for message in body["messages"] for block in message["content"])]
    return any("cachePoint" in block for block in blocks)


def _line(record: dict[str, Any], number: int, result: dict[str, Any]) -> bytes:
    """An output line; a record without an id gets one."""
    shown = {"recordId": record.get("recordId", f"CALL{number:07d}"), "modelInput": record["modelInput"], **result}
    return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)
