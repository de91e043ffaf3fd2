"""The quota ledger's arithmetic: what a fleet may still ask of one region, quota family and model.

Rule (https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html): a call reserves
`input + max_tokens` when it starts; when it ends the charge is `input + cache writes + output x burn-down`. How AWS
refills a quota is not published: it is taken for a bucket that holds a minute and refills evenly.

A meter is a generic cell rate: one time value, the moment at which nothing would be in use any more. Where no limit is
told, the rate is searched for (faster and faster, from a few calls a second on) until a throttle, and measured
from then on: between two throttles the bucket went from empty to empty, so what was taken in between is what flowed in.
After a throttle the rate dips below the measure and comes back to it along a cubic, slowest where the limit is
believed to be: few calls are refused, and little room is left unused.

Where a limit is told, its first throttles are taken for a bucket that holds less than a minute: how much, says what was
taken beyond the refill. Only if refusals go on are there others who use the quota, and the rate is measured, too.

All times are product seconds since the epoch; rates are requests or quota tokens a second.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

MINUTE_S: Final = 60.0
SEARCH_FROM: Final = 10.0
"""Requests a second with which the search for an unknown limit begins."""
SEARCH_GROWTH: Final = 2.5
"""Times what was taken in the last second."""
SEARCH_BURST_S: Final = 0.3
DRAW_S: Final = 0.8
"""Between two draws of a container from a pool that had less than was asked for."""
SEARCH_DRAW_S: Final = 0.2
"""The same while a limit is searched for: a few seconds only."""
LEARNED_BURST_S: Final = 1.25
LONGEST_BURST_S: Final = 30.0
USEFUL_CALLS: Final = 8
USEFUL_BURST_S: Final = 15.0
"""Of a slow quota so many calls, or what flows in during that time, are saved up: whoever comes for fewer pays more for
coming than for the calls."""
RECENT_S: Final = 1.0
FORGET_S: Final = 86_400.0
"""What was learned is no longer believed after a day without a throttle or a call."""
SURE_FROM: Final = 30
"""Calls between two throttles from which on the measure is trusted."""
BUSY: Final = 0.6
"""The part of the allowed that must have been taken for a measure to say something of the limit."""
CYCLE_CALLS: Final = 150
"""Calls between two probes of a learned limit: each may cost one refusal."""
SECOND_GRAINS: Final = 25.0
"""A second of the wall clock, in grains."""
EDGE_S: Final = 0.05
"""A call is sent so long after there is room for it by our clock: the provider has another one."""
LEAST_BUCKET_S: Final = 1.0
"""What the bucket of a told rate surely holds."""
LOOK_S: Final = 0.1
LOOK_CALLS: Final = 2
LOOK_SHARE: Final = 0.05
"""A bucket of a told rate is taken for a minute's only as deep as it has been seen: it is looked into by some calls, or
by a part of what has been seen, more each time; a refusal is known by the next. So that what holds less than a minute
is found by a refusal or two of the whole fleet, and not by as many as wait."""
TOLD_REFUSALS: Final = 3
"""Refusals in a row, fewer than `CYCLE_CALLS` apart, after which a told rate is no longer believed."""
_OVER: Final = 0.05
_GROWTH: Final = 0.75


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit: requests, or tokens. `told_per_s` comes from Service Quotas or by hand; `learned_per_s` from
    throttles; both None is unknown, and then `unmetered` limits nothing until the first throttle."""

    told_per_s: float | None = None
    full_at_s: float = 0.0
    recent: float = 0.0  # units taken in the last second, fading
    recent_at_s: float = 0.0
    throttles: int = 0
    learned_per_s: float | None = None
    throttled_at_s: float = 0.0
    taken: float = 0.0  # since `since_s`, less what was given back
    since_s: float = 0.0
    hold_s: float = 0.0  # from a throttle until the rate is back at the measure
    dip: float = 0.0
    burst_s: float = LEARNED_BURST_S
    ceiling_per_s: float | None = None  # a rate that was refused: until there is a measure, growth ends there
    bucket_s: float | None = None  # of a told rate: what its bucket holds, where that is less than a minute
    seen_s: float = LEAST_BUCKET_S  # how much of its minute was taken and not refused
    looked_at_s: float = 0.0  # when its use was looked at last, and how deep that was
    looked_s: float = 0.0

    @property
    def searching(self) -> bool:
        """No limit is known, and none has shown itself."""
        return self.told_per_s is None and self.throttles == 0

    @property
    def _edge_s(self) -> float:
        return EDGE_S if self.told_per_s is not None and self.learned_per_s is None else 0.0

    def rate(self, now_s: float, *, unmetered: bool = False) -> float | None:
        """Units a second allowed now; None without a limit."""
        if self.learned_per_s is None:
            if self.told_per_s is not None:
                return self.told_per_s
            return None if unmetered else max(SEARCH_FROM, SEARCH_GROWTH * self._recent(now_s))
        learned = self._learned(now_s)
        return learned if self.told_per_s is None else min(learned, self.told_per_s)

    def looking(self, now_s: float) -> bool:
        """Whether a told rate's bucket may hold more than has been seen."""
        told = self.told_per_s is not None and self.learned_per_s is None and self.bucket_s is None
        return told and self.seen_s < MINUTE_S and self.full_at_s < now_s + MINUTE_S

    def looked(self, now_s: float, grain_s: float) -> "Meter":
        """What was in use at the last look, and was not refused since, has been seen."""
        if not self.looking(now_s) or now_s < self.looked_at_s + max(LOOK_S, grain_s):
            return self
        return replace(self, seen_s=max(self.seen_s, self.looked_s), looked_at_s=now_s, looked_s=0.0)

    def burst(self, grain_s: float, each: float = 1.0) -> float:
        """Seconds of refill that may be taken at once, by calls of `each` units; `grain_s` is the least that is worth
        telling apart."""
        if self.learned_per_s is None and self.told_per_s is not None:
            more_s = max(LOOK_CALLS * each / self.told_per_s, LOOK_SHARE * self.seen_s)
            return max(grain_s, self.bucket_s or min(MINUTE_S, self.seen_s + more_s))
        measured = self.learned_per_s is not None and self.ceiling_per_s is None
        return max(grain_s, self.burst_s if measured else SEARCH_BURST_S)

    def room(self, now_s: float, each: float, grain_s: float, *, unmetered: bool = False) -> int | None:
        """How many takings of `each` units fit now; None without a limit. One that is larger than the whole burst
        fits when nothing is in use."""
        rate = self.rate(now_s, unmetered=unmetered)
        if rate is None or each <= 0:
            return None
        cost_s = each / rate
        in_use_s = max(0.0, self.full_at_s - now_s)
        free_s = self.burst(grain_s, each) - (in_use_s + self._edge_s if in_use_s else 0.0)
        if free_s >= cost_s:
            return int(free_s / cost_s + 1e-9)
        return 1 if self.full_at_s <= now_s else 0

    def ready_at(self, now_s: float, units: float, grain_s: float, *, unmetered: bool = False) -> float:
        """When `units` will fit, if nobody else takes any."""
        rate = self.rate(now_s, unmetered=unmetered)
        if rate is None:
            return now_s
        burst_s = self.burst(grain_s, units)
        ready_s = self.full_at_s + min(units / rate, burst_s) - burst_s + self._edge_s
        if self.looking(now_s):
            ready_s = min(ready_s, self.looked_at_s + max(LOOK_S, grain_s))
        return max(now_s, ready_s)

    def take(self, now_s: float, units: float, *, unmetered: bool = False) -> "Meter":
        """With `units` more in use; negative ones are given back."""
        rate = self.rate(now_s, unmetered=unmetered)
        fading = math.exp(-max(0.0, now_s - self.recent_at_s) / RECENT_S)
        return replace(
            self,
            full_at_s=self.full_at_s if rate is None else max(self.full_at_s, now_s) + units / rate,
            recent=max(0.0, self.recent * fading + units),
            recent_at_s=max(now_s, self.recent_at_s),
            taken=self.taken + units if self.since_s else max(0.0, units),
            since_s=self.since_s or now_s,
        )

    def at_look(self, now_s: float) -> "Meter":
        """With what is in use, if this is the moment of a look."""
        return replace(self, looked_s=max(0.0, self.full_at_s - now_s)) if self.looked_at_s == now_s else self

    def throttled(self, now_s: float, started_s: float, each: float, grain_s: float) -> "Meter":
        """After a refusal of a call that asked for `each` units and started at `started_s`: nothing is left.

        Calls that had started before the fleet could know of the last throttle say nothing new.
        """
        if self.throttles and started_s <= self.throttled_at_s + max(LEARNED_BURST_S, grain_s):
            return self
        seen = replace(self, throttles=self.throttles + 1, throttled_at_s=now_s, taken=0.0, since_s=now_s)
        learned = seen._measured(self, now_s, each, grain_s)
        rate = learned.rate(now_s) or SEARCH_FROM
        if learned.learned_per_s is None:  # a told rate, still believed: a call's room keeps it off the bucket's edge
            pause_s = each / rate
        else:
            pause_s = max(0.5, 2 * each / rate) if self.throttles < 2 else max(0.25, each / rate)
        return replace(learned, full_at_s=now_s + learned.burst(grain_s) + min(pause_s, MINUTE_S))

    def told(self, per_s: float | None) -> "Meter":
        """The same with another told limit."""
        return self if per_s == self.told_per_s else replace(self, told_per_s=per_s)

    def fresh(self, now_s: float) -> "Meter":
        """Without what is too old to be believed, and without a learned limit that a told one has outgrown."""
        if self.recent_at_s and now_s - self.recent_at_s > FORGET_S:
            return Meter(told_per_s=self.told_per_s)
        learned, told = self.learned_per_s, self.told_per_s
        if learned is None or told is None:
            return self
        if now_s - self.throttled_at_s <= 2 * self.hold_s or self._learned(now_s) < told:
            return self
        told_again = replace(self, learned_per_s=None, throttles=0, seen_s=LEAST_BUCKET_S, taken=0.0, since_s=now_s)
        # the burst of a told rate must not come all at once
        return replace(told_again, full_at_s=max(self.full_at_s, now_s + told_again.burst(0.0) - self.burst_s))

    def _recent(self, now_s: float) -> float:
        return self.recent * math.exp(-max(0.0, now_s - self.recent_at_s) / RECENT_S)

    def _learned(self, now_s: float) -> float:
        """Until there is a measure: fast growth up to what was refused, then slow growth. With one: from
        `1 - dip` of it along a cubic, slowest at `hold_s`, where the limit is believed to be."""
        per_s = self.learned_per_s or 0.0
        elapsed_s = max(0.0, now_s - self.throttled_at_s)
        if self.ceiling_per_s is not None:
            fast_s = math.log(max(1.0, self.ceiling_per_s / per_s)) / _GROWTH
            slow_s = min(max(0.0, elapsed_s - fast_s), 100.0)
            return per_s * math.exp(_GROWTH * min(elapsed_s, fast_s)) * math.exp(_GROWTH / 10 * slow_s)
        x = min((elapsed_s - self.hold_s) / self.hold_s, 10.0)
        return per_s * (1 + (self.dip if x < 0 else _OVER) * x**3)

    def _measured(self, before: "Meter", now_s: float, each: float, grain_s: float) -> "Meter":
        elapsed_s = max(now_s - before.since_s, 1e-3)
        allowed = before.rate(now_s) or before._recent(now_s)
        if before.learned_per_s is None:
            return self._first(before, now_s, elapsed_s, each)
        taken = max(0.0, before.taken)  # more may have come back than was taken since
        at_most = (taken + each) / elapsed_s
        calls = taken / max(each, 1e-9)
        busy = before.taken >= BUSY * before.learned_per_s * elapsed_s
        if before.ceiling_per_s is not None:
            if not busy and calls >= SURE_FROM:  # nobody came near the allowed: a stray refusal
                return replace(self, learned_per_s=allowed, ceiling_per_s=max(before.ceiling_per_s, allowed))
            return self._learn(min(at_most, allowed), calls, each)
        if calls >= SURE_FROM and (not busy or elapsed_s < before.hold_s):
            return self  # refused once below what has been taken for longer: a stray one, or others took a little
        if busy:
            credit_s = before.burst(grain_s) - max(0.0, before.full_at_s - now_s)
            burst_s = before.burst_s * 1.5 if credit_s <= LEARNED_BURST_S else before.burst_s / 2
            learned = replace(self, burst_s=min(LONGEST_BURST_S, max(LEARNED_BURST_S, burst_s)))
            return learned._learn(min(at_most, allowed), calls, each)
        # Others take from this quota too, or saved-up room that we believed in was not there.
        return self._learn(allowed * 0.7, SURE_FROM, each)

    def _first(self, before: "Meter", now_s: float, elapsed_s: float, each: float) -> "Meter":
        """Between what a bucket of a minute would have let through and the rate at which it refused."""
        refused = max(before._recent(now_s) / RECENT_S, 1.0)
        if before.told_per_s is not None:
            bucket_s = before._bucket(elapsed_s, each)
            if bucket_s is not None:
                return replace(self, bucket_s=bucket_s)
            return self._learn(before.told_per_s * 0.9, SURE_FROM, each)
        from_minute = before.taken / (MINUTE_S + elapsed_s)
        return replace(self, learned_per_s=math.sqrt(max(from_minute, 0.01) * refused), ceiling_per_s=max(refused, 0.1))

    def _bucket(self, elapsed_s: float, each: float) -> float | None:
        """Seconds of the told rate that its bucket holds, after a refusal; None if that does not explain it."""
        assert self.told_per_s is not None
        if self.bucket_s is None:
            # what was drawn and not yet called is in `taken`, and was not in the bucket
            bucket_s = (self.taken / self.told_per_s - elapsed_s) * 0.8
            return min(MINUTE_S, bucket_s) if bucket_s * self.told_per_s >= each else None
        if self.throttles < TOLD_REFUSALS or self.taken >= CYCLE_CALLS * each:
            return self.bucket_s / 2
        return None

    def _learn(self, per_s: float, calls: float, each: float) -> "Meter":
        calls_per_s = max(per_s / max(each, 1e-9), 1e-3)
        sure = calls >= SURE_FROM
        return replace(
            self,
            learned_per_s=per_s,
            ceiling_per_s=None,
            burst_s=max(self.burst_s, min(USEFUL_BURST_S, USEFUL_CALLS / calls_per_s)),
            dip=0.1 if sure else 0.25,
            hold_s=max(8.0, CYCLE_CALLS / calls_per_s) if sure else max(2.0, SURE_FROM / calls_per_s / 2),
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """The two meters of one region, quota family and model, and what is known of its calls' true size."""

    requests: Meter = Meter()
    tokens: Meter = Meter()
    input_ratio: float = 1.0  # true input tokens / estimated ones
    output_ratio: float = 1.0  # true output tokens / max_tokens
    answers: int = 0
    draws: float = 0.0  # the fleet's in the last second, fading
    drawn_at_s: float = 0.0

    @property
    def _by_tokens(self) -> bool:
        """Some models have a limit of tokens alone: requests are limited only once they have been refused."""
        return self.tokens.told_per_s is not None

    @property
    def spread(self) -> bool:
        """Whether what was drawn, and was less than was asked for, should be called evenly until the next draw: where a
        bucket's size is not sure, the first call that is refused lets the rest be given back."""
        return self.requests.told_per_s is None or bool(self.requests.throttles or self.tokens.throttles)

    def fresh(self, now_s: float) -> "Pool":
        """Without what is too old to be believed."""
        return replace(self, requests=self.requests.fresh(now_s), tokens=self.tokens.fresh(now_s))

    def looked(self, now_s: float, grain_s: float) -> "Pool":
        """With what has been seen of its buckets."""
        return replace(self, requests=self.requests.looked(now_s, grain_s), tokens=self.tokens.looked(now_s, grain_s))

    def room(self, now_s: float, tokens_each: float, grain_s: float) -> int | None:
        """How many calls of `tokens_each` quota tokens may start now; None without any limit."""
        rooms = (
            self.requests.room(now_s, 1, grain_s, unmetered=self._by_tokens),
            self.tokens.room(now_s, tokens_each, grain_s, unmetered=True),
        )
        known = [room for room in rooms if room is not None]
        return min(known) if known else None

    def ready_at(self, now_s: float, calls: int, tokens_each: float, grain_s: float) -> float:
        """When so many calls may start, or as many as ever may at once."""
        return max(
            self.requests.ready_at(now_s, calls, grain_s, unmetered=self._by_tokens),
            self.tokens.ready_at(now_s, calls * tokens_each, grain_s, unmetered=True),
        )

    def pause_s(self, now_s: float, calls: int, tokens_each: float, grain_s: float) -> float:
        """Until a pool that had less than was asked for is asked again: when some calls at once have room in it, and
        before its buckets are full, for what flows in then is lost."""
        meters = (self.requests, self.tokens)
        if self.requests.searching or any(meter.ceiling_per_s is not None for meter in meters):
            return SEARCH_DRAW_S
        if any(meter.learned_per_s is not None for meter in meters):
            return DRAW_S
        if any(meter.looking(now_s) for meter in meters):
            return LOOK_S
        filled_s = min(meter.burst(grain_s) for meter in meters if meter.told_per_s is not None or meter.throttles) / 2
        if self.draws > 2 * _second_s(grain_s) / max(filled_s, SEARCH_DRAW_S):
            return DRAW_S  # others draw, too: together often enough
        ready_s = self.ready_at(now_s, calls, tokens_each, grain_s) - now_s
        return min(DRAW_S, max(SEARCH_DRAW_S, min(ready_s, filled_s)))

    def drawn(self, now_s: float, grain_s: float) -> "Pool":
        """After a draw."""
        fading = math.exp(-max(0.0, now_s - self.drawn_at_s) / _second_s(grain_s))
        return replace(self, draws=self.draws * fading + 1, drawn_at_s=max(now_s, self.drawn_at_s))

    def take(self, now_s: float, requests: float, tokens: float) -> "Pool":
        """With so much more in use; negative numbers are given back."""
        return replace(
            self,
            requests=self.requests.take(now_s, requests, unmetered=self._by_tokens) if requests else self.requests,
            tokens=self.tokens.take(now_s, tokens, unmetered=True) if tokens else self.tokens,
        )

    def throttled(self, now_s: float, throttle: "Throttle", grain_s: float) -> "Pool":
        """After a refusal for requests, for tokens, or (not said) for whichever is likelier."""
        if throttle.tokens:
            return replace(
                self, tokens=self.tokens.throttled(now_s, throttle.started_s, max(throttle.size_tokens, 1.0), grain_s)
            )
        return replace(self, requests=self.requests.throttled(now_s, throttle.started_s, 1.0, grain_s))

    def answered(self, seen: "Seen") -> "Pool":
        """Calibrated by ended calls: the newest hundred or so weigh."""
        if not seen.answers:
            return self
        weight = seen.answers / min(self.answers + seen.answers, 100 + seen.answers)
        return replace(
            self,
            answers=self.answers + seen.answers,
            input_ratio=self.input_ratio
            + weight * (seen.input_tokens / max(seen.estimated_tokens, 1) - self.input_ratio),
            output_ratio=self.output_ratio
            + weight * (seen.output_tokens / max(seen.max_tokens, 1) - self.output_ratio),
        )


@dataclass(frozen=True, slots=True)
class Throttle:
    """A refusal: `tokens` if it was for tokens, else for requests; when the refused call had started, and its size."""

    tokens: bool
    started_s: float
    size_tokens: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Sums over ended calls: estimated and true input, allowed and true output tokens."""

    answers: int = 0
    estimated_tokens: int = 0
    input_tokens: int = 0
    max_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Dealings:
    """What one container has to tell and asks of a pool, in one update: what it gives back (negative) or owes, the
    refusals it met, and up to `calls` calls of `tokens_each` that it wants to start. What refused calls had taken is
    not given back: a refusal means that nothing is left."""

    requests: float = 0.0
    tokens: float = 0.0
    throttles: tuple[Throttle, ...] = ()
    seen: Seen = Seen()
    calls: int = 0
    tokens_each: float = 0.0


def deal(pool: Pool, now_s: float, dealings: Dealings, grain_s: float) -> tuple[Pool, int]:
    """The pool after the dealings, and how many of the wanted calls may start."""
    after = pool.fresh(now_s).looked(now_s, grain_s)
    after = after.take(now_s, dealings.requests, dealings.tokens).answered(dealings.seen)
    for throttle in dealings.throttles:
        after = after.throttled(now_s, throttle, grain_s)
    if not dealings.calls:
        return after, 0
    after = after.drawn(now_s, grain_s)
    room = after.room(now_s, dealings.tokens_each, grain_s)
    calls = dealings.calls if room is None else min(room, dealings.calls)
    after = after.take(now_s, calls, calls * dealings.tokens_each) if calls else after
    return replace(after, requests=after.requests.at_look(now_s), tokens=after.tokens.at_look(now_s)), calls


def _second_s(grain_s: float) -> float:
    """A second of the wall clock, in product seconds."""
    return max(1.0, SECOND_GRAINS * grain_s)
