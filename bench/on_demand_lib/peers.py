"""The peers, each as its own documentation sets it up, told all it can be told: regions, weights, quotas, retries."""

import logging
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.on_demand_lib.world import Region, Scenario

MODEL: Final = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
RETRIES: Final = 10
LITELLM_RETRIES: Final = 15
TIMEOUT_S: Final = 120


class Boto3:
    """A client per region with 10 retries in the SDK's default mode; each job draws its region by weight."""

    def __init__(self, endpoint: str, scenario: Scenario, number: int) -> None:
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            retries={"max_attempts": RETRIES}, max_pool_connections=600, read_timeout=TIMEOUT_S, connect_timeout=10
        )
        regions = scenario.world.regions
        self._clients = [
            boto3.Session().client("bedrock-runtime", region_name=name, endpoint_url=endpoint, config=config)
            for name in regions
        ]
        self._weights = [region.weight for region in regions.values()]
        self._dice = Random(number)

    def call(self, text: str, max_tokens: int) -> None:
        [client] = self._dice.choices(self._clients, self._weights)
        client.converse(
            modelId=MODEL,
            messages=[{"role": "user", "content": [{"text": text}]}],
            inferenceConfig={"maxTokens": max_tokens},
        )


def boto3(endpoint: str, scenario: Scenario) -> list[Boto3]:
    return [Boto3(endpoint, scenario, number) for number in range(scenario.containers)]


class LiteLLM:
    """litellm.Router over one deployment a region. Weights go to the strategy that knows them (simple-shuffle)."""

    def __init__(self, endpoint: str, scenario: Scenario, strategy: str) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched from the network
        import litellm  # noqa: PLC0415

        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        logging.getLogger("LiteLLM Router").setLevel(logging.CRITICAL)
        self._router = litellm.Router(
            model_list=[
                {"model_name": "m", "litellm_params": self._deployment(endpoint, name, region, scenario.told)}
                for name, region in scenario.world.regions.items()
            ],
            routing_strategy=strategy,
            num_retries=LITELLM_RETRIES,
            timeout=TIMEOUT_S,
        )

    def _deployment(self, endpoint: str, name: str, region: Region, told: bool) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if told and region.requests_per_s:
            limits["rpm"] = round(region.requests_per_s * 60)
        if told and region.tokens_per_s:
            limits["tpm"] = round(region.tokens_per_s * 60)
        return {
            "model": f"bedrock/converse/{MODEL}",
            "aws_region_name": name,
            "aws_bedrock_runtime_endpoint": endpoint,
            "weight": region.weight,
            **limits,
        }

    async def opened(self) -> None:
        """Nothing to open."""

    async def acall(self, text: str, max_tokens: int) -> None:
        await self._router.acompletion(model="m", messages=[{"role": "user", "content": text}], max_tokens=max_tokens)


def litellm(endpoint: str, scenario: Scenario, strategy: str) -> list[LiteLLM]:
    return [LiteLLM(endpoint, scenario, strategy) for _ in range(scenario.containers)]


class TensorZero:
    """Its gateway, embedded: a variant a region, drawn by weight, whose model falls back to the other regions; 10
    retries with back-off on top.
    """

    def __init__(self, endpoint: str, scenario: Scenario) -> None:
        names = list(scenario.world.regions)
        lines = ["[gateway]", "observability.enabled = false", "[functions.ask]", 'type = "chat"']
        for name, region in scenario.world.regions.items():
            order = [name, *(other for other in names if other != name)]
            lines += [
                f"[models.from-{name}]",
                f"routing = {order}",
                *(
                    f"[models.from-{name}.providers.{to}]\ntype = 'aws_bedrock'\nmodel_id = '{MODEL}'\n"
                    f"region = '{to}'\nendpoint_url = '{endpoint}'"
                    for to in order
                ),
                f"[functions.ask.variants.{name}]\ntype = 'chat_completion'\nmodel = 'from-{name}'",
                f"weight = {region.weight}\nmax_tokens = {scenario.world.max_tokens}",
                f"retries = {{num_retries = {RETRIES}, max_delay_s = 20}}",
            ]
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
            file.write("\n".join(lines))
        self._path = file.name
        self._gateway: Any = None

    async def opened(self) -> None:
        from tensorzero import AsyncTensorZeroGateway  # noqa: PLC0415

        building = AsyncTensorZeroGateway.build_embedded(config_file=self._path, timeout=TIMEOUT_S)
        self._gateway = await building
        Path(self._path).unlink()

    async def acall(self, text: str, _max_tokens: int) -> None:
        """`max_tokens` stands in the variant."""
        await self._gateway.inference(function_name="ask", input={"messages": [{"role": "user", "content": text}]})


def tensorzero(endpoint: str, scenario: Scenario) -> list[TensorZero]:
    return [TensorZero(endpoint, scenario) for _ in range(scenario.containers)]
