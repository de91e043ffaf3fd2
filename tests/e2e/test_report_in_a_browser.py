"""The run report in a real browser: fits a phone, is readable in the light and in the dark, asks for nothing.

Skipped with the reason where there is no Chromium; SLACKWATER_TEST_BROWSER names one that is not on the PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slackwater.report.data import BatchJob, Limit, Pool, Story
from slackwater.report.page import report
from tests.e2e import browser
from tests.unit.test_report import HOSTILE, ROWS, WEST, receipt, row, story

pytestmark = pytest.mark.skipif(
    browser.found() is None, reason="no Chromium here: install one, or name it in SLACKWATER_TEST_BROWSER"
)

CONTRAST = """
(() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    if (["TITLE", "DESC"].includes(node.tagName.toUpperCase())) continue;
    const style = getComputedStyle(node);
    const text = light(parts(node.closest("svg") ? style.fill : style.color)), back = light(behind(node));
    const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    if (ratio < 4.5) found.push([walker.currentNode.data.slice(0, 40), ratio]);
  }
  return found;
})()
"""
WIDE = """
(() => {
  const width = document.documentElement.clientWidth, over = [];
  if (document.documentElement.scrollWidth > width) over.push(["page", document.documentElement.scrollWidth]);
  for (const node of document.querySelectorAll("main *")) {
    if (node.closest(".wide") || node.closest(".unseen")) continue;
    const box = node.getBoundingClientRect();
    if (box.width && (box.right > width + 1 || box.left < -1)) over.push([node.outerHTML.slice(0, 80), box.right]);
  }
  return over;
})()
"""
OVERLAPS = """
(() => {
  const over = [];
  for (const picture of document.querySelectorAll("svg[role=img]")) {
    const texts = [...picture.querySelectorAll("text")].map(node => [node.textContent, node.getBoundingClientRect()]);
    texts.forEach(([a, p], n) => texts.slice(n + 1).forEach(([b, q]) => {
      if (p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom) over.push([a, b]);
    }));
  }
  return over;
})()
"""


def stories() -> dict[str, Story]:
    """What a run may look like; names at their worst."""
    regions = ("us-west-2", "us-east-1", "ap-northeast-1", "eu-central-2")
    routes = [f"{region}|global.anthropic.claude-haiku-4-5-20251001-v1:0|default" for region in regions]
    calls = [row(n, n * 2.5, lane="on_demand", route=routes[n % 4]) for n in range(1, 2000)]
    failures = [row(n, n, lane="flex", code="SomeVeryLongExceptionNameOfBedrockException") for n in range(2000, 2040)]
    done = story().batch_jobs[0]
    many = tuple(
        BatchJob(f"s{n}", regions[n % 4], done.model, 1000 * n, done.submitted_at, done.ended_at, "Stopped")
        for n in range(1, 40)
    )
    sums = {"jobs": 1999, "unknown_jobs": 40, "cost_usd": 12_345.67, "paid_usd": 23_456.78}
    busy: dict[str, Any] = {
        "name": "inbox/default/" + "a-very-long-name-without-any-space-" * 4 + HOSTILE,
        "lines": 2_039, "accepted": 2_039, "succeeded": 1_999, "failed": 40, "refused_lines": 0,
        "cost_usd": 23_456.78, "list_usd": 98_765.43, "saved_usd": 75_308.65, "repeats": 17,
        "regions": {region: {"jobs": 500, "cost_usd": 5_000.5} for region in regions},
        "errors": {"SomeVeryLongExceptionNameOfBedrockException": 40, "lost": 1},
        "warnings": ["w" * 300, HOSTILE],
        "baselines": {"home_on_demand_usd": 98_765.43, "home_batch_usd": 49_382.7, "article_usd": None},
        "counterfactuals": {"on_demand": sums, "best_possible": sums},
        "throttles": {"us-west-2": 123_456, "sa-east-1": 3},
        "choices": [{"jobs": 2039, "lane": "on_demand", "reasons": ["because of " + "r" * 90, "batch: too late"]}],
    }  # fmt: skip
    pools = tuple(
        Pool(region, "global", done.model, (name,), Limit(limit, known, "service quotas"))
        for region, name, limit, known in zip(
            regions, routes, (8.25, 100_000.0, None, 5.0), ("learned", "told", "searching", "told"), strict=True
        )
    )
    return {
        "usual": story(),
        "busy": story([*calls, *failures], receipt=receipt(**busy), pools=pools, batch_jobs=many, jobs_unknown=3),
        "queue": story(kind="queue", planned=None, forecast=None, batch_jobs=()),
        "nothing": story([], receipt=receipt(lines=0, accepted=0, succeeded=0, refused_lines=0, errors={}), pools=()),
        "days": story([row(n, n * 7_000, route=WEST) for n in range(1, 300)]),
        "seconds": story(ROWS[:1], batch_jobs=(), receipt=receipt(accepted=1, lines=1, refused_lines=0, errors={})),
    }


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    command = browser.found()
    assert command is not None
    with browser.page(command, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("kind", ["usual", "busy", "queue", "nothing", "days", "seconds"])
def test_a_report_fits_reads_and_keeps_to_itself(tab: browser.Page, tmp_path: Path, kind: str) -> None:
    """On a phone and on a desk, in the light and in the dark, with every table unfolded."""
    path = tmp_path / f"{kind}.html"
    path.write_text(report(stories()[kind]), encoding="utf-8")
    tab.look(1280)
    tab.open(path)
    for width in (375, 1280):
        for dark in (False, True):
            tab.look(width, dark=dark)
            assert tab.ask("matchMedia('(prefers-color-scheme: dark)').matches") is dark
            for unfolded in ("false", "true"):
                tab.ask(f"document.querySelectorAll('details').forEach(one => one.open = {unfolded})")
                where = f"{kind} at {width}, dark {dark}, tables open {unfolded}"
                assert tab.ask(WIDE) == [], where
                assert tab.ask(CONTRAST) == [], where
                assert tab.ask(OVERLAPS) == [], where
    assert tab.asked == [path.as_uri()]
    assert tab.complaints == []


def test_on_paper_the_tables_are_there_without_a_click_and_the_page_is_light(tab: browser.Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(story()), encoding="utf-8")
    tab.look(1280)
    tab.open(path)
    assert tab.ask("document.querySelector('details table').checkVisibility({contentVisibilityAuto: true})") is False
    tab.look(750, dark=True, media="print")
    tables = "[...document.querySelectorAll('details table')].map(one => one.getBoundingClientRect().height > 20)"
    assert all(tab.ask(tables))
    assert tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.ask(CONTRAST) == []
    assert tab.paper().startswith(b"%PDF")


def test_what_is_wrong_with_a_page_would_be_seen(tab: browser.Page, tmp_path: Path) -> None:
    """The questions themselves: a wide, pale, overlapping page that asks for a picture fails every one of them."""
    path = tmp_path / "bad.html"
    path.write_text(
        '<meta name="viewport" content="width=device-width"><body style="background:#fff"><main>'
        '<p style="width:900px;color:#bbb">pale</p><img src="gone.png"><script>console.log("said")</script>'
        '<svg role="img" width="90" height="30"><text y="20">one</text><text y="20">two</text></svg></main>'
    )
    tab.look(375)
    tab.open(path)
    assert tab.ask(WIDE) and tab.ask(CONTRAST) and tab.ask(OVERLAPS)
    assert len(tab.asked) == 2
    assert any("said" in one for one in tab.complaints)
