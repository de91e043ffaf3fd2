import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model import input_row
from slackwater.model.dialects import DIALECTS, recognise
from slackwater.model.errors import BadInput
from slackwater.model.job import Lane
from slackwater.model.lines import TooLong, batches
from slackwater.policy.classes import MAX_CLASSES, Classes
from slackwater.policy.seen_ids import SeenIds
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.overlap import Overlap
from slackwater.usecases.survey import Limits, Survey, survey

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OPTIONS = FileOptions("default", NOW)
PROFILES = {"default": 1000, "open-eu": 500}
LIMITS = Limits()


class Memory:
    """The sink of a survey."""

    def __init__(self) -> None:
        self.input: dict[str, bytes] = {}
        self.refusals: dict[str, bytes] = {}

    def put_input(self, block: str, rows: bytes) -> None:
        self.input[block] = rows

    def put_refused(self, block: str, rows: bytes) -> None:
        self.refusals[block] = rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(row) for block in sorted(self.input) for row in self.input[block].splitlines()]

    @property
    def refused(self) -> list[dict[str, Any]]:
        return [orjson.loads(row) for block in sorted(self.refusals) for row in self.refusals[block].splitlines()]


def run(
    data: bytes | Iterable[bytes], *, options: FileOptions = OPTIONS, limits: Limits = LIMITS
) -> tuple[Survey, Memory]:
    sink = Memory()
    chunks = [data] if isinstance(data, bytes) else list(data)
    size = sum(map(len, chunks))
    found = survey(
        chunks, sink, run_id="r1", options=options, profiles=PROFILES, size_bytes=size, now=NOW, limits=limits
    )
    assert found.lines == found.accepted + found.refused_lines
    assert found.accepted == sum(block.accepted for block in found.blocks) == sum(c.total.jobs for c in found.classes)
    assert Survey.from_json(orjson.loads(orjson.dumps(found.to_json()))).to_json() == found.to_json()
    if found.reason is None:
        assert len(sink.rows) == found.accepted
        assert len(sink.refused) == found.refused_lines
    return found, sink


def line(text: str = "hi", **more: Any) -> bytes:
    return orjson.dumps({"messages": [{"role": "user", "content": [{"text": text}]}], **more})


def job(**more: Any) -> bytes:
    return orjson.dumps({"v": 1, "request": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, **more})


def jsonl(*lines: bytes) -> bytes:
    return b"\n".join(lines) + b"\n"


# --- lines


def test_each_good_line_becomes_a_row_and_each_bad_one_a_refusal_of_its_own() -> None:
    found, sink = run(jsonl(line(id="a"), b"{broken", b"[1]", b'{"messages":"\xff"}', line(serviceTier={}), line()))
    assert [(row["line"], row["id"]) for row in sink.rows] == [(1, "a"), (6, "line-6")]
    assert [(row["line"], row["id"], row["error"]["code"]) for row in sink.refused] == [
        (n, f"line-{n}", "refused") for n in (2, 3, 4, 5)
    ]
    says = [row["error"]["message"] for row in sink.refused]
    assert "no valid JSON" in says[0]
    assert "no object" in says[1]
    assert "UTF-8" in says[2]
    assert sink.refused[3]["error"]["pointer"] == "/serviceTier"
    assert found.reason is None
    assert (found.lines, found.accepted, found.refused_lines, found.dialect) == (6, 2, 4, "converse")


