"""Batch jobs under a switch and a budget: none is created while its profile is paused, or beyond a cap.

A shard's money is held, under its own name, from its create until its output is collected; then it is settled by the
tokens of its answers. A shard that waits (for the switch, for the next day's budget) stays staged: when its guard
comes, its jobs are called like those of any other shard that got no batch job, and each is refused or waits by itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from slackwater.model.clock import Clock, later
from slackwater.model.errors import Contended
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy import budget, most_cost
from slackwater.policy.budget import Account, Cap, Drawn, Limit, Verdict, Want
from slackwater.policy.prices import PriceBook
from slackwater.policy.tokens import DEFAULT_MAX_OUTPUT_TOKENS, of_text
from slackwater.usecases.collect import Ended
from slackwater.usecases.leased import Alive

ASK_AGAIN_S: Final = 60.0
SETTLING_ATTEMPTS: Final = 3

Key = tuple[str, str]


class SubmitPort(Protocol):
    """usecases.submit.Submit."""

    def __call__(self, shard_id: str, attempt: int, *, worker: str, alive: Alive, may_move: bool = True) -> str: ...


class CollectPort(Protocol):
    """usecases.collect.Collect."""

    def __call__(self, shard_id: str, attempt: int, ended: Ended, *, worker: str, alive: Alive) -> str: ...


class ShardsPort(Protocol):
    def get(self, shard_id: str) -> Shard | None: ...
    def look_again(self, shard_id: str, at: datetime, *, seen: datetime | None = None) -> bool: ...
    def cut_short(self, shard_id: str, at: datetime) -> bool: ...


class FilesPort(Protocol):
    def index(self, shard: Shard) -> Iterator[dict[str, Any]]: ...
    def verdict(self, shard: Shard) -> Any | None: ...


class AccountsPort(Protocol):
    def change(self, key: Key, change: Callable[[Account], tuple[Account, Any]]) -> tuple[Account, Any]: ...


class LimitsPort(Protocol):
    """usecases.limits.RunLimits."""

    def of_shard(self, run_id: str, profile: str | None, at: datetime) -> tuple[Limit, ...]: ...
    def profile_of(self, run_id: str) -> str: ...


class PausedPort(Protocol):
    def any_of(self, profiles: Iterable[str]) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Refused:
    """Why no money is held. `limit` is None where the price is unknown; `needed_pico` is what was asked of it."""

    verdict: Verdict
    limit: Limit | None = None
    needed_pico: int = 0


class ShardMoney:
    """Holds and settles what a shard's batch job costs."""

    def __init__(
        self, *, files: FilesPort, limits: LimitsPort, accounts: AccountsPort, prices: PriceBook, clock: Clock
    ) -> None:
        self._files = files
        self._limits = limits
        self._accounts = accounts
        self._prices = prices
        self._clock = clock

    def records_by_run(self, shard: Shard) -> Mapping[str, int]:
        """A file's shard is one run's; a pool's may be many runs'."""
        if shard.owner_kind is OwnerKind.RUN:
            return {shard.owner: shard.records}
        return Counter(row["run"] for row in self._files.index(shard))

    def profiles(self, shard: Shard) -> frozenset[str]:
        """Whose jobs it holds."""
        if shard.owner_kind is OwnerKind.RUN:
            return frozenset({shard.profile})
        return frozenset({shard.profile, *map(self._limits.profile_of, self.records_by_run(shard))})

    def hold(self, shard: Shard) -> Refused | None:
        """Holds the most that the job may cost, on all accounts or on none; None: it is held. Holding again
        replaces what was held."""
        parts = self._parts(shard, self._clock.now())
        if not parts:
            return None
        most = self._most(shard)
        if most is None:
            return Refused(Verdict.REFUSED)
        held: list[Key] = []
        for limit, records in parts:
            needed_pico = -(-most * records // shard.records)
            found = self._draw(limit, needed_pico, shard.id)
            if found is not Verdict.TAKEN:
                for key in held:
                    self._end(key, shard.id, 0, (0, 1))
                return Refused(found, limit, needed_pico)
            held.append(limit.account)
        return None

    def settle(self, shard: Shard) -> None:
        """Ends the holds of a settled shard by what its answers cost. What nobody knows (a lost answer, a job whose
        output was not read) counts by its part of the hold. Settling again changes nothing."""
        parts = self._parts(shard, shard.intent_at or shard.submitted_at or self._clock.now())
        if not parts:
            return
        spent_pico, unknown = self._spent(shard)
        for limit, records in parts:
            share = -(-spent_pico * records // shard.records)
            self._end(limit.account, shard.id, share, (min(unknown, shard.records), shard.records))

    def _parts(self, shard: Shard, at: datetime) -> list[tuple[Limit, int]]:
        """The caps that count, each with how many of the records it counts for."""
        limits: dict[Key, Limit] = {}
        records: Counter[Key] = Counter()
        for run_id, number in self.records_by_run(shard).items():
            profile = shard.profile if shard.owner_kind is OwnerKind.RUN else None
            for limit in self._limits.of_shard(run_id, profile, at):
                limits[limit.account] = limit
                records[limit.account] += number
        return [(limits[key], records[key]) for key in limits]

    def _most(self, shard: Shard) -> int | None:
        """By the dearest region it may go to; None where none has a price. A prompt's bytes in the file are a little
        more than its text's."""
        asked = of_text(shard.bytes, shard.records, shard.records)
        answered = shard.max_output_tokens or shard.records * DEFAULT_MAX_OUTPUT_TOKENS
        routes = (shard.route, *shard.alternatives)
        costs = [most_cost.of_batch(asked, answered, shard.records, route, self._prices) for route in routes]
        return max((cost for cost in costs if cost is not None), default=None)

    def _spent(self, shard: Shard) -> tuple[int, int]:
        """Pico-dollars of the answers, and how many records may have cost what nobody knows."""
        verdict = self._files.verdict(shard)
        if verdict is None:  # its unit had ended: nobody read what there may be
            return 0, 0 if shard.arn is None else shard.records
        tokens = verdict.get("tokens", {})
        asked, answered = tokens.get("row_input_tokens"), tokens.get("row_output_tokens")
        if asked is None or answered is None:
            return 0, shard.records
        unknown = verdict["counts"]["repeats"] + tokens.get("unknown_usage", 0)
        cost = most_cost.of_batch(asked, answered, verdict["counts"]["succeeded"], shard.route, self._prices)
        return (0, shard.records) if cost is None else (cost, unknown)

    def _draw(self, limit: Limit, pico: int, holder: str) -> Verdict:
        def change(account: Account) -> tuple[Account, tuple[Drawn, ...]]:
            return budget.draw(
                account,
                [Want(pico, pico)],
                limit_pico=limit.limit_pico,
                holder=holder,
                now_s=self._clock.wall_s(),
                until_s=None,
            )

        drawn: tuple[Drawn, ...]
        try:
            _, drawn = self._accounts.change(limit.account, change)
        except Contended:
            return Verdict.WAIT
        return drawn[0].verdict

    def _end(self, key: Key, holder: str, spent_pico: int, unknown_part: tuple[int, int]) -> None:
        for attempt in range(SETTLING_ATTEMPTS):
            try:
                self._accounts.change(key, lambda a: budget.settle(a, holder, spent_pico, unknown_part=unknown_part))
            except Contended:
                if attempt == SETTLING_ATTEMPTS - 1:
                    raise
                continue
            return


class SubmitUnderLimits:
    """Submits a shard unless it is paused or too dear. Gives a word on what happened, for the log."""

    def __init__(
        self, *, submit: SubmitPort, shards: ShardsPort, money: ShardMoney, paused: PausedPort, clock: Clock
    ) -> None:
        self._submit = submit
        self._shards = shards
        self._money = money
        self._paused = paused
        self._clock = clock

    def __call__(self, shard_id: str, attempt: int, *, worker: str, alive: Alive, may_move: bool = True) -> str:
        """As usecases.submit.Submit."""
        shard = self._shards.get(shard_id)
        begins = shard is not None and shard.attempt == attempt and self._clock.now() < shard.guard_at
        if shard is not None and begins and shard.state in (ShardState.STAGED, ShardState.INTENT):
            until = self._paused.any_of(self._money.profiles(shard))
            if until is not None:
                self._later(shard, until)
                return "paused"
            refused = self._money.hold(shard) if shard.state is ShardState.STAGED else None
            if refused is not None:
                return self._without_money(shard, refused)
        return self._submit(shard_id, attempt, worker=worker, alive=alive, may_move=may_move)

    def _without_money(self, shard: Shard, refused: Refused) -> str:
        now, limit = self._clock.now(), refused.limit
        if refused.verdict is Verdict.WAIT:
            self._later(shard, later(now, ASK_AGAIN_S))
            return "others hold the money"
        fits_tomorrow = limit is not None and limit.cap is Cap.DAY and refused.needed_pico <= limit.limit_pico
        if limit is not None and limit.renews_at is not None and fits_tomorrow:
            self._later(shard, limit.renews_at)
            return f"waits for the next day's budget: {limit.words}"
        self._shards.cut_short(shard.id, now)  # its jobs are called, or refused, one by one
        return "no known price" if limit is None else f"no budget: {limit.words}"

    def _later(self, shard: Shard, at: datetime) -> None:
        self._shards.look_again(shard.id, min(at, shard.guard_at))


class CollectAndSettle:
    """Collects a shard, and settles its money once it has settled."""

    def __init__(self, *, collect: CollectPort, shards: ShardsPort, money: ShardMoney) -> None:
        self._collect = collect
        self._shards = shards
        self._money = money

    def __call__(self, shard_id: str, attempt: int, ended: Ended, *, worker: str, alive: Alive) -> str:
        """As usecases.collect.Collect. A message that comes again settles what a killed worker had not."""
        word = self._collect(shard_id, attempt, ended, worker=worker, alive=alive)
        shard = self._shards.get(shard_id)
        if shard is not None and shard.state is ShardState.SETTLED:
            self._money.settle(shard)
        return word
