"""`slackwater local invoke`: one function in Lambda's own image, on the embedded cloud that runs here."""

from __future__ import annotations

import json as json_text
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from local.processes import REPOSITORY
from slackwater_cli import embedded
from slackwater_cli.errors import Complaint
from slackwater_cli.screen import Screen

WITH_DOCKER = "slackwater local up --docker"


def invoke(  # noqa: PLR0917  (Typer reads the signature)
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="Its logical id: `RouteFunction`.")],
    event: Annotated[
        Path, typer.Option("--event", metavar="FILE", exists=True, dir_okay=False, readable=True, help="A JSON file.")
    ],
    build: Annotated[Path, typer.Option("--build", metavar="DIR", help="What `sam build` made.")] = Path(
        ".aws-sam/invoke/build"
    ),
    runtime: Annotated[str, typer.Option("--runtime", help="For which it was built.")] = "python3.13",
    sam: Annotated[Path, typer.Option("--sam", metavar="FILE", help="The sam command.")] = REPOSITORY
    / ".venv-tools/bin/sam",
    check: Annotated[bool, typer.Option("--check", help="Only see whether it could be done now.")] = False,
) -> None:
    """Run one function with one event in Lambda's own image and print its answer.

    Needs Docker, an embedded cloud of `local up --docker`, and a build for this machine; `make invoke` makes the build.
    The container has the environment of the deployed function. SQS messages of the event are sent now.

    **Example**

    - `make invoke F=RouteFunction E=events/route.sqs.one_job.json`
    """
    from local import docker  # noqa: PLC0415  (not needed for --help)
    from local import invoke as local_invoke  # noqa: PLC0415

    if (reason := docker.no_engine()) is not None:
        raise Complaint(reason, code="no_docker")
    cloud = embedded.running()
    if cloud is None:
        raise Complaint(f"no embedded cloud runs here; start one with `{WITH_DOCKER}`", code="not_running")
    host = local_invoke.container_host(cloud)
    document = _read(event)
    known = local_invoke.environments(cloud, host)
    if function not in known:
        raise Complaint(f"the stack has no function {function}; it has {', '.join(sorted(known))}")
    if check:
        return
    built = local_invoke.Built(build.resolve(), runtime, docker.machine())
    if not built.template.exists():
        raise Complaint(f"nothing is built in {build}: run `make invoke F={function} E={event}`", code="not_built")
    screen = Screen(True)
    if not docker.has_image(built.image):
        screen.note(f"{built.image} is not here yet; sam fetches it")
    answer = local_invoke.invoke(cloud, built, sam, function, local_invoke.sent_now(document, time.time()), live=True)
    sys.stderr.write("\n")
    screen.document(answer.body)


def _read(event: Path) -> Any:
    try:
        return json_text.loads(event.read_bytes())
    except ValueError as error:
        raise Complaint(f"{event} is no JSON: {error}") from None
