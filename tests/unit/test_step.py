"""The shard's next step: rule by rule, then through histories in which anything may be lost, late or doubled."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.model.batch_job import ENDED, BatchJob
from slackwater.model.shard import OwnerKind, Shard, ShardState
from slackwater.policy.forecast import guard_at
from slackwater.policy.step import (
    ABSENT_S,
    GRACE_S,
    INTENT_S,
    LIVE,
    UNKNOWN,
    Adopt,
    Collect,
    Look,
    Rescue,
    Step,
    Stop,
    Submit,
    step,
    stray,
)

START = datetime(2026, 12, 1, tzinfo=UTC)
DEADLINE = START + timedelta(hours=24)
DRAIN_S = 300.0
PREFIX = "sw-abcdef-"
NAME = PREFIX + "s" + "a" * 20 + "-a1"
ARN = "arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/abcdefghijkl"


def at(**after):
    return START + timedelta(**after)


def before_deadline(**time):
    return DEADLINE - timedelta(**time)


def shard(state=ShardState.OPEN, **changes):
    fields = {
        "id": "s" + "a" * 20,
        "state": state,
        "region": "us-east-1",
        "model_id": "m",
        "base_model": "m",
        "kind": "regional",
        "attempt": 1,
        "records": 500,
        "bytes": 10**6,
        "owner_kind": OwnerKind.RUN,
        "owner": "r1",
        "profile": "default",
        "home_region": "us-east-1",
        "deadline_at": DEADLINE,
        "guard_at": guard_at(DEADLINE, DRAIN_S),
    }
    if state is not ShardState.STAGED:
        fields |= {"job_name": NAME, "intent_at": START}
    if state in (ShardState.OPEN, ShardState.STOPPING, ShardState.COLLECTING):
        fields |= {"arn": ARN, "submitted_at": START}
    return Shard(**(fields | changes))


def job(status="InProgress", name=NAME, processed=None):
    return BatchJob(name, ARN, status, "us-east-1", processed_records=processed)


def take(state, observed, now, **more):
    of = state if isinstance(state, Shard) else shard(state)
    taken = step(of, observed, now, drain_s=DRAIN_S, **more)
    assert taken == step(of, observed, now, drain_s=DRAIN_S, **more)
    return taken


def kinds(taken):
    return [type(action) for action in taken.actions]


# ---------------------------------------------------------------- rule by rule


def test_a_staged_shard_is_submitted_and_past_its_guard_rescued_without_a_repeat():
    assert kinds(take(ShardState.STAGED, None, START)) == [Submit]
    taken = take(ShardState.STAGED, None, before_deadline(minutes=30))
    assert kinds(taken) == [Rescue]
    assert taken.actions[0].repeats == 0


@pytest.mark.promise(2)
def test_an_intent_is_adopted_when_the_list_shows_its_job_whatever_became_of_it():
    for status in sorted(LIVE | ENDED):
        assert take(ShardState.INTENT, job(status), at(seconds=1)).actions == (Adopt(shard().id, ARN, "us-east-1"),)


@pytest.mark.promise(2)
def test_an_intent_that_nothing_shows_waits_ten_minutes_from_the_last_possible_create():
    absent = INTENT_S + ABSENT_S
    assert absent == 120 + 600
    early = take(ShardState.INTENT, None, at(seconds=absent - 1))
    assert early.actions == ()
    assert early.next_check_at == at(seconds=absent)
    assert kinds(take(ShardState.INTENT, None, at(seconds=absent))) == [Submit]


def test_a_list_that_cannot_be_read_proves_nothing():
    assert take(ShardState.INTENT, None, at(hours=5), listed=False).actions == ()


def test_an_intent_of_unknown_outcome_is_rescued_at_the_last_moment_as_repeats():
    taken = take(ShardState.INTENT, None, before_deadline(seconds=DRAIN_S), listed=False)
    assert kinds(taken) == [Rescue]
    assert taken.actions[0].repeats == 500
    sure = take(ShardState.INTENT, None, before_deadline(seconds=DRAIN_S))
    assert kinds(sure) == [Rescue]
    assert sure.actions[0].repeats == 0  # the list shows that there is none


def test_an_intent_without_its_time_is_a_bug():
    with pytest.raises(ValueError, match="intent_at"):
        take(shard(ShardState.INTENT, intent_at=None), None, START)


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_running_job_is_left_alone_until_its_guard(status):
    early = take(ShardState.OPEN, job(status), at(hours=1))
    assert early.actions == ()
    assert early.next_check_at == at(hours=1, minutes=1)
    near = take(ShardState.OPEN, job(status), before_deadline(minutes=35, seconds=20))
    assert near.actions == ()
    assert near.next_check_at == before_deadline(minutes=35)
    assert kinds(take(ShardState.OPEN, job(status), before_deadline(minutes=35))) == [Stop]


def test_the_guard_comes_earlier_when_draining_has_become_slower():
    now = before_deadline(minutes=45)
    assert kinds(step(shard(), job(), now, drain_s=DRAIN_S)) == []
    assert kinds(step(shard(), job(), now, drain_s=1800)) == [Stop]


def test_the_guard_is_reckoned_anew_from_the_earliest_deadline_later_too_when_draining_has_become_faster():
    slow = shard(guard_at=guard_at(DEADLINE, 7200), earliest_at=DEADLINE)
    now = before_deadline(minutes=40)
    assert now > slow.guard_at
    assert kinds(step(slow, job(), now, drain_s=DRAIN_S)) == []
    assert kinds(step(slow, job(), now, drain_s=1800)) == [Stop]
    assert kinds(step(slow, job(), now, drain_s=DRAIN_S, behind_s=600)) == [Stop]


def test_a_cancelled_shard_is_stopped_at_once_whatever_its_deadline():
    cut = shard(guard_at=at(hours=1), earliest_at=DEADLINE, cut=True)
    assert kinds(step(cut, job(), at(hours=1), drain_s=DRAIN_S)) == [Stop]
    assert kinds(
        step(shard(ShardState.STAGED, guard_at=at(hours=1), cut=True), None, at(hours=1), drain_s=DRAIN_S)
    ) == [Rescue]


def test_a_stop_that_was_not_heard_is_asked_again_one_that_was_is_not():
    now = before_deadline(minutes=20)
    assert kinds(take(ShardState.STOPPING, job("InProgress"), now)) == [Stop]
    assert take(ShardState.STOPPING, job("Stopping"), now).actions == ()


@pytest.mark.promise(3)
def test_a_job_that_hangs_is_rescued_at_the_last_moment_and_what_it_did_counts_as_repeats():
    now = before_deadline(seconds=DRAIN_S)
    hung = take(ShardState.STOPPING, job("Stopping", processed=120), now)
    assert hung.actions == (Rescue(shard().id, 120, "the job hung until the last moment"),)
    deaf = take(ShardState.OPEN, job("InProgress", processed=120), now)
    assert kinds(deaf) == [Stop, Rescue]
    assert deaf.actions[1].repeats == 500


def test_the_last_moment_follows_the_earliest_deadline_in_the_shard():
    earliest = DEADLINE - timedelta(hours=6)
    mixed = shard(ShardState.STOPPING, guard_at=guard_at(earliest, DRAIN_S))
    assert take(mixed, job("Stopping"), earliest - timedelta(seconds=DRAIN_S + 1)).actions == ()
    assert kinds(take(mixed, job("Stopping"), earliest - timedelta(seconds=DRAIN_S))) == [Rescue]


@pytest.mark.parametrize("state", [ShardState.OPEN, ShardState.STOPPING, ShardState.COLLECTING])
@pytest.mark.parametrize("status", sorted(ENDED))
def test_every_ended_job_is_collected(state, status):
    taken = take(state, job(status, processed=7), at(hours=1))
    assert taken.actions == (Collect(shard().id, status, 7, final=False),)


@pytest.mark.parametrize("status", ["Failed", "Expired"])
def test_a_job_that_never_ran_has_no_output_to_wait_for(status):
    for processed in (None, 0):
        assert take(ShardState.OPEN, job(status, processed=processed), at(hours=1)).actions[0].final


@pytest.mark.parametrize("status", ["Stopped", "Completed", "PartiallyCompleted"])
def test_output_may_follow_the_end_for_fifteen_minutes(status):
    assert GRACE_S == 900
    seen = shard(ShardState.OPEN, stopped_seen_at=at(hours=1))
    assert not take(seen, job(status), at(hours=1, minutes=14)).actions[0].final
    assert take(seen, job(status), at(hours=1, minutes=15)).actions[0].final
    assert take(ShardState.OPEN, job(status), before_deadline(seconds=DRAIN_S)).actions[0].final


def test_an_open_job_that_the_list_does_not_show_is_asked_for_by_get():
    assert take(ShardState.OPEN, None, at(hours=1)).actions == (Look(shard().id, ARN),)
    gone = take(ShardState.OPEN, None, at(hours=1), asked=True)
    assert gone.actions == (Collect(shard().id, UNKNOWN, None, final=False),)


def test_a_region_that_cannot_be_asked_is_given_up_at_the_last_moment():
    assert kinds(take(ShardState.OPEN, None, before_deadline(minutes=20), listed=False)) == [Look]
    late = take(ShardState.OPEN, None, before_deadline(seconds=DRAIN_S), listed=False)
    assert kinds(late) == [Rescue]
    assert late.actions[0].repeats == 500


def test_a_shard_that_was_given_up_before_there_was_a_job_is_settled():
    given_up = shard(ShardState.COLLECTING, arn=None)
    assert take(given_up, None, at(hours=1)).actions == (Collect(given_up.id, UNKNOWN, None, final=True),)


def test_a_held_shard_is_left_to_its_worker():
    for state in ShardState:
        taken = take(state, None, at(hours=1), leased=True)
        assert taken.actions == ()
        assert (taken.next_check_at is None) == (state is ShardState.SETTLED)


def test_a_settled_shard_is_never_looked_at_again_unless_a_job_of_its_name_lives():
    assert take(ShardState.SETTLED, None, at(hours=1)) == Step((), None)
    assert take(ShardState.SETTLED, job("Completed"), at(hours=1)) == Step((), None)
    assert kinds(take(ShardState.SETTLED, job("InProgress"), at(hours=1))) == [Stop]
    assert take(ShardState.SETTLED, job("Stopping"), at(hours=1)).next_check_at is not None


def test_a_job_of_another_name_is_never_acted_on():
    assert kinds(take(ShardState.OPEN, job("Completed", name="somebody-elses"), at(hours=1))) == [Look]
    assert take(ShardState.SETTLED, job(name="somebody-elses"), at(hours=1)).actions == ()


@pytest.mark.parametrize(
    ("found", "of", "is_stray"),
    [
        (job(), None, True),
        (job(), shard(), False),
        (job(), shard(ShardState.SETTLED), True),
        (job(), shard(job_name=PREFIX + "s" + "a" * 20 + "-a2"), True),
        (job("Completed"), None, False),
        (job("Stopping"), None, False),
        (job(name="sw-zzzzzz-other"), None, False),
        (job(name="somebody-elses"), None, False),
    ],
)
def test_only_live_jobs_of_our_prefix_that_serve_nobody_are_strays(found, of, is_stray):
    assert stray(found, of, PREFIX) is is_stray


@settings(max_examples=500)
@given(
    st.sampled_from(list(ShardState)),
    st.none()
    | st.builds(job, st.sampled_from(sorted(LIVE | ENDED | {"Stopping"})), processed=st.none() | st.integers(0, 900)),
    st.floats(0, 30),
    st.fixed_dictionaries({"drain_s": st.floats(0, 40_000), "listed": st.booleans(), "asked": st.booleans()}),
)
def test_a_shard_that_is_not_settled_always_has_a_next_look_and_a_live_job_is_never_submitted_again(
    state, observed, hours, more
):
    now = at(hours=hours)
    taken = step(shard(state), observed, now, **more)
    if state is not ShardState.SETTLED:
        assert now < taken.next_check_at <= now + timedelta(seconds=60)
    if Submit in kinds(taken):
        assert state in (ShardState.STAGED, ShardState.INTENT)
        assert observed is None or state is ShardState.STAGED
        assert now < guard_at(DEADLINE, more["drain_s"])
    if any(isinstance(a, Rescue) and a.repeats == 0 for a in taken.actions):
        assert observed is None or state is ShardState.STAGED or not observed.processed_records
    for action in taken.actions:
        if isinstance(action, Rescue):
            assert 0 <= action.repeats <= 500
            assert action.reason


# ---------------------------------------------------------------- histories


@dataclass
class Job:
    """A job in the model of Bedrock."""

    name: str
    status: str
    shown_at: datetime
    processed: int = 0
    deaf: bool = False  # never gets past Stopping
    pace: int = 60  # records a turn, at most
    patience: int = 20  # the chance in percent of going on to the next status
    output_at: datetime | None = None


@dataclass
class World:
    """Bedrock and workers who lose, delay and double what they can. `answered` + `called` are the records' ends."""

    dice: object
    shard: Shard = field(default_factory=lambda: shard(ShardState.STAGED))
    now: datetime = START
    jobs: dict = field(default_factory=dict)
    created: int = 0
    answered: int = 0
    called: int = 0
    repeats: int = 0
    settled_at: datetime | None = None
    lost: bool = False
    hears: int = 80  # the chance in percent that a stop is heard

    def chance(self, percent):
        return self.dice.randrange(100) < percent

    def live(self):
        return [j for j in self.jobs.values() if j.status in LIVE or j.status == "Stopping"]

    def bedrock(self):
        for found in self.jobs.values():
            if found.status in LIVE:
                if found.status == "InProgress":
                    found.processed = min(500, found.processed + self.dice.randrange(0, found.pace + 1))
                if found.processed == 500:
                    self.end(found, "Completed")
                elif self.chance(found.patience):
                    self.go_on(found)
            elif found.status == "Stopping" and not found.deaf and self.chance(40):
                self.end(found, "Stopped")

    def go_on(self, found):
        path = ["Submitted", "Validating", "Scheduled", "InProgress"]
        if found.status == "InProgress":
            if self.chance(10):
                self.end(found, "PartiallyCompleted")
        elif self.chance(10):
            self.end(found, "Failed" if found.status == "Validating" else "Expired")
        else:
            found.status = path[path.index(found.status) + 1]

    def end(self, found, status):
        found.status = status
        if found.processed and not (status == "Stopped" and self.chance(30)):
            found.output_at = self.now + timedelta(minutes=self.dice.randrange(0, 12))

    def seen(self):
        found = self.jobs.get(self.shard.job_name)
        if found is None or found.shown_at > self.now:
            return None
        processed = None if self.chance(30) else found.processed
        return BatchJob(found.name, ARN, found.status, "us-east-1", processed_records=processed)

    def tick(self):
        listed = self.chance(90)
        observed = self.seen() if listed and self.chance(95) else None
        taken = self.step(observed, listed=listed or self.shard.state is ShardState.STAGED)
        if any(isinstance(action, Look) for action in taken.actions):
            if self.chance(80):
                found = self.jobs.get(self.shard.job_name)
                observed = None if found is None else BatchJob(found.name, ARN, found.status, "us-east-1")
                taken = self.step(observed, listed=True, asked=observed is None)
            else:
                taken = self.step(None, listed=False)
        for action in taken.actions:
            times = self.dice.choice([1, 1, 1, 2] if self.lost else [0, 1, 1, 1, 2])  # lost, done, done twice
            self.lost = times == 0  # never two in a row: a queue delivers in the end
            for _ in range(times):
                self.work(action)

    def step(self, observed, **more):
        if self.shard.state is ShardState.INTENT and observed is None and more.get("listed"):
            # an honest list: a name that it hides is younger than the list's lag
            found = self.jobs.get(self.shard.job_name)
            if found is not None and found.shown_at <= self.now:
                more["listed"] = False
        return step(self.shard, observed, self.now, drain_s=DRAIN_S, **more)

    def work(self, action):
        match action:
            case Submit():
                self.submit()
            case Adopt() if self.shard.state is ShardState.INTENT:
                self.shard = replace(self.shard, state=ShardState.OPEN, arn=action.arn)
            case Stop():
                found = self.jobs.get(self.shard.job_name)
                if found is not None and found.status in LIVE and self.chance(self.hears):
                    found.status = "Stopping"
                if self.shard.state is ShardState.OPEN:
                    self.shard = replace(self.shard, state=ShardState.STOPPING)
            case Collect() if self.shard.state is not ShardState.SETTLED:
                self.collect(action)
            case Rescue() if self.shard.state is not ShardState.SETTLED:
                self.repeats += action.repeats
                self.settle(0)

    def submit(self):
        if self.shard.state is ShardState.OPEN or self.shard.state is ShardState.SETTLED:
            return
        if self.shard.state is ShardState.INTENT and self.now < self.shard.intent_at + timedelta(
            seconds=INTENT_S + ABSENT_S
        ):
            return
        if self.chance(20):  # full, definitely refused: back to staged
            self.shard = replace(self.shard, state=ShardState.STAGED)
            return
        self.shard = replace(self.shard, state=ShardState.INTENT, job_name=NAME, intent_at=self.now)
        if self.chance(10):
            return  # killed before the create
        if NAME not in self.jobs:  # the token: a repeat makes no second job
            lag = timedelta(seconds=self.dice.randrange(0, INTENT_S + ABSENT_S))
            pace, patience = self.dice.choice([0, 1, 3, 60]), self.dice.choice([1, 2, 20])
            self.jobs[NAME] = Job(NAME, "Submitted", self.now + lag, deaf=self.chance(30), pace=pace, patience=patience)
            self.created += 1
        if self.chance(70):
            self.shard = replace(self.shard, state=ShardState.OPEN, arn=ARN)

    def collect(self, action):
        found = self.jobs.get(self.shard.job_name)
        there = found is not None and found.output_at is not None and found.output_at <= self.now
        if not there and not action.final:
            seen_at = self.shard.stopped_seen_at or self.now
            self.shard = replace(self.shard, state=ShardState.COLLECTING, stopped_seen_at=seen_at)
            return
        rows = found.processed if there else 0
        if not there and found is not None:
            self.repeats += found.processed
        self.settle(rows)

    def settle(self, rows):
        self.answered, self.called = rows, self.shard.records - rows
        self.shard = replace(self.shard, state=ShardState.SETTLED)
        self.settled_at = self.now


@pytest.mark.promise(3)
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_lost_late_or_doubled_a_shard_settles_in_time_with_one_job_and_nothing_paid_unseen(seed):
    dice = Random(seed)
    world = World(dice, hears=dice.choice([8, 80]))
    while world.now < DEADLINE + timedelta(hours=6):
        world.now += timedelta(minutes=dice.choice([1, 1, 1, 5, 20]) if world.now < guard_at(DEADLINE, DRAIN_S) else 1)
        world.bedrock()
        world.tick()
        assert len(world.live()) <= 1
        if world.settled_at is None:
            assert world.now < DEADLINE, "the deadline passed with the shard unsettled"
    assert world.shard.state is ShardState.SETTLED
    assert world.answered + world.called == 500
    assert world.created <= 1
    processed = sum(found.processed for found in world.jobs.values())
    assert processed - world.answered <= world.repeats
    assert all(found.status not in LIVE for found in world.jobs.values())
