"""Whether a stack can do what its profiles ask of it, found out by asking and without spending: model access, quotas,
the functions' rights, buckets, roles and satellites. What cannot be asked is unknown, and said to be.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from slackwater.model.errors import SlackwaterError
from slackwater.model.job import Route
from slackwater.model.words import counted
from slackwater.policy.profile_check import Offer
from slackwater.policy.quota_names import Quota, batch_quotas, calling_quotas

SATELLITE_VERSION: Final = "1"
"""Of satellite.yaml, by its output TemplateVersion: raised when the home stack needs something new of it."""

ADMINISTRATOR: Final = "the account's administrator"
DEPLOYER: Final = "whoever deploys the stack"
_ACCESS: Final = ("agreement", "authorization", "entitlement", "region")


class CannotAsk(SlackwaterError):
    """AWS does not let us ask (or is not there to ask): holds the code. Unknown is no fault."""


class State(StrEnum):
    """What became of one question."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`who` must do `how`, where something is wrong or may be."""

    what: str
    subject: str
    state: State
    detail: str
    who: str | None = None
    how: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {
            "what": self.what, "subject": self.subject, "state": self.state.value, "detail": self.detail,
            "who": self.who, "how": self.how,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class StackInfo:
    """A CloudFormation stack, as far as it is looked at. `arn` is its id."""

    arn: str
    name: str
    status: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def partition(self) -> str:
        return self.arn.split(":")[1]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass(frozen=True, slots=True)
class Access:
    """GetFoundationModelAvailability's four answers; each is good or is AWS's word for what is missing."""

    agreement: str
    authorization: str
    entitlement: str
    region: str

    @property
    def missing(self) -> list[str]:
        good = ("AVAILABLE", "AUTHORIZED")
        return [f"{name} {getattr(self, name)}" for name in _ACCESS if getattr(self, name) not in good]


class Account(Protocol):
    """AWS, read only (adapters.account). Everything raises CannotAsk."""

    def stack(self, region: str, name: str) -> StackInfo | None: ...
    def role_of(self, region: str, stack: str, logical_id: str) -> str | None: ...
    def model_access(self, region: str, model_id: str) -> Access: ...
    def quotas(self, region: str) -> Sequence[Quota]: ...
    def denied(
        self, role_arn: str, actions: Sequence[str], resource: str, context: Mapping[str, str]
    ) -> Sequence[str]: ...
    def bucket_region(self, region: str, bucket: str) -> str | None: ...
    def role_trusts(self, name: str) -> Sequence[str] | None: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """What is asked about: the home stack and what its profiles come to (`offers`, by profile)."""

    region: str
    stack: StackInfo
    offers: Mapping[str, Offer]

    @property
    def batch_regions(self) -> tuple[str, ...]:
        """The home region and those with a satellite; empty where the batch lane is off."""
        if self.stack.parameters.get("BatchEnabled", "true") == "false":
            return ()
        named = self.stack.parameters.get("SatelliteRegions", "").split(",")
        return tuple(dict.fromkeys([self.region, *(region.strip() for region in named if region.strip())]))

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every way that a call or a batch job of ours may go."""
        wanted: dict[tuple[str, str], Route] = {}
        for offer in self.offers.values():
            batch = [route for route in offer.batch if route.region in self.batch_regions]
            for route in (*offer.calling, *offer.flex, *batch):
                wanted.setdefault((route.region, route.model_id), route)
        return tuple(wanted[key] for key in sorted(wanted))

    @property
    def batch_routes(self) -> tuple[Route, ...]:
        """Ways of batch jobs in regions that have a bucket of ours."""
        wanted = {
            (route.region, route.model_id): route
            for offer in self.offers.values()
            for route in offer.batch
            if route.region in self.batch_regions
        }
        return tuple(wanted[key] for key in sorted(wanted))

    def bucket(self, region: str) -> str:
        """The batch bucket of a region; the home region's is the stack's own."""
        if region == self.region:
            return self.stack.outputs["BucketName"]
        return f"{self._prefix}-{self.stack.account}-{region}"

    def batch_role(self, region: str) -> str:
        """The name of a satellite's role for Bedrock."""
        return f"{self._prefix}-{region}"

    @property
    def _prefix(self) -> str:
        return self.stack.parameters.get("BatchBucketPrefix", "slackwater-batch")


class CheckStack:
    """Asks everything about one stack; `findings` comes in the order of a table."""

    def __init__(self, account: Account, model_name: Callable[[str], str | None]) -> None:
        """`model_name`: what a model is called in the names of quotas."""
        self._account = account
        self._model_name = model_name

    def __call__(self, checked: Checked) -> Iterator[Finding]:
        yield from self._access(checked)
        yield from self._quotas(checked)
        yield from self._rights(checked)
        for region in checked.batch_regions:
            yield from self._batch_region(checked, region)

    # ------------------------------------------------------------------ models

    def _access(self, checked: Checked) -> Iterator[Finding]:
        for region, model in sorted({(route.region, route.base_model) for route in checked.routes}):
            subject = f"{model} in {region}"
            try:
                missing = self._account.model_access(region, model).missing
            except CannotAsk as exc:
                yield _unknown("model access", subject, "bedrock:GetFoundationModelAvailability", exc)
                continue
            if missing:
                how = f"requests access to {model} in {region} (Bedrock console, Model access)"
                yield Finding("model access", subject, State.FAILED, ", ".join(missing), ADMINISTRATOR, how)
            else:
                yield Finding("model access", subject, State.OK, "granted")

    def _quotas(self, checked: Checked) -> Iterator[Finding]:
        calling = {(r.region, r.model_id): r for offer in checked.offers.values() for r in offer.calling}
        batch = {(r.region, r.base_model): r for r in checked.batch_routes}
        for region in sorted({region for region, _ in (*calling, *batch)}):
            try:
                listed = self._account.quotas(region)
            except CannotAsk as exc:
                yield _unknown("quotas", region, "servicequotas:ListServiceQuotas", exc)
                continue
            for route in (calling[key] for key in sorted(calling) if key[0] == region):
                found = calling_quotas(listed, _prefix(route), self._name_of(route))
                yield _quota_finding(f"{route.model_id} in {region}", region, found)
            for route in (batch[key] for key in sorted(batch) if key[0] == region):
                found = batch_quotas(listed, self._name_of(route))
                yield _quota_finding(f"batch of {route.base_model} in {region}", region, found)

    def _name_of(self, route: Route) -> str:
        return self._model_name(route.base_model) or route.base_model

    # ------------------------------------------------------------------ rights of the functions

    def _rights(self, checked: Checked) -> Iterator[Finding]:
        for function, rights in needed(checked).items():
            try:
                role = self._account.role_of(checked.region, checked.stack.name, f"{function}Role")
            except CannotAsk as exc:
                yield _unknown("permissions", function, "cloudformation:DescribeStackResource", exc)
                continue
            if role is None:
                yield Finding("permissions", function, State.UNKNOWN, "the stack has no role of its own for it")
                continue
            yield self._right(
                function, f"arn:{checked.stack.partition}:iam::{checked.stack.account}:role/{role}", rights
            )

    def _right(self, function: str, role_arn: str, rights: Sequence["Right"]) -> Finding:
        denied: dict[str, None] = {}
        try:
            for right in rights:
                for action in self._account.denied(role_arn, right.actions, right.resource, right.context):
                    denied[f"{action} on {right.resource}"] = None
        except CannotAsk as exc:
            return _unknown("permissions", function, "iam:SimulatePrincipalPolicy", exc)
        if denied:
            some = ", ".join(list(denied)[:3]) + (f" and {len(denied) - 3} more" if len(denied) > 3 else "")
            how = "deploys the template again, and looks for a boundary or an organization's policy that denies it"
            return Finding("permissions", function, State.FAILED, f"denied: {some}", DEPLOYER, how)
        asked = sum(len(right.actions) for right in rights)
        return Finding("permissions", function, State.OK, f"{counted(asked, 'right')}, by its role's policies")

    # ------------------------------------------------------------------ batch regions

    def _batch_region(self, checked: Checked, region: str) -> Iterator[Finding]:
        yield self._bucket(checked, region)
        yield self._batch_role(checked, region)
        if region != checked.region:
            yield self._satellite(checked, region)

    def _bucket(self, checked: Checked, region: str) -> Finding:
        bucket = checked.bucket(region)
        subject = f"{bucket} in {region}"
        try:
            lies_in = self._account.bucket_region(region, bucket)
        except CannotAsk as exc:
            return _unknown("batch bucket", subject, "s3:ListBucket", exc)
        if lies_in is None:
            return Finding("batch bucket", subject, State.FAILED, "there is none", DEPLOYER, _deploy_satellite(region))
        if lies_in != region:
            how = f"chooses another BatchBucketPrefix in all stacks, and {_deploy_satellite(region)}"
            return Finding("batch bucket", subject, State.FAILED, f"it lies in {lies_in}", DEPLOYER, how)
        return Finding("batch bucket", subject, State.OK, "there, in its region")

    def _batch_role(self, checked: Checked, region: str) -> Finding:
        home = region == checked.region
        try:
            name = (
                self._account.role_of(region, checked.stack.name, "BatchRole") if home else checked.batch_role(region)
            )
            trusted = None if name is None else self._account.role_trusts(name)
        except CannotAsk as exc:
            return _unknown("batch role", region, "iam:GetRole", exc)
        subject = f"{name or 'BatchRole'} for {region}"
        again = "deploys the template again" if home else _deploy_satellite(region)
        if trusted is None:
            return Finding("batch role", subject, State.FAILED, "there is none", DEPLOYER, again)
        if "bedrock.amazonaws.com" not in trusted:
            return Finding("batch role", subject, State.FAILED, "does not trust bedrock.amazonaws.com", DEPLOYER, again)
        return Finding("batch role", subject, State.OK, "there, trusts Bedrock")

    def _satellite(self, checked: Checked, region: str) -> Finding:
        names = (f"{checked.stack.name}-satellite", "slackwater-satellite", checked.stack.name)
        try:
            found = next(
                (
                    stack
                    for name in dict.fromkeys(names)
                    if (stack := self._account.stack(region, name)) is not None
                    and stack.outputs.get("BucketName") == checked.bucket(region)
                ),
                None,
            )
        except CannotAsk as exc:
            return _unknown("satellite", region, "cloudformation:DescribeStacks", exc)
        if found is None:
            detail = f"no stack called {' or '.join(dict.fromkeys(names))} has its bucket; it may have another name"
            return Finding("satellite", region, State.UNKNOWN, detail)
        version = found.outputs.get("TemplateVersion", "none")
        if version != SATELLITE_VERSION:
            detail = f"stack {found.name} is of version {version}, this release needs {SATELLITE_VERSION}"
            return Finding("satellite", region, State.FAILED, detail, DEPLOYER, _deploy_satellite(region))
        if not found.status.endswith("_COMPLETE") or found.status.startswith(("DELETE", "ROLLBACK")):
            how = f"looks at the events of stack {found.name} in {region}, then {_deploy_satellite(region)}"
            return Finding("satellite", region, State.FAILED, f"stack {found.name} is {found.status}", DEPLOYER, how)
        return Finding("satellite", region, State.OK, f"stack {found.name}, version {version}")


@dataclass(frozen=True, slots=True)
class Right:
    """Actions that a function needs on one resource."""

    actions: tuple[str, ...]
    resource: str
    context: Mapping[str, str]


def needed(checked: Checked) -> dict[str, list[Right]]:
    """What each function must be allowed for these profiles, beyond the stack's own queues, table and bucket."""
    calls = [Right(("bedrock:InvokeModel",), arn, {}) for arn in _arns(checked, checked.routes)]
    rights = {"RouteFunction": calls, "DispatchFunction": calls}
    if not checked.batch_routes:
        return rights
    partition, account = checked.stack.partition, checked.stack.account
    work = [Right(("bedrock:CreateModelInvocationJob",), arn, {}) for arn in _arns(checked, checked.batch_routes)]
    work.append(Right(("bedrock:ListModelInvocationJobs",), "*", {}))
    place, tick = [], [Right(("bedrock:ListModelInvocationJobs",), "*", {})]
    for region in sorted({route.region for route in checked.batch_routes}):
        job = f"arn:{partition}:bedrock:{region}:{account}:model-invocation-job/x"
        of_job = ("CreateModelInvocationJob", "StopModelInvocationJob")
        work.append(Right(tuple(f"bedrock:{name}" for name in of_job), job, {}))
        tick.append(Right(("bedrock:GetModelInvocationJob",), job, {}))
        if region != checked.region:
            role = f"arn:{partition}:iam::{account}:role/{checked.batch_role(region)}"
            work.append(Right(("iam:PassRole",), role, {"iam:PassedToService": "bedrock.amazonaws.com"}))
        shard = f"arn:{partition}:s3:::{checked.bucket(region)}/v1/shards/x/in.jsonl"
        work.append(Right(("s3:GetObject", "s3:PutObject"), shard, {}))
        place.append(Right(("s3:PutObject",), shard, {}))
    return {**rights, "PlaceFunction": place, "WorkFunction": work, "TickFunction": tick}


def _arns(checked: Checked, routes: Iterable[Route]) -> list[str]:
    """Everything that IAM asks about for these routes: of a profile its own ARN, and the model's in its source region,
    for a global one the model's without a region too.

    https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
    """
    partition, account = checked.stack.partition, checked.stack.account
    found: dict[str, None] = {}
    for route in routes:
        found[f"arn:{partition}:bedrock:{route.region}::foundation-model/{route.base_model}"] = None
        if _prefix(route):
            found[f"arn:{partition}:bedrock:{route.region}:{account}:inference-profile/{route.model_id}"] = None
        if _prefix(route) == "global":
            found[f"arn:{partition}:bedrock:::foundation-model/{route.base_model}"] = None
    return list(found)


def _quota_finding(subject: str, region: str, found: Mapping[str, Quota]) -> Finding:
    """A quota of 0 is how AWS keeps a new account from a model."""
    if not found:
        return Finding("quotas", subject, State.UNKNOWN, "no quota of this name is listed")
    detail = ", ".join(f"{quota.value:,.0f} {unit}" for unit, quota in found.items())
    none = [quota for quota in found.values() if quota.value <= 0]
    if not none:
        return Finding("quotas", subject, State.OK, detail)
    how = " and ".join(_raise(quota, region) for quota in none)
    return Finding("quotas", subject, State.FAILED, detail, ADMINISTRATOR, how)


def _raise(quota: Quota, region: str) -> str:
    if quota.adjustable:
        code = f" --quota-code {quota.code}" if quota.code else ""
        return (
            f'asks for more than 0 of "{quota.name}" (aws service-quotas request-service-quota-increase '
            f"--region {region} --service-code bedrock{code} --desired-value N)"
        )
    return f'opens a support case in {region} for "{quota.name}", which Service Quotas does not raise'


def _prefix(route: Route) -> str:
    return "" if route.model_id == route.base_model else route.model_id.partition(".")[0]


def _deploy_satellite(region: str) -> str:
    return f"deploys satellite.yaml in {region}"


def _unknown(what: str, subject: str, right: str, exc: CannotAsk) -> Finding:
    return Finding(what, subject, State.UNKNOWN, f"could not be asked ({exc}); it takes {right}")


def next_steps(checked: Checked) -> Iterator[str]:
    """What is not wrong and could be done next: regions in which a profile would run batch jobs, and no satellite."""
    if not checked.batch_regions:
        return
    for name, offer in sorted(checked.offers.items()):
        wanted = list(dict.fromkeys(route.region for route in offer.batch))
        missing = [region for region in wanted if region not in checked.batch_regions]
        if missing:
            there = ", ".join(region for region in wanted if region in checked.batch_regions) or "no region yet"
            more = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
            yield (
                f"profile {name} runs batch jobs in {there}; for {', '.join(missing[:3])}{more} too, deploy "
                "satellite.yaml there and name the region in SatelliteRegions (docs/deploy.md)"
            )


def summary(findings: Iterable[Finding]) -> dict[str, Any]:
    """Counts by state."""
    counts = {state.value: 0 for state in State}
    for finding in findings:
        counts[finding.state.value] += 1
    return counts
