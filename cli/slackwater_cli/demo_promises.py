"""What the demo checks of the product's promises, from rows, receipts, replies and the emulator's bill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from slackwater.model.money import pico_from_usd_float, usd_text
from slackwater.policy.prices import load_price_book
from slackwater_cli import words
from slackwater_cli.billed import billed_pico


@dataclass(frozen=True)
class Promise:
    """A promise, whether it held, and by which numbers."""

    text: str
    kept: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "kept": self.kept, "detail": self.detail}


@dataclass(frozen=True)
class Evidence:
    """By run name: receipts, result rows, lines given. Replies are result lines; `bill` is the emulator's sums."""

    receipts: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    lines: Mapping[str, int]
    replies: Sequence[Mapping[str, Any]]
    expected_replies: Set[str]
    bill: Mapping[str, Any]


def promises(evidence: Evidence) -> list[Promise]:
    """Every promise that the demo can judge."""
    return [*_accounts(evidence), _order(evidence), _deadlines(evidence), _replies(evidence), *_bill(evidence)]


def _accounts(evidence: Evidence) -> Iterator[Promise]:
    receipts = evidence.receipts.values()
    accepted, succeeded, failed = (sum(r[key] for r in receipts) for key in ("accepted", "succeeded", "failed"))
    refused = sum(r["refused_lines"] for r in receipts)
    given = sum(evidence.lines.values())
    kept = all(r["accepted"] == r["succeeded"] + r["failed"] for r in receipts) and all(
        evidence.receipts[name]["lines"] == count for name, count in evidence.lines.items()
    )
    yield Promise(
        "every id is accounted for",
        kept,
        f"{given} = {accepted} accepted + {refused} refused; {accepted} = {succeeded} succeeded + {failed} failed",
    )
    yield Promise(
        "bad lines harmed only themselves", failed == 0 and refused > 0, f"{refused} refused, {failed} failed"
    )


def _order(evidence: Evidence) -> Promise:
    wrong = [
        name
        for name, rows in evidence.rows.items()
        if [row["line"] for row in rows] != sorted({row["line"] for row in rows})
        or len(rows) != evidence.receipts[name]["lines"]
        or not _unique(row["id"] for row in rows if row["job"] is not None)
    ]
    count = sum(len(rows) for rows in evidence.rows.values())
    return Promise(
        "one result row a line, in order",
        not wrong,
        f"{count} rows" + (f"; wrong: {', '.join(wrong)}" if wrong else ""),
    )


def _deadlines(evidence: Evidence) -> Promise:
    late = [
        name for name, receipt in evidence.receipts.items()
        if (receipt.get("deadline") or "9") < max((row["finished_at"] for row in evidence.rows[name]), default="")
    ]  # fmt: skip
    missed = sum(r.get("errors", {}).get("deadline_missed", 0) for r in evidence.receipts.values())
    return Promise(
        "deadlines held", not late and not missed, f"{missed} missed" + (f"; late: {', '.join(late)}" if late else "")
    )


def _replies(evidence: Evidence) -> Promise:
    ids = [str(reply["id"]) for reply in evidence.replies]
    kept = sorted(ids) == sorted(evidence.expected_replies)
    detail = f"{words.counted(len(ids), 'reply', 'replies')} for {words.counted(len(evidence.expected_replies), 'job')}"
    return Promise("every queued job got one reply", kept, detail)


def _bill(evidence: Evidence) -> Iterator[Promise]:
    bill, receipts = evidence.bill, evidence.receipts.values()
    repeats = sum(r["repeats"] for r in receipts)
    succeeded = sum(r["succeeded"] for r in receipts)
    yield Promise(
        "no prompt was paid twice",
        bill["paid_again"] <= repeats,
        f"{bill['prompts']} prompts billed, {bill['paid_again']} of them again; {repeats} repeats on the receipts",
    )
    billed = (bill["prompts"], bill["input_tokens"], bill["output_tokens"])
    said = (succeeded, sum(r["input_tokens"] for r in receipts), sum(r["output_tokens"] for r in receipts))
    kept = billed == said if not bill["paid_again"] else all(b >= s for b, s in zip(billed, said, strict=True))
    yield Promise(
        "the receipts agree with the bill",
        kept,
        f"billed {billed[0]} prompts, {billed[1] + billed[2]} tokens; receipts {said[0]}, {said[1] + said[2]}",
    )
    if "by_way" in bill:
        money, spent = _money(evidence)
        yield Promise(
            "the money is the bill's, exactly",
            money is not None and money == spent,
            f"billed ${usd_text(money)}; receipts ${usd_text(spent)}",
        )


def _money(evidence: Evidence) -> tuple[int | None, int | None]:
    """Pico-dollars: the bill's tokens at the price book, without what nobody heard of, and what the receipts say."""
    book, ways = load_price_book(), evidence.bill["by_way"]
    billed, lost = billed_pico(ways, book), billed_pico(ways, book, "lost")
    paid = [pico_from_usd_float(receipt["cost_usd"]) for receipt in evidence.receipts.values()]
    known = [pico for pico in paid if pico is not None]
    spent = sum(known) if len(known) == len(paid) else None
    return (None if billed is None or lost is None else billed - lost), spent


def _unique(names: Iterator[str]) -> bool:
    seen = list(names)
    return len(seen) == len(set(seen))
