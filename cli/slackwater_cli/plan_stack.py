"""What a deployed stack tells a plan: its profiles, where it can run batch jobs, how fast it calls, what it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from slackwater.adapters.ledger.canaries import Canaries
from slackwater.adapters.ledger.history import History as EndedJobs
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.profiles import ProfileStore
from slackwater.adapters.store import Store
from slackwater.model.profile import Profiles
from slackwater.policy.canary import Asked
from slackwater.policy.capability import Capability
from slackwater.policy.learned import History, Ratios
from slackwater.policy.prices import PriceBook
from slackwater.policy.profile_check import offer_of
from slackwater.policy.quota import Pool
from slackwater.settings import DRAIN_JOBS_PER_S
from slackwater.usecases.drains import Drains
from slackwater.usecases.forecasts import Forecasts
from slackwater.usecases.planner import Stack
from slackwater.usecases.quotas import pools_in_force
from slackwater_cli.connection import Connection


@dataclass(frozen=True)
class Told:
    """As the stack's own Plan step has it at this moment."""

    profiles: Profiles
    stack: Stack
    learned: History
    forecasts: Forecasts
    drains: Drains
    canaries: Callable[[str], Asked]
    now: datetime


def told_by(connection: Connection, capability: Capability, prices: PriceBook) -> Told:
    """Asks the stack; changes nothing. Raises Complaint, ConfigurationError, and botocore's errors."""
    table = Table(connection.client("dynamodb", None), connection.output("TableName"))
    store = Store(connection.client("s3", None), connection.output("BucketName"))
    profiles = ProfileStore(store).current()[0]
    quotas = QuotaLedger(table)
    offers = {name: offer_of(name, one, capability, prices) for name, one in profiles.profiles.items()}
    pools = [(pool.name, quotas.get(pool.name)[0]) for pool in pools_in_force(offers)]
    parameters = _parameters(connection)
    calls_per_s = float(parameters.get("DrainJobsPerSecond") or DRAIN_JOBS_PER_S)
    satellites = connection.outputs.get("SatelliteRegions", "").split(",")
    regions = {connection.region, *(region.strip() for region in satellites if region.strip())}
    return Told(
        profiles=profiles,
        stack=Stack(
            batch_regions=tuple(sorted(regions)),
            batch_enabled=parameters.get("BatchEnabled", "true") == "true",
            drain_jobs_per_s=calls_per_s,
        ),
        learned=ratios_of(pools),
        forecasts=Forecasts(history=EndedJobs(table), clock=connection.clock),
        drains=Drains(quotas=quotas, clock=connection.clock, assumed=calls_per_s),
        canaries=Canaries(table, connection.clock).get,
        now=connection.clock.now(),
    )


def ratios_of(pools: Iterable[tuple[str, Pool]]) -> History:
    """The running means of a model's pools (named `region|family|model`) together, by their answers."""
    sums: dict[str, tuple[int, float, float]] = {}
    for name, pool in pools:
        answers, read, written = sums.get(model := name.split("|")[2], (0, 0.0, 0.0))
        more = pool.answers
        sums[model] = answers + more, read + more * pool.input_ratio, written + more * pool.output_ratio
    return History(
        ratios={
            model: Ratios(read / answers, written / answers, answers)
            for model, (answers, read, written) in sums.items()
            if answers
        }
    )


def _parameters(connection: Connection) -> dict[str, str]:
    stacks = connection.client("cloudformation", None).describe_stacks(StackName=connection.stack)["Stacks"]
    return {one["ParameterKey"]: one["ParameterValue"] for one in stacks[0].get("Parameters", [])}
