"""Every error of a model call or a batch-job call, classified once, by who must act.

Codes come from the service models of bedrock-runtime and bedrock; the remedies from
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html. A provider's message may
quote a prompt: it is looked at here and never kept.
"""

import re
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """Why a call brought no answer."""

    QUOTA = "quota"  # 429, our account's quota in this region, which one is not said
    QUOTA_REQUESTS = "quota_requests"
    QUOTA_TOKENS = "quota_tokens"
    QUOTA_DAILY = "quota_daily"  # nothing here until the quota's day is over
    CAPACITY = "capacity"  # 503 and its like, their capacity or outage: another region may serve
    INTERNAL = "internal"  # 500, something broke, for this job or for all: elsewhere, but not for ever (policy.blame)
    MODEL_ERROR = "model_error"  # the model broke on this call: the same
    TIMEOUT = "timeout"  # the model's own time limit: may have been billed, another lane fits better
    UNKNOWN = "unknown"  # sent, and the reply was lost: may have been answered and billed
    JOB = "job"  # the job itself is wrong: no route and no retry will help
    US = "us"  # access, credentials, a model that is not there: the operator must act; another route may work

    @property
    def is_quota(self) -> bool:
        """Our own quota is used up: another region has its own."""
        return self in (Fault.QUOTA, Fault.QUOTA_REQUESTS, Fault.QUOTA_TOKENS, Fault.QUOTA_DAILY)

    @property
    def elsewhere(self) -> bool:
        """Whether the job may go on to its next route at once."""
        return self is not Fault.JOB

    @property
    def against_route(self) -> bool:
        """Whether the route should rest: malformed jobs never count against it, nor do slow answers and lost
        replies, nor by itself what broke on a job."""
        return self.is_quota or self in (Fault.CAPACITY, Fault.US)

    @property
    def may_follow_job(self) -> bool:
        """Whether something broke, and it is not said whether on this job or on every one (policy.blame)."""
        return self in (Fault.INTERNAL, Fault.MODEL_ERROR)

    @property
    def maybe_paid(self) -> bool:
        """Whether the failed call may be on the bill: repeating it counts in `repeats`."""
        return self in (Fault.UNKNOWN, Fault.TIMEOUT)


class BatchFault(StrEnum):
    """Why a call on batch jobs failed, and what is known about the job after it."""

    REFUSED = "refused"  # create: a definite no to this job (4xx)
    DENIED = "denied"  # access or a thing that is not there: a definite no, the operator must act
    SLOTS = "slots"  # create: all slots of model and region are taken: a definite no for now
    THROTTLED = "throttled"  # nothing was done; the same call again later
    EXISTS = "exists"  # create: a job of this name or token is there already: adopt it
    ENDED = "ended"  # stop: there is nothing left to stop
    GONE = "gone"  # get, stop: no such job
    UNSENT = "unsent"  # the connection was never made
    UNKNOWN = "unknown"  # may have been done: look before doing it again

    @property
    def definite(self) -> bool:
        """Whether it is certain that a create made no job: only then may the shard change its region at once."""
        return self in (
            BatchFault.REFUSED,
            BatchFault.DENIED,
            BatchFault.SLOTS,
            BatchFault.THROTTLED,
            BatchFault.UNSENT,
        )


# Names of botocore's exceptions stand beside service codes: an adapter passes whichever it caught.
_UNSENT: Final = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"})
_LOST: Final = frozenset(
    {
        "ConnectionClosedError",
        "ConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseParserError",
        "ResponseStreamingError",
        "SSLError",
    }
)
_NO_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NoCredentialsError",
        "OptInRequired",
        "PartialCredentialsError",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# Of the troubleshooting page, but in no service model. Four of these are HTTP 400, and no fault of the job's.
_OPERATOR: Final = frozenset(
    {
        "FTUFormNotFilled",
        "InvalidAction",
        "MPAgreementBeingCreated",
        "NotAuthorized",
        "RequestExpired",
        "ResourceNotFound",
    }
)
_BY_CODE: Final = {
    "AccessDeniedException": Fault.US,
    "ConflictException": Fault.CAPACITY,
    "InternalFailure": Fault.INTERNAL,
    "InternalServerException": Fault.INTERNAL,
    "ModelNotReadyException": Fault.CAPACITY,  # HTTP 429, and yet nothing of our quota
    "ModelTimeoutException": Fault.TIMEOUT,
    "ParamValidationError": Fault.JOB,  # botocore refused the request's shape before sending it
    "ResourceNotFoundException": Fault.US,
    "ServiceQuotaExceededException": Fault.QUOTA_DAILY,
    "ServiceUnavailable": Fault.CAPACITY,
    "ServiceUnavailableException": Fault.CAPACITY,
    "ValidationError": Fault.JOB,
} | {
    code: fault
    for codes, fault in ((_UNSENT, Fault.CAPACITY), (_LOST, Fault.UNKNOWN), (_NO_CREDENTIALS | _OPERATOR, Fault.US))
    for code in codes
}

