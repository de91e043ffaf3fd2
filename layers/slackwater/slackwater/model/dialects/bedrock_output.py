"""Result lines as a Bedrock batch job writes them:
https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "refused": 400,
        "duplicate_id": 400,
        "id_conflict": 400,
        "lane_refused": 400,
        "no_lane": 400,
        "too_long_for_a_call": 400,
        "ValidationException": 400,
        "budget": 402,
        "access_denied": 403,
        "ResourceNotFoundException": 404,
        "deadline_missed": 408,
        "ModelTimeoutException": 408,
        "ModelErrorException": 424,
        "model_error": 424,
        "ThrottlingException": 429,
        "cancelled": 499,
        "ServiceUnavailableException": 503,
    }
)
"""`errorCode` is a number there: the HTTP status of the like error of *Converse*. 402 is no error of
Converse's: nothing is left to pay it with. 499: the caller gave it up."""

_OTHER: Final = 500
_BATCH: Final = "batch_"


def output_line(result: Mapping[str, Any], model_input: Mapping[str, Any] | None) -> dict[str, Any]:
    """The output line of one result line. `model_input` is its request, as Bedrock echoes it; None where it is not
    kept (a refused line)."""
    line: dict[str, Any] = {"recordId": result["id"], "modelInput": model_input}
    if result["status"] == "succeeded":
        line["modelOutput"] = result["response"]
    else:
        error = result["error"]
        at = f" ({error['pointer']})" if error.get("pointer") else ""
        message = f"{error['code']}: {error['message']}{at}"
        line["error"] = {"errorCode": _status(error["code"]), "errorMessage": message}
    return line


def _status(code: str) -> int:
    number = code.removeprefix(_BATCH)
    return int(number) if code.startswith(_BATCH) and number.isdecimal() else _STATUS.get(code, _OTHER)
