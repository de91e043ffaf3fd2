"""What the pretended model says: a rule's answer, else an echo of the last user text. Deterministic."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Any

from . import tokens
from .config import AnswerRule, Answers
from .errors import MESSAGES, ApiError
from .models import ModelRef

QUOTED = 60  # characters of the prompt that an error message quotes


@dataclass(frozen=True, slots=True)
class Answer:
    content: list[dict[str, Any]]
    stop_reason: str
    output_tokens: int
    latency_ms: float | None = None

    @property
    def text(self) -> str:
        return "".join(block.get("text", "") for block in self.content)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an answer depends on."""

    text: str
    region: str
    model: ModelRef
    lane: str
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    json_schema: str | None = None
    forced_tool: dict[str, Any] | None = None


class Answerer:
    """Applies the rules and remembers how often each was used; safe to share between threads."""

    def __init__(self) -> None:
        self.used: Counter[int] = Counter()
        self._lock = Lock()

    def rule_for(self, prompt: Prompt, answers: Answers, rng: Random) -> AnswerRule | None:
        """The first rule that matches and is not spent; using it is counted."""
        for position, rule in enumerate(answers.rules):
            if rule.region not in (None, prompt.region) or rule.lane not in (None, prompt.lane):
                continue
            if rule.model not in (None, prompt.model.name, prompt.model.base, prompt.model.given):
                continue
            if not re.search(rule.match, prompt.text, re.DOTALL) or (rule.share < 1 and rng.random() >= rule.share):
                continue
            if self._spend(position, rule.times):
                return rule
        return None

    def _spend(self, position: int, times: int | None) -> bool:
        """Count one use; False if the rule was spent before."""
        if times is None:
            return True
        with self._lock:
            self.used[position] += 1
            return self.used[position] <= times

    def answer(self, prompt: Prompt, answers: Answers, rng: Random) -> Answer:
        """The model's answer. Raises ApiError if a rule says that this prompt fails."""
        rule = self.rule_for(prompt, answers, rng)
        if rule and rule.error:
            quoted = f" Near: {prompt.text[:QUOTED]!r}" if answers.errors_quote_prompt else ""
            raise ApiError(rule.error, MESSAGES[rule.error] + quoted, rule.original_status)
        return compose(prompt, rule, answers.default_max_tokens)


def compose(prompt: Prompt, rule: AnswerRule | None, default_max_tokens: int) -> Answer:
    """Text, stop reason and token count under the request's limits."""
    limit = prompt.max_tokens or default_max_tokens
    latency_ms = rule.latency_ms if rule else None
    if rule is None or rule.text is None:
        if prompt.forced_tool is not None:
            return _tool_use(prompt.forced_tool, latency_ms)
        text = json_instance(prompt.json_schema) if prompt.json_schema else f"echo: {prompt.text}"
    else:
        text = rule.text
    stop_reason = "end_turn"
    for stop in prompt.stop_sequences:
        if stop in text:
            text, stop_reason = text[: text.index(stop)], "stop_sequence"
    count = rule.output_tokens if rule and rule.output_tokens else tokens.text_tokens(text)
    if count > limit:
        text, count, stop_reason = tokens.cut(text, limit), limit, "max_tokens"
    if rule and rule.stop_reason:
        stop_reason = rule.stop_reason
    return Answer([{"text": text}], stop_reason, count, latency_ms)


def _tool_use(spec: dict[str, Any], latency_ms: float | None) -> Answer:
    arguments = minimal(spec.get("inputSchema", {}).get("json", {}))
    use = {"toolUseId": "tooluse_emulated", "name": spec["name"], "input": arguments}
    return Answer([{"toolUse": use}], "tool_use", tokens.text_tokens(json.dumps(use)), latency_ms)


def json_instance(schema: str) -> str:
    """The smallest JSON text that fits the schema's types; `{}` for a schema that is no JSON."""
    try:
        return json.dumps(minimal(json.loads(schema)))
    except json.JSONDecodeError:
        return "{}"


def minimal(schema: Any) -> Any:
    """A minimal instance of the JSON Schema subset that structured output allows."""
    if not isinstance(schema, dict):
        return {}
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return minimal(schema[union][0])
    kind: Any = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    simple: dict[Any, Any] = {"string": "echo", "integer": 0, "number": 0, "boolean": False, "null": None, "array": []}
    if kind in simple:
        return simple[kind]
    properties: dict[str, Any] = schema.get("properties", {})
    return {name: minimal(properties.get(name, {})) for name in schema.get("required", properties)}
