"""The embedded cloud as a library: `start` one, `find` a running one, use it, `stop` it.

A cloud that was started attached (the default) is a context manager and ends with the process that started it, however
that ends. A detached one (`slackwater local up`) lives on until `stop`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from local import processes
from local.client import Clients
from local.errors import CloudError
from local.processes import REPOSITORY
from local.settings import CREDENTIALS, SATELLITES, Settings, choose_bedrock, repository_template
from local.supervisor import LOCK, STATE

__all__ = ["Cloud", "CloudError", "find", "start"]
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Cloud:
    """A running embedded cloud. `clock_rate` is virtual seconds per real one from `clock_origin` (epoch seconds) on."""

    endpoint: str
    control_url: str
    region: str
    stack: str
    outputs: Mapping[str, str]
    satellites: Mapping[str, Mapping[str, str]]
    pids: Mapping[str, int]
    clock_rate: float
    clock_origin: int
    bedrock_url: str
    runtime_url: str
    batch_enabled: bool
    state_dir: Path
    empty: bool
    container_host: str | None  # where containers find this machine; None: the cloud was not started for them
    clients: Clients = dataclasses.field(repr=False, compare=False)
    supervisor: subprocess.Popen[bytes] | None = dataclasses.field(default=None, repr=False, compare=False)

    def env(self) -> dict[str, str]:
        """What the `aws` command, any SDK and our own command need to reach this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_BEDROCK": self.bedrock_url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.runtime_url,
            **CREDENTIALS,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "SLACKWATER_STACK": self.stack,
            "SLACKWATER_CONTROL_URL": self.control_url,
            "SLACKWATER_CLOCK_RATE": f"{self.clock_rate:g}",
            "SLACKWATER_CLOCK_ORIGIN": str(self.clock_origin),
            **{name: self.outputs[key] for name, key in _OUTPUT_VARIABLES.items() if key in self.outputs},
        }

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client of this cloud, made once; the Bedrock services go where the workers' calls go."""
        return self.clients.get(service, region or self.region)

    def worker_pids(self, function: str = "") -> list[int]:
        """The emulator's living Lambda worker processes, of those functions whose name contains `function`."""
        return [
            row.pid
            for row in processes.descendants(self.pids["aws"])
            if row.command.endswith("/_worker.py") and function in row.command
        ]

    def logs(self) -> Path:
        """The folder with one log file per process; `functions.log` is written when the cloud stops."""
        return self.state_dir / "logs"

    def function_logs(self) -> list[str]:
        """What the functions have logged until now, in order of time."""
        from local.function_logs import read  # noqa: PLC0415  (loads boto3)

        return [message for _, _, message in sorted(read(self.clients, self.region))]

    def stop(self) -> None:
        """Ends all processes and removes their scratch; logs stay. A second call does nothing."""
        if self.supervisor is not None:
            _stop_child(self.supervisor)
        elif _is_locked(self.state_dir):
            _signal_supervisor(self.state_dir, self.pids["supervisor"])

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_OUTPUT_VARIABLES = {
    "SLACKWATER_JOB_QUEUE": "JobQueueUrl",
    "SLACKWATER_BUCKET": "BucketName",
    "SLACKWATER_REPLY_QUEUE": "ReplyQueueUrl",
    "SLACKWATER_REPLY_QUEUE_ARN": "ReplyQueueArn",
}


