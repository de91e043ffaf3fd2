"""Final rows of a run, summed many at a time: what a receipt, its counterfactuals and its report are made of.

A million rows come in a few kinds only, and of most a few numbers are all that is ever needed. So a row is parsed, made
`Brief` and let go of (to keep parsed answers costs more than to parse them), and briefs of one kind are summed column
by column. What is not plain goes by itself to `Tally.add`, `Account.add` and `Timeline.add`, which define the sums.
Both ways come to the same, exactly.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

from slackwater.model.money import sum_pico
from slackwater.model.receipt import Alike, Tally, Total
from slackwater.model.timeline import Timeline
from slackwater.policy.counterfactuals import Account

Brief = tuple[tuple[Any, ...], str, int, int, float, float, int | None]
"""Kind (the fields of `Alike`), `finished_at`, input tokens, output tokens, cost, list price, latency."""

_KIND: Final = itemgetter(*Alike._fields)
_FIGURES: Final = itemgetter("usage", "cost_usd", "list_usd", "status", "finished_at", "latency_ms")


def brief_of(row: Mapping[str, Any], kinds: dict[tuple[Any, ...], tuple[Any, ...]]) -> Brief | None:
    """All that the sums need of a plain answer; None for any other row: it failed, was rescued, used a prompt cache, or
    its tokens or money are not known. `kinds` are those seen so far, so that equal ones are kept once."""
    usage, cost, listed, status, finished_at, latency_ms = _FIGURES(row)
    if usage is None or cost is None or listed is None or status != "succeeded" or "rescued" in row:
        return None
    if usage["cache_read_tokens"] or usage["cache_write_tokens"]:
        return None
    kind = _KIND(row)
    kind = kinds.setdefault(kind, kind)
    return kind, finished_at, usage["input_tokens"], usage["output_tokens"], cost, listed, latency_ms


class Summing:
    """Sums of the rows seen so far."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.tally = Tally(spent=account.add)
        self.timeline = Timeline()

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts one final row, of whatever kind."""
        self.tally.add(row)
        self.timeline.add(row)

    def add_briefs(self, briefs: Iterable[Brief]) -> None:
        """Counts final rows that are plain."""
        kinds: defaultdict[tuple[Any, ...], list[Brief]] = defaultdict(list)
        for brief in briefs:
            kinds[brief[0]].append(brief)
        for kind, some in kinds.items():
            alike = Alike._make(kind)
            for of_one_price in self._by_price(alike.model, some):
                self._add_alike(alike, of_one_price)

    def _by_price(self, model: str, some: list[Brief]) -> Iterable[list[Brief]]:
        """Apart by the model's prices for long prompts, if it has any."""
        prompts = [brief[2] for brief in some]
        if self.account.bracket(model, min(prompts)) == self.account.bracket(model, max(prompts)):
            return (some,)
        brackets: defaultdict[int, list[Brief]] = defaultdict(list)
        for brief in some:
            brackets[self.account.bracket(model, brief[2])].append(brief)
        return brackets.values()

    def _add_alike(self, alike: Alike, some: list[Brief]) -> None:
        _, finished_at, inputs, outputs, costs, lists, latencies = zip(*some, strict=True)
        total = Total(
            jobs=len(some),
            input_tokens=sum(inputs),
            output_tokens=sum(outputs),
            longest_prompt=max(inputs),
            cost_pico=sum_pico(costs),
            list_pico=sum_pico(lists),
            latency_ms=sum(filter(None, latencies)),
        )
        self.tally.add_alike(alike, total)
        self.account.add_alike(alike, total)
        self.timeline.add_answers(alike.lane, alike.route, alike.model, finished_at)
