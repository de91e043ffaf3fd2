"""Runs a Python module on a leash: `python -m local.leash MODULE [ARGUMENT...]`.

The parent holds the other end of our standard input and never writes to it. When the parent ends, however it ends
(SIGKILL too), the pipe closes and this process kills its whole process group, children included. Linux's
PR_SET_PDEATHSIG would end only this process and leave the Lambda workers that it started; a pipe also works on macOS.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _watch_parent(fd: int) -> None:
    """Blocks until the parent's end of the pipe is closed, then kills the process group that we lead."""
    while os.read(fd, 4096):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main(argv: list[str]) -> None:
    """Runs `argv[0]` as `__main__` with the rest as its arguments. Must be started as leader of a process group."""
    if os.getpgid(0) != os.getpid():
        raise SystemExit("local.leash must lead its own process group: it kills the group when its parent is gone")
    fd = os.dup(0)
    os.set_inheritable(fd, False)  # a child that held a copy of the read end would do no harm, but needs none
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  (a file descriptor is wanted, no path)
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_watch_parent, args=(fd,), name="leash", daemon=True).start()
    sys.argv = list(argv)
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
