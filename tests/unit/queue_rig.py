"""A job queue's worker in memory: the real use cases and ledger, moto's table, fakes at the edges."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.jobs import Jobs
from slackwater.adapters.ledger.pools import Pools
from slackwater.adapters.ledger.queue_runs import QueueRuns
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.runs import Runs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.adapters.ledger.table import Table
from slackwater.adapters.ledger.workers import LEASE_S, Workers
from slackwater.model import names
from slackwater.model.claim import Inbound, Room
from slackwater.model.clock import later
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import load_price_book
from slackwater.usecases.asked import Reader
from slackwater.usecases.cancel import CancelRun
from slackwater.usecases.cancelled import CancelledRuns
from slackwater.usecases.claims import Claims
from slackwater.usecases.drains import Drains
from slackwater.usecases.engine import Engine
from slackwater.usecases.forecasts import Forecasts, Priors
from slackwater.usecases.lanes import QueueLanes
from slackwater.usecases.onward import Onward
from slackwater.usecases.parts import Parts
from slackwater.usecases.pooled import Latest
from slackwater.usecases.pools import PoolIntake, PoolKeeper
from slackwater.usecases.queue_runs import Closing, Results
from slackwater.usecases.replies import Replies, ReplyFailed
from slackwater.usecases.route import Outcome, Router
from slackwater.usecases.routing import Routing
from slackwater.usecases.run_profiles import RunProfiles
from slackwater.usecases.settle import Settle
from tests.unit.rig import Bucket, Doors, Executions, Model, Outbox, Rested, StillClock

REPLY_ARN = "arn:aws:sqs:us-east-1:000000000000:replies"
FULL = 5  # jobs a pool takes here
BATCH_REGIONS = ("us-west-2", "us-east-1")
PRICES, CAPABILITY = load_price_book(), load_capability()


class Killed(BaseException):
    """SIGKILL, as far as a test can have it: nothing after it runs."""


class ReplyBox:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.broken = False

    def send(self, arn: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        if self.broken:
            raise ReplyFailed("AWS.SimpleQueueService.NonExistentQueue")
        self.sent += [dict(body) for body in bodies]


class Heart:
    def __init__(self) -> None:
        self.dropped: dict[str, int | None] = {}

    def drop(self, receipt: str, hidden_s: int | None = None) -> None:
        self.dropped[receipt] = hidden_s


class Applied:
    """The documents that were put into force, one after the other."""

    def __init__(self) -> None:
        self.documents = {"v1": Profiles.from_bytes(shipped_profiles())}

    def current(self) -> tuple[Profiles, str]:
        version = next(reversed(self.documents))
        return self.documents[version], version

    def pinned(self, version: str) -> Profiles:
        return self.documents[version]

    def apply(self, name: str = "default", **changes: Any) -> None:
        """A new version, with the profile `name` changed (or without it)."""
        now, _ = self.current()
        profiles = dict(now.profiles)
        old = profiles.pop(name)
        if changes:
            profiles[name] = old.model_copy(update=changes)
        self.documents[f"v{len(self.documents) + 1}"] = now.model_copy(update={"profiles": profiles})


class QueueWorld:
    """Everything a worker shares with the others; `work` is one invocation of one worker."""

    def __init__(self, table: Table, bucket: Bucket, clock: StillClock, *, full: int = FULL) -> None:
        self.table, self.bucket, self.clock = table, bucket, clock
        self.model, self.queue, self.replies = Model(), Outbox(), ReplyBox()
        self.workflow, self.asked_to_close = Executions(), []
        self.health = Rested(clock)
        self.jobs, self.queue_runs = Jobs(table, clock), QueueRuns(table, clock)
        self.workers, self.pools = Workers(table, clock), Pools(table, clock, self.jobs)
        self.runs = Runs(table, clock, retain_days=30)
        self.parts = Parts(bucket)
        settle = Settle(runs=self.runs, packs=Outbox(), workflow=self.workflow)
        answers = Replies(queues=self.replies, jobs=self.jobs, parts=self.parts, bucket="home")
        self.results = Results(jobs=self.jobs, parts=self.parts, replies=answers, look=settle.look)
        self.closing = Closing(
            runs=self.queue_runs,
            jobs=self.jobs,
            results=self.results,
            workflow=self.workflow,
            clock=clock,
            ask_tick=self.asked_to_close.append,
        )
        self.cancelled = CancelledRuns(self.runs, clock)
        self.cancel_run = CancelRun(
            runs=self.runs,
            shards=ShardLedger(table, clock),
            fail_units=lambda run_id, code, only=None: 0,
            closing=self.closing,
            pools=self.pools,
            results=self.results,
            look=settle.look,
            clock=clock,
        )
        rng = random.Random(1)
        self.onward = Onward(queue=self.queue, documents=bucket, jobs=self.jobs, clock=clock, rng=rng)
        self.keeper = PoolKeeper(
            pools=self.pools, jobs=self.jobs, documents=bucket, onward=self.onward, settle=settle, clock=clock
        )
        self.forecasts = Forecasts(history=History(table), clock=clock)
        self.applied = Applied()
        self.profiles = profiles = RunProfiles(self.applied, self.queue_runs)
        self.router = Router(
            read=Reader(profiles=profiles.at_door, documents=bucket, reply_queue_arns=(REPLY_ARN,)),
            claims=Claims(
                jobs=self.jobs,
                runs=self.queue_runs,
                fate=self.workers.fate,
                parts=self.parts,
                clock=clock,
                pins=lambda: {"profiles_version": profiles.version},
                arrived=self.closing.arrived,
            ),
            closing=self.closing,
            results=self.results,
            replies=answers,
            lanes=QueueLanes(
                capability=CAPABILITY,
                prices=PRICES,
                routing=Routing(capability=CAPABILITY, prices=PRICES),
                forecasts=Priors(),
                deployed=BATCH_REGIONS,
                batch_enabled=True,
                drains=Drains(quotas=QuotaLedger(table), clock=clock, assumed=20.0),
                clock=clock,
            ),
            pools=PoolIntake(
                pools=self.pools,
                documents=bucket,
                clock=clock,
                room=Room(full, 10**9),
                latest=Latest(forecasts=self.forecasts, regions=BATCH_REGIONS, drain_jobs_per_s=20.0),
            ),
            engine=Engine(
                caller=self.model,
                admission=Doors(self.health),
                prices=PRICES,
                clock=clock,
                rng=rng,
                concurrency=4,
                cancelled=self.cancelled,
            ),
            onward=self.onward,
            workers=self.workers,
            repeats=self.jobs,
            profiles=profiles,
            clock=clock,
            cancelled=self.cancelled,
        )

    def work(self, *messages: Inbound, worker: str = "a", heart: Heart | None = None) -> Outcome:
        wall_s = self.clock.wall_s()
        self.workers.renew(worker, stops_at_s=wall_s + 900)
        return self.router(messages, worker=worker, stop_at_wall_s=wall_s + 880, heart=heart or Heart())

    def killed(self, *messages: Inbound, worker: str = "a") -> None:
        """A worker that dies in the middle; what it held comes back after its lease."""
        try:
            self.work(*messages, worker=worker)
        except Killed:
            self.clock.advance(LEASE_S + 10)
            return
        raise AssertionError("nothing killed the worker")

    def sent_on(self) -> list[Inbound]:
        """The messages that went back to the queue since the last look, as they are received next."""
        sent, self.queue.sent = self.queue.sent, []
        return [message(m.body, sent_at=self.clock.now()) for m in sent]

    def run(self, name: str = "triage", profile: str = "default") -> dict[str, Any]:
        found = self.queue_runs.newest(profile, name)
        assert found is not None
        meta = self.runs.get(found.run_id)
        assert meta is not None
        return meta

    def rows(self, name: str = "triage") -> list[dict[str, Any]]:
        prefix = names.parts_prefix(self.run(name)["run_id"])
        return [row for key in self.bucket.keys(prefix) for row in self.bucket.rows(key)]

    def asked_texts(self) -> list[str]:
        return [text for _, text in self.model.calls]


_count = iter(range(10**9))


def message(body: Any, *, sent_at: datetime, receives: int = 1, message_id: str | None = None) -> Inbound:
    number = next(_count)
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    return Inbound(message_id or f"m{number}", f"receipt-{number}", text, sent_at, receives)


def again(inbound: Inbound) -> Inbound:
    """The same message, received once more."""
    return Inbound(inbound.message_id, f"{inbound.receipt}+", inbound.body, inbound.sent_at, inbound.receives + 1)


def body(caller_id: str | None = "one", text: str = "hello", **more: Any) -> dict[str, Any]:
    request = {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 50}}
    ids = {} if caller_id is None else {"job_id": caller_id}
    return {"v": 1, **ids, "run_id": "triage", "deadline": "10m", "request": request, **more}


def first(clock: StillClock, caller_id: str | None = "one", text: str = "hello", **more: Any) -> Inbound:
    return message(body(caller_id, text, **more), sent_at=clock.now())


def patient(clock: StillClock, caller_id: str, **more: Any) -> Inbound:
    """A job that has time for the batch lane."""
    return first(clock, caller_id, f"text of {caller_id}", **{"deadline": "2d", **more})


def until(clock: StillClock, seconds: float) -> datetime:
    return later(clock.now(), seconds)
