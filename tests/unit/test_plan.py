"""The plan of a run, and that placing its items puts every job somewhere exactly once."""

from collections import Counter
from datetime import timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model import bits, names
from slackwater.model.clock import iso, parse_iso
from slackwater.model.profile import Profiles, shipped_profiles
from slackwater.policy.capability import load_capability
from slackwater.policy.classes import Classes, ClassKey, JobClass, Load
from slackwater.policy.durations import longest_answer_tokens
from slackwater.policy.prices import load_price_book
from slackwater.usecases.file_options import FileOptions
from slackwater.usecases.place import Place
from slackwater.usecases.plan import Plan
from slackwater.usecases.planned import MAX_ITEMS
from slackwater.usecases.planner import Planner, Stack
from slackwater.usecases.survey import Survey, survey
from slackwater.usecases.surveyor import Block
from tests.unit.rig import START, Bucket, StillClock

RUN = "r" + "a" * 20
STACK = Stack(("us-east-1", "us-west-2"), batch_enabled=True, drain_jobs_per_s=20.0)
PRICES, CAPABILITY = load_price_book(), load_capability()
DAY = timedelta(hours=24)


def request(text="q", **more):
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": 100}, **more}


def line(number, **more):
    return {"request": request(f"question {number}"), **more}


class Blocks:
    """Input rows into the run's bucket."""

    def __init__(self, bucket):
        self.bucket = bucket

    def put_input(self, block, rows):
        self.bucket.put(names.input_key(RUN, block), rows)

    def put_refused(self, block, rows):
        pass


class Run:
    """One file, surveyed, planned and placed by the real use cases; what they hand on is kept."""

    def __init__(self, lines, *, profile="default", deadline=DAY, stack=STACK, profiles=None, **more):
        self.bucket, self.clock = Bucket(), StillClock()
        self.profiles = profiles or Profiles.from_bytes(shipped_profiles())
        data = b"".join(orjson.dumps(row) + b"\n" for row in lines)
        surveyed = survey(
            [data],
            Blocks(self.bucket),
            run_id=RUN,
            options=FileOptions(profile, START),
            profiles={name: found.max_tokens for name, found in self.profiles.profiles.items()},
            models={name: found.model for name, found in self.profiles.profiles.items()},
            size_bytes=len(data),
            now=START,
        )
        assert surveyed.accepted == len(lines)
        self.bucket.put_json(names.run_key(RUN, "survey.json"), surveyed.to_json())
        self.meta = {
            "run_id": RUN,
            "profile": profile,
            "profiles_version": "v1",
            "deadline_at": iso(START + deadline),
        }
        make = Plan(
            documents=self.bucket,
            runs=self,
            profiles=self,
            prices=PRICES,
            capability=CAPABILITY,
            stack=stack,
            clock=self.clock,
            **more,
        )
        self.items = make(RUN)
        self.plan = self.bucket.get_json(names.run_key(RUN, "plan.json"))
        self.shards, self.units, self.pooled, self.asked = [], [], [], []

    def get(self, run_id):
        return self.meta if run_id == RUN else None

    def pinned(self, version):
        assert version == "v1"
        return self.profiles

    def register(self, run_id, units):
        pass

    def shard(self, *, records, **about):  # the port that stages
        self.shards.append((list(records), about))

    def release(self, run_id, units):
        self.units.extend(units)

    def pool(self, records, **about):
        self.pooled.append((records, about))

    def place(self):
        place = Place(
            documents=self.bucket,
            runs=self,
            stage=self,
            settle=self,
            clock=self.clock,
            pool=self.pool,
            ask_canaries=lambda shape, **about: self.asked.append((shape, about)),
        )
        for item in self.items:
            place(RUN, item)
        return self

    def lines(self):
        """Line → where it went: a shard's region, a pack's lane, or the code of its refusal."""
        went = []
        for records, about in self.shards:
            went += [(record.line, about["region"]) for record in records]
        for unit in self.units:
            went += [(unit.first_line + position, unit.lane) for position in bits.unpack(unit.lines)]
        for key in self.bucket.keys(f"v1/runs/{RUN}/parts/"):
            rows = [orjson.loads(row) for row in self.bucket.get(key).splitlines()]
            went += [(row["line"], row["error"]["code"]) for row in rows]
        return sorted(went)


def lanes(run):
    return {name: entry["jobs"] for name, entry in run.plan["lanes"].items()}


