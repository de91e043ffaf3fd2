"""The fleet's quotas as people and Service Quotas see them: what each pool's limits are, and telling others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from slackwater.model.clock import Clock, iso
from slackwater.model.job import Route
from slackwater.policy.profile_check import Offer
from slackwater.policy.quota import Pool
from slackwater.policy.quota_limits import BY_HAND, BY_SERVICE_QUOTAS, Reading, Told, limits_of, reading
from slackwater.policy.quota_names import Quota
from slackwater.usecases.admission import RoutesHealth, pool_name
from slackwater.usecases.check_stack import CannotAsk

AT_ONCE: Final = 8  # regions that are asked together: each answers some fifteen pages, one after the other


class Ledger(Protocol):
    """The quota ledger, where people read and write it (adapters.ledger.quota)."""

    def get(self, pool: str) -> tuple[Pool, Told | None]: ...
    def tell(self, pool: str, told: Told) -> None: ...
    def untell(self, pool: str, now_s: float) -> None: ...


class ServiceQuotas(Protocol):
    """All quotas of Bedrock in a region. Raises CannotAsk."""

    def quotas(self, region: str) -> Sequence[Quota]: ...


@dataclass(frozen=True, slots=True)
class InForce:
    """A pool, the routes that draw on it and the profiles they belong to."""

    name: str
    routes: tuple[Route, ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A pool as it stands. `resting`: its routes that rest, and until when (ISO)."""

    pool: InForce
    told: Told | None
    requests: Reading
    tokens: Reading
    input_ratio: float | None  # true input tokens to estimated ones; None before an answer
    output_ratio: float | None  # true output tokens to allowed ones
    answers: int
    resting: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        told = self.told
        return {
            "pool": self.pool.name,
            "profiles": list(self.pool.profiles),
            "routes": [route.name for route in self.pool.routes],
            "told": None if told is None else {"rpm": told.rpm, "tpm": told.tpm, "by": told.by, "at": told.at},
            "requests": self.requests.as_json(),
            "tokens": self.tokens.as_json(),
            "input_ratio": self.input_ratio,
            "output_ratio": self.output_ratio,
            "answers": self.answers,
            "resting": dict(self.resting),
        }


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of each pool: `told` its limits; `kept` (a limit set by hand); `missing` (Service Quotas lists none
    of its name, or 0, which is how AWS keeps an account from a model); `unreadable` regions, with why."""

    told: Mapping[str, Told]
    kept: tuple[str, ...]
    missing: Mapping[str, str]
    unreadable: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "told": {pool: {"rpm": told.rpm, "tpm": told.tpm} for pool, told in self.told.items()},
            "kept": list(self.kept),
            "missing": dict(self.missing),
            "unreadable": dict(self.unreadable),
        }


def pools_in_force(offers: Mapping[str, Offer]) -> list[InForce]:
    """The pools of all calls that profiles (by name) may make, by name."""
    routes: dict[str, dict[Route, None]] = {}
    profiles: dict[str, dict[str, None]] = {}
    for profile, offer in offers.items():
        for route in (*offer.calling, *offer.flex):
            routes.setdefault(pool_name(route), {})[route] = None
            profiles.setdefault(pool_name(route), {})[profile] = None
    return [InForce(name, tuple(routes[name]), tuple(profiles[name])) for name in sorted(routes)]


class ShowQuotas:
    """Reads; it takes no probe and draws nothing."""

    def __init__(self, *, ledger: Ledger, health: RoutesHealth, clock: Clock) -> None:
        self._ledger = ledger
        self._health = health
        self._clock = clock

    def __call__(self, pools: Iterable[InForce]) -> list[Shown]:
        return [self._one(pool) for pool in pools]

    def _one(self, in_force: InForce) -> Shown:
        now_s = self._clock.now().timestamp()
        pool, told = self._ledger.get(in_force.name)
        resting = self._health.resting(list(dict.fromkeys(route.name for route in in_force.routes)))
        return Shown(
            in_force,
            told,
            reading(pool.requests, now_s),
            reading(pool.tokens, now_s, unmetered=True),
            round(pool.input_ratio, 3) if pool.answers else None,
            round(pool.output_ratio, 3) if pool.answers else None,
            pool.answers,
            {name: iso(until) for name, until in resting.items()},
        )


class SetQuota:
    """Limits by hand: they are kept until they are cleared, or a sync is forced."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def set(self, pool: str, *, rpm: int | None, tpm: int | None) -> Told:
        """A limit that is not given stays as it is. Raises ValueError for one below 1."""
        if any(limit is not None and limit < 1 for limit in (rpm, tpm)):
            raise ValueError("a limit is at least 1 a minute")
        _, before = self._ledger.get(pool)
        told = Told(
            rpm=before.rpm if rpm is None and before is not None else rpm,
            tpm=before.tpm if tpm is None and before is not None else tpm,
            by=BY_HAND,
            at=iso(self._clock.now()),
        )
        self._ledger.tell(pool, told)
        return told

    def clear(self, pool: str) -> None:
        """Takes told limits back, whoever told them; what was learned stays."""
        self._ledger.untell(pool, self._clock.now().timestamp())


class SyncQuotas:
    """Tells the ledger what Service Quotas says. What it does not say leaves a limit as it is."""

    def __init__(
        self,
        *,
        account: ServiceQuotas,
        ledger: Ledger,
        about: Callable[[str], Mapping[str, Any] | None],
        clock: Clock,
    ) -> None:
        """`about(model id)`: of a known model at least `name`, what it is called in the names of quotas."""
        self._account = account
        self._ledger = ledger
        self._about = about
        self._clock = clock

    def __call__(self, pools: Sequence[InForce], *, force: bool = False) -> Synced:
        regions = sorted({pool.routes[0].region for pool in pools})
        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(regions)))) as threads:
            answers = dict(zip(regions, threads.map(self._listed, regions), strict=True))
        told: dict[str, Told] = {}
        kept: list[str] = []
        missing: dict[str, str] = {}
        for pool in pools:
            listed = answers[pool.routes[0].region]
            if isinstance(listed, CannotAsk):
                continue
            limits, lacking = self._limits(pool.routes[0], listed)
            if lacking:
                missing[pool.name] = lacking
            if limits is None:
                continue
            before = self._ledger.get(pool.name)[1]
            if before is not None and before.by == BY_HAND and not force:
                kept.append(pool.name)
                continue
            self._ledger.tell(pool.name, limits)
            told[pool.name] = limits
        unreadable = {region: str(answer) for region, answer in answers.items() if isinstance(answer, CannotAsk)}
        return Synced(told, tuple(kept), missing, unreadable)

    def _listed(self, region: str) -> Sequence[Quota] | CannotAsk:
        try:
            return self._account.quotas(region)
        except CannotAsk as exc:
            return exc

    def _limits(self, route: Route, listed: Sequence[Quota]) -> tuple[Told | None, str]:
        """What is listed of a pool, and what is not, in words."""
        prefix = "" if route.model_id == route.base_model else route.model_id.partition(".")[0]
        about = self._about(route.base_model)
        rpm, tpm = limits_of(listed, prefix, route.base_model if about is None else about["name"])
        lacking = [
            f"{what} a minute: {'0, AWS allows none' if limit == 0 else 'not listed'}"
            for what, limit in (("requests", rpm), ("tokens", tpm))
            if not limit
        ]
        if not rpm and not tpm:
            return None, ", ".join(lacking)
        return Told(rpm or None, tpm or None, BY_SERVICE_QUOTAS, iso(self._clock.now())), ", ".join(lacking)
