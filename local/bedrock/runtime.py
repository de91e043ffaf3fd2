"""Converse and InvokeModel: check, throttle, fail, wait, answer, bill, reply (or lose the reply), in that order."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import orjson

from . import invoke_shape, tokens
from .answers import Answer, Prompt
from .bill import Lane, prompt_key
from .config import lookup
from .converse_shape import check_converse, converse_response, last_user_text, usage_of
from .errors import ApiError, Dropped, invalid
from .faults import Draw, draw, resolve
from .models import ModelRef
from .quota import Limits, QuotaKey
from .server import Request, Response, json_response
from .world import World

INVALID_MODEL = "The provided model identifier is invalid."
SLOW_ERRORS = frozenset({"InternalServerException", "ModelErrorException", "ModelTimeoutException"})  # after the wait
PROFILE_ONLY = (
    "Invocation of model ID {} with on-demand throughput isn't supported. Retry your request with the ID or ARN of an "
    "inference profile that contains this model."
)


@dataclass(frozen=True, slots=True)
class Call:
    """One synchronous call, understood."""

    region: str
    model: ModelRef
    prompt: Prompt
    sha: str
    input_tokens: int
    reserve_tokens: int
    lane: Lane
    tier: str | None
    cacheable: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """What came of it."""

    answer: Answer
    usage: dict[str, Any]
    latency_ms: float


def parse_body(raw: bytes) -> Any:
    """JSON, or a ValidationException."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise invalid("The request body is not valid JSON.") from None


class Runtime:
    """The data plane of every region."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def converse(self, request: Request, region: str, model_id: str) -> Response:
        """POST /model/{modelId}/converse."""
        self._world.stats.count(region, "calls")
        body = self._counted(region, lambda: check_converse(parse_body(request.body), self._world.check_converse))
        model = self._counted(region, lambda: self._model(region, model_id))
        call = self._counted(region, lambda: self._converse_call(region, model, body))
        served = await self._serve(call)
        optimized = (body.get("performanceConfig") or {}).get("latency") == "optimized"
        return json_response(converse_response(served.answer, served.usage, served.latency_ms, call.tier, optimized))

    async def invoke(self, request: Request, region: str, model_id: str) -> Response:
        """POST /model/{modelId}/invoke, with the model's native body."""
        self._world.stats.count(region, "calls")
        model = self._counted(region, lambda: self._model(region, model_id))
        native = self._counted(region, lambda: invoke_shape.read(model.base, parse_body(request.body)))
        lane, tier = self._tier(model, request.headers.get("x-amzn-bedrock-service-tier"))
        prompt = native_prompt(native, region, model, lane)
        sha = prompt_key(native.messages, native.system)
        call = self._call(prompt, sha, native.input_tokens, tier, native.cacheable)
        served = await self._serve(call)
        reply = json_response(invoke_shape.write(native, served.answer, served.usage))
        reply.headers |= invoke_shape.token_headers(served.usage)
        reply.headers["X-Amzn-Bedrock-Invocation-Latency"] = str(max(1, round(served.latency_ms)))
        if tier is not None:
            reply.headers["X-Amzn-Bedrock-Service-Tier"] = tier
        return reply

    async def count_tokens(self, request: Request, region: str, model_id: str) -> Response:
        """POST /model/{modelId}/count-tokens: free."""
        model = self._model(region, model_id)
        body = parse_body(request.body)
        source = body.get("input", {}) if isinstance(body, dict) else {}
        if "converse" in source:
            return json_response({"inputTokens": tokens.converse_tokens(source["converse"])})
        raise invalid(f"The emulator counts Converse bodies only, not this input for {model.base}.")

    def _counted(self, region: str, step: Any) -> Any:
        """Run a step; a refusal is counted under its code."""
        try:
            return step()
        except ApiError as error:
            self._world.stats.count(region, error.code)
            raise

    def _model(self, region: str, model_id: str) -> ModelRef:
        """The model, if it can be called here. Raises ApiError."""
        model = self._world.model(model_id)
        if model is None:
            raise invalid(INVALID_MODEL)
        rules = self._world.config.models
        if model.family == "on_demand" and any(re.search(pattern, model.base) for pattern in rules.profiles_only):
            raise invalid(PROFILE_ONLY.format(model.base))
        if lookup(rules.access, region, model.name, model.base) is False:
            raise ApiError("AccessDeniedException")
        return model

    def _tier(self, model: ModelRef, asked: str | None) -> tuple[Lane, str | None]:
        """The lane that is billed and the tier that is echoed. Raises ApiError for a tier that is refused."""
        if asked != "flex":
            return "on_demand", asked
        rules = self._world.config.models
        if not any(re.search(pattern, model.base) for pattern in rules.no_flex):
            return "flex", "flex"
        if rules.unsupported_flex == "refuse":
            raise invalid("The service tier flex is not supported for this model.")
        return "on_demand", "default"

    def _converse_call(self, region: str, model: ModelRef, body: dict[str, Any]) -> Call:
        lane, tier = self._tier(model, (body.get("serviceTier") or {}).get("type"))
        prompt = converse_prompt(body, region, model, lane)
        count = tokens.converse_tokens(body)
        return self._call(prompt, prompt_key(body["messages"], body.get("system")), count, tier, body)

    def _call(self, prompt: Prompt, sha: str, input_tokens: int, tier: str | None, body: Any = None) -> Call:
        limit = prompt.max_tokens or self._world.config.answers.default_max_tokens
        lane: Lane = "flex" if prompt.lane == "flex" else "on_demand"
        return Call(prompt.region, prompt.model, prompt, sha, input_tokens, input_tokens + limit, lane, tier, body)

    async def _serve(self, call: Call) -> Served:
        """Faults, quota, latency, answer, bill. Raises ApiError or Dropped."""
        world = self._world
        stats = world.stats
        stats.in_flight += 1
        stats.peak_in_flight = max(stats.peak_in_flight, stats.in_flight)
        try:
            return await self._answer(call)
        except ApiError as error:
            stats.count(call.region, error.code)
            raise
        except Dropped:
            stats.count(call.region, "dropped")
            raise
        finally:
            stats.in_flight -= 1

    async def _answer(self, call: Call) -> Served:
        world, model = self._world, call.model
        fault = resolve(world.config.faults, call.region, model.given, model.name, model.base)
        if fault.down:
            raise ApiError("ServiceUnavailableException")
        rng = world.dice(call.sha, call.region, model.name)
        fate = draw(fault, rng)
        if fate.reset_before:
            raise Dropped
        bill, quotas, stats = world.bill, world.quotas, world.stats  # a reset forgets the calls in flight too
        reservation = self._reserve(call)
        used = 0
        try:
            if fate.error:
                if fate.error in SLOW_ERRORS:
                    await world.clock.sleep(fate.latency_ms / 1000)
                raise ApiError(fate.error, original_status=fate.original_status)
            answer = world.answerer.answer(call.prompt, world.config.answers, rng)
            latency_ms = self._latency_ms(call, fate, answer)
            await world.clock.sleep(latency_ms / 1000)
            usage = self._usage(call, answer)
            cached = usage["cacheWriteInputTokens"]
            used = usage["inputTokens"] + cached + answer.output_tokens * world.burn_down(model.base)
            bill.add(
                call.sha,
                call.lane,
                region=call.region,
                model=model.name,
                input_tokens=call.input_tokens,
                output_tokens=answer.output_tokens,
                tier="default" if call.lane == "flex" else call.tier or "default",
                cache_read=usage["cacheReadInputTokens"],
                cache_write=cached,
                lost=fate.reset_after,
            )
            stats.count(call.region, "answered")
        finally:
            quotas.settle(reservation, used, world.clock.now())
        await self._lose(fate)
        return Served(answer, usage, latency_ms)

    def _reserve(self, call: Call) -> Any:
        world, model = self._world, call.model
        limits = limits_for(world, call.region, model)
        floor = world.config.models.flex_floor if call.lane == "flex" else 0.0
        key = QuotaKey(call.region, model.family, model.base)
        return world.quotas.reserve(key, limits, call.reserve_tokens, world.clock.now(), floor)

    def _latency_ms(self, call: Call, fate: Draw, answer: Answer) -> float:
        base = fate.latency_ms if answer.latency_ms is None else answer.latency_ms
        return base * (self._world.config.models.flex_latency_factor if call.lane == "flex" else 1.0)

    def _usage(self, call: Call, answer: Answer) -> dict[str, Any]:
        read = written = 0
        if call.cacheable is not None:
            read, written = self._world.cache.use(call.cacheable, call.region, call.model.base, self._world.clock.now())
        return usage_of(call.input_tokens, answer.output_tokens, read, written)

    async def _lose(self, fate: Draw) -> None:
        """The call is paid; what may still happen is that nobody hears of it."""
        if fate.reset_after:
            raise Dropped
        if fate.hang_s:
            await asyncio.sleep(fate.hang_s)


