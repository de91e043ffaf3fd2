"""The whole page."""

from functools import cache
from importlib import resources
from typing import Final

from slackwater.report import hero
from slackwater.report.calling import calling
from slackwater.report.data import Story
from slackwater.report.failing import failing, warnings
from slackwater.report.markup import Markup, name, raw, tag
from slackwater.report.spending import spending
from slackwater.report.timing import forecast, timing

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing is fetched and no script runs, whatever somebody gets into the page."""


def report(story: Story) -> str:
    """The run report: one HTML document that needs nothing else."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="robots", content="noindex"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{hero.shown(story)}: what it cost and how it went"),
        tag("style", raw(_style())),
    )
    body = tag(
        "body",
        tag(
            "main",
            hero.head(story),
            hero.money(story),
            hero.facts(story),
            spending(story),
            timing(story),
            forecast(story),
            calling(story),
            failing(story),
            warnings(story),
            _foot(story),
        ),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _foot(story: Story) -> Markup:
    receipt = story.receipt
    return tag(
        "footer",
        hero.beside(story),
        tag(
            "p",
            "Run ", tag("code", name(str(receipt["run_id"]))), ". Every number is also in ",
            tag("code", "receipt.json"), " or in the rows of ", tag("code", "results.jsonl"),
            ". No prompt and no answer is on this page. Times are UTC.",
        ),
    )  # fmt: skip


@cache
def _style() -> str:
    return resources.files("slackwater.report").joinpath("style.css").read_text("utf-8")
