"""`slackwater plan`: what a file, or so many jobs, would cost, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slackwater_cli.errors import Complaint
from slackwater_cli.options import DeadlineOrProfiles, Json, Lane, RequestType
from slackwater_cli.screen import Screen

STDIN = "-"


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command("plan")(plan)


def plan(  # noqa: PLR0917  (Typer reads the signature)
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="JSON Lines in any dialect; `-` reads standard input.",
                       show_default=False),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="For lines that name none. Default: `default`.",
                     show_default=False),
    ] = None,
    deadline: DeadlineOrProfiles = None,
    lane: Lane = None,
    home: Annotated[
        str | None,
        typer.Option("--home", metavar="REGION", help="Whose list prices to compare with. Default: the profile's.",
                     show_default=False),
    ] = None,
    profiles: Annotated[
        Path | None,
        typer.Option("--profiles", metavar="FILE", help="Routing profiles. Default: the stack's, or the shipped ones.",
                     show_default=False),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option("--history", metavar="PATH", show_default=False,
                     help="An earlier run's files (a folder, or its results.jsonl), or a saved history. Repeatable."),
    ] = None,
    save_history: Annotated[
        Path | None,
        typer.Option("--save-history", metavar="FILE", help="Write what --history told: sums, no text.",
                     show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Without a file: the model's id, its cheapest ways anywhere.",
                     show_default=False),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Without a file: so many jobs …", show_default=False)
    ] = None,
    input_tokens: Annotated[
        int | None,
        typer.Option("--input-tokens", metavar="N", help="… of so many input tokens each …", show_default=False),
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option("--output-tokens", metavar="N", help="… and so many output tokens each.", show_default=False),
    ] = None,
    request_type: RequestType = None,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME", show_default=False,
                     help="Ask this stack for its profiles, batch regions and what it learned. Default: ask nobody."),
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Say what a file would cost, by which lanes it would go and when it would be done. Nothing is sent.

    Without a file it reckons with --jobs of --input-tokens and --output-tokens, for a --model or a --profile.

    **Example**

    - `slackwater plan questions.jsonl --deadline 24h`
    - `slackwater plan questions.jsonl --history answers --json | jq .cost_usd`
    - `slackwater plan --model amazon.nova-lite-v1:0 --home eu-central-1 --jobs 100000 --input-tokens 900
      --output-tokens 200 --deadline 12h`
    """
    from slackwater_cli.planning import Order, plan_of  # noqa: PLC0415  (the command starts without the library)

    numbers = {"--jobs": jobs, "--input-tokens": input_tokens, "--output-tokens": output_tokens}
    given = [name for name, value in {**numbers, "--model": model}.items() if value is not None]
    if file is not None and given:
        raise Complaint(f"{given[0]} is for a plan without a file: leave it out, or the file")
    missing = [name for name, value in numbers.items() if value is None]
    if file is None and missing:
        raise Complaint(
            f"name a file, or give {', '.join(missing)}" if given else
            "name a file, or give --model, --jobs, --input-tokens and --output-tokens"
        )  # fmt: skip
    if model is not None and profile is not None:
        raise Complaint("give --model or --profile: a profile has its model")
    order = Order(
        file=file,
        profile=profile,
        deadline=deadline,
        lane=lane,
        home=home,
        profiles=profiles,
        history=tuple(history or ()),
        save_history=save_history,
        model=model,
        jobs=jobs or 0,
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        request_type=request_type,
        stack=stack,
    )
    plan_of(Screen(json), order)