_BY_STATUS: Final = {
    401: Fault.US,
    403: Fault.US,
    404: Fault.US,
    408: Fault.TIMEOUT,
    424: Fault.MODEL_ERROR,
    500: Fault.INTERNAL,
    504: Fault.UNKNOWN,  # a gateway gave up waiting: the model may not have
}
_BY_MESSAGE: Final = frozenset(
    {
        "ModelErrorException",
        "ModelStreamErrorException",
        "ThrottlingException",
        "TooManyRequestsException",
        "ValidationException",
    }
)
KNOWN_CODES: Final = frozenset(_BY_CODE) | _BY_MESSAGE

_BATCH_BY_OPERATION: Final = {
    ("create", "ConflictException"): BatchFault.EXISTS,
    ("stop", "ConflictException"): BatchFault.ENDED,
    ("get", "ResourceNotFoundException"): BatchFault.GONE,
    ("stop", "ResourceNotFoundException"): BatchFault.GONE,
}
_BATCH_BY_CODE: Final = {
    "AccessDeniedException": BatchFault.DENIED,
    "InternalServerException": BatchFault.UNKNOWN,
    "ParamValidationError": BatchFault.REFUSED,
    "ResourceNotFoundException": BatchFault.DENIED,
    "ServiceQuotaExceededException": BatchFault.SLOTS,
    "ThrottlingException": BatchFault.THROTTLED,
    "TooManyRequestsException": BatchFault.THROTTLED,
    "ValidationException": BatchFault.REFUSED,
} | {
    code: fault
    for codes, fault in (
        (_UNSENT, BatchFault.UNSENT),
        (_LOST, BatchFault.UNKNOWN),
        (_NO_CREDENTIALS | _OPERATOR, BatchFault.DENIED),
    )
    for code in codes
}
KNOWN_BATCH_CODES: Final = frozenset(_BATCH_BY_CODE) | {code for _, code in _BATCH_BY_OPERATION}

# A ValidationException that is about the route, not the job. Anchored: a message may go on to quote the request.
_WRONG_MODEL_ID: Final = re.compile(
    r"(?:Invocation of model ID \S+ with on-demand throughput isn|The provided model identifier is invalid)",
    re.IGNORECASE,
)


def classify(code: str, http_status: int | None = None, message: str = "", original_status: int | None = None) -> Fault:
    """The fault behind an error of Converse or InvokeModel: its service code (or botocore's exception name), HTTP
    status, and for a ModelErrorException its `originalStatusCode`. A code that is new to us is judged by its status."""
    if code in ("ThrottlingException", "TooManyRequestsException"):
        return _throttled(message)
    if code == "ValidationException":
        return Fault.US if _WRONG_MODEL_ID.match(message) else Fault.JOB
    if code in ("ModelErrorException", "ModelStreamErrorException"):
        return _model_error(original_status)
    return _BY_CODE.get(code) or _by_status(http_status, message)


def classify_batch(operation: str, code: str, http_status: int | None = None) -> BatchFault:
    """The fault behind an error of `operation`: `create`, `get`, `list` or `stop` (…ModelInvocationJob)."""
    known = _BATCH_BY_OPERATION.get((operation, code)) or _BATCH_BY_CODE.get(code)
    if known is not None:
        return known
    if http_status == 429:
        return BatchFault.THROTTLED
    # a time-out that the server reports is no refusal
    return BatchFault.REFUSED if http_status and 400 <= http_status < 500 and http_status != 408 else BatchFault.UNKNOWN


def _throttled(message: str) -> Fault:
    """By the texts in use: "Too many requests, please wait before trying again.", "Your request rate is too high …",
    "Too many tokens, please wait …", "Too many tokens per day, please wait …"
    (https://repost.aws/knowledge-center/bedrock-throttling-error)."""
    text = message.lower()
    if "per day" in text or "daily" in text:
        return Fault.QUOTA_DAILY
    if "token" in text:
        return Fault.QUOTA_TOKENS
    return Fault.QUOTA_REQUESTS if "request" in text else Fault.QUOTA


def _model_error(original_status: int | None) -> Fault:
    """By the status that the model itself gave: 4xx is the job's fault, but 429 and 408 are not."""
    if original_status is None:
        return Fault.MODEL_ERROR
    if original_status == 429:
        return Fault.CAPACITY
    return Fault.JOB if 400 <= original_status < 500 and original_status != 408 else Fault.MODEL_ERROR


def _by_status(status: int | None, message: str) -> Fault:
    if status is None:
        return Fault.UNKNOWN
    if status == 429:
        return _throttled(message)
    return _BY_STATUS.get(status) or (Fault.JOB if 400 <= status < 500 else Fault.CAPACITY)
