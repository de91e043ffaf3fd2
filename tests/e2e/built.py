"""The functions as `make build-local` builds them in this checkout, for the tests that run what is built."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from local.processes import REPOSITORY

BUILD = REPOSITORY / ".aws-sam" / "local" / "build"
SAM = REPOSITORY / ".venv-tools" / "bin" / "sam"


def shell_environment(**more: str) -> dict[str, str]:
    """The caller's environment without settings of his AWS, of another embedded cloud, and of this test run."""
    foreign = ("AWS_", "SLACKWATER_", "PYTEST_", "COV_")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | more


def make(*arguments: str, **more: str) -> str:
    """`make` in the checkout, one at a time whatever runs beside; gives what it printed. Skips where sam is missing."""
    if not SAM.exists():
        pytest.skip("no sam here: `make test-e2e` installs it (.venv-tools) and runs this")
    lock = REPOSITORY / ".aws-sam" / "lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", *arguments], cwd=REPOSITORY, env=shell_environment(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def build_local() -> Path:
    """The folder with the built template, functions and layer."""
    make("build-local")
    return BUILD
