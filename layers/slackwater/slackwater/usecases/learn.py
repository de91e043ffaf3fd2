"""What an earlier run's results tell of the tokens of jobs like its own: sums, kept without a prompt or an answer."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from slackwater.model.errors import BadInput
from slackwater.model.lines import batches
from slackwater.model.usage import Usage, UsageError
from slackwater.policy.learned import Answers, History, Key


def learn(chunks: Iterable[bytes], receipt: Mapping[str, Any] | None = None) -> History:
    """From `results.jsonl`, read line by line at flat memory, and from the run's receipt, if it is there.

    The receipt tells under which profile the jobs ran and what had been reckoned for their input (`reckoned`); without
    it, or where the run's jobs had several profiles, the answers' lengths are learned by model alone. Raises BadInput
    that names the line of what is no result row.
    """
    profile, reckoned_jobs, reckoned_tokens = _reckoned(receipt)
    known: dict[Key, Answers] = {}
    number = 0
    for lines in batches(chunks):
        for raw in lines:
            number += 1
            if raw.strip():
                _add(known, raw, number, profile)
    if reckoned_jobs and len(known) == 1:  # one profile has one model
        ((key, sums),) = known.items()
        pair = reckoned_tokens * sums.jobs // reckoned_jobs, sums.input_tokens
        known[key] = sums + Answers(reckoned_tokens=pair[0], paired_tokens=pair[1])
    return History(known)


def _add(known: dict[Key, Answers], raw: bytes, number: int, profile: str | None) -> None:
    try:
        row = orjson.loads(raw)
        usage = None if row["usage"] is None else Usage.from_json(row["usage"])
        model = row["model"] if row["status"] == "succeeded" else None
    except (orjson.JSONDecodeError, KeyError, TypeError, UsageError):
        raise BadInput(
            f"line {number} is no result row: give the results.jsonl of a run (`slackwater results RUN --out DIR`)"
        ) from None
    if usage is None or not isinstance(model, str):
        return
    read, written = usage.prompt_tokens, usage.output_tokens
    key = (model, profile)
    known[key] = known.get(key, Answers()) + Answers(1, read, written, read * read, written * written, read * written)


def _reckoned(receipt: Mapping[str, Any] | None) -> tuple[str | None, int, int]:
    """Profile, jobs and estimated input tokens, where all jobs of the run had one profile."""
    reckoned = None if receipt is None else receipt.get("reckoned")
    if not isinstance(reckoned, dict) or len(reckoned) != 1:
        return None, 0, 0
    ((profile, load),) = reckoned.items()
    return profile, load["jobs"], load["input_tokens"]
