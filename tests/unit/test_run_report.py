"""The run report as a part of aggregation: it tells what the ledger knows, and never stands in a run's way."""

from datetime import timedelta

import orjson
import pytest

from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.adapters.ledger.run_jobs import RunJobs
from slackwater.adapters.ledger.shards import ShardLedger
from slackwater.model import names
from slackwater.model.clock import iso
from slackwater.model.errors import Missing
from slackwater.model.job import Lane
from slackwater.policy.quota import Meter, Pool
from slackwater.policy.quota_limits import BY_HAND, Told
from slackwater.report.data import BatchJob
from slackwater.usecases.run_report import RunReport
from tests.unit.batch_rig import a_shard
from tests.unit.rig import HAIKU, ROUTES, START, NoQuotas, ShippedProfiles, aggregator, run_report
from tests.unit.test_aggregate import Ledger, failure, put_part, refusal, success, survey

PAGE = "v1/runs/r1/report.html"


@pytest.fixture
def parts(bucket):
    survey(bucket, ("00000", 3, 1))
    put_part(bucket, "00000", "pack-p1", [success(1, at_s=5), failure(2, at_s=9)])
    put_part(bucket, "00000", "shard-s1", [success(4, at_s=600, lane=Lane.BATCH)])
    put_part(bucket, "00000", "refused", [refusal(3)])
    return bucket


def page_of(bucket):
    return bucket.get(PAGE).decode()


def test_every_run_has_a_page_that_is_there_before_its_receipt(parts, clock):
    order = []
    put = parts.put
    parts.put = lambda key, *a, **more: (order.append(key), put(key, *a, **more))[1]
    receipt = aggregator(parts, Ledger(), clock)("r1")
    assert [key.rpartition("/")[2] for key in order if key.endswith((".html", "receipt.json"))] == [
        "report.html", "receipt.json",
    ]  # fmt: skip
    assert receipt["report"] == "report.html"
    assert page_of(parts).startswith("<!doctype html>")


class Broken(NoQuotas):
    def get(self, pool):
        raise RuntimeError("secret details")


def test_a_report_that_cannot_be_made_is_a_warning_and_the_run_completes(parts, clock):
    whole = aggregator(parts, Ledger(), clock)
    whole._report._quotas = Broken()
    receipt = whole("r1")
    stored = orjson.loads(parts.get("v1/runs/r1/receipt.json"))
    assert (stored["status"], stored["report"], receipt["report"]) == ("settled", None, None)
    assert [w for w in stored["warnings"] if "report.html could not be made (RuntimeError)" in w]
    assert "secret" not in str(stored)
    assert PAGE not in parts.objects


@pytest.mark.promise(6)
def test_no_prompt_and_no_answer_is_on_the_page(bucket, clock):
    survey(bucket, ("00000", 2, 0))
    prompt, said = "PROMPT-OF-SOMEBODY", "ANSWER-OF-A-MODEL"
    rows = [success(1) | {"response": {"output": said}, "tags": {"team": said}}, failure(2)]
    put_part(bucket, "00000", "pack-p1", rows)
    lines = [{"line": n, "id": f"i{n}", "request": {"messages": [prompt]}} for n in (1, 2)]
    bucket.put(names.input_key("r1", "00000"), b"\n".join(map(orjson.dumps, lines)))
    aggregator(bucket, Ledger(), clock)("r1")
    assert prompt not in page_of(bucket)
    assert said not in page_of(bucket)


def test_the_page_names_the_home_region_the_plan_and_refusals_of_the_run(parts, clock):
    plan = {
        "v": 1,
        "forecast": {"p50_s": 7200, "p95_s": 28_800, "basis": "prior", "n": 0},
        "classes": [
            {
                "profile": "default",
                "traits": [],
                "plan": {
                    "lane": "batch",
                    "jobs": 2,
                    "expected_finish": iso(START + timedelta(hours=8)),
                    "reasons": ["batch: the cheapest of those in time"],
                },
            }
        ],
        "lanes": {"batch": {"jobs": 2, "expected_cost_usd": 0.5}},
        "warnings": [],
    }
    parts.put_json(names.run_key("r1", "plan.json"), plan)
    meta = {"profiles_version": "shipped", "throttled_us_west_2": 3, "throttled_eu_west_1": 1}
    receipt = aggregator(parts, Ledger(meta), clock)("r1")
    assert receipt["throttles"] == {"eu-west-1": 1, "us-west-2": 3}
    page = page_of(parts)
    for words in ("all on demand in us-east-1", "3 calls refused for quota", "eu-west-1 1", "25 Nov 20:00", "$0.5<"):
        assert words in page.replace("<b>", "").replace("</b>", ""), words


