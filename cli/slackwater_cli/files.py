"""Dropping a file into the inbox, with the checks that save a useless upload."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from slackwater.adapters.store import Store
from slackwater.model import ids, names
from slackwater.model.errors import BadInput
from slackwater.model.profile import Profiles
from slackwater.usecases.file_options import FileOptions
from slackwater_cli.errors import Complaint

MAX_BYTES: Final = 5_000_000_000
"""A larger file is refused by the intake, too."""


@dataclass(frozen=True)
class Dropped:
    """A file in the inbox, and the run that it starts."""

    key: str
    version_id: str
    run_id: str


def inbox_key(profile: str, name: str) -> str:
    """`inbox/<profile>/<name>.jsonl`: what is no letter, digit, dot, dash or underscore becomes a dash."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "input"
    return f"{names.INBOX}{profile}/{clean if clean.endswith('.jsonl') else clean + '.jsonl'}"


def drop(store: Store, profile: str, name: str, file: BinaryIO, metadata: Mapping[str, str]) -> Dropped:
    """Uploads an open file to the inbox; `metadata` are the run's options (`deadline`, `result-dialect` …)."""
    key = inbox_key(profile, name)
    version = store.put_file(key, file, metadata=metadata) or "null"
    return Dropped(key, version, ids.run_of_object(store.bucket, key, version))


def check_options(options: Mapping[str, str], profile: str, profiles: Profiles, now: datetime) -> None:
    """Raises Complaint for what the intake would refuse a whole file for; read by the intake's own code."""
    try:
        profiles.named(profile)
        FileOptions.from_object(inbox_key(profile, "input"), options, now)
    except BadInput as error:
        raise Complaint(error.message.replace("object metadata ", "")) from None


def check_size(path: Path) -> None:
    """Raises Complaint for a file that the intake would refuse for its size."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Complaint(f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} of a run: split it into several files")


def drop_path(store: Store, profile: str, path: Path, metadata: Mapping[str, str]) -> Dropped:
    """As `drop`, for a file on disk."""
    with path.open("rb") as file:
        return drop(store, profile, path.name, file, metadata)
