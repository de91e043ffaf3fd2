"""The emulator's state in one place: handed to every part, replaced by a reset, touched by the event loop's thread."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import Any

from .answers import Answerer
from .bill import Bill
from .cache import PromptCache
from .clock import Clock
from .config import Config
from .dice import dice
from .models import ModelRef, burn_down, parse_model
from .quota import Quotas
from .wire_check import Check, body_checker


class Stats:
    """Counts per region, for `/_control/stats` and the bill's totals."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.peak_in_flight = 0
        self.regions: dict[str, Counter[str]] = defaultdict(Counter)

    def count(self, region: str, what: str) -> None:
        self.regions[region][what] += 1

    def document(self) -> dict[str, Any]:
        """All counts; `calls` are requests that arrived, `answered` those that were billed."""
        total: Counter[str] = Counter()
        for counts in self.regions.values():
            total.update(counts)
        return {
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "total": dict(sorted(total.items())),
            "regions": {name: dict(sorted(counts.items())) for name, counts in sorted(self.regions.items())},
        }


class World:
    """Configuration, clock, seed and all counters."""

    def __init__(self, config: Config, clock: Clock, seed: int) -> None:
        self.config = config
        self.clock = clock
        self.seed = seed
        self.check_converse: Check = body_checker("bedrock-runtime", "Converse")
        self.reset()

    def reset(self) -> None:
        """Forget bills, statistics, quotas, caches and spent rules."""
        self.bill = Bill()
        self.stats = Stats()
        self.quotas = Quotas()
        self.cache = PromptCache()
        self.answerer = Answerer()
        self.tries: Counter[tuple[str, str, str]] = Counter()

    def model(self, given: str) -> ModelRef | None:
        """The model as called, application profiles resolved by the configuration."""
        model = parse_model(given)
        if model and model.profile and model.profile == model.base:
            behind = self.config.models.application_profiles.get(model.base)
            inner = parse_model(behind) if behind else None
            if inner:
                return ModelRef(given, inner.base, inner.family, model.profile)
        return model

    def burn_down(self, base: str) -> int:
        """Quota tokens per output token."""
        return self.config.models.burn_down.get(base) or burn_down(base)

    def dice(self, sha: str, region: str, model: str) -> Random:
        """Randomness of one try of one prompt: the same in every run, another for the next try."""
        key = (sha, region, model)
        self.tries[key] += 1
        return dice(self.seed, sha, region, model, self.tries[key])
