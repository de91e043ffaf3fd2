"""The emulated AWS: `python -m local.aws` is ministack with some of its answers corrected, settings by environment.

1. S3's `Object Created` events name the version of the object in a versioned bucket, as S3's do
   (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html); ministack leaves `version-id` out.
2. `PutEvents` takes the source `aws.bedrock`, so that our Bedrock emulator, a process of its own, sends the events
   that Bedrock sends. AWS refuses sources that begin with `aws.`, and so does ministack.
3. A mapping's `MaximumConcurrency` that comes from a template's Number parameter is a number, as CloudFormation makes
   it; ministack keeps the parameter's text, cannot compare it, and polls no queue at all any more.
4. `SimulatePrincipalPolicy` heeds the request's ContextEntries; ministack evaluates without, so that a statement with a
   condition never allows anything.
5. Functions run at the clock of this cloud, whatever their stack's parameters say: its two variables are as reserved
   as AWS_REGION is. So the template that goes to AWS is deployed here as it is.
6. A state machine's definition that lies in S3 may be YAML, as `sam deploy` uploads ours
   (https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-stepfunctions-statemachine.html);
   ministack reads JSON only.
7. A layer is unpacked once and not for each worker (`local/unpacked.py`).

With IAM enforced (`local/iam.py`), the gate before Bedrock (`local/gate.py`) is served from here too.

Each wraps a name or two. A ministack in which such a name is gone is refused at start.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from local.errors import CloudError
from local.settings import GATE_PORT, GATE_UPSTREAM, IAM_LOG
from local.unpacked import unpack_once

BEDROCK_SOURCE = "aws.bedrock"
CLOCK_VARIABLES = ("SLACKWATER_CLOCK_RATE", "SLACKWATER_CLOCK_ORIGIN")


def name_versions(s3: ModuleType, eventbridge: ModuleType) -> None:
    """Correction 1. The version is known where the event is made and wanted where it is sent, on the same thread."""
    fire, dispatch = _function(s3, "_fire_s3_event"), _function(eventbridge, "_dispatch_event")
    current = threading.local()

    def fire_s3_event(*args: Any, version_id: str | None = None, **kwargs: Any) -> None:
        current.version_id = version_id
        try:
            fire(*args, version_id=version_id, **kwargs)
        finally:
            current.version_id = None

    def dispatch_event(event: dict[str, Any], *args: Any) -> Any:
        version_id = getattr(current, "version_id", None)
        if version_id and event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version_id
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args)

    setattr(s3, "_fire_s3_event", fire_s3_event)  # noqa: B010
    setattr(eventbridge, "_dispatch_event", dispatch_event)  # noqa: B010


def accept_bedrock_events(eventbridge: ModuleType) -> None:
    """Correction 2, for requests whose every entry has that source."""
    put = _function(eventbridge, "_put_events")

    def put_events(data: dict[str, Any], allow_aws_source: bool = False) -> Any:
        sources = {entry.get("Source") for entry in data.get("Entries", [])}
        return put(data, allow_aws_source=allow_aws_source or sources == {BEDROCK_SOURCE})

    setattr(eventbridge, "_put_events", put_events)  # noqa: B010


def count_workers_in_numbers(lambda_svc: ModuleType) -> None:
    """Correction 3."""
    concurrency = _function(lambda_svc, "_sqs_esm_concurrency")

    def sqs_esm_concurrency(esm: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        scaling = {key: int(value) for key, value in (esm.get("ScalingConfig") or {}).items()}
        return concurrency({**esm, "ScalingConfig": scaling}, *args, **kwargs)

    setattr(lambda_svc, "_sqs_esm_concurrency", sqs_esm_concurrency)  # noqa: B010


def simulate_with_context(iam: ModuleType, iam_evaluator: ModuleType) -> None:
    """Correction 4. The entries are known where the request is read and wanted where a policy is evaluated, on the same
    thread."""
    extract, build = _function(iam, "_extract_simulate_params"), _function(iam, "_build_simulate_results_real")
    read, evaluate = _function(iam, "_p"), _function(iam_evaluator, "evaluate")
    given = threading.local()

    def extract_simulate_params(parameters: Any) -> Any:
        given.read, number = {}, 1
        while key := read(parameters, f"ContextEntries.member.{number}.ContextKeyName"):
            value = read(parameters, f"ContextEntries.member.{number}.ContextKeyValues.member.1")
            given.read[key.lower()] = value
            number += 1
        return extract(parameters)

    def build_simulate_results(*args: Any) -> Any:
        given.context = getattr(given, "read", {})
        try:
            return build(*args)
        finally:
            given.context = {}

    def evaluate_in_context(context: Any, policies: Any) -> Any:
        context.service_context.update(getattr(given, "context", {}))
        return evaluate(context, policies)

    setattr(iam, "_extract_simulate_params", extract_simulate_params)  # noqa: B010
    setattr(iam, "_build_simulate_results_real", build_simulate_results)  # noqa: B010
    setattr(iam_evaluator, "evaluate", evaluate_in_context)  # noqa: B010


def keep_the_clock(lambda_runtime: ModuleType) -> None:
    """Correction 5."""
    reserved = getattr(lambda_runtime, "_RESERVED_RUNTIME_ENV_VARS", None)
    if not isinstance(reserved, set):
        raise _missing(lambda_runtime, "_RESERVED_RUNTIME_ENV_VARS")
    reserved.update(CLOCK_VARIABLES)


def read_yaml_workflows(provisioners: ModuleType) -> None:
    """Correction 6, for definitions from anywhere: JSON begins with a brace, and no workflow in YAML does."""
    declared = _function(provisioners, "_sfn_definition")

    def sfn_definition(properties: dict[str, Any]) -> Any:
        text = declared(properties)
        return text if text.lstrip().startswith("{") else json.dumps(yaml.safe_load(text))

    setattr(provisioners, "_sfn_definition", sfn_definition)  # noqa: B010


def _missing(module: ModuleType, name: str) -> CloudError:
    return CloudError(f"this ministack has no {module.__name__}.{name}: install the release pinned in pyproject")


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        raise _missing(module, name)
    return found  # type: ignore[no-any-return]


def _enforce_iam() -> None:
    """With IAM: each decision recorded, and the gate before Bedrock open."""
    from local import gate, iam  # noqa: PLC0415  (only where IAM is wanted)

    record = iam.Record(Path(os.environ[IAM_LOG]))
    iam.enforce_and_record(record)
    gate.serve(os.environ["BIND_HOST"], int(os.environ[GATE_PORT]), os.environ[GATE_UPSTREAM], record)


def main() -> None:
    """Serves until it is killed."""
    from ministack import app  # noqa: PLC0415  (reads its settings from the environment when imported)
    from ministack.core import iam_evaluator, lambda_runtime  # noqa: PLC0415
    from ministack.services import eventbridge, iam, lambda_svc, s3  # noqa: PLC0415
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    name_versions(s3, eventbridge)
    accept_bedrock_events(eventbridge)
    count_workers_in_numbers(lambda_svc)
    simulate_with_context(iam, iam_evaluator)
    keep_the_clock(lambda_runtime)
    read_yaml_workflows(provisioners)
    unpack_once(lambda_runtime)
    if IAM_LOG in os.environ:
        _enforce_iam()
    # The SAM transform takes a second to load: now, instead of in the middle of CreateStack.
    threading.Thread(target=importlib.import_module, args=("samtranslator.translator.transform",), daemon=True).start()
    app.main()


if __name__ == "__main__":
    main()
