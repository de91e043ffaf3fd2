"""What an earlier run's results tell of the tokens of jobs like its own: sums, kept without a prompt or an answer."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from slackwater.model.errors import BadInput
from slackwater.model.lines import batches
from slackwater.model.usage import Usage, UsageError
from slackwater.policy.learned import Answers, History, Key

MOST_OF_THEM: Final = 0.9
"""What was reckoned is known of all jobs of a run together: where more than a tenth of them have no answer, it does not
tell of the others."""


def learn(chunks: Iterable[bytes], receipt: Mapping[str, Any] | None = None) -> History:
    """From `results.jsonl`, read line by line at flat memory, and from the run's receipt, if it is there.

    The run's receipt tells under which profile the jobs ran and what had been reckoned for their input (`reckoned`);
    without it, or where the run's jobs had several profiles, the answers' lengths are learned by model alone.
    Raises BadInput that names the line of what is no result row.
    """
    profile, reckoned_jobs, reckoned_tokens = None, 0, 0
    known: dict[str, list[int]] = {}
    number = 0
    for lines in batches(chunks):
        for raw in lines:
            number += 1
            if not raw.strip():
                continue
            run_id = _add(known, raw, number)
            if number == 1 and receipt is not None and receipt.get("run_id") == run_id:
                profile, reckoned_jobs, reckoned_tokens = _reckoned(receipt)
    history: dict[Key, Answers] = {(model, profile): Answers(*numbers) for model, numbers in known.items()}
    if reckoned_jobs and len(history) == 1:  # one profile has one model
        ((key, sums),) = history.items()
        if sums.jobs >= MOST_OF_THEM * reckoned_jobs:
            pair = reckoned_tokens * sums.jobs // reckoned_jobs, sums.input_tokens
            history[key] = sums + Answers(reckoned_tokens=pair[0], paired_tokens=pair[1])
    return History(history)


def _add(known: dict[str, list[int]], raw: bytes, number: int) -> Any:
    """Adds an answered job to the sums of its model, in the order of `Answers`; gives the row's run."""
    try:
        row = orjson.loads(raw)
        usage = None if row["usage"] is None else Usage.from_json(row["usage"])
        model, run_id = (row["model"] if row["status"] == "succeeded" else None), row["run_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError, UsageError):
        raise BadInput(
            f"line {number} is no result row: give the results.jsonl of a run (`slackwater results RUN --out DIR`)"
        ) from None
    if usage is not None and isinstance(model, str):
        read, written = usage.prompt_tokens, usage.output_tokens
        sums = known.setdefault(model, [0] * 6)
        for at, value in enumerate((1, read, written, read * read, written * written, read * written)):
            sums[at] += value
    return run_id


def _reckoned(receipt: Mapping[str, Any]) -> tuple[str | None, int, int]:
    """Profile, jobs and estimated input tokens, where all jobs of the run had one profile."""
    reckoned = receipt.get("reckoned")
    if not isinstance(reckoned, dict) or len(reckoned) != 1:
        return None, 0, 0
    ((profile, load),) = reckoned.items()
    counts = [load.get(name) for name in ("jobs", "input_tokens")] if isinstance(load, dict) else []
    if not counts or any(type(count) is not int or count < 0 for count in counts):
        return None, 0, 0
    return profile, *counts
