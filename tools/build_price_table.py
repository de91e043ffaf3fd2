"""Maintainers' tool: turns a collection of Bedrock price facts into the table that the library ships.

    python tools/build_price_table.py SOURCE.json > layers/slackwater/slackwater/data/prices.json

SOURCE.json holds `models`, `rows` (USD per million tokens, numbers), `long_context`, `sources`, `known_conflicts`.
The same source gives the same bytes. Prices become decimal text, so that no float ever takes part; a price that is
negative or finer than six decimals stops the build, as does a row twice or a row of an unnamed model. One row a line:
people read the diff.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from slackwater.policy.price_table import KINDS, PRICES, VERSION, price_text, render

Facts = Mapping[str, Any]

# Which of AWS's bulk offers prices a model, by the prefix of its id, and by which names that is not its own the offer
# calls it: `slackwater prices refresh` maps by these names, exactly, and by nothing else.
MARKETPLACE_PROVIDERS = ("anthropic.",)
OFFER_NAMES = {
    "openai.gpt-oss-20b-1:0": ["openai.gpt-oss-20b"],
    "openai.gpt-oss-120b-1:0": ["openai.gpt-oss-120b"],
    "qwen.qwen3-32b-v1:0": ["qwen.qwen3-32b"],
    "qwen.qwen3-coder-480b-a35b-v1:0": ["qwen.qwen3-coder-480b-a35b-instruct"],
    "qwen.qwen3-next-80b-a3b": ["qwen.qwen3-next-80b-a3b-instruct"],
    "mistral.mistral-large-3-675b-instruct": ["mistral.mistral-large-3-675b-instruct"],
}

# Output tokens count this often against a tokens-per-minute quota. The longest prefix of the model id wins.
# https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html
BURN_DOWN = {
    "": 1,
    "anthropic.": 15,  # a Claude the page does not name: the most careful factor it has
    "anthropic.claude-3": 5,
    "anthropic.claude-haiku-4": 5,
    "anthropic.claude-sonnet-4": 5,
    "anthropic.claude-opus-4": 5,
    "anthropic.claude-haiku-4-8": 15,
    "anthropic.claude-sonnet-4-8": 15,
    "anthropic.claude-opus-4-8": 15,
    "anthropic.claude-sonnet-5": 10,
    "anthropic.claude-opus-5": 10,
    "anthropic.claude-fable-5-1": 10,
    "anthropic.claude-haiku-5-5": 10,
    "openai.gpt-5.6": 10,
}
# The page is silent on these two; they get the factor of their generation.
BURN_DOWN_ASSUMED = ("anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5")

# Shortest prefix that a cache point can keep. https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
CACHE_MIN_TOKENS = {
    "anthropic.claude-opus-5": 512,
    "anthropic.claude-sonnet-4-5-20250929-v1:0": 1024,
    "anthropic.claude-sonnet-4-6": 1024,
    "anthropic.claude-sonnet-5": 1024,
    "anthropic.claude-opus-4-8": 1024,
    "anthropic.claude-haiku-4-5-20251001-v1:0": 4096,
    "anthropic.claude-opus-4-5-20251101-v1:0": 4096,
    "anthropic.claude-opus-4-6-v1": 4096,
}

# https://docs.aws.amazon.com/general/latest/gr/bedrock.html (quotas)
# https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html (neither tools nor caching)
BATCH = {
    "min_records": 100,
    "max_records": 100_000,
    "max_file_bytes": 1_000_000_000,
    "max_job_bytes": 5_000_000_000,
    "max_open_jobs_per_model": 100,
    "request_types": ["Converse", "InvokeModel"],
    "tools": False,
    "cache": False,
}


def price(value: Any, where: str) -> str | None:
    """A price as plain decimal text ("0.15", "0"), or None. Raises ValueError for what is no sensible price."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError(f"{where}: a price is a number or null")
    try:
        return price_text(value)
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from None


def burn_down(model_id: str) -> int:
    """The output burn-down of a model by the longest matching prefix."""
    return BURN_DOWN[max((p for p in BURN_DOWN if model_id.startswith(p)), key=len)]


def model_entry(model: Facts, long_context: Facts) -> dict[str, Any]:
    """One model as shipped. `tools` null: unknown. A `long_context` tier prices all tokens of longer prompts."""
    model_id = model["model_id"]
    tier = long_context.get(model_id)
    tiers = []
    if tier:
        multiplier = price(tier["multiplier_all_token_prices"], model_id)
        tiers = [{"above_input_tokens": tier["above_input_tokens"], "multiplier": multiplier, "source": tier["source"]}]
    return {
        "model_id": model_id,
        "name": model["name"],
        "provider": model["provider"],
        "lifecycle": model["lifecycle"].split()[0],
        "burn_down": burn_down(model_id),
        "burn_down_assumed": model_id in BURN_DOWN_ASSUMED,
        "cache_min_tokens": CACHE_MIN_TOKENS.get(model_id),
        "tools": None,
        "long_context": tiers,
        "offer": "AmazonBedrockFoundationModels" if model_id.startswith(MARKETPLACE_PROVIDERS) else "AmazonBedrock",
        "offer_names": [model["name"], *OFFER_NAMES.get(model_id, ())],
    }


def row_entry(row: Facts) -> dict[str, Any]:
    """One price row as shipped."""
    where = f"{row['model_id']} {row['region']} {row['route']}"
    if row["route"] not in KINDS:
        raise ValueError(f"{where}: unknown kind of route")
    entry: dict[str, Any] = {"model_id": row["model_id"], "region": row["region"], "kind": row["route"]}
    entry |= {name: price(row[name], f"{where} {name}") for name in PRICES}
    for lane in ("", "batch_", "flex_", "priority_"):
        if (entry[f"{lane}input"] is None) != (entry[f"{lane}output"] is None):
            raise ValueError(f"{where}: half a price for {lane or 'standard'}")
    entry |= {"access": row["access"], "batch_via": row["batch_documented_via"]}
    return entry | {"source": row["source"], "derived": row["derived"]}


def table(facts: Facts) -> dict[str, Any]:
    """The shipped table. Raises ValueError for rows that are twice there or belong to no named model."""
    models = [model_entry(model, facts["long_context"]) for model in facts["models"]]
    rows = [row_entry(row) for row in facts["rows"]]
    keys = {(row["model_id"], row["region"], row["kind"]) for row in rows}
    if len(keys) != len(rows):
        raise ValueError("a row is there twice")
    nameless = {row["model_id"] for row in rows} - {model["model_id"] for model in models}
    if nameless:
        raise ValueError(f"rows of unnamed models: {sorted(nameless)}")
    sources = {
        name: {"what": source["what"], "as_of": facts["prices_as_of"][name].split()[-1]}
        for name, source in facts["sources"].items()
    }
    return {
        "v": VERSION,
        "version": facts["generated"],
        "currency": facts["currency"],
        "unit": facts["unit"],
        "warning": "Third-party copies of AWS prices; AWS's bill decides.",
        "notes": facts["known_conflicts"],
        "sources": sources,
        "batch": BATCH,
        "burn_down_by_prefix": BURN_DOWN,
        "models": models,
        "rows": rows,
    }


def main(arguments: list[str]) -> int:
    """Writes the table to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the collected price facts (JSON)")
    source: Path = parser.parse_args(arguments).source
    facts = json.loads(source.read_text(encoding="utf-8"), parse_float=Decimal)
    sys.stdout.write(render(table(facts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