@pytest.mark.promise(1)
def test_1319_patient_jobs_are_two_shards_near_five_to_three():
    run = Run([line(i) for i in range(1319)]).place()
    assert Counter(where for _, where in run.lines()) == {"us-west-2": 824, "us-east-1": 495}
    assert [number for number, _ in run.lines()] == list(range(1, 1320))
    assert lanes(run) == {"on_demand": 0, "flex": 0, "batch": 1319}
    assert [item["kind"] for item in run.items] == ["shard", "shard"]
    for _, about in run.shards:
        assert about["deadline_at"] == START + DAY
        assert START < about["guard_at"] <= START + DAY - timedelta(minutes=30)
        assert [route.region for route in about["alternatives"]] == [
            region for region in ("us-west-2", "us-east-1") if region != about["region"]
        ]


def test_1319_urgent_jobs_are_packs_on_demand():
    run = Run([line(i) for i in range(1319)], deadline=timedelta(minutes=10)).place()
    assert Counter(where for _, where in run.lines()) == {"on_demand": 1319}
    assert not run.shards
    assert all(unit.jobs <= 200 for unit in run.units)
    assert run.plan["warnings"] == []


def test_open_eu_goes_by_flex():
    run = Run([line(i) for i in range(300)], profile="open-eu")
    assert lanes(run) == {"on_demand": 0, "flex": 300, "batch": 0}
    assert run.plan["lanes"]["flex"]["expected_cost_usd"] > 0


def test_fewer_than_a_hundred_go_on_demand_with_the_reason():
    run = Run([line(i) for i in range(99)]).place()
    assert Counter(where for _, where in run.lines()) == {"on_demand": 99}
    (entry,) = run.plan["classes"]
    assert entry["plan"]["reasons"] == [
        "on_demand: what is left without batch",
        "batch: fewer records than a batch job's minimum (99 in all)",
    ]
    costs = {way["lane"]: way["expected_cost_usd"] for way in entry["plan"]["ways"]}
    assert entry["plan"]["expected_cost_usd"] == costs["on_demand"] > costs["batch"]


