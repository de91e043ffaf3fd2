"""What the command knows of runs: `slackwater.usecases.inspect` over a connection, and what only a screen wants."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from slackwater.adapters.bedrock_batch import BatchJobs
from slackwater.adapters.ledger.health import RouteHealth
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.run_jobs import RunJobs
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.profiles import ProfileStore
from slackwater.adapters.store import Store
from slackwater.model import names
from slackwater.model.batch_job import BatchCallFailed, BatchJob
from slackwater.model.clock import ScaledClock
from slackwater.model.errors import BadInput, ConfigurationError, Missing
from slackwater.model.profile import Profiles
from slackwater.model.shard import Shard, ShardState
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.policy.routes import flex_routes, resolve_routes
from slackwater.usecases.inspect import Inspect, Progress
from slackwater.usecases.run_report import NAME, RunReport
from slackwater_cli.connection import Connection
from slackwater_cli.errors import Complaint
from slackwater_cli.screen import Screen

PARTS_S: Final = 2.0  # real seconds between two looks at a run's parts
RESTS_S: Final = 3.0  # real seconds between two looks at the health of a profile's routes
AWAITED_S: Final = 15.0  # real seconds that a dropped file may take to become a run
READ_PARTS: Final = 2_000  # parts of one run that are read for the live count; above it the receipt tells


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment, as the screen shows it. `jobs` is what Bedrock says of the shards, by shard id."""

    progress: Progress
    by_region: Mapping[str, int]
    jobs: Mapping[str, BatchJob]
    resting: Mapping[str, datetime]

    @property
    def done(self) -> int:
        """Jobs with a final row; stored parts are seen a little earlier than the ledger counts them."""
        return max(self.progress.done, min(sum(self.by_region.values()), self.progress.accepted or 0))


