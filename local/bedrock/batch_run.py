"""Drives each batch job through its life on the virtual clock; S3 and the rows are worked on in threads."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from . import batch_io, events
from .batch import Job, OutcomeBook, ending, expires_from_queue, plan_rows
from .batch_io import BadInput, Cancelled, Clients, Rendered, Spool
from .batch_rows import RowWorker
from .dice import dice
from .world import World

log = logging.getLogger("local.bedrock")
T = TypeVar("T")
BILLED_AT_ONCE = 2000  # rows between two looks at the network


class Jobs:
    """All batch jobs of all regions."""

    def __init__(self, world: World, clients: Clients) -> None:
        self._world = world
        self._clients = clients
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="batch")
        self._post = ThreadPoolExecutor(1, thread_name_prefix="events")
        self.folder = Path(tempfile.mkdtemp(prefix="bedrock-emulator-"))
        self._spools: set[Spool] = set()
        self._lives: set[asyncio.Task[None]] = set()
        self._clear()

    def _clear(self) -> None:
        self.by_id: dict[tuple[str, str], Job] = {}
        self.by_name: dict[tuple[str, str], Job] = {}
        self.by_token: dict[tuple[str, str], Job] = {}
        self.book = OutcomeBook()
        self._stops: dict[str, asyncio.Event] = {}
        self.created = 0

    def reset(self) -> None:
        """Forget every job; work in progress is given up."""
        for life in self._lives:
            life.cancel()
        self._clear()

    def close(self) -> None:
        """End all work and delete the temporary files."""
        self.reset()
        for spool in list(self._spools):
            spool.remove()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._post.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, job: Job) -> None:
        """Take in a new job and let it live."""
        self.by_id[(job.region, job.job_id)] = job
        self.by_name[(job.region, job.name)] = job
        if token := job.request.get("clientRequestToken"):
            self.by_token[(job.region, token)] = job
        self._stops[job.job_id] = asyncio.Event()
        job.moved("Submitted", self._world.clock.now())
        self._announce(job)
        life = asyncio.get_running_loop().create_task(self._live(job, self._stops[job.job_id]))
        self._lives.add(life)
        life.add_done_callback(self._ended)

    def _ended(self, life: asyncio.Task[None]) -> None:
        self._lives.discard(life)
        if not life.cancelled():
            life.exception()  # said in the log already, without its text: that may quote a prompt

    def stop(self, job: Job) -> None:
        """Ask an open job to stop: what is processed now is all that will be."""
        now = self._world.clock.now()
        if job.status == "InProgress":
            job.stop_rows = job.processed = job.succeeded = job.rows(now)
        self._move(job, "Stopping")
        self._stops[job.job_id].set()

    def dice(self, job: Job, purpose: str) -> Random:
        """Randomness that depends on the job's name and region alone."""
        return dice(self._world.seed, job.region, job.name, purpose)

    def _move(self, job: Job, status: str, message: str | None = None) -> None:
        job.moved(status, self._world.clock.now(), message)
        self._announce(job)

    async def _thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    async def _live(self, job: Job, stop: asyncio.Event) -> None:
        spool = batch_io.new_spool(self.folder)
        self._spools.add(spool)
        try:
            await self._stages(job, stop, spool)
        except Cancelled:
            pass
        except (ClientError, BotoCoreError, Boto3Error) as exc:
            code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
            self._move(job, "Failed", f"The output location could not be written: {code}.")
        except Exception as exc:  # a fault of the emulator: the job must not hang without a word
            log.error("job %s broke: %s", job.job_id, type(exc).__name__)
            self._move(job, "Failed", "InternalServerException")
            raise
        finally:
            spool.remove()
            self._spools.discard(spool)

    async def _stages(self, job: Job, stop: asyncio.Event, spool: Spool) -> None:
        clock, timeline, outcome = self._world.clock, job.timeline, job.outcome
        if await self._pause(job, stop, job.submitted_at + timeline.submitted_s):
            return await self._stopped(job, spool, None)
        self._move(job, "Validating")
        valid_at = clock.now() + timeline.validating_s
        fault = await self._validated(job, spool)
        if await self._pause(job, stop, valid_at):
            return await self._stopped(job, spool, None)
        if fault is not None:
            return self._move(job, "Failed", fault)
        job.total = spool.records
        self._move(job, "Scheduled")
        scheduled_at = clock.now()
        expiry = expires_from_queue(outcome, scheduled_at, job.expires_at)
        start = scheduled_at + timeline.scheduled_s
        if await self._pause(job, stop, min(start, job.expires_at) if expiry is None else expiry):
            return await self._stopped(job, spool, None)
        if expiry is not None or start > job.expires_at:
            return self._move(job, "Expired", "The job expired before it started.")
        return await self._run(job, stop, spool)

    async def _run(self, job: Job, stop: asyncio.Event, spool: Spool) -> None:
        started_at = job.started_at = self._world.clock.now()
        end = job.ending = ending(job.outcome, job.timeline, started_at, job.expires_at, spool.records)
        self._move(job, "InProgress")
        rendering = asyncio.ensure_future(self._thread(self._render, job, spool))
        try:
            if await self._pause(job, stop, end.at):
                return await self._stopped(job, spool, rendering)
            await rendering
            if stop.is_set():  # asked for while the rows were late
                return await self._stopped(job, spool, rendering)
            message = job.outcome.message
            if message is None and end.status != "Completed":
                message = f"The job is {end.status}."
            return await self._finish(
                job, spool, rendering, rows=end.processed, write=end.write_output, status=end.status, message=message
            )
        finally:
            if not rendering.done():
                spool.cancelled.set()
                rendering.cancel()

    async def _pause(self, job: Job, stop: asyncio.Event, until: float | None) -> bool:
        """Wait in the present status (for ever if the job is stuck in it); True if it was asked to stop."""
        if until is None or job.outcome.stuck == job.status:
            await stop.wait()
            return True
        return await self._world.clock.until(until, stop)

    async def _validated(self, job: Job, spool: Spool) -> str | None:
        """None, or why the job fails in Validating."""
        s3 = await self._thread(self._clients.get, "s3", job.region)
        uri = job.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        try:
            await self._thread(batch_io.fetch, s3, uri, self._world.config.batch, spool, job.arn)
        except BadInput as bad:
            return bad.message
        return None

    def _render(self, job: Job, spool: Spool) -> Rendered:
        world = self._world
        seed = f"{world.seed}|{job.region}|{job.name}"
        worker = RowWorker(
            world.config, world.check_converse, world.answerer, job.region, job.model, job.invocation_type, seed
        )
        return batch_io.render(
            spool, worker, plan_rows(spool.records, job.outcome, self.dice(job, "rows")), job.outcome
        )

    async def _stopped(self, job: Job, spool: Spool, rendering: asyncio.Future[Rendered] | None) -> None:
        """From Stopping to Stopped; a job that never ran has no output."""
        clock = self._world.clock
        if job.outcome.stuck == "Stopping":
            await asyncio.Event().wait()
        await clock.until(clock.now() + job.timeline.stopping_s)
        if rendering is None:
            return self._move(job, "Stopped")
        write = job.outcome.write_output is not False
        return await self._finish(
            job, spool, rendering, rows=job.stop_rows or 0, write=write, status="Stopped", message=job.outcome.message
        )

    async def _finish(
        self,
        job: Job,
        spool: Spool,
        rendering: asyncio.Future[Rendered],
        *,
        rows: int,
        write: bool,
        status: str,
        message: str | None,
    ) -> None:
        """Bill the processed rows, write what is to be written, then show the end."""
        rendered = await rendering
        await self._bill(job, rendered, rows, written=bool(write))
        if write and rows:
            s3 = await self._thread(self._clients.get, "s3", job.region)
            uri = job.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
            folder = batch_io.output_folder(uri, job.job_id)
            await self._thread(batch_io.publish, s3, folder, spool, rendered, rendered.cut(rows))
            if job.outcome.manifest != "none":
                wrong = job.outcome.manifest == "wrong"
                manifest = batch_io.manifest_of(spool.records, rendered, rows, wrong, self.dice(job, "manifest"))
                await self._thread(batch_io.publish_manifest, s3, folder, manifest)
        job.processed = rows
        job.failed = sum(rendered.failed[:rows])
        job.succeeded = rows - job.failed
        if job.status == "Stopping" and status != "Stopped":  # asked for while the end was being written
            if job.outcome.stuck == "Stopping":
                await asyncio.Event().wait()
            status = "Stopped"
        self._move(job, status, message)

    async def _bill(self, job: Job, rendered: Rendered, rows: int, *, written: bool) -> None:
        bill = self._world.bill
        for position in range(rows):
            charge = rendered.charges[position]
            if charge is not None:
                bill.add(
                    charge.sha,
                    "batch",
                    region=job.region,
                    model=job.model.name,
                    input_tokens=charge.input_tokens,
                    output_tokens=charge.output_tokens,
                    lost=charge.lost or not written,
                )
                job.billed_rows += 1
            if not position % BILLED_AT_ONCE:
                await asyncio.sleep(0)

    def _announce(self, job: Job) -> None:
        """Send the event of the present status, in the background."""
        config = self._world.config.events
        rng = self.dice(job, f"event {len(job.history)}")
        if not config.enabled or not self._clients.has_events:
            return
        count = events.copies(config, rng)
        self._world.stats.count(job.region, "events_lost" if not count else "events")
        delay_s = config.delay_s[0] + (config.delay_s[1] - config.delay_s[0]) * rng.random()
        entry = events.entry(job, job.arn.split(":")[4], job.status, config.source)
        for _ in range(count):
            sending = asyncio.get_running_loop().create_task(self._send(job.region, config.region, entry, delay_s))
            self._lives.add(sending)
            sending.add_done_callback(self._lives.discard)

    async def _send(self, job_region: str, region: str | None, entry: dict[str, Any], delay_s: float) -> None:
        if delay_s:
            await self._world.clock.sleep(delay_s)
        try:
            refused = await asyncio.get_running_loop().run_in_executor(
                self._post, self._put, region or job_region, entry
            )
        except (ClientError, BotoCoreError) as exc:
            refused = type(exc).__name__
        if refused:
            self._world.stats.count(job_region, "events_refused")
            log.warning("event refused: %s", refused)

    def _put(self, region: str, entry: dict[str, Any]) -> str | None:
        reply = self._clients.get("events", region).put_events(Entries=[entry])
        return str(reply["Entries"][0].get("ErrorCode", "")) or None if reply["FailedEntryCount"] else None
