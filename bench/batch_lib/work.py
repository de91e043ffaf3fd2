"""What is measured, each in a process of its own, with the floor of the same bytes beside it; and the files for it."""

import pickle
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from bench.batch_lib.rig import HOME, NOW, REGION, RUN, Folder, Ledger, Run, Still
from slackwater.adapters.shard_files import ShardFiles
from slackwater.model import names, result
from slackwater.model.job import Job, Lane, Route
from slackwater.model.usage import Usage
from slackwater.policy.capability import load_capability
from slackwater.policy.prices import list_pico, load_price_book
from slackwater.usecases.aggregate import Aggregate
from slackwater.usecases.collect import Collect, Ended
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.place import Place
from slackwater.usecases.plan import Plan
from slackwater.usecases.planner import Stack
from slackwater.usecases.stage import Stage
from slackwater.usecases.survey import survey

BLOCK: Final = 1000
MODEL: Final = "anthropic.claude-haiku-4-5-20251001-v1:0"
JOB_ID: Final = "job123456789"
LINE: Final = orjson.OPT_APPEND_NEWLINE
BATCHED, FAILED = 0.9, 0.01  # shares of a run's rows; the others were called


class Words:
    """Text of any length that is hardly ever the same twice."""

    def __init__(self) -> None:
        self._random = Random(17)
        self._text = "".join(self._random.choices("abcdefghij klmnop qrst uvw xyz ", k=400_000))

    def some(self, size: int) -> str:
        """About `size` characters."""
        start = self._random.randrange(len(self._text) - 2 * size)
        return self._text[start : start + int(size * self._random.uniform(0.5, 1.5))]


# ---------------------------------------------------------------------- assemble: a run's blocks → one shard


def make_input(folder: Path, records: int, prompt_bytes: int) -> None:
    """A surveyed and planned run whose jobs are all for one batch job."""
    store, words, run = Folder(folder), Words(), Run()

    def lines() -> Iterator[bytes]:
        for number in range(1, records + 1):
            request = {
                "messages": [{"role": "user", "content": [{"text": words.some(prompt_bytes)}]}],
                "inferenceConfig": {"maxTokens": 256},
            }
            yield orjson.dumps({"id": f"id-{number}", **request}, option=LINE)

    class Blocks:
        def put_input(self, block: str, rows: bytes) -> None:
            store.put(names.input_key(RUN, block), rows)

        def put_refused(self, block: str, rows: bytes) -> None:  # noqa: ARG002
            raise AssertionError("the bench's own lines are good")

    profiles = run.pinned("v1").profiles
    surveyed = survey(
        lines(),
        Blocks(),
        run_id=RUN,
        options=FileOptions("default", NOW, lane=Lane.BATCH),
        profiles={name: found.max_tokens for name, found in profiles.items()},
        models={name: found.model for name, found in profiles.items()},
        size_bytes=0,
        now=NOW,
    )
    store.put_json(names.run_key(RUN, "survey.json"), surveyed.to_json())
    plan = Plan(
        documents=store,
        runs=run,
        profiles=run,
        prices=load_price_book(),
        capability=load_capability(),
        stack=Stack((REGION,), batch_enabled=True, drain_jobs_per_s=1e6),
        clock=Still(),  # type: ignore[arg-type]
    )
    (item,) = (item for item in plan(RUN) if item["kind"] == "shard")
    assert item["records"] == records, item
    store.put_json("item.json", item)


def assemble(folder: Path) -> int:
    """Places the shard; gives its bytes."""
    store, ledger, run = Folder(folder), Ledger(), Run()
    files = ShardFiles(store, {REGION: store})  # type: ignore[arg-type, dict-item]
    place = Place(
        documents=store,
        runs=run,
        stage=Stage(shards=ledger, files=files, clock=Still()),  # type: ignore[arg-type]
        settle=None,  # type: ignore[arg-type]
        clock=Still(),  # type: ignore[arg-type]
        pool=None,  # type: ignore[arg-type]
    )
    place(RUN, store.get_json("item.json"))
    (folder / "shard.pickle").write_bytes(pickle.dumps(ledger.shard))
    return int(ledger.shard.bytes)


