"""The console script: assembles the commands and turns every known trouble into one line and an exit status."""

from __future__ import annotations

import signal
import sys
from typing import Any

import orjson
import typer

from local.errors import CloudError
from slackwater_cli import (
    act_commands,
    check_command,
    demo_command,
    dlq_commands,
    explain_command,
    local_commands,
    pause_commands,
    plan_command,
    prices_commands,
    profiles_commands,
    quotas_commands,
    run_commands,
)
from slackwater_cli.errors import BROKEN, USAGE, Complaint
from slackwater_cli.screen import complain

HELP = """Runs Bedrock inference that can wait, down the cheapest way that still arrives on time.

**Try it** without an AWS account:

- `slackwater demo`
- `slackwater local run questions.jsonl --deadline 24h`

**On AWS**, with your stack's name in `--stack`, `SLACKWATER_STACK` or samconfig.toml:

- `slackwater check`
- `slackwater submit questions.jsonl --deadline 24h`

Exit status: 0 settled, 2 bad usage or nothing to run, 3 not settled in time, 130 after Ctrl-C, 1 anything else.
"""


def build() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(local_commands.build(), name="local")
    app.add_typer(profiles_commands.build(), name="profiles")
    app.add_typer(quotas_commands.build(), name="quotas")
    app.add_typer(prices_commands.build(), name="prices")
    app.add_typer(dlq_commands.build(), name="dlq")
    act_commands.register(app)
    pause_commands.register(app)
    run_commands.register(app)
    explain_command.register(app)
    plan_command.register(app)
    check_command.register(app)
    demo_command.register(app)
    return app


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its status; no known trouble shows a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        build()(arguments, prog_name="slackwater")
    except Complaint as complaint:
        sys.exit(_end(arguments, complaint.message, complaint.code, complaint.status))
    except CloudError as error:
        sys.exit(_end(arguments, str(error), "embedded_cloud", BROKEN))
    except Exception as error:  # re-raised unless it is one of the few that somebody can mend
        from slackwater_cli.remedies import remedy  # noqa: PLC0415  (botocore loads only when something went wrong)

        known = remedy(error)
        if known is None:
            raise
        sys.exit(_end(arguments, known, type(error).__name__, USAGE if _is_callers(error) else BROKEN))


def _end(arguments: list[str], message: str, code: str, status: int) -> int:
    if "--json" in arguments:
        document: dict[str, Any] = {"v": 1, "error": {"code": code, "message": message}}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    complain(message)
    return status


def _is_callers(error: Exception) -> bool:
    return type(error).__name__ in ("NoCredentialsError", "NoRegionError", "ProfileNotFound", "BadInput")


def _terminated(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
