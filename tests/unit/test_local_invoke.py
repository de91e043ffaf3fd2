"""What a container of `sam local invoke` is told of the embedded cloud, and what is said where there is no Docker."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from local import docker, invoke
from local.errors import CloudError
from local.package import load_template
from local.processes import REPOSITORY
from slackwater_cli import embedded
from slackwater_cli.main import run


def cloud(**changes):
    """A running cloud with two functions, as far as its environments are asked for."""
    resources = [
        {
            "LogicalResourceId": "RouteFunction",
            "PhysicalResourceId": "s-Route-1",
            "ResourceType": "AWS::Lambda::Function",
        },
        {"LogicalResourceId": "JobQueue", "PhysicalResourceId": "q", "ResourceType": "AWS::SQS::Queue"},
    ]
    variables = {"SLACKWATER_JOB_QUEUE_URL": "http://127.0.0.1:4000/0/jobs", "SLACKWATER_TABLE": "ledger"}
    services = {
        "cloudformation": SimpleNamespace(describe_stack_resources=lambda StackName: {"StackResources": resources}),
        "lambda": SimpleNamespace(
            get_function_configuration=lambda FunctionName: {"Environment": {"Variables": dict(variables)}}
        ),
    }
    values = {
        "stack": "slackwater",
        "endpoint": "http://127.0.0.1:4000",
        "bedrock_url": "http://localhost:5000",
        "runtime_url": "https://model.example:8443/v1",
        "region": "us-east-1",
        "clock_rate": 20.0,
        "clock_origin": 1_800_000_000,
        "container_host": "172.17.0.1",
        "client": services.__getitem__,
        **changes,
    }
    return SimpleNamespace(**values)


def test_a_container_finds_the_cloud_at_its_hosts_address_and_everything_else_where_it_is():
    (function, variables) = next(iter(invoke.environments(cloud(), "172.17.0.1").items()))
    assert function == "RouteFunction"
    assert variables["AWS_ENDPOINT_URL"] == "http://172.17.0.1:4000"
    assert variables["AWS_ENDPOINT_URL_BEDROCK"] == "http://172.17.0.1:5000"
    assert variables["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == "https://model.example:8443/v1"
    assert variables["SLACKWATER_JOB_QUEUE_URL"] == "http://172.17.0.1:4000/0/jobs"
    assert variables["SLACKWATER_TABLE"] == "ledger"
    assert (variables["SLACKWATER_CLOCK_RATE"], variables["SLACKWATER_CLOCK_ORIGIN"]) == ("20", "1800000000")
    assert variables["AWS_ACCESS_KEY_ID"] == "test"


def test_a_cloud_that_containers_cannot_reach_says_how_to_start_one():
    with pytest.raises(CloudError, match="local up --docker"):
        invoke.container_host(cloud(container_host=None))


def test_every_function_declares_every_variable_or_sam_would_drop_it():
    template = load_template(REPOSITORY / "template.yaml")
    known = {"WaitFunction": {"AWS_ENDPOINT_URL": "x", "SLACKWATER_TABLE": "t"}, "NoSuchFunction": {"A": "b"}}
    declared = invoke.declare(template, known)
    before = template["Resources"]["WaitFunction"]["Properties"]["Environment"]["Variables"]
    after = declared["Resources"]["WaitFunction"]["Properties"]["Environment"]["Variables"]
    assert after == {"AWS_ENDPOINT_URL": "", "SLACKWATER_TABLE": ""} | before
    assert declared["Resources"].keys() == template["Resources"].keys()
    assert "AWS_ENDPOINT_URL" not in before, "the template that goes to AWS is left alone"


def test_messages_are_sent_now_and_other_events_are_left_alone():
    old = {"Records": [{"messageId": "m", "attributes": {"SentTimestamp": "1", "SenderId": "s"}}, {"s3": {}}]}
    new = invoke.sent_now(old, 1_800_000_000.25)
    assert new["Records"][0] == {
        "messageId": "m",
        "attributes": {"SentTimestamp": "1800000000250", "SenderId": "s"},
    }
    assert new["Records"][1] == {"s3": {}}
    assert old["Records"][0]["attributes"]["SentTimestamp"] == "1"
    for other in ({"run_id": "r"}, [1], None):
        assert invoke.sent_now(other, 0) == other


def test_sam_gets_no_credentials_of_ours_to_hand_on(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_PROFILE", "prod")
    monkeypatch.setenv("DOCKER_HOST", "unix:///x.sock")
    handed = invoke._sams_environment()
    assert not {"AWS_ACCESS_KEY_ID", "AWS_PROFILE"} & handed.keys()
    assert handed["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert handed["DOCKER_HOST"] == "unix:///x.sock"


@pytest.mark.parametrize("out", ["", "Invoking…\n", '{"half": '])
def test_no_answer_is_an_error_that_shows_the_log(out):
    with pytest.raises(CloudError, match="the image is missing"):
        invoke._answer(out, "the image is missing")


# ------------------------------------------------------------------ Docker


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Puts a `docker` command of our own first; it says what a file of the same folder says."""

    def answers(said: dict[str, str], status: int = 0) -> None:
        (tmp_path / "said").mkdir(exist_ok=True)
        for command, text in said.items():
            (tmp_path / "said" / command).write_text(text)
        script = (
            f'#!/bin/sh\nif [ {status} != 0 ]; then echo "no daemon" >&2; exit {status}; fi\ncat {tmp_path}/said/$1\n'
        )
        (tmp_path / "docker").write_text(script)
        (tmp_path / "docker").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return answers