def assemble_floor(folder: Path) -> int:
    """Reads each row, parses it, writes its record."""
    store, written = Folder(folder), 0
    with (folder / "floor.jsonl").open("wb") as out:
        for key in store.keys(names.input_prefix(RUN)):
            for line in store.get(key).splitlines():
                row = orjson.loads(line)
                written += out.write(orjson.dumps({"recordId": row["id"], "modelInput": row["request"]}, option=LINE))
    return written


# ---------------------------------------------------------------------- collect: a job's output → parts


def make_output(folder: Path, answer_bytes: int) -> None:
    """The staged shard's job, as Bedrock leaves it: every record answered, in random order."""
    words, random = Words(), Random(23)
    shard = replace(
        pickle.loads((folder / "shard.pickle").read_bytes()),
        arn=f"arn:aws:bedrock:{REGION}:000000000000:model-invocation-job/{JOB_ID}",
    )
    (folder / "shard.pickle").write_bytes(pickle.dumps(shard))
    source = Folder(folder).path(shard.input_key)
    places, at = [], 0
    with source.open("rb") as file:
        for line in file:
            places.append((at, len(line)))
            at += len(line)
        random.shuffle(places)
        with Folder(folder).path(f"{shard.output_prefix}{JOB_ID}/in.jsonl.out").open("wb") as out:
            for start, size in places:
                file.seek(start)
                tokens = random.randrange(50, 256)
                output = {
                    "output": {"message": {"role": "assistant", "content": [{"text": words.some(answer_bytes)}]}},
                    "stopReason": "end_turn",
                    "usage": {"inputTokens": 120, "outputTokens": tokens, "totalTokens": 120 + tokens},
                }
                line = orjson.dumps(orjson.loads(file.read(size)) | {"modelOutput": output}, option=LINE)
                out.write(line)


def output_of(folder: Path) -> Path:
    """The job's output file."""
    (found,) = folder.glob("**/*.jsonl.out")
    return found


def collect(folder: Path) -> int:
    """Collects the job; gives the bytes of its output."""
    store, run, ledger = Folder(folder), Run(), Ledger()
    ledger.shard = pickle.loads((folder / "shard.pickle").read_bytes())
    use_case = Collect(
        shards=ledger,  # type: ignore[arg-type]
        files=ShardFiles(store, {REGION: store}),  # type: ignore[arg-type, dict-item]
        units=run,
        settle=run,  # type: ignore[arg-type]
        results=None,  # type: ignore[arg-type]
        pools=None,  # type: ignore[arg-type]
        stage=None,  # type: ignore[arg-type]
        prices=load_price_book(),
        forecasts=None,  # type: ignore[arg-type]  # nothing is missing
        clock=Still(),  # type: ignore[arg-type]
        drains=None,  # type: ignore[arg-type]
    )
    use_case(ledger.shard.id, 1, Ended("Completed"), worker="w", alive=lambda _: nullcontext())  # type: ignore[arg-type, return-value]
    found = sum(int.from_bytes(lines, "little").bit_count() for lines in run.covered.values())
    assert found == ledger.shard.records, f"{found} of {ledger.shard.records}"
    return output_of(folder).stat().st_size


def collect_floor(folder: Path) -> int:
    """Reads each line, parses it, writes its answer."""
    source = output_of(folder)
    with source.open("rb") as file, (folder / "floor.jsonl").open("wb") as out:
        for line in file:
            out.write(orjson.dumps(orjson.loads(line)["modelOutput"], option=LINE))
    return source.stat().st_size


# ---------------------------------------------------------------------- aggregate: parts → results and a receipt


