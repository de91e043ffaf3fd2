"""The run report as a text: everything is escaped, nothing is fetched, and what is not known is said to be so."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model.clock import iso
from slackwater.model.timeline import Timeline
from slackwater.report.charts import Axis
from slackwater.report.data import BatchJob, Limit, Planned, Pool, Story
from slackwater.report.markup import Markup, tag
from slackwater.report.page import POLICY, report
from tests.unit.rig import HAIKU, START

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e&amp;\x00"
WEST = f"us-west-2|global.{HAIKU}|default"
VOID = {"meta", "link", "br"}


class Elements(HTMLParser):
    """What a page consists of; raises AssertionError for tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.words, self._open = [], [], [], []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def row(line, at_s, *, lane="batch", route=WEST, code=None, refused=False):
    error = None if code is None else {"code": code, "message": f"mend line {line}"}
    return {
        "line": line, "job": None if refused else f"job-{line}", "error": error,
        "lane": None if refused else lane, "route": None if refused else route, "model": HAIKU,
        "finished_at": iso(START + timedelta(seconds=at_s)),
    }  # fmt: skip


def receipt(**more):
    return {
        "v": 1, "run_id": "r1", "status": "settled", "reason": None, "profile": "default", "name": "inbox/p/a.jsonl",
        "lines": 4, "accepted": 3, "succeeded": 3, "failed": 0, "refused_lines": 1,
        "lanes": {
            "on_demand": {"jobs": 1, "cost_usd": 0.01}, "flex": {"jobs": 0, "cost_usd": 0},
            "batch": {"jobs": 2, "cost_usd": 0.01},
        },
        "regions": {"us-west-2": {"jobs": 3, "cost_usd": 0.02}},
        "input_tokens": 100, "output_tokens": 50, "cost_usd": 0.02, "list_usd": 0.04, "saved_usd": 0.02,
        "infrastructure_usd": 0.0001, "repeats": 0, "unknown_price_jobs": 0, "unknown_usage_jobs": 0,
        "errors": {"refused": 1}, "price_version": "2026-11-23", "warnings": [],
        "started_at": iso(START), "finished_at": iso(START + timedelta(hours=2)),
        "deadline": iso(START + timedelta(hours=24)), "throttles": {"us-west-2": 7},
    } | more  # fmt: skip


ROWS = [
    row(1, 60, lane="on_demand"),
    row(2, 0, code="refused", refused=True),
    row(3, 3600),
    row(4, 3600),
]


def story(rows=ROWS, **more):
    fields = {
        "receipt": receipt(),
        "timeline": Timeline.of(rows),
        "kind": "file",
        "batch_jobs": (
            BatchJob(
                "s1", "us-west-2", HAIKU, 2, START + timedelta(seconds=90), START + timedelta(hours=1), "Completed"
            ),
        ),
        "pools": (Pool("us-west-2", "global", HAIKU, (WEST,), Limit(4.0, "learned")),),
        "planned": {"batch": Planned(2, 0.02, START + timedelta(hours=8))},
        "forecast": {"p50_s": 7200, "p95_s": 28_800, "basis": "prior", "n": 0},
        "home_region": "eu-west-2",
    } | more
    return Story(**fields)


def read(told):
    return Elements(report(told))


def test_the_head_says_what_was_paid_what_it_would_have_cost_and_that_all_is_accounted_for():
    text = read(story()).text
    for words in (
        "50 % saved",
        "Paid $0.0200. The same tokens, all on demand in eu-west-2, list at $0.0400.",
        "4 of 4",
        "3 answered + 0 failed + 1 refused",
        "with 23 h to spare",
    ):
        assert words in text
    assert "✓ held" in text


@pytest.mark.parametrize("field", ["name", "profile", "run_id", "reason", "status", "price_version"])
def test_names_that_people_choose_stay_text(field):
    page = Elements(report(story(receipt=receipt(**{field: HOSTILE}))))
    assert not {"script", "img", "iframe", "object"} & set(page.names)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert "alert(1)" in page.text or field == "status"


