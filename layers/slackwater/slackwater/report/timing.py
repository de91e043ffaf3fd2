"""When the jobs were done, by lane and state, and how long batch took against its forecast."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from slackwater.model.clock import parse_iso
from slackwater.model.timeline import moment
from slackwater.model.words import DASH, count, counted, span, usd
from slackwater.report import charts, markup
from slackwater.report.charts import Axis, Layer, Mark
from slackwater.report.data import BatchJob, Story
from slackwater.report.markup import Child, Markup, name, tag
from slackwater.report.tables import LANES, behind, figure, legend, line, section, unknown

SLICES: Final = 160
_ENDS: Final = {
    "PartiallyCompleted": "a part unanswered",
    "Stopped": "stopped",
    "Expired": "expired",
    "Failed": "failed",
}
SHOWN_JOBS: Final = 24
SHOWN_CHOICES: Final = 8
_NEAR: Final = 0.4  # a deadline this far behind the end, in parts of the run, is drawn


def timing(story: Story) -> Markup:
    """The section on time."""
    axis = _axis(story)
    if axis is None:
        return section("When it happened", unknown("No job was finished."), id_="time")
    layers = _layers(story, axis)
    accepted = story.receipt["accepted"]
    deadline = _deadline(story, axis)
    return section(
        "When it happened",
        figure(
            charts.stack(
                "Jobs over time, by lane and state",
                "Stacked from the bottom: answered by batch, flex and on demand, failed, in a batch job, waiting",
                axis,
                layers,
                max(1, accepted),
                [Mark(parse_iso(story.receipt["deadline"]), "deadline")] if deadline is True else [],
            ),
            caption=[
                f"{counted(accepted, 'job')} from {_when(axis.start)} UTC. ",
                deadline if isinstance(deadline, str) else None,
            ],
        ),
        legend(_legend(layers)),
        _jobs(story, axis),
        behind(
            "Finished jobs in numbers", ("until (UTC)", *(words for _, words in LANES), "failed"), _table(story, axis)
        ),
        id_="time",
    )


def _axis(story: Story) -> Axis | None:
    ends = [moment(cell.at) for cell, _ in story.timeline.cells if not cell.refused]
    if not ends:
        return None
    ends += [job.ended_at for job in story.batch_jobs if job.ended_at is not None]
    start = min(parse_iso(story.receipt["started_at"]), *ends)
    end = max(*ends, start) + timedelta(seconds=story.timeline.grain_s)
    deadline = story.receipt.get("deadline")
    if deadline:
        at = parse_iso(deadline)
        if timedelta(0) < at - end < (end - start) * _NEAR:
            end = at + (end - start) * 0.03
    return Axis(start, end + (end - start) * 0.02)


def _deadline(story: Story, axis: Axis) -> bool | str | None:
    """True: it is on the picture; else words."""
    if not story.receipt.get("deadline"):
        return None
    at = parse_iso(story.receipt["deadline"])
    if axis.start <= at <= axis.end:
        return True
    return f"The deadline, {_when(at)}, lies {span((at - axis.end).total_seconds())} beyond this picture."


def _when(at: datetime) -> str:
    return f"{at.day} {at:%B, %H:%M}"


def _layers(story: Story, axis: Axis) -> list[Layer]:
    slice_s = axis.seconds / SLICES
    done = {shade: [0] * SLICES for shade in (*(f"lane-{lane}" for lane, _ in LANES), "failed")}
    for cell, number in story.timeline.cells:
        if cell.refused:
            continue
        end = moment(cell.at) + timedelta(seconds=story.timeline.grain_s)
        n = min(SLICES - 1, max(0, int((end - axis.start).total_seconds() / slice_s)))
        done["failed" if cell.code is not None or cell.lane is None else f"lane-{cell.lane}"][n] += number
    sums = {shade: list(accumulate(numbers)) for shade, numbers in done.items()}
    layers = [Layer(shade, heights) for shade, heights in sums.items()]
    if story.kind == "file":
        left = [max(0, story.receipt["accepted"] - sum(each)) for each in zip(*sums.values(), strict=True)]
        inside = _inside(story.batch_jobs, axis, slice_s)
        in_batch = [min(a, b) for a, b in zip(left, inside, strict=True)]
        layers.append(Layer("in-batch", in_batch))
        layers.append(Layer("waiting", [a - b for a, b in zip(left, in_batch, strict=True)]))
    return layers


def _inside(jobs: Sequence[BatchJob], axis: Axis, slice_s: float) -> list[int]:
    """Records that were in a batch job, at each slice."""
    found = [0] * SLICES
    for job in jobs:
        if job.submitted_at is None or job.ended_at is None:
            continue
        for n in range(SLICES):
            at = axis.start + timedelta(seconds=n * slice_s)
            if job.submitted_at <= at < job.ended_at:
                found[n] += job.records
    return found


_STATES: Final = (
    ("lane-batch", "answered by batch"),
    ("lane-flex", "answered by flex"),
    ("lane-on_demand", "answered on demand"),
    ("failed", "failed"),
    ("in-batch", "in a batch job"),
    ("waiting", "waiting, or being called"),
)


def _legend(layers: Sequence[Layer]) -> Iterator[tuple[str, Child, Child]]:
    """The states that a job was ever in, those that stay with their number."""
    drawn = {layer.shade: layer for layer in layers if any(layer.heights)}
    for shade, words in _STATES:
        if shade in drawn:
            yield shade, words, None if shade in ("in-batch", "waiting") else count(drawn[shade].heights[-1])


def _table(story: Story, axis: Axis) -> Iterator[Sequence[Child]]:
    """Cumulated counts at ten moments."""
    cells = [(moment(cell.at), cell, number) for cell, number in story.timeline.cells if not cell.refused]
    for n in range(1, 11):
        until = axis.start + timedelta(seconds=axis.seconds * n / 10)
        sums = dict.fromkeys((*(lane for lane, _ in LANES), "failed"), 0)
        for at, cell, number in cells:
            if at < until:
                sums["failed" if cell.code is not None or cell.lane is None else cell.lane] += number
        yield f"{until.day} {until:%b %H:%M:%S}", *(count(sums[lane]) for lane, _ in LANES), count(sums["failed"])


# ---------------------------------------------------------------------- batch jobs


def _jobs(story: Story, axis: Axis) -> Child:
    if not story.batch_jobs and not story.jobs_unknown:
        return None
    known = [job for job in story.batch_jobs if job.submitted_at is not None]
    first = sorted(known, key=lambda job: str(job.submitted_at))
    return [
        tag("h3", "Batch jobs at Bedrock"),
        figure([[_job(job, axis) for job in first[:SHOWN_JOBS]], charts.foot(axis) if first else None]),
        _unshown(len(first) - SHOWN_JOBS, len(story.batch_jobs) - len(known) + story.jobs_unknown),
    ]


def _job(job: BatchJob, axis: Axis) -> Markup:
    assert job.submitted_at is not None
    ended = job.ended_at or axis.end
    took = span((ended - job.submitted_at).total_seconds()) if job.ended_at else "its end is not known"
    label = [name(job.region), tag("i", f" {counted(job.records, 'record')}")]
    status = "" if job.status in (None, "Completed") else f", {_ENDS.get(job.status or '', job.status)}"
    title = f"batch job in {job.region}: {took}{status}"
    shade = "lane-batch" if job.status in (None, "Completed") else "odd-end"
    return line(label, took + status, charts.span(title, axis, job.submitted_at, ended, shade))


def _unshown(more: int, forgotten: int) -> Child:
    said = []
    if more > 0:
        said.append(f"{counted(more, 'more batch job')} not drawn.")
    if forgotten > 0:
        said.append(f"Of {counted(forgotten, 'batch job')} no times are recorded.")
    return tag("p", " ".join(said), class_="note") if said else None


# ---------------------------------------------------------------------- forecast against what happened


def forecast(story: Story) -> Markup:
    """The section on what was expected."""
    rows = _forecasts(story)
    return section(
        "Forecast against what happened",
        [_forecast(*row) for row in rows] if rows else _no_batch(story),
        _why(story),
        _plan(story),
        id_="forecast",
    )


def _no_batch(story: Story) -> Markup:
    if any(job.ended_at is not None for job in story.batch_jobs):
        return unknown("What was forecast for the batch jobs of this run is not recorded; above is what they took.")
    if story.receipt["lanes"].get("batch", {}).get("jobs"):
        return unknown("How long the batch jobs of this run took is not recorded.")
    return unknown("Nothing went by batch, and only batch is forecast by turnaround.")


_Expected = tuple[str, str, float, float, str, int]


def _forecasts(story: Story) -> list[tuple[_Expected, list[float]]]:
    """What happened, by forecast: (region, model, p50, p95, basis, n) → seconds."""
    found: dict[_Expected, list[float]] = {}
    for one in _said(story):
        key = (
            str(one["region"]),
            str(one["model"]),
            float(one["p50_s"]),
            float(one["p95_s"]),
            str(one["basis"]),
            int(one["n"]),
        )
        took = found.setdefault(key, [])
        if one.get("actual_s") is not None:
            took.append(float(one["actual_s"]))
    return list(found.items())


def _said(story: Story) -> Iterator[Mapping[str, Any]]:
    """The receipt's own list; else of each batch job whose times are known its forecast, or the plan's."""
    if story.receipt.get("forecasts"):
        yield from story.receipt["forecasts"]
        return
    for job in story.batch_jobs:
        expected = job.forecast or story.forecast
        if expected is not None and job.submitted_at is not None:
            actual = None if job.ended_at is None else (job.ended_at - job.submitted_at).total_seconds()
            yield {**expected, "region": job.region, "model": job.model, "actual_s": actual}


def _forecast(expected: _Expected, took: Sequence[float]) -> Markup:
    region, model, p50_s, p95_s, basis, n = expected
    inside = sum(one <= p95_s for one in took)
    held = f"{inside} of {len(took)} came within the 95 %."
    if not took:
        held = "None ended by itself, so nothing is held against it."
    based = "a guess: AWS promises nothing" if basis == "prior" else f"from {counted(n, 'earlier batch job')}"
    return figure(
        line(
            [name(region), tag("i", " ", markup.model(model))],
            _took(took),
            charts.expectation(
                f"{region}: {_took(took)}; forecast {span(p50_s)} to {span(p95_s)}",
                max([p95_s, *took]) * 1.02,
                (p50_s, p95_s),
                (span(p50_s), span(p95_s)),
                took,
            ),
            f"Forecast ({based}): half within {span(p50_s)}, 95 % within {span(p95_s)}. {held}",
        )
    )


def _took(took: Sequence[float]) -> str:
    if not took:
        return "no end of its own"
    if len(took) == 1 or min(took) == max(took):
        return f"took {span(took[0])}"
    return f"took {span(min(took))} to {span(max(took))}"


def _why(story: Story) -> Child:
    """Why the plan sent jobs where it did, as the receipt has it."""
    choices = story.receipt.get("choices") or ()
    if not choices:
        return None
    said = [
        tag(
            "li",
            tag("b", counted(one["jobs"], "job")),
            " ",
            "by no lane" if one["lane"] is None else f"planned for {str(one['lane']).replace('_', ' ')}",
            tag("i", ": ", "; ".join(map(str, one.get("reasons") or ("no reason is recorded",)))),
        )
        for one in choices[:SHOWN_CHOICES]
    ]
    more = len(choices) - SHOWN_CHOICES
    return [
        tag("h3", "Why it went this way"),
        tag("ul", said, class_="plainly"),
        tag("p", f"{more} more in receipt.json.", class_="note") if more > 0 else None,
    ]


def _plan(story: Story) -> Child:
    if story.planned is None:
        return tag(
            "p", "Queue jobs are decided one by one, so there is no plan of the whole to compare with.", class_="note"
        )
    rows = []
    for lane, words in LANES:
        planned, happened = story.planned.get(lane), story.receipt["lanes"].get(lane, {})
        if (planned is None or not planned.jobs) and not happened.get("jobs"):
            continue
        last = story.timeline.last.get(lane)
        rows.append(
            (
                words,
                count(planned.jobs) if planned else DASH, count(happened.get("jobs")),
                usd(planned.cost_usd) if planned else DASH, usd(happened.get("cost_usd")),
                _moment(planned.finish) if planned else DASH, _moment(parse_iso(last)) if last else DASH,
            )
        )  # fmt: skip
    if not rows:
        return None
    head = ("lane", "jobs planned", "jobs", "cost expected", "cost", "end expected", "last answer")
    note = "What was expected is an estimate, made before any token was counted."
    return [behind("The plan, and what became of it", head, rows), tag("p", note, class_="note")]


def _moment(at: datetime | None) -> str:
    return DASH if at is None else f"{at.day} {at:%b %H:%M}"