def make_parts(folder: Path, results: int, answer_bytes: int) -> None:
    """A run of so many lines that has settled: nine in ten by batch, the others called, one in a hundred failed."""
    store, random = Folder(folder), Random(29)
    some = list(_rows(random, min(results, 20 * BLOCK), answer_bytes))  # the same again and again, under other ids
    blocks = []
    for first in range(1, results + 1, BLOCK):
        block = f"{(first - 1) // BLOCK:05d}"
        batched, called = [], []
        for number in range(first, min(first + BLOCK, results + 1)):
            row = some[number % len(some)] | {"line": number, "id": f"id-{number}", "job": f"j{number:019d}"}
            if row["error"]:
                row["error"] = row["error"] | {"line": number}
            (batched if row["lane"] == Lane.BATCH else called).append(orjson.dumps(row, option=LINE))
        random.shuffle(batched)
        for source, lines in (("shard-s1", batched), ("pack-p1", called)):
            store.put(names.part_key(RUN, block, source, 1), b"".join(lines))
        blocks.append({"block": block, "accepted": len(batched) + len(called), "refused": 0})
    store.put_json(names.run_key(RUN, "survey.json"), {"blocks": blocks, "warnings": [], "reason": None})
    store.put_json("results.json", results)


def _rows(random: Random, number: int, answer_bytes: int) -> Iterator[dict[str, Any]]:
    words, prices = Words(), load_price_book()
    route = Route(REGION, f"global.{MODEL}", MODEL, "global")
    job = Job(RUN, "00000", 1, "", "", "default", NOW, {})
    for n in range(number):
        kind = 0.0 if not n else random.random()  # one at least has failed
        if kind < FAILED:
            yield result.failed(job, code="deadline_missed", message="no answer came", finished_at=NOW)
            continue
        lane = Lane.BATCH if kind < FAILED + BATCHED else Lane.ON_DEMAND
        usage = Usage(random.randrange(80, 200), random.randrange(50, 256))
        message = {"role": "assistant", "content": [{"text": words.some(answer_bytes)}]}
        counted = {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens}
        yield result.succeeded(
            job,
            lane=lane,
            route=route,
            tier="default",
            response={"output": {"message": message}, "stopReason": "end_turn", "usage": counted},
            usage=usage,
            cost_pico=prices.cost_pico(MODEL, REGION, "global", lane, None, usage=usage),
            list_pico=list_pico(prices, MODEL, HOME, usage),
            price_version=prices.version,
            attempts=1,
            latency_ms=None if lane is Lane.BATCH else random.randrange(500, 9000),
            finished_at=NOW + timedelta(seconds=0 if lane is Lane.BATCH else random.uniform(0, 40_000)),
        )


def aggregate(folder: Path) -> int:
    """Aggregates the run; gives the bytes of its results."""
    store, run = Folder(folder), Run()
    use_case = Aggregate(
        documents=store,
        runs=run,
        shards=run,
        profiles=run,
        prices=load_price_book(),
        capability=load_capability(),
        report=run,
        clock=Still(),  # type: ignore[arg-type]
        calls_in_flight=32,
    )
    receipt = use_case(RUN)
    assert receipt["accepted"] == store.get_json("results.json") > receipt["succeeded"] > 0, receipt
    return store.path(names.run_key(RUN, "results.jsonl")).stat().st_size


def aggregate_floor(folder: Path) -> int:
    """Reads each row, parses it, writes it as it stands."""
    store, written = Folder(folder), 0
    with (folder / "floor.jsonl").open("wb") as out:
        for key in store.keys(names.parts_prefix(RUN)):
            for line in store.get(key).splitlines(keepends=True):
                orjson.loads(line)
                written += out.write(line)
    return written


def aggregate_copy(folder: Path) -> int:
    """Reads and writes the same bytes, and nothing else: no line is looked at."""
    store, written = Folder(folder), 0
    with (folder / "floor.jsonl").open("wb") as out:
        for key in store.keys(names.parts_prefix(RUN)):
            written += out.write(store.get(key))
    return written
