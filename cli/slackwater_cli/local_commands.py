"""`slackwater local …`: the embedded cloud, and a whole run in one of its own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from local.cloud import Cloud
from slackwater_cli import embedded, invoke_command
from slackwater_cli.errors import Complaint
from slackwater_cli.options import Deadline, Json, Out, Profile, Rate, ResultDialect, Timeout
from slackwater_cli.screen import Screen


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(
        help="The embedded cloud: the whole product on this machine, without AWS or Docker.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    app.command("up")(up)
    app.command("down")(down)
    app.command("env")(env)
    app.command("invoke")(invoke_command.invoke)
    app.command("status")(status)
    app.command("run")(run_file)
    return app


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Default: a free port.", show_default=False),
    ] = None,
    rate: Rate = None,
    docker: Annotated[bool, typer.Option("--docker", help="Let Docker's containers reach it too.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="An account with nothing in it, for `sam deploy`.")] = False,
    json: Json = False,
) -> None:
    """Start an embedded cloud that stays until `slackwater local down`.

    Its clock runs 20 times as fast as yours unless --rate says otherwise: batch jobs take half a minute.

    **Example**

    - `slackwater local up && eval "$(slackwater local env)"`
    - `aws s3 cp questions.jsonl s3://$SLACKWATER_BUCKET/inbox/default/`
    """
    screen = Screen(json)
    cloud = embedded.running()
    if cloud is None:
        speed = embedded.UP_RATE if rate is None else rate
        cloud = embedded.start(
            screen, state_dir=embedded.state_dir(), rate=speed, port=port, docker=docker, detached=True, empty=empty
        )
        screen.note("the embedded cloud is up")
    elif _differs(cloud, port, rate) or cloud.empty != empty:
        kind = "that was started with --empty already runs" if cloud.empty else "already runs"
        raise Complaint(
            f"an embedded cloud {kind} at {cloud.endpoint} (rate {cloud.clock_rate:g}): "
            "stop it with `slackwater local down` before you start another",
            code="already_running",
        )
    elif docker and cloud.container_host is None:
        raise Complaint(
            f"an embedded cloud already runs at {cloud.endpoint}, out of reach of containers: "
            "stop it with `slackwater local down`, then say `slackwater local up --docker` again",
            code="already_running",
        )
    else:
        screen.note("the embedded cloud was up already")
    screen.note(embedded.pace(cloud.clock_rate))
    screen.show(_status_table(cloud))
    screen.note('use it from this shell:  eval "$(slackwater local env)"')
    screen.document(status_document(cloud))


def down(json: Json = False) -> None:
    """Stop the embedded cloud of `local up` and remove what it held; its logs stay.

    **Example**

    - `slackwater local down`
    """
    screen = Screen(json)
    cloud = embedded.running()
    if cloud is None:
        screen.note("no embedded cloud was running here")
    else:
        cloud.stop()
        screen.note(f"stopped; its logs are in {cloud.logs()}")
    screen.document({"v": 1, "stopped": cloud is not None})


def env(
    sam: Annotated[bool, typer.Option("--sam", help="The functions' variables, for `sam local invoke`.")] = False,
    json: Json = False,
) -> None:
    """Print `export` lines with which `aws`, any SDK and this command reach the embedded cloud.

    With --sam: the environment of each deployed function as a container of `local up --docker` needs it, one JSON
    document for sam's `--env-vars`.

    **Example**

    - `eval "$(slackwater local env)"`
    - `aws sqs send-message --queue-url "$SLACKWATER_JOB_QUEUE" --message-group-id evening --message-body file://job.json`
    - `slackwater local env --sam > env.json`
    """
    cloud = embedded.the_running_one()
    if sam:
        from local import invoke  # noqa: PLC0415  (not needed for the other)

        Screen(True).document(invoke.environments(cloud, invoke.container_host(cloud)))
        return
    variables = cloud.env()
    if json:
        Screen(json).document(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def status(json: Json = False) -> None:
    """Show the embedded cloud: endpoints, processes, Lambda workers.

    **Example**

    - `slackwater local status --json | jq '.workers'`
    """
    screen = Screen(json)
    cloud = embedded.running()
    if cloud is None:
        screen.note(embedded.NOT_RUNNING)
        screen.document({"v": 1, "running": False, "pids": {}, "workers": []})
        return
    screen.show(_status_table(cloud))
    screen.note(embedded.pace(cloud.clock_rate), "dim")
    screen.document(status_document(cloud))


def run_file(  # noqa: PLR0917  (Typer reads the signature)
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="JSON Lines, one job a line."),
    ],
    profile: Profile = "default",
    deadline: Deadline = "24h",
    out: Out = None,
    result_dialect: ResultDialect = None,
    timeout: Timeout = 900,
    rate: Rate = None,
    json: Json = False,
) -> None:
    """Run a file all the way in an embedded cloud of its own, then stop that cloud.

    Writes results.jsonl, errors.jsonl and receipt.json into DIR (default: slackwater-RUN in the current folder). The
    cloud's clock runs so fast that the whole slack passes in about five minutes, unless --rate says otherwise; batch
    jobs that take hours on AWS take seconds here. Lines may be Slackwater jobs, Converse bodies, Bedrock
    batch records, or requests of OpenAI's or Anthropic's batches.

    **Example**

    - `slackwater local run questions.jsonl --deadline 24h --out answers`
    - `slackwater local run evening.jsonl --profile open-eu --deadline 6h --json | jq .saved_usd`
    """
    from slackwater_cli.local_run import Order, local_run  # noqa: PLC0415  (boto3 takes a third of a second)

    order = Order(
        file=file,
        profile=profile,
        deadline=deadline,
        out=out,
        result_dialect=result_dialect,
        timeout_s=timeout,
        rate=rate,
    )
    raise typer.Exit(local_run(Screen(json), order))


def status_document(cloud: Cloud) -> dict[str, Any]:
    """`local status --json`: process ids of supervisor, emulators and Lambda workers, and where they listen."""
    shown = (
        "container_host",
        "endpoint",
        "control_url",
        "bedrock_url",
        "runtime_url",
        "region",
        "stack",
        "clock_rate",
        "clock_origin",
    )
    facts = {name: getattr(cloud, name) for name in shown}
    return {
        "v": 1,
        "running": True,
        "pids": dict(cloud.pids),
        "workers": cloud.worker_pids(),
        **facts,
        "outputs": dict(cloud.outputs),
        "logs": str(cloud.logs()),
    }


def _differs(cloud: Cloud, port: int | None, rate: float | None) -> bool:
    other_port = port is not None and not cloud.endpoint.endswith(f":{port}")
    return other_port or (rate is not None and rate != cloud.clock_rate)


def _status_table(cloud: Cloud) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("AWS endpoint", cloud.endpoint)
    grid.add_row("Bedrock", cloud.runtime_url)
    grid.add_row("control", cloud.control_url)
    if cloud.outputs:
        grid.add_row("stack", f"{cloud.stack} in {cloud.region}")
        grid.add_row("job queue", cloud.outputs.get("JobQueueUrl", "-"))
        grid.add_row("inbox", f"s3://{cloud.outputs.get('BucketName', '-')}/inbox/<profile>/")
    else:
        grid.add_row("stack", "none yet: sam deploy --config-env local")
    if cloud.container_host is not None:
        grid.add_row("for containers", cloud.container_host)
    grid.add_row("processes", ", ".join(f"{name} {pid}" for name, pid in cloud.pids.items()))
    grid.add_row("Lambda workers", ", ".join(map(str, cloud.worker_pids())) or "none yet")
    grid.add_row("logs", str(cloud.logs()))
    return grid
