"""Commands that start and stop runs and look at a stack: `submit`, `status`, `cancel`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slackwater_cli import words
from slackwater_cli.errors import Complaint
from slackwater_cli.options import DeadlineOrProfiles, Json, Lane, Profile, RequestType, ResultDialect, Run, Stack
from slackwater_cli.pause_commands import spending
from slackwater_cli.screen import Screen

if TYPE_CHECKING:
    from slackwater.model.shard import Shard
    from slackwater.usecases.overview import Gauge, Overview
    from slackwater_cli.cloud_reader import CloudReader, Snapshot

STDIN = "-"


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    for command in (submit, status, cancel):
        app.command(command.__name__)(command)


def submit(  # noqa: PLR0917  (Typer reads the signature)
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines, one job a line; `-` reads standard input.")],
    profile: Profile = "default",
    deadline: DeadlineOrProfiles = None,
    lane: Lane = None,
    result_dialect: ResultDialect = None,
    request_type: RequestType = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What the run is called. Default: the file's name.",
                     show_default=False),
    ] = None,
    stack: Stack = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Drop a file into the stack's inbox and print the run that it starts.

    **Example**

    - `slackwater submit questions.jsonl --deadline 24h`
    - `jq -c '.[]' all.json | slackwater submit - --name evening --profile open-eu`
    - `slackwater watch "$(slackwater submit questions.jsonl)"`
    """
    from slackwater_cli import files  # noqa: PLC0415

    screen = Screen(json)
    reader = _reader(screen, stack)
    given = {"deadline": deadline, "lane": lane, "request-type": request_type, "result-dialect": result_dialect}
    options = {option: value for option, value in given.items() if value is not None}
    files.check_options(options, profile, reader.profiles(), reader.clock.now())
    if file == STDIN:
        dropped = files.drop(reader.store, profile, name or "stdin", sys.stdin.buffer, options)
    else:
        path = Path(file)
        if not path.is_file():
            raise Complaint(f"there is no file {file}: name one, or give `-` and send the lines to standard input")
        files.check_size(path)
        with path.open("rb") as opened:
            dropped = files.drop(reader.store, profile, name or path.name, opened, options)
    uri = f"s3://{reader.store.bucket}/{dropped.key}"
    screen.note(f"{uri} is in the inbox; follow it with `slackwater watch {dropped.run_id}`")
    if not json:
        typer.echo(dropped.run_id)
    screen.document(
        {"v": 1, "run_id": dropped.run_id, "profile": profile, "uri": uri, "version_id": dropped.version_id}
    )


def status(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="One run; without it the whole stack.", show_default=False)
    ] = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Show what the stack has to do at this moment, what is paused and what the day's budgets have left, or how far one
    run is.

    A queue's age is CloudWatch's, a few minutes old; a dash where nobody measures it.

    **Example**

    - `slackwater status`
    - `slackwater status evening --json | jq '.shards[].age_s'`
    """
    from slackwater_cli.cloud_operator import CloudOperator  # noqa: PLC0415

    screen = Screen(json)
    reader = _reader(screen, stack)
    now = reader.clock.now()
    if run is not None:
        _status_of_run(screen, reader, run, now)
        return
    overview, money = CloudOperator(reader.connection).overview(), spending(reader)
    screen.show(Group(_overview(overview, now), *money.shown(now)))
    if not overview.complete:
        screen.note("more may be open than is shown here", "yellow")
    screen.document(_overview_document(overview, reader.connection.stack, now) | money.document())


def cancel(
    run: Run,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, and show the receipt.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait so many real seconds; 0 for ever.")
    ] = 900,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Cancel a run: nothing new is begun, what is finished is kept and paid for.

    Calls that are under way are finished. Batch jobs are stopped, and what they have processed is collected, which
    takes some minutes. A batch job that holds other runs' queue jobs too goes on, and the run waits for it. Every job
    that was not answered fails as `cancelled`, and the run ends with results and receipt like any other.

    **Example**

    - `slackwater cancel evening`
    - `slackwater cancel evening --json | jq '{kept, stopped}'`
    """
    from slackwater_cli.cloud_operator import CloudOperator  # noqa: PLC0415
    from slackwater_cli.follow import follow  # noqa: PLC0415
    from slackwater_cli.receipts import receipt_view  # noqa: PLC0415

    screen = Screen(json)
    reader = _reader(screen, stack)
    run_id = reader.run_of(run)
    if not CloudOperator(reader.connection).cancel(run_id):
        raise Complaint(f"{run} has ended already: there is nothing left to stop", code="ended")
    screen.note(f"{run} is being cancelled: what is under way ends, nothing new begins")
    if not wait:
        screen.document({"v": 1, "run_id": run_id, "status": "cancelling"})
        return
    receipt = follow(reader, {run: run_id}, screen, timeout_s=timeout, title=f"cancelling {run}")[run]
    document = cancelled_document(run_id, receipt)
    screen.show(Group(receipt_view(receipt), Text(), Text(cancelled_words(document), style="bold")))
    screen.document(document)


