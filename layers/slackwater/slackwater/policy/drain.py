"""How fast calls drain under the quotas that are left, and what shards that may need rescue leave to each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slackwater.policy.burn_down import burn_down
from slackwater.policy.forecast import guard_at
from slackwater.policy.quota import Pool

SLOWEST: Final = 1e-3  # jobs a second: a quota of nothing must not divide by nothing


@dataclass(frozen=True, slots=True)
class Mean:
    """What one job of several asks of a quota: estimated input tokens, and the output that it allows."""

    input_tokens: float
    max_output_tokens: float


def jobs_per_s(pools: Mapping[str, Pool], each: Mean, *, assumed: float, now_s: float) -> float:
    """Calls a second that these quotas (by `region|family|model`) let through, summed.

    A quota counts with what was told or learned of it: the smaller of its requests and its tokens, at
    `input + output x burn-down` a call (https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html).
    One of which nothing is known counts as its share of `assumed`, which is what all of them drain then.
    """
    if not pools:
        return max(assumed, SLOWEST)
    total = 0.0
    for name, pool in pools.items():
        known = _known(pool.fresh(now_s), each, burn_down(name.rpartition("|")[2]), now_s)
        total += assumed / len(pools) if known is None else known
    return max(total, SLOWEST)


def _known(pool: Pool, each: Mean, burn: int, now_s: float) -> float | None:
    requests, tokens = (meter.rate(now_s, unmetered=True) for meter in (pool.requests, pool.tokens))
    a_call = each.input_tokens * pool.input_ratio + each.max_output_tokens * pool.output_ratio * burn
    rates = [] if requests is None else [requests]
    if tokens is not None and a_call > 0:
        rates.append(tokens / a_call)
    return min(rates, default=None)


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard that may need rescue: what it draws on, its earliest deadline, how long calling all of it takes, and by
    when its forecast has most such jobs ended.

    `drain_s` is for all its records until its output is read: Bedrock counts what a job has processed, but AWS does not
    say that a stopped one writes it. `going`: it is being rescued already. `called_s`: how long those calls take that
    its job's end may bring at once.
    """

    shard: str
    quotas: frozenset[str]
    deadline: datetime
    drain_s: float
    expected_by: datetime
    going: bool = False
    processed: int = 0
    called_s: float = 0.0


def behind_s(claims: Sequence[Claim], now: datetime, *, lead_s: float) -> dict[str, float]:
    """By shard, how many seconds before its deadline its rescue has to be done, so that the shards behind it, which
    need the same quotas, can be rescued after it in time.

    Shards are rescued one after the other, the earliest deadline first. From the last one backwards, each has to be
    done when the one behind it has to begin; if that one has a later deadline, when it is stopped, since calls are made
    in the order in which they come.

    One of a later deadline may end unfinished at any moment, and what of it cannot go by batch again is called first
    then: room is left for the one with most of these calls, too.

    Where not all could be rescued any more, even from now on, most of them will have to end by themselves: none is
    stopped for others before its forecast has most jobs ended, nor one whose turn would have been in the past.
    """
    found: dict[str, float] = {}
    for group in _groups(claims):
        turns = _turns(group, lead_s)
        possible = all(begin >= now for claim, begin, _ in turns if not claim.going)
        for claim, _, done in turns:
            wanted_s = (claim.deadline - done).total_seconds()
            if possible:
                wanted_s += max((other.called_s for other in group if other.deadline > claim.deadline), default=0.0)
            else:
                alone = guard_at(claim.deadline, lead_s + claim.drain_s)
                wanted_s = min(wanted_s, (alone - claim.expected_by).total_seconds()) if done > now else 0.0
            found[claim.shard] = max(0.0, wanted_s)
    return found


def _turns(group: Iterable[Claim], lead_s: float) -> list[tuple[Claim, datetime, datetime]]:
    """When each one's calls have to begin, and to be done."""
    turns: list[tuple[Claim, datetime, datetime]] = []
    for claim in sorted(group, key=_order, reverse=True):
        done = claim.deadline
        if turns:
            behind, begin, its_done = turns[-1]
            stopped = guard_at(its_done, lead_s + behind.drain_s)
            done = min(done, begin if behind.deadline == claim.deadline else stopped)
        turns.append((claim, done - timedelta(seconds=claim.drain_s), done))
    return turns


def _order(claim: Claim) -> tuple[datetime, bool, int, str]:
    """Of one deadline first those that are being rescued already, then those that have come less far."""
    return claim.deadline, not claim.going, claim.processed, claim.shard


def _groups(claims: Iterable[Claim]) -> list[list[Claim]]:
    """Shards that share a quota, directly or through others, are in one group; those of unknown quotas in another."""
    groups: list[tuple[set[str], list[Claim]]] = []
    for claim in claims:
        names, members = set(claim.quotas) or {""}, [claim]
        apart = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (names, members)]
    return [members for _, members in groups]
