"""An AWS account, asked and never changed. Whatever keeps an answer from us is CannotAsk with its code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from slackwater.policy.quota_names import Quota
from slackwater.usecases.check_stack import Access, CannotAsk, StackInfo

QUOTAS_A_PAGE: Final = 100  # the most that Service Quotas gives; Bedrock has some 1,500
_ABSENT: Final = frozenset({"404", "NoSuchBucket", "NotFound", "NoSuchEntity", "ValidationError"})


class AwsAccount:
    """`client(service, region)` is a boto3 client. Clients are made once; answers are remembered for one check.
    Regions may be asked from several threads."""

    def __init__(self, client: Callable[[str, str], Any]) -> None:
        self._make = client
        self._making = Lock()  # making a client is not thread-safe, using one is
        self._clients: dict[tuple[str, str], Any] = {}
        self._resources: dict[tuple[str, str], Mapping[str, str]] = {}
        self._quotas: dict[str, Sequence[Quota]] = {}

    def stack(self, region: str, name: str) -> StackInfo | None:
        """None for a stack that is not there. Raises CannotAsk."""
        with _asking() as absent:
            found = self._client("cloudformation", region).describe_stacks(StackName=name)["Stacks"][0]
        if absent:
            return None
        return StackInfo(
            found["StackId"],
            found["StackName"],
            found["StackStatus"],
            {one["ParameterKey"]: one.get("ParameterValue", "") for one in found.get("Parameters", [])},
            {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
        )

    def role_of(self, region: str, stack: str, logical_id: str) -> str | None:
        """The name of a role of the stack, by its logical id. Raises CannotAsk."""
        if (region, stack) not in self._resources:
            with _asking():
                listed = self._client("cloudformation", region).describe_stack_resources(StackName=stack)
                self._resources[region, stack] = {
                    one["LogicalResourceId"]: one["PhysicalResourceId"]
                    for one in listed["StackResources"]
                    if one["ResourceType"] == "AWS::IAM::Role"
                }
        name = self._resources.get((region, stack), {}).get(logical_id)
        return None if name is None else name.rpartition("/")[2]

    def model_access(self, region: str, model_id: str) -> Access:
        """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetFoundationModelAvailability.html"""
        with _asking() as absent:
            found = self._client("bedrock", region).get_foundation_model_availability(modelId=model_id)
        if absent:
            raise CannotAsk(absent[0])
        return Access(
            found["agreementAvailability"]["status"],
            found["authorizationStatus"],
            found["entitlementAvailability"],
            found["regionAvailability"],
        )

    def quotas(self, region: str) -> Sequence[Quota]:
        """All quotas of Bedrock, as applied to the account; by default, those of which AWS keeps no applied value.
        Raises CannotAsk.

        https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
        """
        if region not in self._quotas:
            applied = self._listed_quotas(region, "list_service_quotas")
            known = {quota.name for quota in applied}
            default = self._listed_quotas(region, "list_aws_default_service_quotas")
            self._quotas[region] = [*applied, *(quota for quota in default if quota.name not in known)]
        return self._quotas[region]

    def _listed_quotas(self, region: str, operation: str) -> list[Quota]:
        """An entry that AWS cannot give a value for (`ErrorReason`) is left out: unknown, not zero."""
        found: list[Quota] = []
        with _asking() as absent:
            pages = self._client("service-quotas", region).get_paginator(operation)
            for page in pages.paginate(ServiceCode="bedrock", PaginationConfig={"PageSize": QUOTAS_A_PAGE}):
                found += [
                    Quota(one["QuotaName"], float(one["Value"]), one["QuotaCode"], one["Adjustable"])
                    for one in page["Quotas"]
                    if "Value" in one
                ]
        if absent:
            raise CannotAsk(absent[0])
        return found

    def denied(self, role_arn: str, actions: Sequence[str], resource: str, context: Mapping[str, str]) -> Sequence[str]:
        """Those of `actions` that the role's policies do not allow on `resource`. Raises CannotAsk."""
        entries = [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in context.items()
        ]
        with _asking() as absent:
            found = self._client("iam", "us-east-1").simulate_principal_policy(
                PolicySourceArn=role_arn, ActionNames=list(actions), ResourceArns=[resource], ContextEntries=entries
            )
        if absent:
            raise CannotAsk(absent[0])
        return [one["EvalActionName"] for one in found["EvaluationResults"] if one["EvalDecision"] != "allowed"]

    def bucket_region(self, region: str, bucket: str) -> str | None:
        """Where the bucket lies, None if there is none of that name. Raises CannotAsk: a bucket that is not ours to see
        answers 403."""
        s3 = self._client("s3", region)
        try:
            answer = s3.head_bucket(Bucket=bucket)
        except ClientError as exc:
            elsewhere = exc.response["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region")
            code = exc.response["Error"]["Code"]
            if code in _ABSENT:
                return None
            if code in ("301", "PermanentRedirect", "400", "AuthorizationHeaderMalformed") and elsewhere:
                return str(elsewhere)
            raise CannotAsk(code) from None
        except BotoCoreError as exc:
            raise CannotAsk(type(exc).__name__) from None
        headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
        return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or region)

    def role_trusts(self, name: str) -> Sequence[str] | None:
        """The services that the role trusts; None for a role that is not there. Raises CannotAsk."""
        with _asking() as absent:
            found = self._client("iam", "us-east-1").get_role(RoleName=name)["Role"]
        if absent:
            return None
        services: list[str] = []
        for statement in _listed(found["AssumeRolePolicyDocument"].get("Statement", [])):
            principal = statement.get("Principal", {})
            if statement.get("Effect") == "Allow" and isinstance(principal, dict):
                services += _listed(principal.get("Service", []))
        return services

    def _client(self, service: str, region: str) -> Any:
        with self._making:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._make(service, region)
            return self._clients[service, region]


@contextmanager
def _asking() -> Iterator[list[str]]:
    """Turns refusals into CannotAsk; that a thing is not there is put into the list that is given, instead."""
    absent: list[str] = []
    try:
        yield absent
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code not in _ABSENT:
            raise CannotAsk(code) from None
        absent.append(code)
    except BotoCoreError as exc:
        raise CannotAsk(type(exc).__name__) from None
    except ValueError as exc:  # an emulator that answers with something that is no answer
        raise CannotAsk(type(exc).__name__) from None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