def test_a_deleted_version_of_the_profiles_costs_only_the_home_regions_name(parts, clock):
    class Gone(ShippedProfiles):
        def pinned(self, version):
            raise Missing(version)

    maker = run_report(parts, Ledger(), clock)
    maker._profiles = Gone()
    timeline = aggregator(parts, Ledger(), clock)("r1")
    assert maker.rebuilt("r1", [parts.get("v1/runs/r1/results.jsonl")]).startswith("<!doctype html>")
    assert timeline["report"] == "report.html"


@pytest.mark.parametrize("meta", [Ledger().meta, None])
def test_a_page_made_again_from_the_runs_files_is_the_same_even_when_the_ledger_has_forgotten_it(parts, clock, meta):
    jobs = [BatchJob("s1", "us-west-2", HAIKU, 1, START, START + timedelta(seconds=600), "Completed")]
    ledger = Ledger()
    whole = aggregator(parts, ledger, clock)
    whole._report = run_report(parts, ledger, clock, jobs)
    whole("r1")
    made = page_of(parts)
    ledger.get = lambda run_id: meta
    results = parts.get("v1/runs/r1/results.jsonl")
    assert run_report(parts, ledger, clock, jobs).rebuilt("r1", [results[:100], results[100:]]) == made
    assert "<b>10 min</b>" in made
    assert "What was forecast for the batch jobs of this run is not recorded" in made


def test_an_unknown_run_has_no_page(bucket, clock):
    with pytest.raises(Missing):
        run_report(bucket, Ledger(), clock).rebuilt("r1", [])


# ---------------------------------------------------------------------- what the ledger knows


def test_batch_jobs_are_found_with_their_times_and_those_of_others_are_not(table, clock):
    shards = ShardLedger(table, clock)
    for name in ("s1", "s2", "s3"):
        shards.create(a_shard(id=name, submitted_at=START))
        ended = START + timedelta(seconds={"s1": 100, "s2": 200, "s3": 300}[name])
        if name != "s3":
            shards.remember(shards.get(name), status="Completed", ended_at=ended, counts={})
    found = {job.shard: job for job in RunJobs(table)(["s1", "s3", "unknown"], START)}
    assert sorted(found) == ["s1", "s3"]
    assert (found["s1"].submitted_at, found["s1"].ended_at) == (START, START + timedelta(seconds=100))
    assert (found["s3"].ended_at, found["s3"].status) == (None, None)


def test_a_limit_is_what_the_quota_ledger_holds(parts, clock, table):
    pool = f"{ROUTES[0].region}|global|{HAIKU}"
    ledger = QuotaLedger(table)
    ledger.tell(pool, Told(rpm=40, tpm=None, by=BY_HAND, at=iso(START)))
    maker = RunReport(
        documents=parts, runs=Ledger(), jobs=lambda *_: [], quotas=ledger, profiles=ShippedProfiles(), clock=clock
    )
    aggregator(parts, Ledger(), clock)("r1")
    page = maker.rebuilt("r1", [parts.get("v1/runs/r1/results.jsonl")])
    assert "limit 40 a minute (told by hand)" in page


def test_a_learned_limit_is_what_was_measured_not_what_is_tried_long_after(parts, clock):
    measured = Meter(
        throttles=3, learned_per_s=4 / 60, throttled_at_s=START.timestamp() - 7200, since_s=START.timestamp() - 7200,
        hold_s=8.0, recent_at_s=START.timestamp(), full_at_s=START.timestamp(),
    )  # fmt: skip

    class Learned(NoQuotas):
        def get(self, pool):
            return Pool(requests=measured), None

    whole = aggregator(parts, Ledger(), clock)
    whole._report._quotas = Learned()
    whole("r1")
    assert "limit 4 a minute (learned)" in page_of(parts)
