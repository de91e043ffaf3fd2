"""Step Functions and EventBridge, as far as runs need them."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from botocore.exceptions import ClientError

EVENT_SOURCE: Final = "slackwater"
DEAD_TOKENS: Final = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})


class RunWorkflow:
    """The run workflow; an execution's name is its run, so that a doubled event starts nothing."""

    def __init__(self, client: Any, state_machine_arn: str) -> None:
        self._client = client
        self._arn = state_machine_arn

    def start(self, run_id: str, payload: Mapping[str, Any]) -> None:
        """Starting a run that is running or has run is no error."""
        try:
            self._client.start_execution(
                stateMachineArn=self._arn, name=run_id, input=orjson.dumps(dict(payload)).decode()
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise

    def answer(self, token: str, payload: Mapping[str, Any]) -> bool:
        """Wakes the waiting state; False for a token that has timed out or was answered: the workflow looks again by
        itself.
        """
        try:
            self._client.send_task_success(taskToken=token, output=orjson.dumps(dict(payload)).decode())
        except ClientError as exc:
            if exc.response["Error"]["Code"] in DEAD_TOKENS:
                return False
            raise
        return True


class Events:
    """Events of ours on a bus; never prompts."""

    def __init__(self, client: Any, bus: str) -> None:
        self._client = client
        self._bus = bus

    def announce(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Raises RuntimeError when EventBridge takes the call but refuses the entry."""
        answer = self._client.put_events(
            Entries=[
                {
                    "Source": EVENT_SOURCE,
                    "DetailType": detail_type,
                    "Detail": orjson.dumps(dict(detail)).decode(),
                    "EventBusName": self._bus,
                }
            ]
        )
        if answer.get("FailedEntryCount"):
            raise RuntimeError(f"EventBridge refused {detail_type}: {answer['Entries'][0].get('ErrorCode')}")