def test_a_refused_line_keeps_its_own_id_and_leaves_it_to_others() -> None:
    _, sink = run(jsonl(line(id="a", nonsense=1), line(id="a")))
    assert sink.refused[0]["id"] == "a"
    assert [(row["line"], row["id"]) for row in sink.rows] == [(2, "a")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\n\n  \n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_a_byte_order_mark_and_blank_lines_are_no_faults(start: bytes, end: bytes, last: bytes) -> None:
    data = start + end.join([line(id="a"), b"", b" \t", line(id="b")]) + last
    for size in (1, 2, 7, len(data)):
        found, sink = run([data[i : i + size] for i in range(0, len(data), size)])
        assert [(row["line"], row["id"]) for row in sink.rows] == [(1, "a"), (4, "b")]
        assert found.lines == 2


def test_a_line_that_is_too_long_is_refused_and_not_kept() -> None:
    long = line("x" * 5000, id="long")
    found, sink = run(
        [b"%b\n%b" % (line(id="a"), long[:2500]), long[2500:], b"\n", line(id="b")], limits=Limits(line_bytes=1000)
    )
    assert [row["id"] for row in sink.rows] == ["a", "b"]
    assert "bytes" in sink.refused[0]["error"]["message"]
    assert (found.lines, sink.refused[0]["line"]) == (3, 2)


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"", b"bcd", b"\xef\xbb\xbf", b"x" * 12])), st.integers(1, 5))
def test_lines_do_not_depend_on_where_chunks_end(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    found = [raw for batch in batches((data[i : i + size] for i in range(0, len(data), size)), 10) for raw in batch]
    expected = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert len(found) == len(expected)
    for raw, wanted in zip(found, expected, strict=True):
        if isinstance(raw, TooLong):
            assert len(raw) in (len(wanted), len(wanted) + 1)
            assert len(raw) > 10
        else:
            assert raw.removesuffix(b"\n") == wanted


# --- ids


def test_a_repeated_id_is_refused_by_line_with_the_first_one() -> None:
    _, sink = run(jsonl(line(id="a"), line(id="b"), line("other", id="a"), line(id="a")))
    assert [(row["line"], row["id"], row["error"]["code"], row["error"]["first_line"]) for row in sink.refused] == [
        (3, "a", "duplicate_id", 1),
        (4, "a", "duplicate_id", 1),
    ]


def test_an_id_that_looks_like_a_default_one_is_told_from_it() -> None:
    _, sink = run(jsonl(line(), line(id="line-1"), line(id="line-4"), line(), line(id="line-5")))
    assert [(row["line"], row["id"]) for row in sink.rows] == [(1, "line-1"), (3, "line-4"), (5, "line-5")]
    assert [(row["line"], row["error"]["first_line"]) for row in sink.refused] == [(2, 1), (4, 3)]


def test_equal_prompts_without_ids_are_no_duplicates() -> None:
    found, sink = run(jsonl(line(), line(), line()))
    assert found.accepted == 3
    assert len({input_row.job_id("r1", row) for row in sink.rows}) == 3


@pytest.mark.parametrize("expected", [0, 5, 100_000])
def test_ids_are_remembered_whether_they_ascend_or_not(expected: int) -> None:
    random = Random(5)
    ids = (
        [f"id-{n}" for n in range(2000)]
        + [random.randbytes(8).hex() for _ in range(4000)]
        + [f"id-{n}" for n in range(2000, 0, -1)]
    )
    seen, first = SeenIds(expected), dict[str, int]()
    for number, name in enumerate(ids, 1):
        assert seen.first_line(name, number) == first.get(name)
        first.setdefault(name, number)


@given(st.lists(st.text("ab", max_size=3), max_size=60))
def test_the_memory_of_ids_is_a_dict(ids: list[str]) -> None:
    seen, first = SeenIds(), dict[str, int]()
    for number, name in enumerate(ids, 1):
        assert seen.first_line(name, number) == first.get(name)
        first.setdefault(name, number)


# --- what a line may say


def test_a_line_may_name_another_profile_a_deadline_a_lane_and_tags() -> None:
    found, sink = run(
        jsonl(job(job_id="a", profile="open-eu", deadline="6h", lane="flex", tags={"t": "x"}), job(job_id="b"))
    )
    first, second = sink.rows
    assert {k: first[k] for k in ("profile", "deadline", "lane", "tags")} == {
        "profile": "open-eu",
        "deadline": "2026-11-25T18:00:00.000Z",
        "lane": "flex",
        "tags": {"t": "x"},
    }
    assert second.keys() == {"line", "id", "request"}
    special = found.classes.of_row(first)
    assert (special.key.profile, special.deadline, special.key.lane) == ("open-eu", NOW + timedelta(hours=6), Lane.FLEX)
    assert special.total.max_output_tokens == 500
    assert found.classes.of_row(second).total.max_output_tokens == 1000


def test_an_unknown_profile_or_a_bad_deadline_is_refused_by_line() -> None:
    _, sink = run(jsonl(job(profile="nope"), job(deadline="soon"), job()))
    assert [row["error"]["pointer"] for row in sink.refused] == ["/profile", "/deadline"]
    assert "default, open-eu" in sink.refused[0]["error"]["message"]


def test_a_model_that_names_a_profile_is_followed_any_other_is_overridden_and_said_once() -> None:
    found, sink = run(
        jsonl(line(modelId="x"), line(modelId="open-eu"), line(modelId="default"), line(modelId="x"), line(modelId="y"))
    )
    assert [row.get("profile") for row in sink.rows] == [None, "open-eu", None, None, None]
    assert all("modelId" not in row["request"] for row in sink.rows)
    assert len(found.warnings) == 1
    assert "3 lines (first in line 1)" in found.warnings[0]


def test_the_lane_of_a_file_is_the_lane_of_its_lines() -> None:
    found, sink = run(jsonl(job(job_id="a"), job(job_id="b", lane="batch")), options=replace(OPTIONS, lane=Lane.FLEX))
    assert [row["lane"] for row in sink.rows] == ["flex", "batch"]
    assert {c.key.lane for c in found.classes} == {Lane.FLEX, Lane.BATCH}


# --- the file as a whole


@pytest.mark.parametrize("data", [b"", b"\n", b"  \r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_line_is_empty_input(data: bytes) -> None:
    found, sink = run(data)
    assert (found.reason, found.lines, found.blocks) == ("empty_input", 0, ())
    assert found.remedy
    assert not sink.input
    assert not sink.refusals


@pytest.mark.parametrize("data", [b"hello\nworld\n", b"[1]\n[2]", b"\x00\xff\x00" * 50, b"id,text\n1,hi\n" * 3000])
def test_a_file_without_an_object_is_no_jsonl_and_its_lines_are_refused(data: bytes) -> None:
    found, sink = run(data)
    assert (found.reason, found.dialect, found.accepted) == ("not_jsonl", None, 0)
    assert found.refused_lines == len(sink.refused) == len(data.splitlines())


def test_objects_are_found_after_any_amount_of_rubbish() -> None:
    rubbish = b"x" * 999 + b"\n"
    chunks = [rubbish * 1000 for _ in range(10)]  # more than is held back
    found, sink = run([*chunks, line(id="a")])
    assert (found.dialect, found.accepted, found.refused_lines) == ("converse", 1, 10_000)
    assert sink.rows[0]["line"] == 10_001


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    def chunks() -> Iterable[bytes]:
        raise AssertionError("read")
        yield b""

    sink = Memory()
    found = survey(chunks(), sink, run_id="r", options=OPTIONS, profiles=PROFILES, size_bytes=5_000_000_001, now=NOW)
    assert found.reason == "too_large"
    assert "split" in str(found.remedy)


def test_a_file_of_too_many_lines_is_refused_as_a_whole() -> None:
    data = [jsonl(*(line(id=f"{n}") for n in range(100))) for _ in range(5)]
    found, _ = run(data, limits=Limits(lines=300))
    assert (found.reason, found.lines, found.accepted, found.blocks) == ("too_large", 0, 0, ())
    assert "split" in str(found.remedy)
    assert run(data, limits=Limits(lines=500))[0].reason is None


def test_an_unknown_profile_of_the_file_names_the_known_ones() -> None:
    found, sink = run(jsonl(line()), options=replace(OPTIONS, profile="nope"))
    assert found.reason == "unknown_profile"
    assert "default, open-eu" in str(found.remedy)
    assert not sink.input


def test_surveying_again_writes_the_same_bytes() -> None:
    data = jsonl(line(id="a"), line("x", id="b", inferenceConfig={"maxTokens": 4}), b"{", line(id="a"))
    one, other = run(data), run([data[:50], data[50:]])
    assert one[0].to_json() == other[0].to_json()
    assert (one[1].input, one[1].refusals) == (other[1].input, other[1].refusals)


def test_what_the_sink_raises_is_raised_and_no_thread_stays() -> None:
    class Full(Memory):
        def put_input(self, block: str, rows: bytes) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        survey([jsonl(line())], Full(), run_id="r", options=OPTIONS, profiles=PROFILES, size_bytes=50, now=NOW)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("write")]


def test_writes_overlap_within_their_bytes() -> None:
    under_way, most, lock, gate = 0, 0, threading.Lock(), threading.Barrier(2, timeout=5)

    def write(size: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += size
            most = max(most, under_way)
        gate.wait()
        with lock:
            under_way -= size

    with Overlap(threads=4, max_bytes=25) as writes:
        for _ in range(10):
            writes.submit(10, write, 10)
    assert most == 20


# --- against a plain reading, line by line


def plainly(data: bytes, limits: Limits) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, int, str]]]:
    """What a survey has to say, by the careful way only: (block, row) and (block, line, code)."""
    lines = [(number, raw) for number, raw in enumerate(data.split(b"\n"), 1) if raw.strip()]
    objects = []
    for _, raw in lines:
        try:
            objects.append(orjson.loads(raw))
        except orjson.JSONDecodeError:
            objects.append(None)
    dialect = recognise([found for found in objects if type(found) is dict][:50])
    rows, refused, seen = [], [], set()
    block, count, size, start = -1, 0, 0, 0
    for (number, raw), found in zip(lines, objects, strict=True):
        length = len(raw) + (number <= data.count(b"\n"))
        if (
            block < 0
            or count == limits.block_lines
            or size + length > limits.block_bytes
            or number >= start + limits.block_span
        ):
            block, count, size, start = block + 1, 0, 0, number
        count, size = count + 1, size + length
        try:
            if type(found) is not dict:
                raise BadInput("")
            row = dialect.read(found)
        except BadInput:
            refused.append((f"{block:05d}", number, "refused"))
            continue
        id_ = row.id or f"line-{number}"
        if id_ in seen:
            refused.append((f"{block:05d}", number, "duplicate_id"))
            continue
        seen.add(id_)
        rows.append((f"{block:05d}", {"line": number, "id": id_, "request": row.request}))
    return rows, refused


