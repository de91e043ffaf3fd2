"""Result lines as the answers of Converse calls: the response (or the error as the SDKs show it) beside the id."""

from collections.abc import Mapping
from typing import Any

from slackwater.model.dialects.answers import converse_response


def output_line(result: Mapping[str, Any]) -> dict[str, Any]:
    """The output line of one result line, whether its job succeeded, failed or was refused."""
    if result["status"] == "succeeded":
        return {"id": result["id"], **converse_response(result)}
    error = result["error"]
    at = f" ({error['pointer']})" if error.get("pointer") else ""
    return {"id": result["id"], "Error": {"Code": error["code"], "Message": f"{error['message']}{at}"}}
