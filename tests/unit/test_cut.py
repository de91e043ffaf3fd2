"""Shards: a partition of what goes by batch, every one of them legal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.policy.cut import BlockLoad, cut_shards

LIMITS = {"max_records": 100_000, "max_bytes": 950_000_000, "min_records": 100}
TWO = [("us-west-2", 5), ("us-east-1", 3)]


def blocks_of(records, record_bytes=500, block=1000):
    return [
        BlockLoad(f"{i:05d}", min(block, records - start), min(block, records - start) * record_bytes)
        for i, start in enumerate(range(0, records, block))
    ]


def sizes(cut):
    return [(shard.region, shard.records) for shard in cut.shards]


def test_100050_records_make_two_legal_shards():
    cut = cut_shards(blocks_of(100_050), [("us-east-1", 1)], **LIMITS)
    assert sizes(cut) == [("us-east-1", 50_025), ("us-east-1", 50_025)]
    assert cut.leftover == ()


def test_1319_jobs_over_two_regions_are_two_shards_near_five_to_three():
    assert sizes(cut_shards(blocks_of(1319), TWO, **LIMITS)) == [("us-west-2", 824), ("us-east-1", 495)]


def test_a_region_whose_share_would_be_too_small_is_left_out():
    assert sizes(cut_shards(blocks_of(200), TWO, **LIMITS)) == [("us-west-2", 200)]
    assert sizes(cut_shards(blocks_of(280), [("a", 1), ("b", 1), ("c", 5)], **LIMITS)) == [("c", 280)]


def test_fewer_than_the_minimum_are_left_over_with_the_reason():
    cut = cut_shards(blocks_of(99), TWO, **LIMITS)
    assert cut.shards == ()
    assert [(left.records, left.reason) for left in cut.leftover] == [(99, "fewer records than a batch job's minimum")]
    assert cut_shards([], TWO, **LIMITS) == cut_shards(blocks_of(0), TWO, **LIMITS)


def test_exactly_the_minimum_is_one_shard():
    assert sizes(cut_shards(blocks_of(100), TWO, **LIMITS)) == [("us-west-2", 100)]


def test_bytes_split_shards_too():
    cut = cut_shards(blocks_of(100_000, record_bytes=20_000, block=400), [("a", 1)], **LIMITS)
    assert len(cut.shards) == 3  # 2 GB
    assert cut.leftover == ()


def test_records_too_large_for_a_hundred_in_a_file_are_left_over_and_the_rest_goes():
    giants = [BlockLoad(f"g{i}", 1, 20_000_000) for i in range(150)]
    cut = cut_shards([*blocks_of(1000), *giants], [("a", 1)], **LIMITS)
    assert sum(shard.records for shard in cut.shards) >= 1000
    assert cut.leftover
    assert "too large" in cut.leftover[0].reason


@pytest.mark.parametrize(
    ("regions", "limits"),
    [([], {}), ([("a", 0)], {}), ([("a", 1)], {"min_records": 0}), ([("a", 1)], {"max_records": 99})],
)
def test_nonsense_is_an_error(regions, limits):
    with pytest.raises(ValueError, match=r"at least one region|contradict"):
        cut_shards(blocks_of(500), regions, **(LIMITS | limits))


blocks = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=40).map(
    lambda found: [BlockLoad(f"{i:05d}", n, n * size) for i, (n, size) in enumerate(found)]
)
regions = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(lambda ws: [(f"r{i}", w) for i, w in enumerate(ws)])


def bytes_bound(given_blocks, start, end):
    total = at = 0
    for block in given_blocks:
        if at < end and at + block.records > start and block.records:
            total += block.bytes
        at += block.records
    return total


@settings(max_examples=400, deadline=None)
@given(blocks, regions, st.integers(1, 12), st.integers(0, 60), st.integers(1, 4000))
def test_every_cut_is_a_partition_into_legal_shards(given_blocks, where, min_records, more, max_bytes):
    max_records = min_records + more
    cut = cut_shards(given_blocks, where, max_records=max_records, max_bytes=max_bytes, min_records=min_records)
    pieces = sorted([*cut.shards, *cut.leftover], key=lambda piece: piece.start_record)
    at = 0
    for piece in pieces:
        assert piece.start_record == at
        assert piece.end_record > at
        at = piece.end_record
    assert at == sum(block.records for block in given_blocks)
    for shard in cut.shards:
        assert min_records <= shard.records <= max_records
        assert bytes_bound(given_blocks, shard.start_record, shard.end_record) <= max_bytes
        assert shard.region in dict(where)
    starts = [shard.start_record for shard in cut.shards]
    assert starts == sorted(starts)
    assert all(left.reason for left in cut.leftover)


@settings(max_examples=200, deadline=None)
@given(st.integers(100, 500_000), regions)
def test_small_records_leave_nothing_over_and_share_by_weight(records, where):
    cut = cut_shards(blocks_of(records, record_bytes=100), where, **LIMITS)
    assert cut.leftover == ()
    got = {}
    for shard in cut.shards:
        got[shard.region] = got.get(shard.region, 0) + shard.records
    used = {region: weight for region, weight in where if region in got}
    for region, weight in used.items():
        assert abs(got[region] - records * weight / sum(used.values())) < 1
    assert len(cut.shards) <= len(used) + records // 100_000 + len(used)