texts = st.sampled_from(["", "a", "ä", "a\nb", "中" * 5])
OPENAI_BODY = {"messages": [{"role": "user", "content": "q"}]}
pool = [
    line(),
    line(id="x"),
    line("", id="e"),
    line(id=5),
    line(nonsense=1),
    line(topP=0.5),
    b"",
    b" ",
    b"{",
    b"[]",
    job(job_id="x"),
    job(job_id="y", request={}),
    b'{"messages":[{"role":"user","content":[{"text":"a"}]}] , "id":"z"}',
    orjson.dumps({"custom_id": "o", "method": "POST", "url": "/v1/chat/completions", "body": OPENAI_BODY}),
]
numbered = st.builds(
    lambda text, n, more: line(text, id=f"n{n}", **more),
    texts,
    st.integers(1, 30),
    st.sampled_from([{}, {"inferenceConfig": {"maxTokens": 1}}, {"inferenceConfig": {"maxTokens": True}}]),
)


@settings(max_examples=200)
@given(st.lists(numbered | st.sampled_from(pool), max_size=40), st.integers(1, 200), st.booleans(), st.data())
def test_a_survey_says_what_a_plain_reading_says(
    lines: list[bytes], chunk: int, newline: bool, data: st.DataObject
) -> None:
    limits = Limits(
        block_lines=data.draw(st.integers(1, 12)),
        block_bytes=data.draw(st.integers(50, 1500)),
        block_span=data.draw(st.integers(3, 30)),
    )
    text = b"\n".join(lines) + (b"\n" if newline else b"")
    found, sink = run([text[i : i + chunk] for i in range(0, len(text), chunk)], limits=limits)
    rows, refused = plainly(text, limits)
    assert [(b, orjson.loads(r)) for b in sorted(sink.input) for r in sink.input[b].splitlines()] == rows
    got = [(b, orjson.loads(r)) for b in sorted(sink.refusals) for r in sink.refusals[b].splitlines()]
    assert [(b, r["line"], r["error"]["code"]) for b, r in got] == refused
    for block in found.blocks:
        of_block = [n for b, n, _ in refused if b == block.block] + [r["line"] for b, r in rows if b == block.block]
        assert (block.first_line, block.accepted + block.refused) == (min(of_block), len(of_block))
        assert block.last_line == max(of_block)
        assert block.last_line - block.first_line < limits.block_span


