"""Child processes end with their parent; the tick never crowds; containers reach loopback by a forwarder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import types

import pytest

from local import aws, processes, ticker
from local.errors import CloudError
from local.forward import forward

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def gone(pids, within_s=5.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not [pid for pid in pids if processes.command_of(pid) is not None]:
            return True
        time.sleep(0.05)
    return False


def test_a_leashed_process_and_its_children_end_when_the_parents_end_of_the_pipe_closes(tmp_path, monkeypatch):
    (tmp_path / "family.py").write_text(FAMILY)
    child = processes.spawn_leashed("family", [], {**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path / "log")
    try:
        while not (tmp_path / "log").read_text().endswith("\n"):
            assert child.poll() is None
            time.sleep(0.02)
        pids = [int(pid) for pid in (tmp_path / "log").read_text().split()]
        assert [row.pid for row in processes.descendants(child.pid)] == pids[1:]
        child.stdin.close()
        assert gone(pids)
    finally:
        processes.kill_group(child.pid)
        child.wait()


def test_a_leash_refuses_to_run_in_somebody_elses_process_group(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "local.leash", "this"],
        capture_output=True,
        text=True,
        check=False,
        cwd=processes.REPOSITORY,
        stdin=subprocess.PIPE,
    )
    assert ran.returncode == 1
    assert "process group" in ran.stderr


def test_killing_a_group_that_is_gone_is_no_error():
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as child:
        child.wait()
    processes.kill_group(child.pid)


def test_waiting_for_a_child_that_ends_tells_its_status_and_its_last_words(tmp_path):
    (tmp_path / "log").write_text("first\nport is taken\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as child:
        child.wait()
        with pytest.raises(CloudError, match=r"aws ended with status 3:\nfirst\nport is taken"):
            processes.wait_healthy("aws", "http://127.0.0.1:9/", child, tmp_path / "log")


@pytest.mark.parametrize(("rate", "pause"), [(1, 60.0), (60, 1.0), (120, 0.5), (3600, 0.25)])
def test_the_tick_beats_each_virtual_minute_but_at_most_four_times_a_second(rate, pause):
    assert ticker.pause_s(rate) == pause


class SlowLambda:
    """Counts calls, and how many run at once."""

    def __init__(self, take_s, stop, after):
        self.take_s, self.stop, self.after, self.calls, self.running, self.most = take_s, stop, after, [], 0, 0

    def invoke(self, **call):
        self.running += 1
        self.most = max(self.most, self.running)
        self.calls.append(json.loads(call["Payload"]))
        time.sleep(self.take_s)
        self.running -= 1
        if len(self.calls) == self.after:
            self.stop.set()
        return {}


def test_a_tick_that_takes_longer_than_its_pause_is_never_run_twice_at_once():
    stop = threading.Event()
    slow = SlowLambda(0.3, stop, 3)
    clients = types.SimpleNamespace(get=lambda *_: slow)
    beat = ticker.Ticker(clients, "us-east-1", "Tick", 3600, stop)
    beat.start()
    beat.join(5)
    assert (len(slow.calls), slow.most) == (3, 1)
    assert {call["detail-type"] for call in slow.calls} == {"Scheduled Event"}


def test_a_forwarder_carries_both_directions_and_the_end_of_input():
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        port = upstream.getsockname()[1]
        forward("127.0.0.2", f"http://127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.2", port)) as caller:
            caller.sendall(b"question")
            caller.shutdown(socket.SHUT_WR)
            served, _ = upstream.accept()
            with served:
                assert served.recv(100) == b"question"
                assert served.recv(100) == b""
                served.sendall(b"answer")
            assert caller.recv(100) == b"answer"


def test_an_address_that_is_not_ours_is_refused_with_the_address():
    with pytest.raises(CloudError, match=r"192\.0\.2\.1:81"):
        forward("192.0.2.1", "http://127.0.0.1:81")


def emulator():
    """Stands in for ministack's two modules: an S3 that fires an event through EventBridge."""
    sent = []
    eventbridge = types.ModuleType("eventbridge")
    eventbridge._dispatch_event = lambda event, view=None: sent.append(event)
    eventbridge._put_events = lambda data, allow_aws_source=False: allow_aws_source
    s3 = types.ModuleType("s3")
    s3._fire_s3_event = lambda bucket, key, version_id=None: eventbridge._dispatch_event(
        {"Source": "aws.s3", "Detail": json.dumps({"object": {"key": key}})}
    )
    return s3, eventbridge, sent


def test_a_versioned_object_is_named_with_its_version_in_the_event_and_others_are_not():
    s3, eventbridge, sent = emulator()
    aws.name_versions(s3, eventbridge)
    s3._fire_s3_event("b", "k", version_id="v1")
    s3._fire_s3_event("b", "k")
    assert [json.loads(event["Detail"])["object"].get("version-id") for event in sent] == ["v1", None]


@pytest.mark.parametrize(
    ("sources", "taken"),
    [
        (["aws.bedrock"], True),
        (["aws.bedrock", "aws.bedrock"], True),
        (["aws.bedrock", "aws.ec2"], False),
        (["slackwater"], False),
        ([], False),
    ],
)
def test_only_requests_of_bedrocks_events_pass_as_an_aws_source(sources, taken):
    _, eventbridge, _ = emulator()
    aws.accept_bedrock_events(eventbridge)
    assert eventbridge._put_events({"Entries": [{"Source": source} for source in sources]}) is taken


@pytest.mark.parametrize(
    "esm", [{}, {"ScalingConfig": {"MaximumConcurrency": "2"}}, {"ScalingConfig": {"MaximumConcurrency": 2}}]
)
def test_a_mappings_limit_is_compared_as_a_number(esm):
    lambda_svc = types.ModuleType("lambda_svc")
    lambda_svc._sqs_esm_concurrency = lambda esm, *rest: min(esm["ScalingConfig"].get("MaximumConcurrency", 5), 9)
    aws.count_workers_in_numbers(lambda_svc)
    assert lambda_svc._sqs_esm_concurrency(esm) == (2 if esm else 5)


def test_an_emulator_in_which_a_corrected_function_is_gone_is_refused():
    with pytest.raises(CloudError, match="_put_events"):
        aws.accept_bedrock_events(types.ModuleType("eventbridge"))
