"""Options that several commands share, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on standard output.")]
Stack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        metavar="NAME",
        help="The CloudFormation stack. Default: SLACKWATER_STACK, a running `local up`, or samconfig.toml.",
        show_default=False,
    ),
]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Our run id, your run_id (its newest generation), or a dropped file's name."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after so many real seconds; 0 waits for ever."),
]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="The routing profile that decides the route.")]
Deadline = Annotated[
    str, typer.Option("--deadline", metavar="WHEN", help="`90m`, `6h`, `2d`, or a moment: `2026-12-01T06:00:00Z`.")
]
DeadlineOrProfiles = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="WHEN",
        help="`90m`, `6h`, `2d`, or a moment. Default: the profile's.",
        show_default=False,
    ),
]
Lane = Annotated[
    str | None,
    typer.Option(
        "--lane",
        metavar="LANE",
        help="`on_demand`, `flex` or `batch`, for lines that name none.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", file_okay=False, help="The folder for the files.", show_default=False),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="R",
        min=1,
        help="Seconds of the embedded cloud's time in one real second.",
        show_default=False,
    ),
]
ResultDialect = Annotated[
    str | None,
    typer.Option(
        "--result-dialect",
        metavar="NAME",
        help="Also write results as `openai`, `anthropic`, `bedrock` or `converse` does, or as the `input` is written.",
        show_default=False,
    ),
]
RequestType = Annotated[
    str | None,
    typer.Option(
        "--request-type",
        metavar="TYPE",
        help="What Bedrock records hold: `converse` or `invoke_model`. Default: as each looks.",
        show_default=False,
    ),
]