def test_an_engine_that_does_not_answer_is_named_with_what_to_do(engine, monkeypatch):
    engine({}, status=1)
    assert "no daemon" in docker.no_engine() and "DOCKER_HOST" in docker.no_engine()
    with pytest.raises(CloudError, match="start Docker"):
        docker.host_of_containers()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no `docker` command" in docker.no_engine()


@pytest.mark.parametrize(
    ("configured", "host"),
    [
        ([{"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.9"}], "127.0.0.9"),
        ([{"Subnet": "127.0.0.0/8"}], "127.0.0.1"),  # engines leave the gateway out at times
        ([{"Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1"}], docker.DESKTOP_HOST),  # in a virtual machine
        (None, docker.DESKTOP_HOST),
    ],
)
def test_containers_find_us_at_the_bridge_if_it_is_ours_else_by_docker_desktops_name(engine, configured, host):
    engine({"version": "29", "network": json.dumps(configured)})
    assert docker.host_of_containers() == host


def test_a_name_is_resolved_where_the_container_is_and_an_address_is_left_alone(engine):
    engine({"run": "192.168.65.254\n"})
    assert docker.resolve("172.17.0.1", "image") == "172.17.0.1"
    assert docker.resolve(docker.DESKTOP_HOST, "image") == "192.168.65.254"


def test_the_image_is_the_one_sam_looks_for():
    assert docker.lambda_image("python3.13", "arm64") == "public.ecr.aws/lambda/python:3.13-arm64"
    assert invoke.Built(Path("b"), "python3.12", "x86_64").image == "public.ecr.aws/lambda/python:3.12-x86_64"


# ------------------------------------------------------------------ the command


def complaint(capsys, *arguments: str) -> str:
    """What `slackwater local invoke` says when it cannot."""
    with pytest.raises(SystemExit) as ended:
        run(
            ["local", "invoke", *arguments, "--event", str(REPOSITORY / "events" / "route.sqs.one_job.json"), "--check"]
        )
    assert ended.value.code != 0
    return capsys.readouterr().err


def test_without_docker_or_without_a_cloud_the_command_says_what_to_do(engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLACKWATER_LOCAL_DIR", str(tmp_path / "none"))
    engine({}, status=1)
    assert "no daemon): install and start Docker" in complaint(capsys, "RouteFunction")
    engine({"version": "29"})
    assert "`slackwater local up --docker`" in complaint(capsys, "RouteFunction")


def test_a_cloud_out_of_reach_and_an_unknown_function_are_named(engine, monkeypatch, capsys):
    engine({"version": "29"})
    monkeypatch.setattr(embedded, "running", lambda: cloud(container_host=None))
    assert "`slackwater local down`, then `slackwater local up --docker`" in complaint(capsys, "RouteFunction")
    monkeypatch.setattr(embedded, "running", cloud)
    assert "no function RoutFunction; it has RouteFunction" in complaint(capsys, "RoutFunction")