@pytest.mark.parametrize("name", DIALECTS)
def test_files_whose_lines_are_alike_are_surveyed_like_others(name: str) -> None:
    random = Random(3)

    def of(number: int, config: dict[str, Any]) -> bytes:
        text, id_ = "x" * random.randrange(30) + "ä\n", f"i{number}"
        request = orjson.loads(line(text, **config))
        if name == "slackwater":
            return orjson.dumps({"v": 1, "job_id": id_, "deadline": "6h", "request": request})
        if name == "converse":
            return orjson.dumps({"id": id_, **request})
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, "max_tokens": 7, **({"temperature": 0} if config else {})}
        return orjson.dumps({"custom_id": id_, "method": "POST", "url": "/v1/chat/completions", "body": body})

    lines = [of(n, random.choice([{}, {}, {}, {"inferenceConfig": {"maxTokens": 7}}])) for n in range(5000)]
    lines[1500:1500] = [of(n, {}) for n in range(5)]  # repeated
    found, sink = run(jsonl(*lines))
    rows, refused = plainly(jsonl(*lines), Limits())
    strip = ("line", "id", "request")
    assert [{k: row[k] for k in strip} for row in sink.rows] == [row for _, row in rows]
    assert (
        [row["line"] for row in sink.refused] == [number for _, number, _ in refused] == [1501, 1502, 1503, 1504, 1505]
    )
    sums = [sum(c.total.jobs for c in found.classes), sum(c.total.input_tokens for c in found.classes)]
    assert sums[0] == 5000
    assert 5000 * 9 <= sums[1] <= 5000 * 25
    assert all(len(sink.input[b]) <= sum(c.blocks[b].bytes for c in found.classes if b in c.blocks) for b in sink.input)