class CloudReader:
    """Reads one stack; nothing here changes it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.clock: ScaledClock = connection.clock
        self._table = table = Table(connection.client("dynamodb", None), connection.output("TableName"))
        self.store = Store(connection.client("s3", None), connection.output("BucketName"))
        self.inspect = Inspect(
            runs=Runs(table, self.clock, retain_days=1),
            shards=ShardLedger(table, self.clock, retain_days=1),
            items=table,
            documents=self.store,
        )
        self._bedrock: dict[str, Any] = {}
        self._jobs = BatchJobs(self._bedrock_client, buckets={}, roles={})
        self._ended: dict[str, BatchJob] = {}
        self._tallies: dict[str, PartTally] = {}
        self._routes: dict[str, tuple[str, ...]] = {}
        self._resting_known: dict[str, tuple[float, Mapping[str, datetime]]] = {}
        self._health = RouteHealth(table, self.clock, random.Random(0))  # noqa: S311  (reads only: nothing is drawn)

    def run_of(self, name: str) -> str:
        """The run that `name` means. Raises Complaint for an unknown one."""
        found = self.inspect.run_of(name, self.profiles().profiles, self.clock.now())
        if found is None:
            raise Complaint(
                f"no run is called {name} in stack {self.connection.stack}: `slackwater runs` lists those there are",
                code="unknown_run",
            )
        return found

    def awaited(self, name: str, screen: Screen) -> str:
        """As `run_of`, but waits some seconds for a run that was asked for a moment ago. Raises Complaint."""
        started = time.monotonic()
        while True:
            try:
                return self.run_of(name)
            except Complaint:
                if time.monotonic() - started > AWAITED_S:
                    raise
            if time.monotonic() - started < 1:
                screen.note(f"no run is called {name} yet; looking for {AWAITED_S:g} s")
            time.sleep(1)

    def profiles(self) -> Profiles:
        """The profiles of the stack: its own document, or the shipped one."""
        return ProfileStore(self.store).current()[0]

    def snapshot(self, run_id: str) -> Snapshot | None:
        """The run now; None while nobody has opened it."""
        progress = self.inspect.progress(run_id)
        if progress is None:
            return None
        return Snapshot(
            progress,
            self._tally(progress),
            {shard.id: job for shard, job in self._asked(progress)},
            self._resting(progress),
        )

    def receipt(self, run_id: str) -> dict[str, Any] | None:
        """The run's receipt, None while there is none."""
        return self.inspect.receipt(run_id)

    def uris(self, run_id: str) -> dict[str, str]:
        """Where the run's finished files lie: name → `s3://…`."""
        return {name: f"s3://{self.store.bucket}/{key}" for name, key in self.inspect.outputs(run_id).items()}

    def download(self, run_id: str, folder: Path) -> list[Path]:
        """Writes the run's finished files into `folder`, each whole or not at all, streamed; gives their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, key in self.inspect.outputs(run_id).items():
            partial, path = folder / f".{name}.partial", folder / name
            with partial.open("wb") as file:
                for chunk in self.store.stream(key):
                    file.write(chunk)
            partial.replace(path)
            written.append(path)
        return written

    def report(self, run_id: str, *, rebuild: bool = False) -> tuple[bytes, bool]:
        """The run's report, and whether it was made here because the run has none (or `rebuild`). Raises Missing for a
        run without files."""
        if not rebuild:
            try:
                return self.store.get(names.run_key(run_id, NAME)), False
            except Missing:
                pass
        table = self._table
        maker = RunReport(
            documents=self.store,
            runs=Runs(table, self.clock, retain_days=1),
            jobs=RunJobs(table),
            quotas=QuotaLedger(table),
            profiles=ProfileStore(self.store),
            clock=self.clock,
        )
        return maker.rebuilt(run_id, self.rows(run_id)).encode(), True

    def rows(self, run_id: str) -> Iterator[bytes]:
        """`results.jsonl`, in pieces. Raises Missing while there is none."""
        return self.store.stream(names.run_key(run_id, "results.jsonl"))

    def workflow_failure(self, run_id: str) -> str | None:
        """Why the run's workflow has ended without settling it; None while it works, or where it cannot be asked."""
        arn = self.connection.outputs.get("RunWorkflowArn")
        if arn is None:
            return None
        from botocore.exceptions import ClientError  # noqa: PLC0415

        execution = f"{arn.replace(':stateMachine:', ':execution:')}:{run_id}"
        try:
            found = self.connection.client("stepfunctions", None).describe_execution(executionArn=execution)
        except ClientError:
            return None  # not started yet, or not ours to ask
        return (
            None
            if found["status"] in ("RUNNING", "SUCCEEDED")
            else f"{found['status']} {found.get('error', '')}".strip()
        )

    def _tally(self, progress: Progress) -> Mapping[str, int]:
        tally = self._tallies.setdefault(progress.run_id, PartTally(self.store, progress.run_id))
        return tally.read(time.monotonic(), whole=progress.ended)

    def _asked(self, progress: Progress) -> Iterator[tuple[Shard, BatchJob]]:
        for shard in progress.shards:
            if shard.arn is None or shard.state is ShardState.SETTLED:
                continue
            job = self._ended.get(shard.arn) or self._ask(shard)
            if job is not None:
                yield shard, job

    def _ask(self, shard: Shard) -> BatchJob | None:
        assert shard.arn is not None
        try:
            job = self._jobs.get(shard.region, shard.arn)
        except BatchCallFailed:
            return None  # the ledger's own state is shown
        if job is not None and job.ended:
            self._ended[shard.arn] = job
        return job

    def _bedrock_client(self, region: str) -> Any:
        if region not in self._bedrock:
            self._bedrock[region] = self.connection.client("bedrock", region)
        return self._bedrock[region]

    def _resting(self, progress: Progress) -> Mapping[str, datetime]:
        if progress.ended:
            return {}
        if progress.profile not in self._routes:
            self._routes[progress.profile] = self._names_of_routes(progress.profile)
        known = self._resting_known.get(progress.profile)
        if known is None or time.monotonic() - known[0] > RESTS_S:
            known = (time.monotonic(), self._health.resting(self._routes[progress.profile]))
            self._resting_known[progress.profile] = known
        return known[1]

    def _names_of_routes(self, profile: str) -> tuple[str, ...]:
        """Empty where the profile is gone or no longer fits: the run that pinned it goes on all the same."""
        capability = load_capability()
        try:
            routes = resolve_routes(self.profiles().named(profile), capability, load_price_book())
        except (BadInput, ConfigurationError):
            return ()
        return tuple(route.name for route in (*routes, *flex_routes(routes, capability)))


class PartTally:
    """Counts the answers of a run by region as its parts come in; each part is read once."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._prefix = names.parts_prefix(run_id)
        self._seen: set[str] = set()
        self._regions: Counter[str] = Counter()
        self._read_at = -PARTS_S

    def read(self, now_s: float, *, whole: bool = False) -> Mapping[str, int]:
        """Answers by region, of the first 2,000 parts; looks every two seconds, and when the run is `whole`."""
        if (whole or now_s - self._read_at >= PARTS_S) and len(self._seen) < READ_PARTS:
            self._read_at = now_s
            for key in self._store.keys(self._prefix):
                if key not in self._seen and "/refused." not in key:
                    self._seen.add(key)
                    self._add(self._store.get(key))
        return dict(self._regions)

    def _add(self, body: bytes) -> None:
        for line in body.splitlines():
            region = orjson.loads(line).get("region")
            if region is not None:
                self._regions[region] += 1
