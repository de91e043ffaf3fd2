"""Which of Service Quotas' entries for Bedrock speak of a model and a kind of route. AWS gives them no key but their
English names, and those do not spell one model alike: `Nova 2 Lite`, `Amazon Nova 2 Lite`, `OpenAI GPT OSS 120b`.

Names: https://docs.aws.amazon.com/general/latest/gr/bedrock.html#limits_bedrock (as of autumn 2026), and the newer
wording of https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-runtime.html.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

BATCH_JOBS: Final = "batch jobs at once"

_MINUTE: Final = re.compile(
    r"(on-demand|cross-region|global cross-region) (?:model inference|invokemodel)"
    r" ((?:requests|tokens) per (?:minute|day)) for (.+)"
)
_DAY: Final = re.compile(r"model invocation max (tokens per day) for (.+?)(?: \(doubled for cross-region calls\))?")
_BATCH: Final = re.compile(r"sum of in-progress and submitted batch inference jobs using a base model for (.+)")
_FAMILIES: Final[Mapping[str, str]] = {"": "on-demand", "global": "global cross-region"}
_GEOGRAPHIC: Final = "cross-region"
# Makers, and what only some names of a model have: its first version, "Instruct", active parameters, a month.
_NOISE: Final = re.compile(
    r"amazon|anthropic|meta|openai|mistral|moonshot|deepseek|ai|instruct|v1(?:\.0)?|a\d+b|2507", re.ASCII
)
_OTHERWISE: Final[Mapping[str, str]] = {  # names that no rule finds
    "DeepSeek V3.1": "DeepSeek V3",
    "Llama 4 Scout 17B": "Llama 4 Scout",
    "Llama 4 Maverick 17B": "Llama 4 Maverick",
}


@dataclass(frozen=True, slots=True)
class Quota:
    """An entry of ListServiceQuotas. `adjustable`: whether Service Quotas takes requests for it."""

    name: str
    value: float
    code: str = ""
    adjustable: bool = True


def calling_quotas(listed: Iterable[Quota], prefix: str, model_name: str) -> dict[str, Quota]:
    """Of a model and a kind of route (`prefix` of its inference profile, "" for in-region): requests and tokens a
    minute, tokens a day. A model's day is one quota for in-region and geographic calls, another for global ones."""
    family, wanted = _FAMILIES.get(prefix, _GEOGRAPHIC), _keys(model_name)
    found: dict[str, Quota] = {}
    for quota in listed:
        name = _flat(quota.name)
        if match := _MINUTE.fullmatch(name):
            of_family, unit, model = match.groups()
        elif (match := _DAY.fullmatch(name)) and prefix != "global":
            (unit, model), of_family = match.groups(), family
        else:
            continue
        if of_family == family and _key(model) in wanted:
            found.setdefault(unit, quota)
    return dict(sorted(found.items()))


def batch_quotas(listed: Iterable[Quota], model_name: str) -> dict[str, Quota]:
    """How many batch jobs of a model a region holds at once, under `BATCH_JOBS`."""
    wanted = _keys(model_name)
    for quota in listed:
        match = _BATCH.fullmatch(_flat(quota.name))
        if match and _key(match[1]) in wanted:
            return {BATCH_JOBS: quota}
    return {}


def _flat(name: str) -> str:
    return " ".join(name.lower().split())


def _keys(model_name: str) -> frozenset[frozenset[str]]:
    return frozenset(_key(name) for name in (model_name, _OTHERWISE.get(model_name, model_name)))


def _key(model_name: str) -> frozenset[str]:
    """The words that tell models apart, in any order: `Ministral 8B 3.0` is `Ministral 3 8B`."""
    words = re.findall(r"[a-z0-9.]+", model_name.lower())
    return frozenset(re.sub(r"(?<=\d)\.0$", "", word) for word in words if not _NOISE.fullmatch(word))