# --- classes


def test_classes_count_by_block_at_least_what_batch_records_take() -> None:
    found, sink = run(jsonl(*(line(id="a" * (n % 3 + 1) + str(n)) for n in range(1500))))
    (only,) = found.classes
    assert [load.jobs for load in only.blocks.values()] == [1000, 500]
    records = [orjson.dumps({"recordId": "R0000000017", "modelInput": row["request"]}) + b"\n" for row in sink.rows]
    assert only.total.bytes >= sum(map(len, records))


def test_too_many_deadlines_share_classes_and_never_get_later() -> None:
    lines = [job(job_id=f"{n}", deadline=f"{n + 1}m") for n in range(3000)]
    found, sink = run(jsonl(*lines))
    assert len(found.classes) <= MAX_CLASSES
    assert found.classes.step_s == 3600
    again = Classes.from_json(orjson.loads(orjson.dumps(found.to_json())))
    for row in sink.rows:
        deadline = again.of_row(row).deadline
        assert deadline is not None
        assert timedelta(0) <= datetime.fromisoformat(row["deadline"]) - deadline < timedelta(hours=1)


def test_deadlines_over_many_days_share_one_class_in_the_end() -> None:
    found, _ = run(jsonl(*(job(job_id=f"{n}", deadline=f"{n + 1}d") for n in range(300))))
    (only,) = found.classes
    assert only.deadline == NOW + timedelta(days=1)
    assert only.total.jobs == 300