def test_hostile_codes_messages_regions_warnings_and_shards_stay_text():
    rows = [*ROWS, row(5, 5, code=HOSTILE), row(6, 6, route=f"{HOSTILE}|m|default") | {"model": HOSTILE}]
    told = receipt(
        errors={HOSTILE: 1},
        warnings=[HOSTILE],
        regions={HOSTILE: {"jobs": 1, "cost_usd": 0.1}},
        throttles={HOSTILE: 1},
        forecasts=[
            {
                "shard": HOSTILE,
                "region": HOSTILE,
                "model": HOSTILE,
                "p50_s": 1,
                "p95_s": 2,
                "basis": HOSTILE,
                "n": 1,
                "actual_s": 3,
            }
        ],
    )
    jobs = (BatchJob(HOSTILE, HOSTILE, HOSTILE, 1, START, START + timedelta(seconds=9), HOSTILE),)
    pools = (Pool(HOSTILE, HOSTILE, HOSTILE, (f"{HOSTILE}|m|default",), Limit(1.0, HOSTILE, HOSTILE)),)
    page = Elements(report(story(rows, receipt=told, batch_jobs=jobs, pools=pools, home_region=HOSTILE)))
    assert not {"script", "img"} & set(page.names)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]


@given(st.text(), st.text())
def test_whatever_is_written_is_text_or_the_value_of_an_attribute(content, value):
    made = tag("p", content, title=value)
    assert isinstance(made, Markup)
    page = Elements(made)
    assert page.names == ["p"]
    assert [key for _, key, _ in page.attributes] == ["title"]


def test_the_page_asks_for_nothing_and_runs_nothing():
    page = report(story())
    found = Elements(page)
    assert [value for name, key, value in found.attributes if key in ("src", "href", "action", "srcset")] == ["data:,"]
    assert "script" not in found.names
    assert "url(" not in page and "@import" not in page and "http:" not in page and "https:" not in page
    assert ("meta", "content", POLICY) in found.attributes
    assert "default-src 'none'" in POLICY


def test_every_picture_has_a_title_and_a_description_and_ids_are_unique():
    page = report(story())
    pictures = re.findall(r'<svg role="img"[^>]*>(<title>[^<]+</title><desc>[^<]+</desc>)?', page)
    assert len(pictures) > 6
    assert all(pictures)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.promise(7)
def test_an_unknown_price_is_said_and_never_shown_as_zero():
    unknown = receipt(cost_usd=None, list_usd=None, saved_usd=None, unknown_price_jobs=3)
    text = read(story(receipt=unknown)).text
    assert "Cost not known" in text
    assert "3 answers have no known price" in text
    assert "$0.00" not in text.split("By region")[0]


@pytest.mark.promise(7)
def test_a_sum_without_some_answers_is_at_least_that():
    text = read(story(receipt=receipt(unknown_price_jobs=1))).text
    assert "Paid at least $0.0200" in text
    assert "without 1 answer of unknown price" in text


def test_what_was_not_recorded_is_said():
    older = {key: value for key, value in receipt().items() if key != "throttles"}
    text = read(story(receipt=older, pools=story().pools, batch_jobs=(), jobs_unknown=2, forecast=None)).text
    assert "Refusals were not recorded" in text
    assert "Of 2 batch jobs no times are recorded" in text
    assert "How long the batch jobs of this run took is not recorded" in text


def test_quotas_show_calls_a_minute_the_limit_and_the_refusals():
    text = read(story()).text
    assert "1 a minute at most" in text
    assert "limit 4 a minute (learned)" in text
    assert "7 calls refused for quota" in text
    nobody = (Pool("us-west-2", "global", HAIKU, (WEST,), Limit(600.0, "searching")),)
    assert "no limit is known" in read(story(pools=nobody)).text


def test_the_forecast_is_held_against_what_batch_jobs_took_and_a_guess_is_named_one():
    text = read(story()).text
    assert "took 58 min 30 s" in text
    assert (
        "Forecast (a guess: AWS promises nothing): half within 2 h, 95 % within 8 h. 1 of 1 came within the 95 %."
        in text
    )
    own = [
        {
            "shard": "s",
            "region": "us-east-1",
            "model": HAIKU,
            "p50_s": 60,
            "p95_s": 600,
            "basis": "history",
            "n": 40,
            "actual_s": s,
        }
        for s in (30, 700)
    ]
    text = read(story(receipt=receipt(forecasts=own))).text
    assert "from 40 earlier batch jobs" in text
    assert "1 of 2 came within the 95 %" in text


