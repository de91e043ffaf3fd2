"""What the roles may do and the walk does not need, each with its reason. Whatever is used is not to be listed."""

from typing import Final

BROKEN_UPLOAD: Final = "only a multipart upload that breaks is aborted"
NOT_FOUND: Final = (
    "S3 says 404 for a missing key only to who may list the bucket, else 403; the embedded S3 always says 404"
)
NO_SERVICE_QUOTAS: Final = "there is no Service Quotas in the embedded AWS: nothing there asks for a use of it"
NO_APPLICATION_PROFILE: Final = "no route of the walk's profiles names an application inference profile"
UNSEEN: Final = "Step Functions calls its functions inside the embedded AWS, which asks no policy for that"

REASONS: Final = {
    ("AggregateFunctionRole", "Objects", "s3:AbortMultipartUpload"): BROKEN_UPLOAD,
    ("PlaceFunctionRole", "Objects", "s3:AbortMultipartUpload"): BROKEN_UPLOAD,
    ("PlaceFunctionRole", "Satellites", "s3:AbortMultipartUpload"): BROKEN_UPLOAD,
    ("WorkFunctionRole", "Objects", "s3:AbortMultipartUpload"): BROKEN_UPLOAD,
    ("WorkFunctionRole", "Satellites", "s3:AbortMultipartUpload"): BROKEN_UPLOAD,
    ("SurveyFunctionRole", "Keys", "s3:ListBucket"): NOT_FOUND,
    ("SurveyFunctionRole", "Keys", "DataBucket"): NOT_FOUND,
    ("PlanFunctionRole", "Keys", "s3:ListBucket"): NOT_FOUND,
    ("PlanFunctionRole", "Keys", "DataBucket"): NOT_FOUND,
    ("PlaceFunctionRole", "Keys", "s3:ListBucket"): NOT_FOUND,
    ("PlaceFunctionRole", "Keys", "DataBucket"): NOT_FOUND,
    ("AnnounceFunctionRole", "Keys", "s3:ListBucket"): NOT_FOUND,
    ("AnnounceFunctionRole", "Keys", "DataBucket"): NOT_FOUND,
    ("TickFunctionRole", "Keys", "s3:ListBucket"): NOT_FOUND,
    ("TickFunctionRole", "Keys", "DataBucket"): NOT_FOUND,
    ("TickFunctionRole", "Quotas", "servicequotas:ListServiceQuotas"): NO_SERVICE_QUOTAS,
    ("TickFunctionRole", "Quotas", "servicequotas:ListAWSDefaultServiceQuotas"): NO_SERVICE_QUOTAS,
    ("TickFunctionRole", "Quotas", "*"): NO_SERVICE_QUOTAS,
    ("RouteFunctionRole", "Models", "application-inference-profile/*"): NO_APPLICATION_PROFILE,
    ("DispatchFunctionRole", "Models", "application-inference-profile/*"): NO_APPLICATION_PROFILE,
    (
        "WorkFunctionRole",
        "BatchJobs",
        "bedrock:TagResource",
    ): "AWS asks for it where a create brings tags; the embedded one asks for the create only",
    **{
        ("RunWorkflowRole", "#0", name): UNSEEN
        for name in (
            "lambda:InvokeFunction",
            "SurveyFunction*",
            "PlanFunction*",
            "PlaceFunction*",
            "WaitFunction*",
            "AggregateFunction*",
            "AnnounceFunction*",
        )
    },
}

# Used, and covered by another resource of the same statement too.
REDUNDANT: Final = {
    (role, sid, "foundation-model/*"): "AWS's page wants the ARN without a region named; `*` may be read to cover none"
    for role, sid in (
        ("RouteFunctionRole", "Models"),
        ("DispatchFunctionRole", "Models"),
        ("WorkFunctionRole", "BatchJobs"),
        ("BatchRole", "Models"),
        ("BatchRole in us-west-2", "#2"),
    )
}

# Deployed under a condition only. What the walk switches on says so; the others cannot be proven where the walk runs.
ON_THE_WALK: Final = "the walk names a further reply queue"
NO_KEYS: Final = "the embedded AWS has no keys: nothing there asks for a use of one"
CONDITIONAL: Final = {
    ("RouteFunctionRole", "Replies"): ON_THE_WALK,
    ("WorkFunctionRole", "Replies"): ON_THE_WALK,
    ("UseOfKeys", "Keys"): NO_KEYS,
    ("BatchRole", "#3"): NO_KEYS,  # a satellite's
    ("ForwardRole", "#0"): "EventBridge takes it on by itself, and the embedded one delivers nothing across regions",
}

# AWS's own policies, attached by SAM.
MANAGED: Final = {
    "AWSLambdaBasicExecutionRole": "logs: the embedded AWS keeps them without asking",
    "AWSXrayWriteOnlyAccess": "traces: there is no X-Ray in the embedded AWS",
    "AWSLambdaSQSQueueExecutionRole": "a mapping's receives and deletes happen inside the embedded AWS, unasked",
}

# Used by some walks and not by others: it depends on which worker is quicker. Allowed to be unused, not demanded.
SOMETIMES: Final = {
    ("RouteFunctionRole", "Keys", "s3:ListBucket"): "parts are listed when a job comes again whose worker died",
    (
        "RouteFunctionRole",
        "Profiles",
        "s3:GetObjectVersion",
    ): "a worker reads an open run's version only if it began after a newer one was applied",
    ("PlaceFunctionRole", "Pinned", "s3:GetObjectVersion"): "profiles are read for a remainder that joins a pool",
    ("PlaceFunctionRole", "Pinned", "DataBucket/config/*"): "profiles are read for a remainder that joins a pool",
    ("RouteFunctionRole", "Keys", "DataBucket"): "parts are listed when a job comes again whose worker died",
    (
        "RouteFunctionRole",
        "Wake",
        "states:SendTaskSuccess",
    ): "whoever settles last wakes the run: mostly route or the tick",
    ("RouteFunctionRole", "Wake", "slackwater-run"): "whoever settles last wakes the run: mostly route or the tick",
    (
        "DispatchFunctionRole",
        "Wake",
        "states:SendTaskSuccess",
    ): "whoever settles last wakes the run, or the waiter itself",
    ("DispatchFunctionRole", "Wake", "slackwater-run"): "whoever settles last wakes the run, or the waiter itself",
    ("WaitFunctionRole", "Wake", "states:SendTaskSuccess"): "whoever comes last wakes the run, settler or waiter",
    ("WaitFunctionRole", "Wake", "slackwater-run"): "whoever comes last wakes the run, settler or waiter",
    ("TickFunctionRole", "Run", "states:SendTaskSuccess"): "the tick wakes a run whose last settler has died",
    ("TickFunctionRole", "Run", "slackwater-run"): "the tick wakes a run whose last settler has died",
}
