"""Child processes that never outlive us, and the questions asked about processes (POSIX: Linux and macOS)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from local.errors import CloudError

REPOSITORY = Path(__file__).resolve().parent.parent


class ProcessRow(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    command: str


def spawn_leashed(module: str, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts `python -m module` as leader of a process group that dies with us (see `local.leash`); output to `log`.

    The caller keeps the returned object: closing its `stdin`, or ending, ends the child and all that the child started.
    """
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603  (our own interpreter and modules)
            [sys.executable, "-m", "local.leash", module, *arguments],
            cwd=REPOSITORY,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_port(host: str) -> int:
    """A TCP port of `host` that nobody listened on a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_healthy(name: str, url: str, child: subprocess.Popen[bytes], log: Path, timeout_s: float = 30.0) -> None:
    """Returns when `url` answers 200. Raises CloudError when the child ends first or the time is over."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise CloudError(f"{name} ended with status {child.returncode}:\n{tail(log)}")
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise CloudError(f"{name} did not answer {url} within {timeout_s:.0f} s:\n{tail(log)}")


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log file, for an error message; says so when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"(no log at {log})"


def kill_group(pid: int) -> None:
    """SIGKILL to the process group `pid` leads; nothing happens when it is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def process_table() -> list[ProcessRow]:
    """All processes that we may see: /proc where there is one (a slim Debian has no `ps`), else `ps`."""
    if Path("/proc/self/stat").exists():
        return [row for entry in Path("/proc").iterdir() if entry.name.isdigit() and (row := _from_proc(entry))]
    listing = ["ps", "-axo", "pid=,ppid=,command="]
    out = subprocess.run(listing, capture_output=True, text=True, check=True)  # noqa: S603  (constant)
    rows = (line.split(None, 2) for line in out.stdout.splitlines())
    return [ProcessRow(int(r[0]), int(r[1]), r[2] if len(r) > 2 else "") for r in rows if len(r) >= 2]


def _from_proc(entry: Path) -> ProcessRow | None:
    """One row out of /proc/<pid>; None when the process ended while we looked, or is a zombie."""
    try:
        after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if after_name[0] == "Z":
        return None
    return ProcessRow(int(entry.name), int(after_name[1]), command)


def descendants(root: int) -> list[ProcessRow]:
    """Every living process under `root`, itself not included."""
    table = process_table()
    found: list[ProcessRow] = []
    frontier = {root}
    while frontier:
        rows = [row for row in table if row.parent in frontier]
        found += rows
        frontier = {row.pid for row in rows}
    return found


def command_of(pid: int) -> str | None:
    """The command line of a living process, None when there is none of that number."""
    return next((row.command for row in process_table() if row.pid == pid), None)
