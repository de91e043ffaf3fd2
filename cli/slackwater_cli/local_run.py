"""`slackwater local run`: one file, all the way, in an embedded cloud of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from slackwater.model import deadline
from slackwater.model.errors import BadInput
from slackwater.model.message import ResultDialect
from slackwater.model.profile import load_profiles
from slackwater_cli import embedded, files
from slackwater_cli.cloud_reader import CloudReader
from slackwater_cli.connection import of_cloud
from slackwater_cli.errors import BROKEN, SETTLED, USAGE, Complaint
from slackwater_cli.follow import follow
from slackwater_cli.receipts import receipt_view
from slackwater_cli.screen import Screen


@dataclass(frozen=True)
class Order:
    """What the caller wants; times in real seconds."""

    file: Path
    profile: str
    deadline: str
    out: Path | None
    result_dialect: str | None
    timeout_s: float
    rate: float | None


def local_run(screen: Screen, order: Order) -> int:
    """Runs the file and gives the exit status. Raises Complaint, CloudError."""
    slack_s = _checked(order)
    rate = embedded.rate_for(slack_s) if order.rate is None else order.rate
    with embedded.short_lived(screen, rate) as cloud:
        screen.note(f"the embedded cloud is up; {embedded.pace(cloud.clock_rate)}")
        reader = CloudReader(of_cloud(cloud))
        dropped = files.drop_path(reader.store, order.profile, order.file, _metadata(order))
        name = order.file.name
        receipt = follow(
            reader, {name: dropped.run_id}, screen, timeout_s=order.timeout_s, title=f"{name} → {order.profile}"
        )[name]
        folder = order.out or Path(f"slackwater-{dropped.run_id}")
        written = reader.download(dropped.run_id, folder)
    screen.show(receipt_view(receipt))
    screen.note("wrote " + ", ".join(str(path) for path in written))
    screen.document(receipt)
    return exit_status(receipt)


def exit_status(receipt: Mapping[str, Any]) -> int:
    """0 for a settled run, whatever its failures count; 2 where the file was refused; 1 for any other failure."""
    if receipt["status"] == "settled":
        return SETTLED
    return BROKEN if receipt["accepted"] else USAGE


def _checked(order: Order) -> float:
    """The slack in seconds. Raises Complaint for an order that could not run."""
    now = datetime.now(UTC)
    try:
        load_profiles().named(order.profile)
        due = deadline.resolve(order.deadline, now)
    except BadInput as error:
        raise Complaint(error.message) from None
    if order.result_dialect not in (None, *get_args(ResultDialect)):
        raise Complaint(f"no result dialect {order.result_dialect}; there are {', '.join(get_args(ResultDialect))}")
    slack_s = (due - now).total_seconds()
    if slack_s <= 0:
        raise Complaint("the deadline has passed: give a later one with --deadline")
    files.check_size(order.file)
    return slack_s


def _metadata(order: Order) -> dict[str, str]:
    options = {"deadline": order.deadline}
    if order.result_dialect:
        options["result-dialect"] = order.result_dialect
    return options
