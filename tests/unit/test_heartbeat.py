"""What keeps messages while their worker lives."""

import threading

import pytest

from slackwater.adapters.heartbeat import Heartbeat
from slackwater.model.errors import Lost


class Held:
    """Notes every hold; `beats` is released once a beat."""

    def __init__(self) -> None:
        self.holds: list[tuple[tuple[str, ...], int]] = []
        self.beat = threading.Semaphore(0)

    def hold_many(self, receipts, seconds) -> None:
        self.holds.append((tuple(receipts), seconds))
        self.beat.release()

    def wait(self, beats: int) -> None:
        for _ in range(beats):
            assert self.beat.acquire(timeout=5)


def test_the_first_beat_is_done_before_any_work_and_renews_the_lease_first():
    queue, order = Held(), []
    with Heartbeat(queue, ["a", "b"], renew=lambda: order.append(len(queue.holds))):
        assert queue.holds == [(("a", "b"), 90)] and order == [0]


def test_it_beats_while_the_worker_lives_and_not_after():
    queue = Held()
    with Heartbeat(queue, ["a"], every_s=0.001):
        queue.wait(3)
    after = len(queue.holds)
    assert threading.active_count() == 1 or all(t.name != "heartbeat" for t in threading.enumerate())
    assert len(queue.holds) == after


def test_a_dropped_message_is_held_no_more():
    queue = Held()
    with Heartbeat(queue, ["a", "b"], every_s=0.001) as heart:
        queue.wait(1)
        heart.drop("a", 7)
        while queue.holds[-1] != (("b",), 90):  # beats from before the drop are noted, too
            queue.wait(1)
    assert (("a",), 7) in queue.holds and queue.holds[-1] == (("b",), 90)


def test_one_that_was_given_up_holds_nothing_any_more():
    queue, given_up = Held(), threading.Event()
    beats = []

    def renew() -> None:
        beats.append(1)
        if len(beats) > 1:
            given_up.set()
            raise Lost("given up")

    with Heartbeat(queue, ["a"], renew=renew, every_s=0.001) as heart:
        assert given_up.wait(5)
    assert heart.lost and len(queue.holds) == 1


def test_a_beat_that_fails_is_told_by_its_class_and_tried_again():
    queue, errors, beats = Held(), [], []

    def renew() -> None:
        beats.append(1)
        if len(beats) == 2:
            raise TimeoutError("somebody's prompt")

    with Heartbeat(queue, ["a"], renew=renew, every_s=0.001, on_error=errors.append):
        queue.wait(3)
    assert errors == ["TimeoutError"]


def test_what_the_first_beat_raises_stops_the_worker_before_it_begins():
    def renew() -> None:
        raise Lost("given up")

    with pytest.raises(Lost), Heartbeat(Held(), ["a"], renew=renew):
        raise AssertionError("began")
