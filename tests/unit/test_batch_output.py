"""The quick ways of reading a batch job's output say what the plain ones say."""

from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.model import ids, result
from slackwater.model.job import Lane
from slackwater.model.native import RequestType
from slackwater.model.usage import Usage, UsageError
from slackwater.policy.prices import list_pico, load_price_book
from slackwater.usecases.batch_output import Join, Rows, members_of
from tests.unit.batch_rig import a_shard
from tests.unit.rig import HAIKU, START

PRICES = load_price_book()
LONG = "anthropic.claude-haiku-5-5"  # has prices of its own for long prompts

counts = st.integers(0, 400_000)
reported = st.none() | st.fixed_dictionaries(
    {"inputTokens": counts, "outputTokens": counts},
    optional={"cacheReadInputTokens": st.none() | counts, "cacheWriteInputTokens": counts, "totalTokens": counts},
)


@given(
    st.lists(st.tuples(reported, st.none() | st.just({"team": "a"})), min_size=1, max_size=8),
    st.sampled_from((HAIKU, LONG)),
    st.sampled_from(RequestType),
)
def test_a_joined_answer_is_the_line_of_an_answered_job(answers, model, request_type):
    shard = a_shard(len(answers), base_model=model, request_type=request_type)
    index = [
        {"r": n, "run": "r1", "block": "00000", "line": n + 1, "first": 1, "id": f"id-{n}", "job": f"job-{n}"}
        | ({} if tags is None else {"tags": tags})
        for n, (_, tags) in enumerate(answers)
    ]
    members = members_of(index, shard)
    outputs = [{"output": {"message": {}}} | ({} if said is None else {"usage": said}) for said, _ in answers]
    with Rows() as rows:
        join = Join(shard, members, PRICES, rows, finished_at=START)
        for n, output in enumerate(outputs):
            join.take(orjson.dumps({"recordId": ids.record_id(n), "modelOutput": output}))
        ((_, lines),) = rows.parts()
    for member, output, line in zip(members, outputs, lines.splitlines(), strict=True):
        usage = join._usage(output)
        plain = result.succeeded(
            member.as_job(shard.profile, request_type),
            lane=Lane.BATCH,
            route=shard.route,
            tier="default",
            response=output,
            usage=usage,
            cost_pico=PRICES.cost_pico(model, shard.region, shard.kind, "batch", None, usage=usage),
            list_pico=list_pico(PRICES, model, shard.home_region, usage),
            price_version=PRICES.version,
            attempts=shard.generation,
            latency_ms=None,
            finished_at=START,
        )
        assert orjson.loads(line) == orjson.loads(orjson.dumps(plain))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=80), st.integers(1, 400))
def test_rows_come_back_in_their_parts_and_order_whatever_fits_into_memory(told, in_memory_bytes):
    with Rows(in_memory_bytes) as rows:
        for n, (block, size) in enumerate(told):
            rows.add(("r1", f"{block:05d}"), {"n": n, "text": "x" * size})
        first, again = list(rows.parts()), list(rows.parts())
    assert first == again
    assert [group for group, _ in first] == sorted({("r1", f"{block:05d}") for block, _ in told})
    for (_, block), lines in first:
        assert [orjson.loads(line)["n"] for line in lines.splitlines()] == [
            n for n, (own, _) in enumerate(told) if own == int(block)
        ]


def test_rows_may_be_added_after_the_parts_were_read():
    with Rows(1) as rows:
        rows.add(("r1", "00000"), {"n": 1})
        list(rows.parts())
        rows.add(("r1", "00000"), {"n": 2})
        ((_, lines),) = rows.parts()
    assert lines == b'{"n":1}\n{"n":2}\n'


@pytest.mark.promise(7)
@pytest.mark.parametrize("odd", [-1, True, 1.5, "7"])
def test_a_token_count_that_is_none_is_refused_on_the_quick_way_too(odd):
    for usage in ({"inputTokens": odd, "outputTokens": 1}, {"inputTokens": 1, "outputTokens": odd}):
        with pytest.raises(UsageError):
            Usage.from_converse(usage)
    assert Usage.from_converse({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}) == Usage(3, 4)


def test_an_answer_is_finished_when_its_job_ended():
    shard = a_shard(1)
    index = [{"r": 0, "run": "r1", "block": "00000", "line": 1, "first": 1, "id": "a", "job": "j"}]
    with Rows() as rows:
        join = Join(shard, members_of(index, shard), PRICES, rows, finished_at=START + timedelta(hours=2))
        join.take(orjson.dumps({"recordId": ids.record_id(0), "modelOutput": {"output": {}}}))
        ((_, lines),) = rows.parts()
    assert orjson.loads(lines)["finished_at"] == "2026-11-25T14:00:00.000Z"
