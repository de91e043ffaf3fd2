"""What to do about errors of AWS and of the library that reach the command: one line each, never a traceback."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from slackwater.model.errors import SlackwaterError

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnrecognizedClientException")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


def remedy(error: Exception) -> str | None:
    """Who must do what; None for an error that nobody foresaw."""
    text: str | None = None
    match error:
        case SlackwaterError():
            text = str(error)
        case NoCredentialsError() | PartialCredentialsError():
            text = "no AWS credentials: set AWS_PROFILE, or start the embedded cloud with `slackwater local up`"
        case NoRegionError():
            text = "no AWS region: set AWS_REGION, or start the embedded cloud with `slackwater local up`"
        case ProfileNotFound():
            text = f"{error}: set AWS_PROFILE to one of `aws configure list-profiles`"
        case EndpointConnectionError() | ConnectTimeoutError():
            text = f"{error} Is the cloud running, and is AWS_ENDPOINT_URL right?"
        case ClientError():
            text = _of_service(error)
    return text


def _of_service(error: ClientError) -> str:
    code = error.response["Error"].get("Code", "Unknown")
    call = error.operation_name
    if code in DENIED:
        return f"AWS denied {call}: let your administrator allow it for the role you use"
    if code in EXPIRED:
        return f"your AWS credentials have expired ({call}): sign in again"
    return f"AWS refused {call} with {code}; nothing was changed by this command"
