"""Behind `slackwater plan`: from options to an estimate. It asks a stack only where one is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
from pydantic import ValidationError

from slackwater.model.errors import BadInput, ConfigurationError
from slackwater.model.job import Lane
from slackwater.model.profile import DEFAULT_PROFILE, Mode, Profile, Profiles, load_profiles
from slackwater.policy.canary import Asked
from slackwater.policy.capability import Capability, load_capability
from slackwater.policy.learned import History
from slackwater.policy.prices import PriceBook, load_price_book
from slackwater.settings import DRAIN_JOBS_PER_S
from slackwater.usecases.drains import RouteDrains
from slackwater.usecases.estimate import Estimator
from slackwater.usecases.estimated import Estimate, document
from slackwater.usecases.forecasts import ForecastsPort
from slackwater.usecases.learn import learn
from slackwater.usecases.planner import Planner, Stack
from slackwater_cli.errors import Complaint
from slackwater_cli.plan_view import plan_view
from slackwater_cli.screen import Screen

STDIN: Final = "-"
CHUNK_BYTES: Final = 1 << 20
DEFAULT_HOME: Final = "us-east-1"
CALCULATED: Final = "calculated"  # the name of the calculator's own profile


@dataclass(frozen=True)
class Order:
    """What the caller wants to know; `file` None: of `jobs` jobs of so many tokens each."""

    file: str | None
    profile: str | None = None
    deadline: str | None = None
    lane: str | None = None
    home: str | None = None
    profiles: Path | None = None
    history: tuple[Path, ...] = ()
    save_history: Path | None = None
    model: str | None = None
    jobs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    request_type: str | None = None
    stack: str | None = None


@dataclass(frozen=True)
class Setting:
    """Under what is planned. Without `forecasts` no stack was asked."""

    profiles: Profiles
    stack: Stack
    learned: History
    now: datetime
    forecasts: ForecastsPort | None = None
    drains: RouteDrains | None = None
    canaries: Callable[[str], Asked] | None = None


def plan_of(screen: Screen, order: Order) -> None:
    """Plans and shows. Raises Complaint for everything that the caller can mend."""
    capability, prices = load_capability(), load_price_book()
    setting = _setting(screen, order, capability, prices)
    history = setting.learned
    for path in order.history:
        history = history + read_history(path)
    if order.save_history is not None:
        _save(screen, history, order.save_history)
    planner = Planner(
        profiles=setting.profiles,
        prices=prices,
        capability=capability,
        stack=setting.stack,
        forecasts=setting.forecasts,
        drains=setting.drains,
        canaries=setting.canaries,
    )
    estimator = Estimator(planner=planner, profiles=setting.profiles, prices=prices, history=history)
    try:
        estimate = _estimate(estimator, order, setting)
    except BadInput as error:
        raise Complaint(_worded(error), code="bad_input") from None
    except ConfigurationError as error:  # what AWS does not offer: an unknown model, a route that is not there
        raise Complaint(str(error).replace(f"profile {CALCULATED}: ", "--"), code="bad_profile") from None
    if setting.forecasts is None:
        estimate = replace(estimate, risks=(*estimate.risks, *_assumptions(estimate)))
    said = {"v": 1, "file": order.file, **document(estimate)}
    if not screen.json:
        screen.show(plan_view(estimate, order.file))
    screen.document(said)


def _save(screen: Screen, history: History, path: Path) -> None:
    try:
        path.write_bytes(orjson.dumps(history.to_json(), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise Complaint(f"--save-history {path}: {error.strerror or error}") from None
    screen.note(f"wrote {path}")


def read_history(path: Path) -> History:
    """What a path tells: a folder with a run's files, a results.jsonl (with the receipt that lies beside it), or a
    saved history. Raises Complaint."""
    try:
        results = path / "results.jsonl" if path.is_dir() else path
        if results.suffix == ".json":
            return History.from_json(orjson.loads(results.read_bytes()))
        with results.open("rb") as file:
            return learn(chunks(file), _receipt(results.with_name("receipt.json")))
    except OSError as error:
        remedy = "name a folder that `slackwater results RUN --out` wrote, its results.jsonl, or a saved history"
        raise Complaint(f"--history {path}: {error.strerror or error}: {remedy}", code="bad_history") from None
    except orjson.JSONDecodeError:
        raise Complaint(f"--history {path} is not JSON: give what --save-history wrote", code="bad_history") from None
    except BadInput as error:
        at = f" at {error.pointer}" if error.pointer else ""
        raise Complaint(f"--history {path}: {error.message}{at}", code="bad_history") from None


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file's bytes, a mebibyte at a time."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _receipt(path: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return found if isinstance(found, dict) else None


def _estimate(estimator: Estimator, order: Order, setting: Setting) -> Estimate:
    if order.file is None:
        return estimator.jobs(
            profile=order.profile or CALCULATED,
            jobs=order.jobs,
            input_tokens=order.input_tokens,
            output_tokens=order.output_tokens,
            now=setting.now,
            deadline=order.deadline,
            lane=order.lane,
        )
    name = order.profile or DEFAULT_PROFILE
    setting.profiles.named(name)  # before a long file is read
    if order.file == STDIN:
        return _of_file(estimator, order, name, setting.now, sys.stdin.buffer, 0)
    path = Path(order.file)
    if path.is_dir() or not path.exists():  # a pipe is as good as a file
        raise Complaint(f"there is no file {order.file}: name one, or give `-` and send the lines to standard input")
    try:
        with path.open("rb") as file:
            return _of_file(estimator, order, name, setting.now, file, path.stat().st_size)
    except OSError as error:
        raise Complaint(f"{order.file} cannot be read: {error.strerror or error}") from None


def _of_file(  # noqa: PLR0917
    estimator: Estimator, order: Order, profile: str, now: datetime, file: BinaryIO, size_bytes: int
) -> Estimate:
    return estimator.file(
        chunks(file),
        profile=profile,
        now=now,
        size_bytes=size_bytes,
        deadline=order.deadline,
        lane=order.lane,
        request_type=order.request_type,
    )


def _setting(screen: Screen, order: Order, capability: Capability, prices: PriceBook) -> Setting:
    """From the options, and from the stack where one is named. Raises Complaint."""
    if order.stack is not None:
        from slackwater_cli.connection import connect  # noqa: PLC0415  (boto3 takes a third of a second)
        from slackwater_cli.plan_stack import told_by  # noqa: PLC0415

        told = told_by(connect(screen, order.stack), capability, prices)
        profiles = _profiles(order, told.profiles)
        return Setting(profiles, told.stack, told.learned, told.now, told.forecasts, told.drains, told.canaries)
    profiles = _profiles(order, None)
    models = {one.model for one in profiles.profiles.values()}
    everywhere = {region for model in models for region in capability.regions(model)}
    stack = Stack(tuple(sorted(everywhere)), batch_enabled=True, drain_jobs_per_s=DRAIN_JOBS_PER_S)
    return Setting(profiles, stack, History(), datetime.now(UTC))


def _profiles(order: Order, own: Profiles | None) -> Profiles:
    if order.model is not None or (order.file is None and order.profile is None):
        found = Profiles(v=1, profiles={CALCULATED: _calculated(order)})
    elif order.profiles is not None:
        try:
            found = Profiles.from_bytes(order.profiles.read_bytes())
        except OSError as error:
            raise Complaint(f"--profiles {order.profiles}: {error.strerror or error}") from None
        except ConfigurationError as error:
            raise Complaint(str(error), code="bad_profiles") from None
    else:
        found = own or load_profiles()
    if order.home is None:
        return found
    return Profiles(v=1, profiles={name: _at_home(one, order.home) for name, one in found.profiles.items()})


def _calculated(order: Order) -> Profile:
    """The cheapest ways of a model, anywhere, by any lane."""
    if order.model is None:
        raise Complaint("give --model or --profile")
    try:
        return Profile(model=order.model, home_region=DEFAULT_HOME, lanes=tuple(Lane), mode=Mode.CHEAPEST)
    except ValidationError:
        raise Complaint("--model: give the id of a model, such as amazon.nova-lite-v1:0") from None


def _at_home(profile: Profile, region: str) -> Profile:
    try:
        return Profile.model_validate({**profile.model_dump(), "home_region": region})
    except ValidationError:
        raise Complaint(f"--home: {region!r} is no AWS region; an example is {DEFAULT_HOME}") from None


def _assumptions(estimate: Estimate) -> list[str]:
    regions = dict.fromkeys(r for share in estimate.shares if share.lane is Lane.BATCH for r in share.regions)
    buckets = f", with a batch bucket in {', '.join(regions)}" if regions else ""
    return [f"no stack was asked (--stack): {DRAIN_JOBS_PER_S:g} calls a second are reckoned with{buckets}"]


def _worded(error: BadInput) -> str:
    """The option instead of the field."""
    option = f"--{error.pointer[1:].replace('_', '-')}: " if error.pointer in _OPTIONS else ""
    return option + error.message.removeprefix(f"object metadata `{error.pointer[1:]}`: ")


_OPTIONS: Final = ("/jobs", "/input_tokens", "/output_tokens", "/deadline", "/lane", "/request-type", "/profile")
