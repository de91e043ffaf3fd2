"""What the demo runs: three files in two dialects and some queue messages, the same at every call, no prompt twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

GOODS: Final = ("lamp", "kettle", "backpack", "bicycle", "heater", "radio", "tent", "blender")
TROUBLES: Final = ("arrived broken", "never arrived", "is the wrong colour", "makes a strange noise", "lost its manual")
SYSTEM: Final = "You sort customer mail. Answer with one word: refund, replace, or explain."
QUEUE_RUN: Final = "chat"
URGENT: Final = "2h"  # too soon for batch, and 120 real seconds at the demo's clock: a slow machine is not late


@dataclass(frozen=True)
class DemoFile:
    """A file to drop: under which profile, with which options."""

    name: str
    profile: str
    options: dict[str, str]
    lines: tuple[bytes, ...]

    def write(self, folder: Path) -> Path:
        """Puts the file into `folder` and gives its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.name
        path.write_bytes(b"\n".join(self.lines) + b"\n")
        return path


def demo_files() -> list[DemoFile]:
    """Patient Converse bodies with malformed lines among them, patient OpenAI Batch lines, urgent Converse bodies."""
    return [
        DemoFile("letters.jsonl", "default", {"deadline": "24h"}, tuple(_letters())),
        DemoFile(
            "reviews.jsonl", "open-eu", {"deadline": "24h", "result-dialect": "openai"}, tuple(map(_openai, range(150)))
        ),
        DemoFile("urgent.jsonl", "default", {"deadline": URGENT}, tuple(_converse("urgent", n) for n in range(40))),
    ]


def demo_messages(reply_to: str) -> list[dict[str, Any]]:
    """Jobs for the queue, all of one run that closes with the last message; one of them is malformed."""
    jobs = [
        {
            "v": 1,
            "job_id": f"chat-{n:03}",
            "profile": "default",
            "deadline": URGENT,
            "run_id": QUEUE_RUN,
            "request": {"messages": _messages(f"A customer waits in the chat: {_complaint('chat', n)}")},
            "reply_to": reply_to,
        }
        for n in range(24)
    ]
    wrong = {**jobs[0], "job_id": "chat-wrong", "temperature": 0.2}
    return [*jobs, wrong, {"v": 1, "close_run": QUEUE_RUN, "profile": "default", "expected": len(jobs) + 1}]


def _letters() -> Iterator[bytes]:
    for n in range(320):
        if n == 40:
            yield b'{"id": "letter-broken", "messages": [{"role": "user",'
        if n == 90:
            yield orjson.dumps({"id": "letter-typo", "mesages": _messages("Nobody will read this.")})
        if n == 170:
            yield _converse("letter", 3)  # a repeated id
        if n == 250:
            yield b'"just text"'
        yield _converse("letter", n)


def _converse(kind: str, n: int) -> bytes:
    body = {
        "id": f"{kind}-{n:03}",
        "system": [{"text": SYSTEM}],
        "messages": _messages(_complaint(kind, n)),
        "inferenceConfig": {"maxTokens": 200},
    }
    return orjson.dumps(body)


def _openai(n: int) -> bytes:
    body = {
        "model": "open-eu",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": _complaint("review", n)}],
        "max_tokens": 200,
    }
    return orjson.dumps({"custom_id": f"review-{n:03}", "method": "POST", "url": "/v1/chat/completions", "body": body})


def _messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


def _complaint(kind: str, n: int) -> str:
    good, trouble = GOODS[n % len(GOODS)], TROUBLES[n // len(GOODS) % len(TROUBLES)]
    return f"Order {kind} {1000 + n}: the {good} {trouble}. I wrote {n % 7 + 1} times. What happens now?"
