"""A dropped file becomes a run: one execution of the workflow per version of an object, however often its event
comes.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from slackwater.model import ids
from slackwater.model.names import INBOX
from slackwater.model.run import StrangeMessage
from slackwater.usecases.ports import Workflow


class Heads(Protocol):
    def head(self, key: str, version_id: str | None = None) -> Any: ...


class Admit:
    """Starts runs of dropped files."""

    def __init__(self, *, workflow: Workflow, bucket: Heads) -> None:
        self._workflow = workflow
        self._bucket = bucket

    def __call__(self, event: Mapping[str, Any]) -> str | None:
        """Starts the run of an S3 `Object Created` event and gives its id; None for what is no dropped file (a
        folder's marker).

        Raises StrangeMessage for what is no such event: the rule let it through, so the message belongs in the
        dead-letter queue.
        """
        try:
            detail = event["detail"]
            bucket, key = detail["bucket"]["name"], detail["object"]["key"]
        except (KeyError, TypeError):
            raise StrangeMessage("an S3 event names bucket and object here", "/detail") from None
        if not key.startswith(INBOX) or key.endswith("/"):
            return None
        version = detail["object"].get("version-id") or self._bucket.head(key).version_id or "null"
        run_id = ids.run_of_object(bucket, key, version)
        self._workflow.start(
            run_id, {"run_id": run_id, "kind": "file", "bucket": bucket, "key": key, "version_id": version}
        )
        return run_id
