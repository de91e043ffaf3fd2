"""The head of the page: what the run was, what it cost, whether everything is accounted for and was in time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from slackwater.model.clock import parse_iso
from slackwater.model.words import count, counted, share, span, usd, usd_short
from slackwater.report import charts
from slackwater.report.data import Story
from slackwater.report.markup import Child, Markup, name, tag

_STATES = {"settled": "good", "cancelled": "odd", "failed": "bad"}


def head(story: Story) -> Markup:
    """Which run this is."""
    receipt = story.receipt
    status = str(receipt["status"])
    reason = f": {receipt['reason']}" if receipt.get("reason") else ""
    return tag(
        "header",
        tag(
            "p",
            tag("span", "Slackwater"),
            tag("span", "run report"),
            tag("span", status + reason, class_=f"pill {_STATES.get(status, 'odd')}"),
            class_="eyebrow",
        ),
        tag("h1", name(shown(story))),
        tag("p", _about(receipt), class_="about"),
    )


def shown(story: Story) -> str:
    """What people call the run: its file without its folders, or the caller's own name for it."""
    given = str(story.receipt.get("name") or "")
    return (given.rpartition("/")[2] if story.kind == "file" else given) or str(story.receipt["run_id"])


def _about(receipt: Mapping[str, Any]) -> Child:
    started, finished = parse_iso(receipt["started_at"]), parse_iso(receipt["finished_at"])
    profile = receipt.get("profile")
    return [
        ["profile ", name(str(profile)), " · "] if profile else None,
        f"{started.day} {started:%B %Y, %H:%M} to {_end(started, finished)} UTC, ",
        span((finished - started).total_seconds()),
    ]


def _end(started: datetime, finished: datetime) -> str:
    return f"{finished:%H:%M}" if started.date() == finished.date() else f"{finished.day} {finished:%B %H:%M}"


def money(story: Story) -> Markup:
    """The one sentence that is read if nothing else is, and its picture."""
    receipt = story.receipt
    cost, listed, saved = (receipt.get(key) for key in ("cost_usd", "list_usd", "saved_usd"))
    big: Child
    words: Child
    at_least = "at least " if receipt.get("unknown_price_jobs") else ""
    home = f" in {story.home_region}" if story.home_region else " in the home region"
    if not receipt["succeeded"]:
        big, words = "Nothing was answered", ["So nothing was paid for answers."]
    elif cost is None:
        big, words = "Cost not known", ["No answer has a known price: nothing is guessed here."]
    elif listed is None or not listed or saved is None:
        big, words = f"{at_least}{usd_short(cost)} paid", ["What it would have cost elsewhere is not known."]
    else:
        less = "saved" if saved >= 0 else "more than list"
        big = [tag("span", share(abs(saved), listed)), " ", less]
        words = [
            "Paid ", at_least, tag("b", usd_short(cost)), ". The same tokens, all on demand", home, ", list at ",
            tag("b", usd_short(listed)), ".",
        ]  # fmt: skip
    picture = None
    if cost is not None and listed and cost <= listed:
        part = cost / listed
        title = f"paid {usd_short(cost)} of {usd_short(listed)}"
        picture = [
            charts.bar(title, [("paid", part), ("saved", 1 - part)], height=18),
            tag(
                "div",
                tag("span", "paid ", tag("b", usd_short(cost))),
                tag("span", "not spent ", tag("b", usd_short(saved))),
                class_="ends",
            ),
        ]
    return tag("div", tag("p", big, class_="big"), tag("p", words, class_="words"), picture, class_="hero")


def facts(story: Story) -> Markup:
    """Rows, deadline, tokens, repeats."""
    receipt = story.receipt
    return tag("dl", _rows(receipt), _deadline(story), _tokens(receipt), _repeats(receipt), class_="facts")


def _fact(label: str, value: Child, note: Child, state: str = "") -> Markup:
    mark = {"good": "✓ ", "bad": "✗ "}.get(state)
    value = [tag("span", mark, class_=state, aria_hidden="true") if mark else None, value]
    return tag("div", tag("dt", label), tag("dd", value), tag("dd", note, class_="note"))


def _rows(receipt: Mapping[str, Any]) -> Markup:
    lines, accepted, succeeded, failed, refused = (
        receipt[key] for key in ("lines", "accepted", "succeeded", "failed", "refused_lines")
    )
    whole = lines == accepted + refused and accepted == succeeded + failed
    lost = receipt.get("errors", {}).get("lost", 0)
    note = f"{count(succeeded)} answered + {count(failed)} failed + {count(refused)} refused"
    if lost:
        note += f"; {counted(lost, 'row')} came from no lane"
    return _fact(
        "Rows accounted for",
        f"{count(accepted + refused)} of {count(lines)}",
        note,
        "good" if whole and not lost else "bad",
    )


def _deadline(story: Story) -> Markup:
    receipt = story.receipt
    missed = receipt.get("errors", {}).get("deadline_missed", 0)
    if missed:
        return _fact("Deadline", "missed", f"by {counted(missed, 'job')}", "bad")
    if not receipt.get("deadline"):
        return _fact("Deadline", "none known", "the run has no deadline of its own")
    deadline = parse_iso(receipt["deadline"])
    if not story.timeline.last:
        return _fact("Deadline", "nothing to hold", f"it was {_when(deadline)}")
    left_s = (deadline - parse_iso(max(story.timeline.last.values()))).total_seconds()
    if left_s < 0:
        return _fact("Deadline", "missed", f"the last answer came {span(-left_s)} after it", "bad")
    return _fact("Deadline", "held", f"with {span(left_s)} to spare", "good")


def _when(moment: datetime) -> str:
    return f"{moment.day} {moment:%B, %H:%M}"


def _tokens(receipt: Mapping[str, Any]) -> Markup:
    total = receipt["input_tokens"] + receipt["output_tokens"]
    unknown = receipt.get("unknown_usage_jobs")
    note = f"{count(receipt['input_tokens'])} in, {count(receipt['output_tokens'])} out"
    if unknown:
        note += f"; of {counted(unknown, 'answer')} nobody knows"
    return _fact("Tokens", count(total), note)


def _repeats(receipt: Mapping[str, Any]) -> Markup:
    repeats = receipt["repeats"]
    note = "replies or outputs were lost on the way" if repeats else "no reply was lost"
    return _fact("Maybe paid twice", counted(repeats, "call") if repeats else "none", note, "" if repeats else "good")


def beside(story: Story) -> Markup:
    """What is not in the cost."""
    infrastructure = story.receipt.get("infrastructure_usd")
    about = "is not known" if infrastructure is None else f"comes to about {usd(infrastructure)}"
    return tag(
        "p",
        "An estimate, and no part of the cost above: AWS's own services (Lambda, SQS, DynamoDB, S3, Step Functions) ",
        about,
        ".",
        class_="note",
    )