def limits_for(world: World, region: str, model: ModelRef) -> Limits:
    """The limits in force: the most specific cell that names the family, or `*`."""
    quotas = world.config.quotas
    for area in (region, "*"):
        for name in (model.name, model.base, "*"):
            families = quotas.get(area, {}).get(name, {})
            limit = families.get(model.family) or families.get("*")
            if limit:
                return Limits(limit.rpm, limit.tpm, limit.tpd)
    return Limits()


def converse_prompt(body: dict[str, Any], region: str, model: ModelRef, lane: str) -> Prompt:
    """What the answer depends on, from a checked Converse body."""
    inference = body.get("inferenceConfig") or {}
    text_format = (body.get("outputConfig") or {}).get("textFormat") or {}
    schema = ((text_format.get("structure") or {}).get("jsonSchema") or {}).get("schema")
    return Prompt(
        text=last_user_text(body["messages"]),
        region=region,
        model=model,
        lane=lane,
        max_tokens=inference.get("maxTokens"),
        stop_sequences=tuple(inference.get("stopSequences") or ()),
        json_schema=schema,
        forced_tool=_forced_tool(body.get("toolConfig") or {}),
    )


def native_prompt(native: invoke_shape.Native, region: str, model: ModelRef, lane: str) -> Prompt:
    """What the answer depends on, from a native body."""
    return Prompt(
        native.text,
        region,
        model,
        lane,
        native.max_tokens,
        native.stop_sequences,
        native.json_schema,
        native.forced_tool,
    )


def _forced_tool(config: dict[str, Any]) -> dict[str, Any] | None:
    choice = config.get("toolChoice") or {}
    specs = [tool["toolSpec"] for tool in config.get("tools", ()) if "toolSpec" in tool]
    if "any" in choice:
        return specs[0] if specs else None
    if "tool" in choice:
        return next((spec for spec in specs if spec["name"] == choice["tool"]["name"]), None)
    return None