def test_failures_are_told_with_their_cause_and_first_line():
    rows = [*ROWS[:3], row(4, 9, lane="on_demand", code="deadline_missed")]
    told = receipt(succeeded=2, failed=1, errors={"refused": 1, "deadline_missed": 1})
    text = read(story(rows, receipt=told)).text
    assert "✗ missed" in text
    assert "First on line 4: mend line 4" in text
    assert "refused at the door" in text
    assert "None: every row was answered" in read(story(ROWS[2:], receipt=receipt(errors={}))).text


def test_comparisons_of_the_receipt_are_shown_and_the_articles_claim_is_called_one():
    sums = {"jobs": 3, "unknown_jobs": 0, "cost_usd": 0.015, "paid_usd": 0.02}
    told = receipt(
        baselines={"home_on_demand_usd": 0.04, "home_batch_usd": None, "article_usd": 0.016},
        counterfactuals={"best_possible": sums, "flex": sums | {"cost_usd": None, "jobs": 0, "unknown_jobs": 3}},
        rescued_jobs=2,
        rescue_usd=0.003,
        reconciliation={"batch_jobs": 3, "agreeing": 2, "unreported": 1, "differences": []},
    )
    text = read(story(receipt=told)).text
    assert "as an article claims" in text and "a claim, no price list was asked" in text
    assert "all by batch at home (eu-west-2)not known" in text
    assert "Of 3 batch jobs, 2 agree with Bedrock's own count to the token, 1 left no count." in text
    assert "2 jobs were left over by batch and called; that cost $0.003 more than batch." in text


EMPTY = receipt(
    lines=0, accepted=0, succeeded=0, refused_lines=0, errors={}, regions={}, cost_usd=0, list_usd=0, saved_usd=0,
    status="failed", reason="empty_input", deadline=None,
)  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        {"rows": [], "receipt": EMPTY, "batch_jobs": (), "pools": (), "planned": None},
        {"kind": "queue", "planned": None, "forecast": None},
        {"receipt": receipt(status="cancelled", saved_usd=-0.01, cost_usd=0.05)},
        {"receipt": receipt(deadline=iso(START + timedelta(minutes=1)))},
        {"rows": [row(n, n * 86_400) for n in range(1, 90)]},
    ],
)  # fmt: skip
def test_odd_runs_have_a_page_too(told):
    assert read(story(**told)).names[0] == "html"


def test_a_deadline_that_passed_before_the_last_answer_was_missed():
    late = receipt(deadline=iso(START + timedelta(minutes=30)))
    text = read(story(receipt=late)).text
    assert "✗ missed" in text and "30 min after it" in text


@given(st.integers(1, 40 * 86_400), st.integers(0, 86_400))
def test_an_axis_has_few_ticks_in_order_and_inside(seconds, offset):
    axis = Axis(START + timedelta(seconds=offset), START + timedelta(seconds=offset + seconds))
    places = [x for x, _ in axis.ticks()]
    assert len(places) <= 5
    assert places == sorted(places)
    assert all(0 <= x <= 100 for x in places)


def test_the_heights_of_the_stack_end_at_what_was_counted():
    """The last point of the drawn layers is the number in the legend: 1 on demand, 2 by batch of 3."""
    page = report(story())
    assert re.search(r"answered by batch</span><b>2</b>", page)
    assert re.search(r"answered on demand</span><b>1</b>", page)
    batch = re.search(r'<path d="([^"]+)" class="fill lane-batch">', page).group(1)
    assert "V333" in batch  # two thirds of the height, from above


def test_the_reasons_of_the_plan_are_told_and_no_more_than_fit():
    one = {"jobs": 3, "profile": "p", "traits": [], "lane": "batch", "reasons": [f"because {HOSTILE}", "cheap"]}
    page = read(story(receipt=receipt(choices=[one] * 9 + [one | {"lane": None}])))
    assert "3 jobs planned for batch: because <script>" in page.text
    assert "2 more in receipt.json" in page.text
    assert "script" not in page.names


def test_a_batch_job_that_was_cut_off_is_no_hit_and_no_miss_of_its_forecast():
    cut = {"shard": "s", "region": "us-east-1", "model": HAIKU, "p50_s": 60, "p95_s": 600, "basis": "history", "n": 40}
    text = read(story(receipt=receipt(forecasts=[cut | {"actual_s": None, "longer_than_s": 90}]))).text
    assert "None ended by itself, so nothing is held against it" in text
    assert "0 of 0" not in text