def cancelled_document(run_id: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What was kept and paid for, and what was stopped."""
    stopped = receipt["errors"].get("cancelled", 0)
    kept = {"succeeded": receipt["succeeded"], "failed": receipt["failed"] - stopped, "cost_usd": receipt["cost_usd"]}
    return {"v": 1, "run_id": run_id, "status": receipt["status"], "kept": kept, "stopped": stopped, "receipt": receipt}


def cancelled_words(document: Mapping[str, Any]) -> str:
    """The same in one line."""
    kept = document["kept"]
    return (
        f"kept and paid for: {words.count(kept['succeeded'])} answers, {words.usd(kept['cost_usd'])}; "
        f"stopped: {words.counted(document['stopped'], 'job')}"
    )


def _reader(screen: Screen, stack: str | None) -> CloudReader:
    from slackwater_cli.cloud_reader import CloudReader  # noqa: PLC0415  (boto3 takes a third of a second)
    from slackwater_cli.connection import connect  # noqa: PLC0415

    return CloudReader(connect(screen, stack))


# ---------------------------------------------------------------------- one run


def _status_of_run(screen: Screen, reader: CloudReader, name: str, now: datetime) -> None:
    from slackwater.model.clock import parse_iso  # noqa: PLC0415
    from slackwater_cli import progress  # noqa: PLC0415

    run_id = reader.run_of(name)
    snapshot = reader.snapshot(run_id)
    if snapshot is None:
        raise Complaint(f"{name} has not begun yet", code="unknown_run")
    elapsed_s = (now - parse_iso(snapshot.progress.started_at)).total_seconds()
    failure = None if snapshot.progress.ended else reader.workflow_failure(run_id)
    screen.show(progress.board({name: snapshot}, now, elapsed_s, f"{run_id}, begun {words.span(elapsed_s)} ago"))
    if failure:
        screen.note(f"its workflow is {failure}: an operator must look at the logs of its functions", "red")
    screen.document(run_document(snapshot, now, failure))


def run_document(snapshot: Snapshot, now: datetime, failure: str | None) -> dict[str, Any]:
    """One run for programs."""
    progress = snapshot.progress
    shown = (
        "run_id", "state", "reason", "profile", "name", "accepted", "refused", "repeats", "started_at", "deadline_at",
    )  # fmt: skip
    return {
        "v": 1,
        **{field: getattr(progress, field) for field in shown},
        "kind": progress.kind.value,
        "done": snapshot.done,
        "lanes": {lane.lane: {"jobs": lane.jobs, "done": lane.done} for lane in progress.lanes},
        "regions": dict(snapshot.by_region),
        "shards": [
            shard_document(shard, now)
            | {"bedrock_status": job.status if (job := snapshot.jobs.get(shard.id)) is not None else None}
            for shard in progress.shards
        ],
        "workflow_failure": failure,
    }


def shard_document(shard: Shard, now: datetime) -> dict[str, Any]:
    """One batch shard for programs; `age_s` is null before it has a job."""
    return {
        "shard": shard.id,
        "state": shard.state.value,
        "region": shard.region,
        "records": shard.records,
        "attempt": shard.attempt,
        "job_name": shard.job_name,
        "owner": shard.owner,
        "age_s": age_s(shard, now),
    }


def age_s(shard: Shard, now: datetime) -> float | None:
    """Seconds since its job was submitted (or asked for)."""
    since = shard.submitted_at or shard.intent_at
    return None if since is None else round((now - since).total_seconds(), 3)


# ---------------------------------------------------------------------- the stack


def _overview(overview: Overview, now: datetime) -> RenderableType:
    parts: list[RenderableType] = [_queues(overview.queues)]
    dead = sum(gauge.messages for gauge in overview.queues if gauge.dead)
    if dead:
        parts.append(Text(f"{dead} dead letters: `slackwater dlq show` says why", style="red"))
    parts += [Text(), _runs(overview, now)]
    if overview.shards:
        parts += [Text(), _shards(overview, now)]
    if overview.pools:
        waiting = sum(pool.count for pool in overview.pools)
        parts += [Text(), Text(f"{waiting} queue jobs wait in {len(overview.pools)} pools for the batch lane")]
    if overview.forecasts:
        parts += [Text(), _forecasts(overview)]
    return Group(*parts)


def _forecasts(overview: Overview) -> Table:
    """What is forecast of a batch job, and which part of the ended ones kept within what had been forecast of them."""
    table = _table(("batch forecast", False), ("region", False), ("half within", True), ("95 % within", True),
                   ("from", True), ("kept p50", True), ("kept p95", True))  # fmt: skip
    for one in overview.forecasts:
        now, score = one.now, one.score
        basis = f"{words.count(now.n)} jobs" if now.basis != "prior" else f"prior ({words.count(now.n)} jobs)"
        table.add_row(Text(one.model), one.region, words.span(now.p50_s), words.span(now.p95_s), basis,
                      words.share(score.within_p50, 1), words.share(score.within_p95, 1))  # fmt: skip
    return table


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, right in columns:
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def _queues(gauges: tuple[Gauge, ...]) -> Table:
    table = _table(("queue", False), ("waiting", True), ("in flight", True), ("delayed", True), ("oldest", True),
                   ("dead letters", True))  # fmt: skip
    dead = {gauge.name: gauge.messages for gauge in gauges if gauge.dead}
    for gauge in gauges:
        if gauge.dead:
            continue
        letters = dead.get(gauge.name)
        oldest = words.DASH if gauge.oldest_s is None else words.span(gauge.oldest_s)
        table.add_row(gauge.name, words.count(gauge.visible), words.count(gauge.in_flight), words.count(gauge.delayed),
                      oldest, Text(words.count(letters), style="red" if letters else ""))  # fmt: skip
    return table


def _runs(overview: Overview, now: datetime) -> RenderableType:
    from slackwater.model.clock import parse_iso  # noqa: PLC0415
    from slackwater.model.run import is_cancelled  # noqa: PLC0415

    if not overview.runs:
        return Text("no open runs")
    table = _table(("open run", False), ("name", False), ("state", False), ("accepted", True), ("begun", True),
                   ("due", False))  # fmt: skip
    for meta in overview.runs:
        begun = words.span((now - parse_iso(meta["started_at"])).total_seconds())
        due = words.until(parse_iso(meta["deadline_at"]), now) if meta.get("deadline_at") else words.DASH
        state = "cancelling" if is_cancelled(meta) else str(meta["state"])
        table.add_row(meta["run_id"], Text(_name(meta)), state, words.count(meta.get("accepted")), f"{begun} ago", due)
    return table


def _shards(overview: Overview, now: datetime) -> Table:
    table = _table(("batch shard", False), ("region", False), ("state", False), ("records", True), ("age", True))
    for shard in overview.shards:
        age = age_s(shard, now)
        table.add_row(shard.id, shard.region, shard.state.value, words.count(shard.records),
                      words.DASH if age is None else words.span(age))  # fmt: skip
    return table


def _overview_document(overview: Overview, stack: str, now: datetime) -> dict[str, Any]:
    from slackwater.model.run import is_cancelled  # noqa: PLC0415

    shown = ("run_id", "kind", "state", "profile", "accepted", "refused", "unsettled", "started_at", "deadline_at")
    return {
        "v": 1,
        "stack": stack,
        "queues": {gauge.name: _gauge(gauge) for gauge in overview.queues if not gauge.dead},
        "dead_letters": {gauge.name: gauge.messages for gauge in overview.queues if gauge.dead},
        "runs": [
            {"name": _name(meta), "cancelling": is_cancelled(meta), **{field: meta.get(field) for field in shown}}
            for meta in overview.runs
        ],
        "shards": [shard_document(shard, now) for shard in overview.shards],
        "pools": [{"pool": pool.pool, "profile": pool.profile, "jobs": pool.count} for pool in overview.pools],
        "forecasts": [one.as_json() for one in overview.forecasts],
        "complete": overview.complete,
    }


def _gauge(gauge: Gauge) -> dict[str, Any]:
    return {name: getattr(gauge, name) for name in ("visible", "in_flight", "delayed", "oldest_s")}


def _name(meta: Mapping[str, Any]) -> str:
    name = str(meta.get("shown") or meta.get("name") or words.DASH)
    return name.rpartition("/")[2] if meta["kind"] == "file" else name
