"""Errors as Bedrock puts them on the wire: a status, the header `x-amzn-errortype`, a body `{"message": …}`."""

from __future__ import annotations

from typing import Final

STATUS: Final = {
    "AccessDeniedException": 403,
    "ConflictException": 400,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "ValidationException": 400,
}

MESSAGES: Final = {
    "AccessDeniedException": "You don't have access to the model with the specified model ID.",
    "ConflictException": "The request conflicts with the current state of the resource.",
    "InternalServerException": "The system encountered an unexpected error during processing. Try your request again.",
    "ModelErrorException": "The system encountered an unexpected error during processing. Try your request again.",
    "ModelNotReadyException": "Model is not ready for inference. Wait and try your request again.",
    "ModelTimeoutException": "Model has timed out in processing the request. Try your request again.",
    "ResourceNotFoundException": "The specified resource was not found.",
    "ServiceQuotaExceededException": "Your request exceeds the service quota for your account.",
    "ServiceUnavailableException": "Bedrock is unable to process your request.",
    "ThrottlingException": "Too many requests, please wait before trying again.",
    "UnknownOperationException": "Unknown operation.",
    "ValidationException": "The provided request is not valid.",
}


class ApiError(Exception):
    """A refusal with Bedrock's error code; `message` is for the caller and may quote the prompt, as AWS's may."""

    def __init__(self, code: str, message: str | None = None, original_status: int | None = None) -> None:
        self.code = code
        self.original_status = original_status  # ModelErrorException only: what the model's container said
        self.status = STATUS[code]
        self.message = MESSAGES[code] if message is None else message
        super().__init__(code)


class Dropped(Exception):
    """The connection ends without a reply (a lost request or a lost reply)."""


def invalid(message: str) -> ApiError:
    """A ValidationException with this message."""
    return ApiError("ValidationException", message)
