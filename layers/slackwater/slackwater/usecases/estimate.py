"""What a file, or so many jobs of one kind, would cost and when it would be done, before anything is sent.

Decided by the code that plans a run: the same lines, profiles, prices, stack and moment give the same lanes. Nothing is
written and nobody is asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import Final

import orjson

from slackwater.model import deadline as deadlines
from slackwater.model import names
from slackwater.model.errors import BadInput
from slackwater.model.ids import block_name
from slackwater.model.job import Lane
from slackwater.model.profile import Profiles
from slackwater.model.request import CACHE
from slackwater.model.usage import Usage
from slackwater.model.words import counted
from slackwater.policy.baselines import baselines
from slackwater.policy.blocks import MAX_BLOCK_LINES
from slackwater.policy.cache import TTL_S, Prefix
from slackwater.policy.canary import CANARIES
from slackwater.policy.choose import JobLoad, lane_cost_pico
from slackwater.policy.classes import Classes, Load
from slackwater.policy.durations import length_traits
from slackwater.policy.learned import Amount, History, input_amount, output_amount
from slackwater.policy.prices import PriceBook
from slackwater.policy.tokens import BYTES_PER_TOKEN
from slackwater.usecases.estimated import Estimate, Refusal, Share, risks_of, warnings_of
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.planned import ClassPlan, GroupPlan
from slackwater.usecases.planner import Planner
from slackwater.usecases.survey import EMPTY_INPUT, Limits, Survey, survey
from slackwater.usecases.surveyor import Block

MAX_REFUSALS: Final = 100
MAX_JOBS: Final = Limits().lines
"""The most jobs of one run."""

_NO_LIMITS: Final = Limits(file_bytes=1 << 62, lines=1 << 62)  # a plan says that a run has limits; it has none
_FRAME_BYTES: Final = 200  # of a record, about, apart from its text


class Estimator:
    """Plans without a run. One instance may plan many."""

    def __init__(self, *, planner: Planner, profiles: Profiles, prices: PriceBook, history: History) -> None:
        """`planner` decides under the same `profiles` and `prices`."""
        self._planner = planner
        self._profiles = profiles
        self._prices = prices
        self._history = history

    def file(
        self,
        chunks: Iterable[bytes],
        *,
        profile: str,
        now: datetime,
        size_bytes: int = 0,
        deadline: str | None = None,
        lane: str | None = None,
        request_type: str | None = None,
    ) -> Estimate:
        """Of a file, read once, line by line. `size_bytes` (0: unknown) only saves growing.

        Raises BadInput for an unknown profile, a bad option, and a file of which no line is a job;
        ConfigurationError for a profile that AWS's offer does not allow.
        """
        default = self._profiles.named(profile)
        given = {"deadline": deadline, "lane": lane, "request-type": request_type}
        options = FileOptions.from_object(
            f"{names.INBOX}{profile}/plan.jsonl", {name: text for name, text in given.items() if text}, now
        )
        every = self._profiles.profiles
        refused = _Refused()
        found = survey(
            chunks,
            refused,
            run_id="",
            options=options,
            models={name: one.model for name, one in every.items()},
            profiles={name: one.max_tokens for name, one in every.items()},
            size_bytes=size_bytes,
            now=now,
            bounds={name: one.check_output_limit for name, one in every.items() if one.bounds_output},
            limits=_NO_LIMITS,
            keep_rows=False,
        )
        if not found.accepted:
            raise BadInput(_nothing_to_run(found, refused.first))
        due = options.deadline_or(default.default_deadline)
        estimate = self._estimate(found, due, now, given=False)
        return replace(estimate, refused=refused.first, warnings=(*_of_file(found), *estimate.warnings))

    def jobs(
        self,
        *,
        profile: str,
        jobs: int,
        input_tokens: int,
        output_tokens: int,
        now: datetime,
        deadline: str | None = None,
        lane: str | None = None,
    ) -> Estimate:
        """Of `jobs` jobs of so many tokens each. Raises BadInput, ConfigurationError."""
        for field, value, least, most in (
            ("jobs", jobs, 1, MAX_JOBS),
            ("input_tokens", input_tokens, 1, 10_000_000),
            ("output_tokens", output_tokens, 1, 10_000_000),
        ):
            if not least <= value <= most:
                raise BadInput(f"{value} is not possible: give a whole number from {least:,} to {most:,}", f"/{field}")
        if lane not in (None, *Lane):
            raise BadInput(f"must be one of {', '.join(Lane)}", "/lane")
        default = self._profiles.named(profile)
        due = _due(deadline or default.default_deadline, now)
        classes = Classes(profile)
        key = classes.key(profile, None, None if lane is None else Lane(lane), length_traits(output_tokens))
        blocks: list[Block] = []
        for first in range(0, jobs, MAX_BLOCK_LINES):
            count = min(MAX_BLOCK_LINES, jobs - first)
            size = count * (round(input_tokens * BYTES_PER_TOKEN) + _FRAME_BYTES)
            blocks.append(Block(block_name(len(blocks)), first + 1, first + count, count, 0, size))
            load = Load(count, size, count * input_tokens, count * output_tokens)
            classes.load(blocks[-1].block, key, None).add(load)
        size = sum(block.bytes for block in blocks)
        alike = Survey("", None, jobs, jobs, 0, size, (), None, None, tuple(blocks), classes)
        return self._estimate(alike, due, now, given=True)

    # ------------------------------------------------------------------ shares

    def _estimate(self, found: Survey, due: datetime, now: datetime, *, given: bool) -> Estimate:
        classes, groups = self._planner.decide(found, deadline=due, now=now)
        shares = [share for entry in classes for share in self._shares(entry, groups, given=given)]
        placed = sum(share.jobs for share in shares)
        if shares and all(share.cost_pico is None for share in shares):
            models = ", ".join(sorted({share.model for share in shares}))
            raise BadInput(
                f"no price is known for any of {counted(placed, 'job')} ({models}): look with "
                "`slackwater prices show`, refresh the price table, or choose another model",
                "/model",
            )
        nowhere = _unplaced(classes, found.accepted - placed)
        return Estimate(
            dialect=found.dialect,
            lines=found.lines,
            refused_lines=found.refused_lines,
            refused=(),
            jobs=found.accepted,
            unplaced=found.accepted - placed,
            shares=tuple(shares),
            planned_at=now,
            deadline=due,
            price_version=self._prices.version,
            warnings=tuple(dict.fromkeys([*found.warnings, *nowhere, *warnings_of(shares)])),
            risks=tuple(dict.fromkeys([*_late(classes), *risks_of(shares)])),
        )

    def _shares(self, entry: ClassPlan, groups: Sequence[GroupPlan], *, given: bool) -> list[Share]:
        """The class on its lane; of a batch group's class, what no batch job can hold on its calling lane."""
        total, lane = entry.total, entry.decision.lane
        if lane is None:
            return []
        left, regions = 0, [route.region for route in entry.decision.routes]
        group = None if entry.group is None else groups[entry.group]
        if group is not None and group.cut.shards:
            left = sum(piece.records for piece in group.cut.leftover) * total.jobs // group.records
            if entry.canary is not None:
                left = min(total.jobs, left + CANARIES)
            regions = [shard.region for shard in group.cut.shards]
        shares = []
        if total.jobs > left:
            shares.append(self._share(entry, lane, _part(total, total.jobs - left), regions, given=given))
        if left and entry.calling_lane is not None:
            called = self._planner.ways(entry.jobs.key.profile).of(entry.calling_lane)
            elsewhere = [route.region for route in called]
            shares.append(self._share(entry, entry.calling_lane, _part(total, left), elsewhere, given=given))
        return shares

    def _share(self, entry: ClassPlan, lane: Lane, load: Load, regions: Iterable[str], *, given: bool) -> Share:
        key = entry.jobs.key
        profile = self._profiles.named(key.profile)
        ways = self._planner.ways(key.profile)
        if given:
            read = Amount(load.input_tokens, load.input_tokens, load.input_tokens, "given")
            written = Amount(load.max_output_tokens, load.max_output_tokens, load.max_output_tokens, "given")
        else:
            known = self._history.answers(profile.model, key.profile), self._history.ratios(profile.model)
            read = input_amount(load.input_tokens, load.jobs, *known)
            written = output_amount(load.max_output_tokens, load.jobs, read, *known)

        prefix = self._planner.shared(entry.jobs)

        def cached(input_tokens: int) -> Prefix | None:
            """The shared prefix in the tokens that the input is taken to have."""
            return prefix and prefix._replace(tokens=prefix.tokens * input_tokens // max(1, load.input_tokens))

        def cost(on: Lane, input_tokens: int, output_tokens: int) -> int | None:
            alike = JobLoad(load.jobs, input_tokens, output_tokens, key.traits, prefix=cached(input_tokens))
            return lane_cost_pico(on, alike, ways, self._prices)

        way = next(way for way in entry.decision.ways if way.lane is lane)
        rescue = entry.calling_lane if lane is Lane.BATCH else None
        return Share(
            model=profile.model,
            profile=key.profile,
            home_region=profile.home_region,
            lane=lane,
            regions=tuple(dict.fromkeys(regions)),
            jobs=load.jobs,
            read=read,
            written=written,
            cost_pico=cost(lane, read.tokens, written.tokens),
            low_pico=cost(lane, read.low, written.low),
            high_pico=cost(lane, read.high, written.high),
            rescue_pico=None if rescue is None else cost(rescue, read.tokens, written.tokens),
            compared=baselines(
                _usage(load.jobs, read.tokens, written.tokens, cached(read.tokens) if lane is Lane.ON_DEMAND else None),
                self._prices,
                model_id=profile.model,
                home_region=profile.home_region,
                jobs=load.jobs,
            ),
            expected_finish=entry.decision.expected_finish if lane is entry.decision.lane else way.expected_finish,
            uncached=CACHE in key.traits and prefix is None and lane is not Lane.BATCH,
        )


class _Refused:
    """The sink of a survey that wants no rows: the first refused lines."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: list[Refusal] = []

    def put_input(self, block: str, rows: bytes) -> None:
        """Never called: no rows are kept."""

    def put_refused(self, block: str, rows: bytes) -> None:  # noqa: ARG002 (its lines know their numbers)
        with self._lock:  # blocks may come out of order
            last = self._kept[-1].line if len(self._kept) == MAX_REFUSALS else None
            for raw in rows.splitlines():
                error = orjson.loads(raw)["error"]
                if last is not None and error["line"] > last:
                    break
                self._kept.append(Refusal(error["line"], error["code"], error["message"], error["pointer"]))
            self._kept = sorted(self._kept, key=lambda refusal: refusal.line)[:MAX_REFUSALS]

    @property
    def first(self) -> tuple[Refusal, ...]:
        """Of the lowest lines, in order."""
        return tuple(self._kept)


def _due(text: str, now: datetime) -> datetime:
    try:
        due = deadlines.resolve(text, now)
    except BadInput as exc:
        raise BadInput(exc.message, "/deadline") from None
    if due <= now:
        raise BadInput("the deadline has passed: name a later one", "/deadline")
    return due


def _nothing_to_run(found: Survey, refused: Sequence[Refusal]) -> str:
    if found.reason == EMPTY_INPUT:
        return f"{found.remedy}"
    first = refused[0]
    where = f"line {first.line}{f', {first.pointer}' if first.pointer else ''}"
    if found.reason is not None:
        return f"{found.remedy}; the first is {where}: {first.message}"
    return (
        f"no line is a job, {counted(found.refused_lines, 'is', 'are')} refused; the first is {where}: {first.message}"
    )


def _of_file(found: Survey) -> list[str]:
    limits = Limits()
    if found.lines <= limits.lines and found.bytes <= limits.file_bytes:
        return []
    return [f"one run takes at most {limits.lines:,} lines and {limits.file_bytes:,} bytes: split the file to send it"]


def _usage(jobs: int, read: int, written: int, prefix: Prefix | None) -> Usage:
    """What `jobs` calls use; a shared prefix is written once and read by the others (policy.cache.input_pico)."""
    if prefix is None:
        return Usage(read, written)
    each = min(prefix.tokens, read // jobs)
    kept = each if prefix.ttl_s == TTL_S["1h"] else 0
    return Usage(read - each * jobs, written, each * (jobs - 1), each, kept)


def _part(total: Load, jobs: int) -> Load:
    """So many jobs of the class, of mean size."""
    if jobs == total.jobs:
        return total
    part = (number * jobs // total.jobs for number in (total.bytes, total.input_tokens, total.max_output_tokens))
    return Load(jobs, *part)


def _unplaced(classes: Sequence[ClassPlan], jobs: int) -> list[str]:
    """Why `jobs` jobs have no lane."""
    found = []
    nowhere = jobs - sum(entry.total.jobs for entry in classes if entry.decision.lane is None)
    if nowhere:
        found.append(
            f"{counted(nowhere, 'job')} would fail: the lane batch was asked for, and no batch job can hold them"
        )
    for entry in classes:
        if entry.decision.lane is None:
            who = f"{counted(entry.total.jobs, 'job')} of profile {entry.jobs.key.profile}"
            found.append(f"{who} would fail: {'; '.join(entry.decision.reasons[:4])}")
    return found


def _late(classes: Sequence[ClassPlan]) -> list[str]:
    return [
        f"{counted(entry.total.jobs, 'job')} of profile {entry.jobs.key.profile}: {entry.decision.warning}"
        for entry in classes
        if entry.decision.warning
    ]
