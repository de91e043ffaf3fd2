"""From an ended batch job to the next forecast, its score, and the guard that follows the quotas."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from slackwater.adapters.ledger.history import History
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.table import Write
from slackwater.model.clock import iso
from slackwater.model.shard import ShardState
from slackwater.policy.forecast import PRIOR
from slackwater.policy.quota_limits import Told
from slackwater.usecases.drains import Drains, quotas_of
from slackwater.usecases.forecasts import CACHE_S, Forecasts, calibrations, foretold
from slackwater.usecases.overview import Overview
from slackwater_cli.act_commands import _overview, _overview_document
from tests.unit.batch_rig import EAST, WEST, BatchWorld, all_answered
from tests.unit.rig import HAIKU


@pytest.fixture
def world(table, clock):
    return BatchWorld(table, clock)


def remembered(table, clock, jobs, *, took_s=600, records=250, region="us-west-2"):
    for number in range(jobs):
        ended = clock.now() - timedelta(seconds=number)
        item = {
            "v": 1, "ttl": 1, "records": records, "status": "Completed", "took_s": took_s, "took_whole": True,
            "submitted_at": iso(ended - timedelta(seconds=took_s)), "ended_at": iso(ended), "forecast": None,
            "counts": {},
        }  # fmt: skip
        table.write(Write((f"HIST#{region}|{HAIKU}", f"{iso(ended)}#s{number}"), put=item))


def test_an_ended_job_is_remembered_scored_and_told_of_with_the_forecast_it_was_begun_under(world):
    shard = world.file_run()
    world.opened(shard)
    world.clock.advance(3600)
    world.bedrock.ends(output=all_answered)
    world.beat()
    (one,) = History(world.table).turnarounds("us-west-2", HAIKU)
    assert (one.whole, one.records, one.told) == (True, 250, replace(PRIOR))
    assert 3600 <= one.took_s <= 3800
    assert list(History(world.table).pairs()) == [("us-west-2", HAIKU)]
    (known,) = calibrations(History(world.table))
    assert (known.now.basis, known.now.n) == ("prior", 1)
    assert (known.score.jobs, known.score.within_p50, known.score.within_p95) == (1, 1.0, 1.0)
    assert foretold(world.shards.many([shard, "unknown"])) == [
        {
            "shard": shard, "region": "us-west-2", "model": HAIKU, "p50_s": 7200, "p95_s": 28800, "basis": "prior",
            "n": 0, "version": "prior-1", "actual_s": one.took_s, "longer_than_s": None,
        }
    ]  # fmt: skip


def test_a_job_that_was_stopped_is_remembered_as_longer_than_that(world):
    shard = world.file_run(deadline_s=4 * 3600)
    world.opened(shard)
    world.bedrock.moves("InProgress")
    world.clock.advance((world.shard(shard).guard_at - world.clock.now()).total_seconds())
    world.beat()
    assert world.shard(shard).state is ShardState.STOPPING
    asked = world.shard(shard).stop_asked_at
    world.clock.advance(120)
    world.bedrock.ends("Stopped", lambda records: all_answered(records[:200]), processed_records=200)
    world.beat()
    (one,) = History(world.table).turnarounds("us-west-2", HAIKU)
    assert not one.whole
    assert one.took_s == round((asked - world.shard(shard).submitted_at).total_seconds())
    (told,) = foretold(world.shards.many([shard]))
    assert (told["actual_s"], told["longer_than_s"]) == (None, one.took_s)


def test_from_twenty_jobs_on_new_shards_are_begun_under_the_forecast_that_these_make(world):
    remembered(world.table, world.clock, 20)
    shard = world.shard(world.file_run())
    assert {region: told["basis"] for region, told in shard.forecasts.items()} == {
        "us-west-2": "history",
        "us-east-1": "prior",  # no history there, whatever the model does elsewhere
    }
    assert shard.forecast["p95_s"] == 600
    assert shard.forecast["version"].startswith("h1-")


class Counted:
    def __init__(self, port):
        self.port, self.reads = port, 0

    def turnarounds(self, region, model):
        self.reads += 1
        return self.port.turnarounds(region, model)

    def get(self, pool):
        self.reads += 1
        return self.port.get(pool)


def test_a_model_and_region_are_read_once_a_minute_however_often_they_are_asked_for(table, clock):
    remembered(table, clock, 30)
    history = Counted(History(table))
    forecasts = Forecasts(history=history, clock=clock)
    for records in (100, 200, 50_000):
        assert forecasts.over(HAIKU, ["us-west-2", "us-east-1"], records).p95_s == PRIOR.p95_s  # the slower region's
        forecasts.of(HAIKU, "us-west-2", records)
    assert history.reads == 2
    clock.advance(CACHE_S + 1)
    forecasts.of(HAIKU, "us-west-2", 100)
    assert history.reads == 3


def test_quotas_are_read_once_a_minute_and_those_of_both_regions_are_summed(table, clock):
    ledger = QuotaLedger(table)
    for pool in quotas_of([WEST, EAST]):
        ledger.tell(pool, Told(rpm=60, tpm=None, by="hand", at=iso(clock.now())))
    quotas = Counted(QuotaLedger(table))
    drains = Drains(quotas=quotas, clock=clock, assumed=20.0)
    shard = replace(BatchWorld(table, clock).shard_like(), quotas=quotas_of([WEST, EAST]))
    assert drains.of_shard(shard) == pytest.approx(2)
    assert drains.of_shard(replace(shard, quotas=())) == 20
    assert quotas.reads == 2


@pytest.mark.promise(3)
def test_the_guard_comes_earlier_when_a_quota_is_cut_and_later_when_it_is_raised(world):
    ledger = QuotaLedger(world.table)
    pools = quotas_of([WEST])
    shard = world.file_run_drawing_on(pools)
    ledger.tell(pools[0], Told(rpm=4, tpm=None, by="hand", at=iso(world.clock.now())))  # 250 records: an hour
    world.opened(shard)
    world.bedrock.moves("InProgress")
    deadline = world.shard(shard).deadline_at
    world.clock.advance((deadline - timedelta(hours=3) - world.clock.now()).total_seconds())
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN
    ledger.tell(pools[0], Told(rpm=600, tpm=None, by="hand", at=iso(world.clock.now())))
    world.clock.advance(5400)  # past the guard of the slow quota
    world.beat()
    assert world.shard(shard).state is ShardState.OPEN
    ledger.tell(pools[0], Told(rpm=4, tpm=None, by="hand", at=iso(world.clock.now())))
    world.clock.advance(61)
    world.beat()
    assert world.shard(shard).state is ShardState.STOPPING


@pytest.mark.promise(3)
def test_shards_that_need_the_same_quota_are_stopped_one_after_the_other(world):
    pools = quotas_of([WEST])
    shards = [world.file_run_drawing_on(pools, run=f"r{number}") for number in range(3)]
    QuotaLedger(world.table).tell(pools[0], Told(rpm=5, tpm=None, by="hand", at=iso(world.clock.now())))  # 50 min each
    world.beat()
    world.bedrock.moves("InProgress")
    deadline = world.shard(shards[0]).deadline_at
    stopped = []
    for hours in (3.5, 2.9, 2.0, 1.3):
        world.clock.advance((deadline - timedelta(hours=hours) - world.clock.now()).total_seconds())
        world.beat()
        stopped.append(sum(world.shard(shard).state is not ShardState.OPEN for shard in shards))
    assert stopped == [0, 1, 2, 3]


def test_status_shows_each_forecast_and_how_well_forecasts_have_kept(table, clock):
    remembered(table, clock, 20)
    told = {"p50_s": 60, "p95_s": 600, "basis": "prior", "n": 0, "version": "prior-1"}
    where, ended = f"us-west-2|{HAIKU}", iso(clock.now() + timedelta(seconds=1))
    last = {
        "v": 1,
        "ttl": 1,
        "records": 250,
        "status": "Completed",
        "took_s": 300,
        "took_whole": True,
        "ended_at": ended,
    }
    table.write(
        Write((f"HIST#{where}", f"{ended}#last"), put={**last, "ended_at": ended, "forecast": told, "counts": {}})
    )
    table.write(Write(("HISTS", where), put={"v": 1, "ttl": 1}))
    overview = Overview((), (), (), (), True, tuple(calibrations(History(table))))
    screen = Console(width=160, file=StringIO())
    screen.print(_overview(overview, clock.now()))
    line = next(line for line in screen.file.getvalue().splitlines() if HAIKU in line)
    assert line.split()[1:] == ["us-west-2", "10", "min", "10", "min", "21", "jobs", "0", "%", "100", "%"]
    (document,) = _overview_document(overview, "slackwater", clock.now())["forecasts"]
    assert document["forecast"]["n"] == 21
    assert document["score"] == {"jobs": 1, "within_p50": 0.0, "within_p95": 1.0, "pinball_s": 67.5}