def test_jobs_that_batch_cannot_take_are_called_beside_the_shards():
    tools = {"toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}]}}
    run = Run([line(i) if i % 4 else {"request": request(**tools)} for i in range(1000)]).place()
    assert Counter(where for _, where in run.lines()) == {"us-west-2": 469, "us-east-1": 281, "on_demand": 250}
    assert run.items[0]["kind"] == "packs"  # what is called comes first


def test_one_urgent_line_does_not_pull_the_patient_ones_along():
    run = Run([line(0, deadline="10m"), *(line(i) for i in range(1, 400))]).place()
    assert run.lines()[0] == (1, "on_demand")
    assert lanes(run) == {"on_demand": 1, "flex": 0, "batch": 399}
    assert run.shards[0][1]["guard_at"] > START + timedelta(hours=23)


def test_a_small_class_joins_the_shards_of_an_earlier_deadline():
    run = Run([line(i, deadline="20h") if i < 30 else line(i, deadline="18h") for i in range(400)])
    (group,) = run.plan["groups"]
    assert group["records"] == 400
    assert parse_iso(group["guard_at"]) < START + timedelta(hours=18) < parse_iso(group["deadline_at"])


def test_two_large_classes_of_other_deadlines_stay_apart():
    run = Run([line(i, deadline="20h" if i % 2 else "18h") for i in range(800)])
    assert sorted(group["records"] for group in run.plan["groups"]) == [400, 400]


def test_a_forced_lane_is_honoured_or_its_jobs_fail_with_the_reason():
    run = Run([line(i, lane="batch" if i < 3 else "on_demand") for i in range(10)]).place()
    assert [where for _, where in run.lines()] == ["lane_refused"] * 3 + ["on_demand"] * 7
    assert any("3 jobs of profile default refused" in warning for warning in run.plan["warnings"])
    forced = Run([line(i, lane="on_demand") for i in range(300)])
    assert lanes(forced) == {"on_demand": 300, "flex": 0, "batch": 0}


def test_forced_batch_jobs_count_towards_the_minimum_of_the_others():
    run = Run([line(i, lane="batch") if i < 60 else line(i) for i in range(120)]).place()
    assert Counter(where for _, where in run.lines()) == {"us-west-2": 120}


@pytest.mark.parametrize("stack", [Stack((), True, 20.0), Stack(("us-east-1", "us-west-2"), False, 20.0)])
def test_without_buckets_or_with_batch_switched_off_all_is_called(stack):
    assert lanes(Run([line(i) for i in range(200)], stack=stack)) == {"on_demand": 200, "flex": 0, "batch": 0}


def test_what_cannot_be_called_in_time_is_called_with_a_warning():
    run = Run([line(i) for i in range(1000)], deadline=timedelta(seconds=30))
    assert lanes(run)["on_demand"] == 1000
    assert "the deadline will probably be missed" in run.plan["warnings"][0]


def test_classes_of_earlier_deadlines_are_ahead_in_the_queue():
    run = Run([line(i, deadline="4m" if i % 2 else "5m") for i in range(8000)])
    by_deadline = sorted((entry["plan"] for entry in run.plan["classes"]), key=lambda plan: plan["deadline"])
    assert [parse_iso(plan["expected_finish"]) for plan in by_deadline] == [
        START + timedelta(seconds=200),
        START + timedelta(seconds=400),
    ]
    assert len(run.plan["warnings"]) == 1


def test_the_plan_says_its_versions_and_its_forecast():
    run = Run([line(i) for i in range(200)])
    assert run.plan["v"] == 1
    assert run.plan["price_version"] == PRICES.version
    assert run.plan["profiles_version"] == "v1"
    assert run.plan["forecast"] == {"p50_s": 7200, "p95_s": 28800, "basis": "prior", "n": 0, "version": "prior-1"}
    assert run.items == run.plan["items"]


def test_planning_again_gives_the_same_plan():
    lines = [line(i, deadline="2h" if i % 3 else "20h") for i in range(900)]
    assert Run(lines).plan == Run(lines).plan


def test_an_unknown_run_is_an_error():
    run = Run([line(0)])
    make = Plan(
        documents=run.bucket,
        runs=run,
        profiles=run,
        prices=PRICES,
        capability=CAPABILITY,
        stack=STACK,
        clock=run.clock,
    )
    with pytest.raises(LookupError):
        make("r" + "b" * 20)


def two_million(classes=1, block_bytes=1_000_000):
    """A survey of 2,000,000 lines, as its document says it."""
    blocks = tuple(Block(f"{i:05d}", 1000 * i + 1, 1000 * i + 1000, 1000, 0, block_bytes) for i in range(2000))
    found = {}
    for number in range(classes):
        key = ClassKey("default", None if number == 0 else number, None, frozenset())
        deadline = None if number == 0 else START + timedelta(hours=12, minutes=number)
        share = 1000 // classes
        loads = {block.block: Load(share, block_bytes // classes, 50 * share, 100 * share) for block in blocks}
        found[key] = JobClass(key, deadline, loads)
    return Survey(
        RUN,
        "slackwater",
        2_000_000,
        2_000_000,
        0,
        2000 * block_bytes,
        (),
        None,
        None,
        blocks,
        Classes("default", 60, found),
    )


@pytest.mark.parametrize("classes", [1, 100])
@pytest.mark.parametrize("hours", [1, 24])
def test_the_largest_file_stays_within_the_map_and_the_state(classes, hours):
    planner = Planner(
        profiles=Profiles.from_bytes(shipped_profiles()), prices=PRICES, capability=CAPABILITY, stack=STACK
    )
    plan = planner.plan(two_million(classes), deadline=START + timedelta(hours=hours), now=START, profiles_version="v1")
    assert 0 < len(plan["items"]) <= MAX_ITEMS
    assert len(orjson.dumps(plan["items"])) < 128 * 1024  # of a state's 256 KiB
    for group in plan["groups"]:
        assert all(100 <= shard["records"] <= 100_000 for shard in group["shards"])


def test_more_batch_jobs_than_a_run_may_have_are_called_instead():
    base = orjson.loads(shipped_profiles())["profiles"]["default"]
    many = {"default": base} | {f"p{i}": base for i in range(300)}
    profiles = Profiles.from_bytes(orjson.dumps({"v": 1, "profiles": many}))
    blocks = tuple(Block(f"{i:05d}", 1000 * i + 1, 1000 * i + 1000, 1000, 0, 10**6) for i in range(40))
    found = {}
    for number in range(300):
        key = ClassKey(f"p{number}", None, None, frozenset())
        found[key] = JobClass(key, None, {blocks[number % 40].block: Load(100, 10**5, 5000, 10_000)})
    surveyed = Survey(
        RUN, "slackwater", 40_000, 40_000, 0, 4 * 10**7, (), None, None, blocks, Classes("default", 60, found)
    )
    planner = Planner(profiles=profiles, prices=PRICES, capability=CAPABILITY, stack=STACK)
    plan = planner.plan(surveyed, deadline=START + DAY, now=START, profiles_version="v1")
    assert len(plan["items"]) <= MAX_ITEMS
    assert plan["lanes"]["batch"]["jobs"] == 250 * 100
    assert plan["lanes"]["on_demand"]["jobs"] == 50 * 100


def test_a_part_of_a_group_that_no_file_can_hold_is_called():
    giants = (Block(f"{i:05d}", i + 1, i + 1, 1, 0, 20_000_000) for i in range(150))
    blocks = (*giants, Block("00150", 151, 1150, 1000, 0, 10**6))
    key = ClassKey("default", None, None, frozenset())
    loads = {b.block: Load(b.accepted, b.bytes, 50 * b.accepted, 100 * b.accepted) for b in blocks}
    classes = Classes("default", 60, {key: JobClass(key, None, loads)})
    surveyed = Survey(RUN, "slackwater", 1150, 1150, 0, 3 * 10**9, (), None, None, blocks, classes)
    planner = Planner(
        profiles=Profiles.from_bytes(shipped_profiles()), prices=PRICES, capability=CAPABILITY, stack=STACK
    )
    plan = planner.plan(surveyed, deadline=START + DAY, now=START, profiles_version="v1")
    (group,) = plan["groups"]
    left = sum(piece["records"] for piece in group["leftover"])
    assert left
    assert left + sum(shard["records"] for shard in group["shards"]) == 1150
    assert plan["lanes"]["batch"]["leftover"] == left
    packs = [item["blocks"] for item in plan["items"] if item["kind"] == "packs"]
    for piece in group["leftover"]:
        for block in (b.block for b in blocks if piece["blocks"][0] <= b.block <= piece["blocks"][1]):
            assert any(first <= block <= last for first, last in packs)


kinds = st.lists(
    st.tuples(
        st.integers(1, 350),
        st.sampled_from(["10m", "9h", "12h", "24h", None]),
        st.sampled_from([None, "batch", "on_demand"]),
        st.sampled_from([None, "open-eu"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.promise(1)
@settings(max_examples=40, deadline=None)
@given(kinds, st.randoms(use_true_random=False))
def test_every_line_is_placed_exactly_once(found, shuffle):
    lines = []
    for count, deadline, lane, profile, multi in found:
        more = {name: value for name, value in (("deadline", deadline), ("lane", lane), ("profile", profile)) if value}
        body = request("q")
        if multi:
            turn = {"role": "assistant", "content": [{"text": "a"}]}
            body["messages"] = [*body["messages"], turn, *body["messages"]]
        lines += [{"request": body, **more}] * count
    shuffle.shuffle(lines)
    run = Run(lines).place()
    went = run.lines()
    assert [number for number, _ in went] == list(range(1, len(lines) + 1))
    for (_, where), row in zip(went, lines, strict=True):
        batch = where.startswith("us-")
        if batch:
            assert len(row["request"]["messages"]) == 1
            assert row.get("deadline") != "10m"
            assert row.get("lane") != "on_demand"
        if row.get("lane") == "batch":
            assert batch or where == "lane_refused"
        else:
            assert where != "lane_refused"
    for records, _ in run.shards:
        assert len(records) >= 100
    assert Counter(
        "batch" if where.startswith("us-") else where for _, where in went if where != "lane_refused"
    ) == Counter({lane: jobs for lane, jobs in lanes(run).items() if jobs})


def test_a_profile_may_want_smaller_batch_jobs():
    profiles = Profiles.from_bytes(shipped_profiles())
    small = profiles.profiles["default"].model_copy(update={"batch_max_records": 150})
    mine = Profiles(v=1, profiles={"default": small})
    found = Run([line(n) for n in range(900)], profiles=mine)
    sizes = [shard["records"] for group in found.plan["groups"] for shard in group["shards"]]
    assert sum(sizes) == 900
    assert max(sizes) <= 150


def long_line(number):
    return {"request": request(f"question {number}", inferenceConfig={"maxTokens": 64_000})}


@pytest.mark.promise(5)
def test_answers_that_could_outlast_a_call_go_by_batch_and_their_neighbours_as_they_would_without_them():
    run = Run([long_line(i) if i % 2 else line(i, lane="on_demand") for i in range(400)]).place()
    went = [where for _, where in run.lines()]
    assert all(where.startswith("us-") if i % 2 else where == "on_demand" for i, where in enumerate(went))


@pytest.mark.promise(5)
def test_answers_that_could_outlast_a_call_and_are_too_few_for_batch_fail_with_the_reason_alone():
    run = Run([long_line(i) if i < 3 else line(i) for i in range(10)]).place()
    assert [where for _, where in run.lines()] == ["lane_refused"] * 3 + ["on_demand"] * 7
    (refused,) = [entry["plan"]["refused"] for entry in run.plan["classes"] if entry["plan"]["refused"]]
    assert "batch: cannot be taken" in refused["message"] and "outlast a call" in refused["message"]


def test_a_line_of_the_longest_callable_answer_is_called_and_one_token_more_is_not():
    def asking(tokens):
        return {"request": request(inferenceConfig={"maxTokens": tokens})}

    most = longest_answer_tokens("anthropic.claude-haiku-4-5-20251001-v1:0")
    run = Run([asking(most), asking(most + 1)]).place()
    assert [where for _, where in run.lines()] == ["on_demand", "lane_refused"]
