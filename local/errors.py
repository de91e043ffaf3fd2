"""What goes wrong with the embedded cloud itself."""

from __future__ import annotations


class CloudError(Exception):
    """The embedded cloud could not be started, deployed or reached; the message says what to do or where to look."""
