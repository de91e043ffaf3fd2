"""What earlier answers tell of the tokens of jobs to come, with how sure that is.

A request bounds its answer by `maxTokens` and says nothing else of its length; its input is counted in bytes and only
estimated in tokens (`policy.tokens`). Both are known better once jobs of the same kind were answered. All amounts are
tokens; an amount has its error bar, of which 19 in 20 should hold if the jobs to come are like those that were.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from slackwater.model.errors import BadInput

VERSION: Final = 1
MIN_ANSWERS: Final = 30
"""Fewer answers say too little of the next ones."""

INPUT_ERROR: Final = 0.25
"""Half the error bar of an input that is estimated by its bytes: real tokenizers were seen to give 3 to 4.5 bytes a
token where 3.6 are reckoned with."""

ALIKE: Final = 0.02
"""No history is the future: at least so much is left as error, however many answers are known."""

RATIO_ERROR: Final = 0.10
SHARE_ERROR: Final = 0.25
"""Of what a stack learned by itself: it keeps running means of the ratios of input and output, not their spread."""

_Z95: Final = 1.96

Method = Literal["given", "history", "estimated", "max_tokens"]
"""`given`: by the caller; `max_tokens`: nobody knows, the most that the requests allow."""

_SURER: Final[tuple[Method, ...]] = ("history", "estimated", "max_tokens")  # from the surest on


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens, and their error bar."""

    tokens: int
    low: int
    high: int
    method: Method

    @classmethod
    def around(cls, value: float, half: float, method: Method, *, most: int | None = None) -> Self:
        """`value` ± `half`, each within 0 and `most`."""
        top = math.inf if most is None else most
        tokens, low, high = (round(min(max(0.0, one), top)) for one in (value, value - half, value + half))
        return cls(tokens, low, high, method)


@dataclass(frozen=True, slots=True)
class Answers:
    """Sums over answered jobs of one model. `reckoned_tokens` is what was estimated for the input of those jobs that
    took `paired_tokens`; both 0 where that was not kept."""

    jobs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_squares: int = 0
    output_squares: int = 0
    products: int = 0  # of input and output, job by job
    reckoned_tokens: int = 0
    paired_tokens: int = 0

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def input_ratio(self) -> float | None:
        """True input tokens to estimated ones."""
        return self.paired_tokens / self.reckoned_tokens if self.reckoned_tokens and self.paired_tokens else None


@dataclass(frozen=True, slots=True)
class Ratios:
    """What a stack learned of a model from its own calls: true input tokens to estimated ones, and true output tokens
    to `maxTokens`."""

    input_ratio: float
    output_share: float
    answers: int


Key = tuple[str, str | None]
"""Model and profile; None: answers whose profile is not known."""


