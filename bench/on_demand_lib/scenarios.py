"""What is asked of every contender, in numbers. The targets are ours to reach; the peers are measured beside them."""

from typing import Final

from bench.on_demand_lib.world import Offer, Region, Scenario, World, steady

REGIONS: Final = ("us-west-2", "us-east-1", "us-east-2")
WEIGHTS: Final = (5, 3, 2)
FIRST_PROBLEM_S: Final = 2.0
MINUTE_S: Final = 60.0


def _world(
    seed: int,
    *,
    burst_s: float = MINUTE_S,
    weighted: bool = False,
    down: dict[str, tuple[float, float]] | None = None,
    requests_per_s: float | None = None,
    tokens_per_s: float | None = None,
    latency_s: float = 0.3,
    **more: object,
) -> World:
    regions = {
        name: Region(
            requests_per_s=requests_per_s,
            tokens_per_s=tokens_per_s,
            latency_s=latency_s,
            weight=weight if weighted else 1,
            down=(down[name],) if down and name in down else (),
        )
        for name, weight in zip(REGIONS, WEIGHTS, strict=True)
    }
    return World(regions, seed=seed, burst_s=burst_s, **more)  # type: ignore[arg-type]


def scenarios(*, seed: int, quick: bool) -> list[Scenario]:
    """All scenarios, in order. `quick` makes them short enough for a look, too short to be quoted.

    A bucket holds a minute of its rate where nothing else is said, as the quotas are counted by the minute. How AWS
    refills is not published; hence the same overload with buckets of a second, which nobody is told.
    """
    share = 0.4 if quick else 1.0
    always = (0.0, 1e9)
    free = _world(seed, latency_s=0.0)
    weighted = _world(seed, weighted=True, latency_s=0.2)
    half_dead = _world(seed, weighted=True, latency_s=0.2, down={REGIONS[0]: always}, down_latency_s=0.2)
    minute = _world(seed, requests_per_s=1 / 3)
    fuller = _world(seed, requests_per_s=1)
    brim = _world(seed, requests_per_s=6, burst_s=1.0)
    unknown = _world(seed, requests_per_s=20, burst_s=1.0)
    by_tokens = _world(
        seed, tokens_per_s=600, latency_s=0.5, burn_down=5, words=100, max_tokens=1000,
        output_tokens=(50, 150), output_tokens_per_s=100,
    )  # fmt: skip
    outage = (FIRST_PROBLEM_S, FIRST_PROBLEM_S + 3)
    all_out = _world(seed, requests_per_s=15, burst_s=1.0, down=dict.fromkeys(REGIONS, outage), down_latency_s=0.2)
    calls_1, calls_16 = (60, 160) if quick else (120, 480)
    long_s, tokens_s, herd_s, fleet_s = 20 * share, 10 * share, 20.0, 20 * share
    in_20_s = 3 * (60 + 20)
    return [
        Scenario("overhead-1", free, _many(calls_1), 0, 120, closed=1, about="one at a time, no latency, no quota"),
        Scenario("overhead-16", free, _many(calls_16), 0, 120, closed=16, about="16 at once, no latency, no quota"),
        Scenario("weights", weighted, steady(25, 8), 0, 40, shares=True, about="200 jobs over 5 : 3 : 2, room for all"),
        Scenario(
            "dead region", half_dead, steady(25, 8), 0, 60, shares=True,
            about="200 jobs, the region of weight 5 answers 503; shares of the other two",
        ),
        Scenario(
            "overload 2 s", minute, steady(62, 2), 2, 2 + 90,
            about="124 jobs in 2 s at 3 × 20 requests a minute: twice what the minute's bucket and its refill hold",
        ),
        Scenario(
            "overload 20 s", fuller, steady(2 * in_20_s / 20, 20), 20, 20 + 110,
            about=f"{2 * in_20_s} jobs in 20 s at 3 × 60 requests a minute: again twice",
        ),
        Scenario(
            "short bucket", brim, steady(36, long_s), long_s, long_s * 2 + 35,
            about=f"{36 * long_s:.0f} jobs in {long_s:g} s at 3 × 6 a second: twice; buckets of a second, not told",
        ),
        Scenario(
            "unknown quota", unknown, steady(120, long_s), long_s, long_s * 2 + 35, told=False,
            about=f"{120 * long_s:.0f} jobs in {long_s:g} s at 3 × 20 a second: twice; buckets of a second; not told",
        ),
        Scenario(
            "token quota", by_tokens, steady(40, tokens_s), tokens_s, tokens_s + 110,
            about=f"{40 * tokens_s:.0f} jobs, max_tokens 1,000, used 100 × 5, at 3 × 36,000 tokens a minute",
        ),
        Scenario(
            "herd", all_out, steady(30, herd_s), herd_s, 80,
            about=f"{30 * herd_s:.0f} jobs in {herd_s:g} s at 3 × 15 a second; all regions are down from 2 s to 5 s",
        ),
        Scenario(
            "20 containers", brim, steady(27, fleet_s), fleet_s, fleet_s * 1.5 + 35, containers=20,
            about=f"{27 * fleet_s:.0f} jobs at 1.5 times the quota by 20 instances; buckets of a second",
        ),
    ]  # fmt: skip


def _many(number: int) -> tuple[Offer, ...]:
    return tuple(Offer(n, 0.0) for n in range(number))
