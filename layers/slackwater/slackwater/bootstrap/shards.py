"""What the functions share that deal with batch jobs: place, tick and work."""

from functools import cached_property
from typing import Any

from slackwater.adapters.bedrock_batch import ONE_ATTEMPT, BatchJobs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.slots import SlotLedger
from slackwater.adapters.shard_files import ShardFiles
from slackwater.adapters.store import Store
from slackwater.bootstrap.reckoned import ReckonedKit
from slackwater.usecases.stage import Stage


class ShardsKit(ReckonedKit):
    """Shards: their ledger, their files in the regions' buckets, and their jobs."""

    @cached_property
    def regional(self) -> dict[str, Store]:
        """The batch buckets, each by a client of its own region."""
        return {
            region: Store(self.client("s3", region), bucket) for region, bucket in self.settings.batch_buckets.items()
        }

    @cached_property
    def shards(self) -> ShardLedger:
        return ShardLedger(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def shard_files(self) -> ShardFiles:
        return ShardFiles(self.store, self.regional)

    @cached_property
    def stage(self) -> Stage:
        forecasts = self.forecasts.by_region
        return Stage(shards=self.shards, files=self.shard_files, clock=self.clock, forecasts=forecasts)

    @cached_property
    def slot_ledger(self) -> SlotLedger:
        return SlotLedger(self.table, self.clock, retain_days=self.settings.retain_days)

    @cached_property
    def batch_jobs(self) -> BatchJobs:
        clients: dict[str, Any] = {}

        def client(region: str) -> Any:
            if region not in clients:
                clients[region] = self._session.client("bedrock", region_name=region, config=ONE_ATTEMPT)
            return clients[region]

        buckets = self.settings.batch_buckets
        roles = {region: self.settings.batch_role(region) for region in buckets}
        return BatchJobs(client, buckets=buckets, roles=roles, now=self.clock.now)
