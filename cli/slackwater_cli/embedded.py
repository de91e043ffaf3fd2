"""The embedded cloud as the command uses it: where a lasting one lives, how fast its clock runs, how it is started."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local import cloud as local_cloud
from local.processes import REPOSITORY
from local.settings import CONTROL_PLANE, RUNTIME
from slackwater_cli.errors import Complaint
from slackwater_cli.screen import Screen, console, is_live

WATCHABLE_S: Final = 300.0  # real seconds in which the whole slack of a local run shall pass
MAX_RATE: Final = 60.0
NOT_RUNNING: Final = "no embedded cloud runs here; start one with `slackwater local up`"
UP_RATE: Final = 20.0  # `local up`: a batch job takes half a minute, `10m` still leaves 30 real seconds


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where `local up` keeps its cloud: `.local/cloud` of the checkout, or SLACKWATER_LOCAL_DIR."""
    named = (os.environ if environ is None else environ).get("SLACKWATER_LOCAL_DIR")
    return Path(named) if named else REPOSITORY / ".local" / "cloud"


def running() -> local_cloud.Cloud | None:
    """The cloud of `local up`, if one runs here."""
    return local_cloud.find(state_dir())


def the_running_one() -> local_cloud.Cloud:
    """The cloud of `local up`. Raises Complaint when there is none."""
    cloud = running()
    if cloud is None:
        raise Complaint(NOT_RUNNING, code="not_running")
    return cloud


def callers_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without the Bedrock endpoints that came from `slackwater local env`: those are another cloud's.

    What is left of `AWS_ENDPOINT_URL_BEDROCK…` is the caller's own, and sends the model calls there.
    """
    kept = dict(os.environ if environ is None else environ)
    ours = kept.get("SLACKWATER_CONTROL_URL")
    for name in (RUNTIME, CONTROL_PLANE):
        if ours and kept.get(name) == ours:
            del kept[name]
    return kept


def rate_for(slack_s: float, environ: Mapping[str, str] | None = None) -> float:
    """The clock rate at which `slack_s` pass in five real minutes, from 1 to 60.

    It is 1 where the caller has set a Bedrock endpoint of his own.
    """
    own = callers_environment(environ)
    if own.get(RUNTIME) or own.get(CONTROL_PLANE):
        return 1.0
    return min(max(slack_s / WATCHABLE_S, 1.0), MAX_RATE)


def pace(rate: float) -> str:
    """One line that says what a clock rate means."""
    if rate == 1:
        return "this cloud's clock runs at real time"
    return f"one minute of this cloud's time passes in {60 / rate:.3g} s"


@contextmanager
def short_lived(screen: Screen, rate: float) -> Iterator[local_cloud.Cloud]:
    """A cloud of one's own in a temporary folder, gone with the block; its logs stay when the block raises an error."""
    folder = Path(tempfile.mkdtemp(prefix="slackwater-cloud-"))
    try:
        with started(screen, state_dir=folder, rate=rate) as cloud:
            yield cloud
    except BrokenPipeError:  # nobody reads any more
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception:
        screen.note(f"the logs of the embedded cloud are in {folder / 'logs'}", "dim")
        raise
    except BaseException:  # Ctrl-C
        screen.note("stopped; the embedded cloud and what it held are gone")
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(screen: Screen, *, state_dir: Path, rate: float) -> Iterator[local_cloud.Cloud]:
    """Starts an attached cloud with news on standard error, and stops it at the end of the block whatever happens."""
    cloud = start(screen, state_dir=state_dir, rate=rate)
    try:
        yield cloud
    finally:
        cloud.stop()


def start(
    screen: Screen,
    *,
    state_dir: Path,
    rate: float,
    port: int | None = None,
    docker: bool = False,
    detached: bool = False,
    empty: bool = False,
) -> local_cloud.Cloud:
    """`local.cloud.start` with a spinner on a terminal, one line a step elsewhere. Raises CloudError."""

    def begin(progress: local_cloud.Progress) -> local_cloud.Cloud:
        return local_cloud.start(
            state_dir=state_dir,
            clock_rate=rate,
            port=port,
            docker=docker,
            detached=detached,
            empty=empty,
            progress=progress,
            environ=callers_environment(),
        )

    if not is_live():
        return begin(lambda step: screen.note(f"starting the embedded cloud: {step}"))
    with console(stderr=True).status("starting the embedded cloud") as status:
        return begin(lambda step: status.update(f"starting the embedded cloud: {step}"))