class History:
    """Answers by model and profile, and ratios by model. Immutable."""

    def __init__(
        self, answers: Mapping[Key, Answers] | None = None, ratios: Mapping[str, Ratios] | None = None
    ) -> None:
        self._answers: Mapping[Key, Answers] = MappingProxyType(dict(answers or {}))
        self._ratios: Mapping[str, Ratios] = MappingProxyType(dict(ratios or {}))

    def __iter__(self) -> Iterator[tuple[Key, Answers]]:
        return iter(sorted(self._answers.items(), key=lambda pair: (pair[0][0], pair[0][1] or "")))

    def __add__(self, other: "History") -> "History":
        answers = dict(self._answers)
        for key, found in other:
            answers[key] = answers.get(key, Answers()) + found
        return History(answers, {**self._ratios, **other._ratios})

    def answers(self, model: str, profile: str) -> Answers | None:
        """Of the profile's own jobs if there are enough, else of all of its model's; None: fewer than MIN_ANSWERS."""
        own = self._answers.get((model, profile), Answers())
        if own.jobs >= MIN_ANSWERS:
            return own
        all_ = sum((found for (other, _), found in self._answers.items() if other == model), Answers())
        return all_ if all_.jobs >= MIN_ANSWERS else None

    def ratios(self, model: str) -> Ratios | None:
        """What the stack learned; None: too few answers."""
        found = self._ratios.get(model)
        return found if found is not None and found.answers >= MIN_ANSWERS else None

    def to_json(self) -> dict[str, Any]:
        """The calibration file. It holds sums, no prompt and no answer."""
        return {"v": VERSION, "history": [{"model": key[0], "profile": key[1], **asdict(sums)} for key, sums in self]}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Reads what `to_json` wrote. Raises BadInput."""
        if (
            not isinstance(document, dict)
            or document.get("v") != VERSION
            or not isinstance(document.get("history"), list)
        ):
            raise BadInput(f"is no history of version {VERSION}: give what --save-history wrote, or a results.jsonl")
        answers: dict[Key, Answers] = {}
        for at, entry in enumerate(document["history"]):
            key = _key(entry, at)
            answers[key] = answers.get(key, Answers()) + _sums(entry, at)
        return cls(answers)


def input_amount(estimated: int, jobs: int, answers: Answers | None, ratios: Ratios | None) -> Amount:
    """The input of `jobs` jobs for which `estimated` tokens are reckoned."""
    ratio = None if answers is None else answers.input_ratio
    if answers is not None and ratio is not None:
        value = estimated * ratio
        # how much tokens differ from job to job is more than how much their ratio to the estimate does
        spread = _variance(answers.input_tokens, answers.input_squares, answers.jobs)
        return Amount.around(value, _half(value, jobs, spread, answers.jobs), "history")
    if ratios is not None:
        value = estimated * ratios.input_ratio
        return Amount.around(value, value * RATIO_ERROR, "history")
    return Amount.around(estimated, estimated * INPUT_ERROR, "estimated")


def output_amount(allowed: int, jobs: int, read: Amount, answers: Answers | None, ratios: Ratios | None) -> Amount:
    """The output of `jobs` jobs that read `read` and may answer `allowed` tokens at most.

    The mean of the answers known; where their input is known as well, moved along the line that fits both (the
    regression estimate of a mean: W. G. Cochran, Sampling Techniques, chapter 7), which is that mean where the two have
    nothing to do with each other.
    """
    if answers is not None and jobs:
        mean, slope, spread = _line(answers, read, jobs)
        half = _half(mean * jobs, jobs, spread, answers.jobs) + abs(slope) * (read.high - read.low) / 2
        return Amount.around(mean * jobs, half, "history", most=allowed)
    if ratios is not None:
        value = allowed * ratios.output_share
        return Amount.around(value, value * SHARE_ERROR, "history", most=allowed)
    return Amount(allowed, 0, allowed, "max_tokens")


def _line(answers: Answers, read: Amount, jobs: int) -> tuple[float, float, float]:
    """The mean output of the jobs to come, its slope by their mean input, and the variance that is left."""
    known = answers.jobs
    mean = answers.output_tokens / known
    spread = _variance(answers.output_tokens, answers.output_squares, known)
    input_spread = _variance(answers.input_tokens, answers.input_squares, known)
    if read.method == "estimated" or input_spread <= 0:
        return mean, 0.0, spread
    together = answers.products / known - mean * answers.input_tokens / known
    slope = together / input_spread
    # beyond what was seen the line is a guess: at most two standard deviations of the inputs known
    away, reach = read.tokens / jobs - answers.input_tokens / known, 2 * math.sqrt(input_spread)
    return max(0.0, mean + slope * min(max(away, -reach), reach)), slope, max(0.0, spread - slope * together)


def _variance(total: int, squares: int, jobs: int) -> float:
    return max(0.0, squares / jobs - (total / jobs) ** 2)


def _half(value: float, jobs: int, variance: float, known: int) -> float:
    """Half the error bar of a sum over `jobs` jobs, of which `known` of the same kind were seen."""
    return ALIKE * value + _Z95 * math.sqrt(variance * (1 / known + 1 / max(1, jobs))) * jobs


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum; bars add up, as if all were wrong in the same direction. Its method is the least sure of theirs."""
    each = list(amounts)
    least_sure: Method = "given"
    for one in _SURER:
        if any(amount.method == one for amount in each):
            least_sure = one
    low, high = sum(amount.low for amount in each), sum(amount.high for amount in each)
    return Amount(sum(amount.tokens for amount in each), low, high, least_sure)


def _key(entry: Any, at: int) -> Key:
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        raise BadInput("must be an object with a model", f"/history/{at}")
    profile = entry.get("profile")
    if profile is not None and not isinstance(profile, str):
        raise BadInput("must be a profile's name or null", f"/history/{at}/profile")
    return entry["model"], profile


def _sums(entry: Mapping[str, Any], at: int) -> Answers:
    counts = []
    for each in fields(Answers):
        value = entry.get(each.name)
        if type(value) is not int or value < 0:
            raise BadInput("must be a whole number, 0 or more", f"/history/{at}/{each.name}")
        counts.append(value)
    return Answers(*counts)