def start(
    *,
    state_dir: Path,
    clock_rate: float,
    port: int | None = None,
    host: str = "127.0.0.1",
    docker: bool = False,
    template: Path | None = None,
    bedrock_endpoint: str | None = None,
    quiet: bool = True,
    detached: bool = False,
    satellites: Sequence[str] | None = None,
    parameters: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
    iam: bool = False,
    empty: bool = False,
) -> Cloud:
    """Starts a cloud and returns when the stack is deployed and the tick beats. Raises CloudError with what went wrong.

    `AWS_ENDPOINT_URL_BEDROCK` and `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` in `environ` (the process's own by default) win
    over our emulator and over `bedrock_endpoint`; the clock then runs at 1. `parameters` are for the template;
    `satellites` are further batch regions, those of the shipped profiles by default. With `iam` the functions may do
    what their roles allow and no more, at our own Bedrock emulator too; each decision is a line of `logs/iam.jsonl`.
    With `docker` containers of this machine's engine reach it at `container_host`; without an engine that is refused.
    An `empty` cloud has no stack: deploy one as on AWS, then `find` knows its outputs.
    """
    environ = os.environ if environ is None else environ
    control, runtime, rate, batch = choose_bedrock(environ, bedrock_endpoint, clock_rate)
    settings = Settings(
        state_dir=state_dir.resolve(),
        template=(template or repository_template()).resolve(),
        host=host,
        port=port,
        clock_rate=rate,
        clock_origin=int(time.time()),
        own_bedrock=bedrock_endpoint is None,
        bedrock_url=control,
        runtime_url=runtime,
        batch_enabled=batch,
        docker=docker,
        detached=detached,
        satellites=_satellites(template) if satellites is None else tuple(satellites),
        parameters=dict(parameters or {}),
        iam=iam,
        empty=empty,
    )
    if iam and (control or runtime):
        raise CloudError("IAM can be enforced only before our own Bedrock emulator")
    settings.logs.mkdir(parents=True, exist_ok=True)
    with (settings.logs / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-m", "local.supervisor", settings.dumps()],
            cwd=REPOSITORY,
            env=dict(environ),
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        state = _await_ready(child, progress or _printer(quiet), settings.logs / "supervisor.log")
    except BaseException:
        _stop_child(child)
        raise
    return _cloud(state, settings.state_dir, None if detached else child)


def _satellites(template: Path | None) -> tuple[str, ...]:
    """The product's own template gets its further batch regions, another one none."""
    return SATELLITES if template is None or template.resolve() == repository_template() else ()


def find(state_dir: Path) -> Cloud | None:
    """The cloud that runs in `state_dir`; None when there is none, or it is not ready, or only its file is left."""
    state_dir = state_dir.resolve()
    if not _is_locked(state_dir):
        return None
    try:
        return _cloud(json.loads((state_dir / STATE).read_text()), state_dir, None)
    except FileNotFoundError:
        return None


def _cloud(state: Mapping[str, Any], state_dir: Path, supervisor: subprocess.Popen[bytes] | None) -> Cloud:
    names = {f.name for f in dataclasses.fields(Cloud)} - {"state_dir", "clients", "supervisor"}
    clients = Clients(state["endpoint"], {"bedrock": state["bedrock_url"], "bedrock-runtime": state["runtime_url"]})
    return Cloud(**{name: state[name] for name in names}, state_dir=state_dir, clients=clients, supervisor=supervisor)


def _await_ready(child: subprocess.Popen[bytes], progress: Progress, log: Path) -> dict[str, Any]:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            message = json.loads(line)
            if "ready" in message:
                ready: dict[str, Any] = message["ready"]
                return ready
            if "error" in message:
                raise CloudError(message["error"])
            progress(message["step"])
    raise CloudError(f"the embedded cloud ended with status {child.wait()} before it was ready:\n{processes.tail(log)}")


def _printer(quiet: bool) -> Progress:
    def say(step: str) -> None:
        if not quiet:
            sys.stderr.write(f"embedded cloud: {step}\n")

    return say


def _is_locked(state_dir: Path) -> bool:
    """Whether a supervisor lives there: it holds the lock, so a process number given out again never fools us."""
    try:
        with (state_dir / LOCK).open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _stop_child(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()  # its children end with it: they are on a leash
        child.wait()


def _signal_supervisor(state_dir: Path, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while processes.command_of(pid) is not None:
        if time.monotonic() > deadline and _is_locked(state_dir):
            os.kill(pid, signal.SIGKILL)  # its children end with it: they are on a leash
        time.sleep(0.05)
