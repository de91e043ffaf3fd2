"""A scenario's world in plain numbers: jobs, answers, latencies, quotas. The fake and the oracle share this page.

Written from AWS's documentation of quotas and token burn-down (docs.aws.amazon.com/bedrock, quotas-token-burndown):
`input + max_tokens` are reserved at the start of a call; at its end `input + output × burn-down` stay charged.
How AWS refills a quota is not published; here a bucket refills continuously and holds `burst_s` seconds of its rate.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any


@dataclass(frozen=True)
class Region:
    """`None` is no limit. `down` are spans of seconds in which every call is answered with HTTP 503."""

    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    latency_s: float = 0.0
    weight: int = 1
    down: tuple[tuple[float, float], ...] = ()

    def is_down(self, at_s: float) -> bool:
        return any(begin <= at_s < end for begin, end in self.down)


@dataclass(frozen=True)
class World:
    """Latency of a call: the region's, times 0.7 to 1.3, plus the time of its output tokens."""

    regions: Mapping[str, Region]
    seed: int = 1
    burst_s: float = 1.0
    burn_down: int = 1
    words: int = 30
    max_tokens: int = 100
    output_tokens: tuple[int, int] = (20, 60)
    output_tokens_per_s: float | None = None
    down_latency_s: float = 0.0  # what a region that is down takes to say so

    def answer_tokens(self, job: int) -> int:
        """Length of a job's answer: the same on every try, never above `max_tokens`."""
        low, high = self.output_tokens
        return min(self.max_tokens, Random(f"{self.seed} {job} answer").randint(low, high))

    def latency_s(self, region: str, job: int) -> float:
        base = self.regions[region].latency_s * Random(f"{self.seed} {job} {region}").uniform(0.7, 1.3)
        return base + (self.answer_tokens(job) / self.output_tokens_per_s if self.output_tokens_per_s else 0.0)

    def text(self, job: int) -> str:
        """The prompt of a job. Its number is in it, so that the fake knows which job it answers."""
        return f"job {job} " + " ".join(Random(f"{self.seed} {job} text").choices(WORDS, k=self.words - 2))

    def input_tokens(self, job: int) -> int:
        return tokens(self.text(job))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "World":
        regions = {
            name: Region(**{**region, "down": tuple(tuple(span) for span in region["down"])})
            for name, region in document["regions"].items()
        }
        return cls(**{**document, "regions": regions, "output_tokens": tuple(document["output_tokens"])})


WORDS = (
    "river",
    "harbour",
    "tide",
    "anchor",
    "lantern",
    "keel",
    "current",
    "mooring",
    "pilot",
    "estuary",
    "fog",
    "bell",
)


def tokens(text: str) -> int:
    """The fake's tokenizer: four tokens for three words. (Any contender's own estimate is its own affair.)"""
    return -(-len(text.split()) * 4 // 3)


@dataclass(frozen=True)
class Offer:
    """A job that arrives `at_s` after the start."""

    job: int
    at_s: float


def steady(rate_per_s: float, seconds: float) -> tuple[Offer, ...]:
    """Open loop: `rate_per_s` for `seconds`, evenly, whatever becomes of the earlier ones."""
    return tuple(Offer(n, n / rate_per_s) for n in range(round(rate_per_s * seconds)))


@dataclass(frozen=True)
class Scenario:
    """What is offered to every contender alike.

    `window_s` is the time in which admitted calls are compared with the oracle's; `stop_s` is when waiting ends and
    what has no answer counts as lost. `told` is whether contenders are told the quotas. With `closed` so many callers
    make their calls one after another, without arrival times.
    """

    name: str
    world: World
    offers: Sequence[Offer]
    window_s: float
    stop_s: float
    told: bool = True
    closed: int | None = None
    containers: int = 1
    about: str = ""
    shares: bool = False

    def as_json(self) -> str:
        return json.dumps(
            {
                "name": self.name,
                "world": self.world.as_json(),
                "offers": [(offer.job, offer.at_s) for offer in self.offers],
                "window_s": self.window_s,
                "stop_s": self.stop_s,
                "told": self.told,
                "closed": self.closed,
                "containers": self.containers,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Scenario":
        document = json.loads(text)
        offers = tuple(Offer(job, at_s) for job, at_s in document.pop("offers"))
        return cls(**{**document, "world": World.from_json(document["world"]), "offers": offers})


@dataclass
class Bucket:
    """A token bucket: holds `burst_s` seconds of `rate`; a settlement may drive it below zero."""

    rate: float
    burst_s: float
    level: float = field(init=False)
    at_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.level = self.rate * self.burst_s

    def refill(self, now_s: float) -> None:
        if now_s > self.at_s:
            self.give((now_s - self.at_s) * self.rate)
            self.at_s = now_s

    def give(self, amount: float) -> None:
        self.level = min(self.rate * self.burst_s, self.level + amount)

    def has(self, amount: float) -> bool:
        return self.level >= amount - 1e-9

    def room_at(self, amount: float) -> float:
        """When refill alone makes room for `amount`; infinite if the bucket is smaller than that."""
        if amount > self.rate * self.burst_s + 1e-9:
            return float("inf")
        return self.at_s + max(0.0, amount - self.level) / self.rate


class Meter:
    """The two buckets of one region."""

    def __init__(self, region: Region, burst_s: float) -> None:
        self.requests = Bucket(region.requests_per_s, burst_s) if region.requests_per_s else None
        self.tokens = Bucket(region.tokens_per_s, burst_s) if region.tokens_per_s else None

    def admit(self, now_s: float, reserve_tokens: int) -> bool:
        """Takes one request and the reservation, or nothing at all."""
        self.refill(now_s)
        if self.requests and not self.requests.has(1):
            return False
        if self.tokens and not self.tokens.has(reserve_tokens):
            return False
        if self.requests:
            self.requests.level -= 1
        if self.tokens:
            self.tokens.level -= reserve_tokens
        return True

    def settle(self, now_s: float, reserved_tokens: int, used_tokens: int) -> None:
        self.refill(now_s)
        if self.tokens:
            self.tokens.give(reserved_tokens - used_tokens)

    def refill(self, now_s: float) -> None:
        for bucket in (self.requests, self.tokens):
            if bucket:
                bucket.refill(now_s)

    def room_at(self, reserve_tokens: int) -> float:
        """When refill alone makes room for a call."""
        return max(
            self.requests.room_at(1) if self.requests else 0.0,
            self.tokens.room_at(reserve_tokens) if self.tokens else 0.0,
        )

    def fullness(self) -> float:
        """Seconds of refill in the emptier bucket: the region that would overflow first has the most."""
        return min((b.level / b.rate for b in (self.requests, self.tokens) if b), default=float("inf"))
