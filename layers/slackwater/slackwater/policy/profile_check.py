"""What is wrong with a document of profiles before anybody relies on it: its shape, then what AWS offers, and what this
stack has."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slackwater.model.job import Lane, Route
from slackwater.model.profile import DEFAULT_PROFILE, Profile, Profiles
from slackwater.model.profile_problems import BadProfile, BadProfiles, Problem
from slackwater.policy.capability import Capability
from slackwater.policy.prices import PriceBook
from slackwater.policy.routes import batch_routes, flex_routes, resolve_routes


@dataclass(frozen=True, slots=True)
class Offer:
    """What a profile comes to: the routes of its calls, of its half-price calls, and of batch jobs anywhere."""

    calling: tuple[Route, ...]
    flex: tuple[Route, ...]
    batch: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A profile that is `added`, `removed` or `changed`; of a changed one each field with its old and new value."""

    profile: str
    kind: str
    fields: Mapping[str, tuple[Any, Any]]

    def as_json(self) -> dict[str, Any]:
        fields = {name: {"old": old, "new": new} for name, (old, new) in self.fields.items()}
        return {"profile": self.profile, "kind": self.kind, "fields": fields}


def checked(document: bytes, capability: Capability, prices: PriceBook) -> Profiles:
    """The profiles of a document. Raises BadProfiles with everything that is wrong with it."""
    profiles = Profiles.from_bytes(document)
    found = [problem for name, one in profiles.profiles.items() for problem in problems(name, one, capability, prices)]
    if not profiles.profiles:
        found.append(Problem("", "profiles", None, "is empty: one profile is the least"))
    if found:
        raise BadProfiles(found)
    return profiles


def problems(name: str, profile: Profile, capability: Capability, prices: PriceBook) -> Iterator[Problem]:
    """Of one well-formed profile: an unknown model, no route that residency allows, a batch region without batch, a
    lane that no route has."""
    try:
        offer = offer_of(name, profile, capability, prices)
    except BadProfile as exc:
        yield exc.problem
        return
    for lane, routes, why in (
        (Lane.FLEX, offer.flex, "has no flex tier on these routes"),
        (Lane.BATCH, offer.batch, "has no batch in these regions"),
    ):
        if lane in profile.lanes and not routes:
            others = ", ".join(other for other in profile.lanes if other is not lane) or "on_demand"
            yield Problem(name, "lanes", f"'{lane}'", f"not possible, {profile.model} {why}; allowed is {others}")
    smallest = capability.min_records(profile.model)
    if profile.batch_max_records is not None and profile.batch_max_records < smallest:
        value = str(profile.batch_max_records)
        yield Problem(name, "batch_max_records", value, f"a batch job of this model has at least {smallest} records")


def offer_of(name: str, profile: Profile, capability: Capability, prices: PriceBook) -> Offer:
    """Raises BadProfile."""
    calling = resolve_routes(profile, capability, prices, name=name)
    anywhere = capability.regions(profile.model)
    batch = batch_routes(profile, calling, capability, prices, deployed=anywhere, name=name)
    flex = flex_routes(calling, capability) if Lane.FLEX in profile.lanes else ()
    return Offer(calling, flex, batch)


def warnings(
    profiles: Profiles, capability: Capability, prices: PriceBook, *, deployed: Container[str] | None
) -> list[str]:
    """What works and may surprise. `deployed`: regions with a batch bucket of the stack, None where no stack is
    asked. Raises BadProfile."""
    found = []
    if DEFAULT_PROFILE not in profiles.profiles:
        found.append(f"there is no profile {DEFAULT_PROFILE}: jobs and files that name none will be refused")
    for name, profile in profiles.profiles.items() if deployed is not None else ():
        batch = offer_of(name, profile, capability, prices).batch
        missing = [route.region for route in batch if deployed is not None and route.region not in deployed]
        if batch and len(missing) == len(batch):
            found.append(
                f"{name}: this stack has no batch bucket in {', '.join(missing)}, so nothing of it goes by batch: "
                "deploy satellite.yaml there and name the region in SatelliteRegions"
            )
        elif missing and profile.batch_regions != "auto":
            found.append(
                f"{name}: batch_regions: {', '.join(missing)} has no batch bucket of this stack and is left out"
            )
    return found


def differences(old: Profiles, new: Profiles) -> list[Difference]:
    """From the profiles in force to others, by name."""
    found = []
    for name in sorted({*old.profiles, *new.profiles}):
        before, after = old.profiles.get(name), new.profiles.get(name)
        if before is None or after is None:
            found.append(Difference(name, "added" if before is None else "removed", {}))
            continue
        was, becomes = before.model_dump(mode="json"), after.model_dump(mode="json")
        fields = {field: (was[field], becomes[field]) for field in was if was[field] != becomes[field]}
        if fields:
            found.append(Difference(name, "changed", fields))
    return found
