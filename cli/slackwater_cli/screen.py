"""Where words go: answers to standard output, what is for people to standard error when the output is for programs."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console, RenderableType
from rich.text import Text

PLAIN_WIDTH = 100  # columns of tables that go into a file or a pipe


@dataclass(frozen=True)
class Screen:
    """One command's output. With `json`, standard output carries exactly one JSON document and nothing else."""

    json: bool = False

    def note(self, text: str, style: str = "") -> None:
        """One line for people, on standard error; never wrapped, so that paths can be copied."""
        console(stderr=True).print(Text(text, style=style), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """What people asked for: standard output, or standard error when that belongs to a program."""
        console(stderr=self.json).print(renderable)

    def document(self, document: Any) -> None:
        """The one JSON document, when it was asked for; nothing otherwise."""
        if self.json:
            sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
            sys.stdout.flush()


def console(*, stderr: bool) -> Console:
    """A console as wide as the terminal, or 100 columns where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or PLAIN_WIDTH)
    return Console(stderr=stderr, highlight=False, width=width)


def is_live() -> bool:
    """Whether standard error can redraw itself: a terminal that is wide enough and not a log."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and shutil.get_terminal_size().columns >= 60


def complain(text: str) -> None:
    """The one line that ends a command in trouble, on standard error."""
    console(stderr=True).print(Text.assemble(("slackwater: ", "bold red"), text), soft_wrap=True)