# --- options


def test_options_come_from_the_key_and_the_metadata() -> None:
    metadata = {"deadline": "6h", "max-cost-usd": "12.5", "result-dialect": "openai", "lane": "batch"}
    options = FileOptions.from_object("inbox/open-eu/a/b.jsonl", metadata, NOW)
    wanted = FileOptions("open-eu", NOW, NOW + timedelta(hours=6), Lane.BATCH, 12_500_000_000_000, "openai")
    assert replace(options, warnings=()) == wanted
    assert options.deadline_or("24h") == NOW + timedelta(hours=6)


def test_a_file_that_asks_for_nothing_gets_the_defaults() -> None:
    options = FileOptions.from_object("inbox/x.jsonl", {"s3cmd-attrs": "…"}, NOW)
    assert (options.profile, options.deadline, options.deadline_or("24h")) == (
        "default",
        None,
        NOW + timedelta(hours=24),
    )
    assert "s3cmd-attrs" in options.warnings[0]


@pytest.mark.parametrize(
    ("metadata", "pointer"),
    [
        ({"deadline": "soon"}, "/deadline"),
        ({"deadline": "2026-11-25T11:00:00Z"}, "/deadline"),
        ({"max-cost-usd": "much"}, "/max-cost-usd"),
        ({"max-cost-usd": "-1"}, "/max-cost-usd"),
        ({"max-cost-usd": "0"}, "/max-cost-usd"),
        ({"result-dialect": "xml"}, "/result-dialect"),
        ({"lane": "fast"}, "/lane"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(metadata: dict[str, str], pointer: str) -> None:
    with pytest.raises(BadInput, match=pointer[1:]) as caught:
        FileOptions.from_object("inbox/default/x.jsonl", metadata, NOW)
    assert caught.value.pointer == pointer


def test_an_object_outside_the_inbox_is_no_file_of_ours() -> None:
    with pytest.raises(BadInput, match="inbox/<profile>"):
        FileOptions.from_object("v1/runs/x.jsonl", {}, NOW)


@pytest.mark.promise(5)
def test_a_request_out_of_its_profiles_bounds_is_refused_where_the_dialect_sets_its_limit():
    def bounded(limit: int | None) -> None:
        if limit is None or limit > 100:
            raise BadInput("ask for at most 100 tokens")

    lines = [line(inferenceConfig={"maxTokens": n}) for n in (100, 101, 50, 50, 50)] + [line()]
    lines += [line(inferenceConfig={"maxTokens": 100, "stopSequences": [str(n)]}) for n in range(3)]
    sink, data = Memory(), jsonl(*lines)
    survey(
        [data], sink, run_id="r1", options=OPTIONS, profiles=PROFILES, size_bytes=len(data), now=NOW,
        bounds={"default": bounded},
    )  # fmt: skip
    assert [(row["line"], row["error"]["pointer"]) for row in sink.refused] == [
        (2, "/inferenceConfig/maxTokens"),
        (6, "/inferenceConfig/maxTokens"),
    ]
    assert sink.refused[0]["error"]["message"] == "ask for at most 100 tokens"
    assert [row["line"] for row in sink.rows] == [1, 3, 4, 5, 7, 8, 9]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_dialect_says_where_a_line_sets_its_limit(name):
    assert DIALECTS[name].limit_pointer.rpartition("/")[2] in ("maxTokens", "max_tokens")
