"""IAM enforced in the emulated AWS (`AUTH=true`), each decision written down; loaded by `local.aws`.

ministack then gives every Lambda worker a session of its function's own role, checks the signature of each request, and
asks the role's policies (identity policies, and those of buckets and queues). Three of its readings are not AWS's and
are corrected here:

1. SQS's batch calls need the action of the single call (there is no `sqs:SendMessageBatch` in IAM;
   https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html).
2. `states:SendTaskSuccess` is asked for on the state machine whose token is answered
   (https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html); ministack asks for
   `*`.
3. Everything here is HTTP on loopback, so a policy that denies what is not TLS would deny all: requests count as TLS.

Each decision about a role is a line of JSON in the file that `SLACKWATER_IAM_LOG` names:
`{"role": …, "session": …, "action": …, "resource": …, "allowed": true}`, with `condition` where the request carries
keys that our statements ask for. Never a key's value of an object or item: no prompts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from local.errors import CloudError

_SINGLE = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_TASK_CALLS = frozenset({"SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"})
_RECORDED_KEYS = frozenset({"dynamodb:enclosingoperation", "s3:prefix", "iam:passedtoservice"})


class Record:
    """The file of decisions; lines are written whole, by many threads."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file.open("a", buffering=1), threading.Lock()

    def write(  # one line: who, what, on what, and whether
        self, principal_arn: str, action: str, resource: str, allowed: bool, context: Mapping[str, Any] | None = None
    ) -> None:
        """`principal_arn` is a role's session, `…:assumed-role/<role>/<session>`, or a role."""
        role, _, session = principal_arn.partition("role/")[2].partition("/")
        line: dict[str, Any] = {"role": role, "session": session, "action": action, "resource": resource}
        line["allowed"] = allowed
        condition = {key: value for key, value in (context or {}).items() if key.lower() in _RECORDED_KEYS}
        if condition:
            line["condition"] = condition
        with self._lock:
            self._file.write(json.dumps(line) + "\n")


def enforce_and_record(record: Record) -> None:
    """Corrects and records ministack's decisions about roles. Raises CloudError for a ministack that we do not know."""
    from ministack import app  # noqa: PLC0415  (reads its settings from the environment when imported)
    from ministack.core import iam_actions, iam_evaluator  # noqa: PLC0415

    if not app.AUTH:
        raise CloudError("ministack does not enforce IAM: AUTH was not set when it was imported")
    _name_single_actions(iam_actions)
    _name_state_machines(iam_actions)
    pin = _function(iam_evaluator, "pin_request_origin")
    app.pin_request_origin = lambda source_ip, _secure: pin(source_ip, True)
    enforce = _function(iam_evaluator, "enforce")

    def enforce_recorded(  # noqa: PLR0917  (ministack's own signature)
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        arn = session_arn(access_key_id)
        if arn is not None:
            record.write(arn, iam_action, resource_arn, denied is None, service_context)
        return denied

    setattr(iam_evaluator, "enforce", enforce_recorded)  # noqa: B010


def session_arn(access_key_id: str) -> str | None:
    """The ARN of the role session that owns the key; None for everybody else (our own tools are the root user)."""
    from ministack.services import sts  # noqa: PLC0415

    session = sts._sessions.get(access_key_id)
    return None if session is None else str(session["Arn"])


def _name_single_actions(iam_actions: ModuleType) -> None:
    extract = _function(iam_actions, "extract_iam_action")

    def extract_iam_action(*args: Any, **kwargs: Any) -> str | None:
        action = extract(*args, **kwargs)
        return _SINGLE.get(action, action) if action else None

    setattr(iam_actions, "extract_iam_action", extract_iam_action)  # noqa: B010


def _name_state_machines(iam_actions: ModuleType) -> None:
    from ministack.services import stepfunctions  # noqa: PLC0415

    extract = _function(iam_actions, "extract_resource_arn")

    def extract_resource_arn(  # noqa: PLR0917  (ministack's own signature)
        service: str, method: str, path: str, headers: Any, body: bytes, query_params: Any, region: str, account_id: str
    ) -> str:
        if service == "states" and headers.get("x-amz-target", "").rpartition(".")[2] in _TASK_CALLS:
            return _machine_of_tokens(stepfunctions, region, account_id)
        return str(extract(service, method, path, headers, body, query_params, region, account_id))

    setattr(iam_actions, "extract_resource_arn", extract_resource_arn)  # noqa: B010


def _machine_of_tokens(stepfunctions: ModuleType, region: str, account_id: str) -> str:
    """The only state machine there is: ministack does not keep whose a token is."""
    machines = [arn for (_, _, arn), _ in stepfunctions._state_machines.all_items()]
    if len(machines) != 1:
        return f"arn:aws:states:{region}:{account_id}:stateMachine:unknown"
    return str(machines[0])


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        raise CloudError(f"this ministack has no {module.__name__}.{name}: install the release pinned in pyproject")
    return found  # type: ignore[no-any-return]
