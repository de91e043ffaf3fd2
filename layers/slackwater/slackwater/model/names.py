"""Where things lie in S3. Nothing else in the product spells a key."""

from typing import Final

PROFILES_KEY: Final = "config/profiles.json"
INBOX: Final = "inbox/"


def run_key(run_id: str, name: str) -> str:
    """A document of a run: `survey.json plan.json results.jsonl errors.jsonl receipt.json report.html` …"""
    return f"v1/runs/{run_id}/{name}"


def input_prefix(run_id: str) -> str:
    """All input blocks of a run."""
    return f"v1/runs/{run_id}/input/"


def input_key(run_id: str, block: str) -> str:
    return f"{input_prefix(run_id)}{block}.jsonl"


def index_key(run_id: str, shard: str) -> str:
    return f"v1/runs/{run_id}/index/{shard}.jsonl"


def pooled_key(run_id: str, unit: str) -> str:
    """The records of a run that wait in a pool as one unit."""
    return f"v1/runs/{run_id}/pooled/{unit}.jsonl"


def parts_prefix(run_id: str, block: str = "") -> str:
    """All parts of a run, or of one block."""
    return f"v1/runs/{run_id}/parts/" + (f"{block}/" if block else "")


def part_key(run_id: str, block: str, source: str, wave: int) -> str:
    """`source` is `pack-<id>`, `shard-<id>`, `route-<invocation>` or `refused`."""
    return f"{parts_prefix(run_id, block)}{source}.{wave}.jsonl"


def wave_of_part(key: str) -> int:
    """The wave in a part's key. Raises ValueError for a key that is none."""
    return int(key.rsplit(".", 2)[1])


def block_of_part(key: str) -> str:
    return key.rsplit("/", 2)[1]


def source_of_part(key: str) -> str:
    """The source in a part's key."""
    return key.rsplit("/", 1)[1].partition(".")[0]


def shard_input_key(shard: str) -> str:
    return f"v1/shards/{shard}/in.jsonl"


def shard_output_prefix(shard: str) -> str:
    return f"v1/shards/{shard}/out/"
