"""The process that owns one embedded cloud: `python -m local.supervisor SETTINGS`, SETTINGS as JSON.

It starts the emulators, deploys the template, beats the tick, and holds `lock` in the state folder while it lives. On
standard output it writes one JSON object a line: `{"step": ...}` on the way, then `{"ready": {...}}` or
`{"error": ...}`. It ends, and everything with it, on SIGTERM, on SIGINT, when an emulator ends, and (unless detached)
when its standard input is closed, which happens when the process that started it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from local import docker
from local.client import Clients
from local.errors import CloudError
from local.forward import forward
from local.processes import free_port, kill_group, spawn_leashed, tail, wait_healthy
from local.settings import REGION, STACK, Settings, child_environment, emulator_environment, iam_environment

LOCK, STATE = "lock", "state.json"
_log = logging.getLogger("local.supervisor")
Report = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def held_lock(state_dir: Path) -> Iterator[None]:
    """Holds the state folder's lock. Raises CloudError when another supervisor lives there."""
    with (state_dir / LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CloudError(f"an embedded cloud already runs in {state_dir}: end it with `local down`") from None
        yield


class Supervisor:
    """Starts, watches and ends the processes of one embedded cloud."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings, self._report = settings, report
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: Clients | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        """Start, announce, and stay until `ended` is set or a child dies."""
        try:
            state = self._start()
            write_state(self._settings.state_dir, state)
            if self._settings.empty:
                self._welcome(state)
            self._report({"ready": state})
            self._watch()
        finally:
            self.ended.set()
            self._save_function_logs()
            for child in self._children.values():
                kill_group(child.pid)
                child.wait()
            (self._settings.state_dir / STATE).unlink(missing_ok=True)
            shutil.rmtree(self._settings.tmp, ignore_errors=True)

    def _start(self) -> dict[str, Any]:
        s = self._settings
        container_host = docker.host_of_containers() if s.docker else None  # first: without an engine nothing starts
        port = s.port if s.port is not None else free_port(s.host)
        endpoint = f"http://{s.host}:{port}"
        control_url = self._start_bedrock(endpoint) if s.own_bedrock else str(s.bedrock_url)
        env = emulator_environment(s, os.environ, port, s.bedrock_url or control_url, s.runtime_url or control_url)
        if s.iam:
            s.iam_log.unlink(missing_ok=True)
            env |= iam_environment(s, free_port(s.host), control_url)
        self._spawn("aws", "local.aws", [], env)
        self._report({"step": "emulators"})
        self._clients = clients = Clients(endpoint)
        clients.get("s3", REGION)  # boto3 is loaded while they boot
        self._wait("aws", f"{endpoint}/_ministack/health")
        if s.own_bedrock:
            self._wait("bedrock", f"{control_url}/_control/health")
        outputs: dict[str, str] = {}
        satellites: dict[str, dict[str, str]] = {}
        if not s.empty:
            self._report({"step": "deploy"})
            outputs, satellites = self._deploy(clients)
        if container_host is not None:
            self._open_to_containers(
                container_host, {endpoint, control_url, s.bedrock_url or endpoint, s.runtime_url or endpoint}
            )
        return {
            "v": 1,
            "endpoint": endpoint,
            "control_url": control_url,
            "bedrock_url": s.bedrock_url or control_url,
            "runtime_url": s.runtime_url or control_url,
            "region": REGION,
            "stack": STACK,
            "empty": s.empty,
            "outputs": outputs,
            "satellites": satellites,
            "clock_rate": s.clock_rate,
            "clock_origin": s.clock_origin,
            "batch_enabled": s.batch_enabled,
            "container_host": container_host,
            "pids": {"supervisor": os.getpid(), **{name: child.pid for name, child in self._children.items()}},
        }

    @staticmethod
    def _open_to_containers(host: str, urls: Iterable[str]) -> None:
        """Docker Desktop brings containers to our loopback by itself; Docker's bridge needs a door there."""
        if host != docker.DESKTOP_HOST:
            for url in urls:
                if docker.is_loopback(url):
                    forward(host, url)

    def _deploy(self, clients: Clients) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The outputs of the home stack, and of each satellite by its region; the tick beats from here on."""
        from local.deploy import deploy, deploy_satellite, function_name, stop_schedules  # noqa: PLC0415
        from local.ticker import Ticker  # noqa: PLC0415

        s = self._settings
        parameters = s.template_parameters()
        satellites = {region: deploy_satellite(clients, region, s.template, parameters) for region in s.satellites}
        outputs = deploy(clients, REGION, STACK, s.template, parameters)
        stop_schedules(clients, REGION)
        if tick := function_name(clients, REGION, STACK, "TickFunction"):
            Ticker(clients, REGION, tick, s.clock_rate, self.ended).start()
        return outputs, satellites

    def _welcome(self, state: Mapping[str, Any]) -> None:
        """Waits for a stack that somebody else deploys, and lets the state file know it."""
        from local.newcomer import Newcomer  # noqa: PLC0415

        def report(stack: str | None, outputs: Mapping[str, str]) -> None:
            known = {**state, "stack": stack or STACK, "outputs": dict(outputs)}
            write_state(self._settings.state_dir, known)
            _log.info("the stack here is %s", stack)

        assert self._clients is not None
        Newcomer(self._clients, REGION, self._settings.clock_rate, self.ended, report).start()

    def _start_bedrock(self, endpoint: str) -> str:
        s = self._settings
        port = free_port(s.host)
        self._spawn(
            "bedrock",
            "local.bedrock",
            [
                "--port",
                str(port),
                "--host",
                s.host,
                "--s3-endpoint",
                endpoint,
                "--events-endpoint",
                endpoint,
                "--clock-rate",
                f"{s.clock_rate:g}",
                "--clock-origin",
                str(s.clock_origin),
            ],
            {**child_environment(os.environ), "TMPDIR": str(s.tmp)},
        )
        return f"http://{s.host}:{port}"

    def _spawn(self, name: str, module: str, arguments: list[str], env: Mapping[str, str]) -> None:
        self._children[name] = spawn_leashed(module, arguments, env, self._log_of(name))

    def _log_of(self, name: str) -> Path:
        return self._settings.logs / f"{name}.log"

    def _wait(self, name: str, url: str) -> None:
        wait_healthy(name, url, self._children[name], self._log_of(name))

    def _save_function_logs(self) -> None:
        aws = self._children.get("aws")
        if self._clients is not None and aws is not None and aws.poll() is None:
            from local.function_logs import save  # noqa: PLC0415

            save(self._clients, REGION, self._log_of("functions"))

    def _watch(self) -> None:
        while not self.ended.wait(0.2):
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise CloudError(f"{name} ended with status {child.returncode}:\n{tail(self._log_of(name))}")


def write_state(state_dir: Path, state: Mapping[str, Any]) -> None:
    """Writes the state file in one step: a reader sees all of it or none."""
    fresh = state_dir / f"{STATE}.new"
    fresh.write_text(json.dumps(state, indent=1))
    fresh.replace(state_dir / STATE)


def _report_line(message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more once the cloud is ready
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _end_with_parent(supervisor: Supervisor) -> None:
    while os.read(0, 4096):
        pass
    supervisor.ended.set()


def main(argv: list[str]) -> int:
    """Runs one embedded cloud until it is told to stop; 1 when it could not be started or broke."""
    settings = Settings.loads(argv[0])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    supervisor = Supervisor(settings, _report_line)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.ended.set())
    if not settings.detached:
        threading.Thread(target=_end_with_parent, args=(supervisor,), name="leash", daemon=True).start()
    started = time.monotonic()
    try:
        with held_lock(settings.state_dir):
            shutil.rmtree(settings.tmp, ignore_errors=True)
            for folder in (settings.tmp, settings.logs):
                folder.mkdir(parents=True, exist_ok=True)
            supervisor.run()
    except CloudError as error:
        _log.error("%s", error)
        _report_line({"error": str(error)})
        return 1
    _log.info("stopped after %.1f s", time.monotonic() - started)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
