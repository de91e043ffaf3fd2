"""The small rules of the queue's ledgers that the journeys do not show."""

import pytest

from slackwater.adapters.ledger import retry
from slackwater.adapters.ledger.table import TransactionFailed, Write
from slackwater.adapters.ledger.workers import LEASE_S, Workers


class Busy:
    """A table on which transactions meet others `times` times."""

    def __init__(self, times: int, reason: str = "TransactionConflict") -> None:
        self.times, self.reason, self.tried = times, reason, 0

    def transact(self, writes) -> None:
        self.tried += 1
        if self.tried <= self.times:
            raise TransactionFailed([None, self.reason])


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch):
    monkeypatch.setattr(retry.time, "sleep", lambda seconds: None)


def test_transactions_that_meet_are_tried_again():
    table = Busy(3)
    retry.transact(table, [])
    assert table.tried == 4


def test_a_condition_that_failed_is_not_tried_again():
    table = Busy(1, "ConditionalCheckFailed")
    with pytest.raises(TransactionFailed):
        retry.transact(table, [])
    assert table.tried == 1


def test_trying_again_ends():
    table = Busy(100)
    with pytest.raises(TransactionFailed):
        retry.transact(table, [])
    assert table.tried == retry.TRIES


def test_a_workers_lease_ends_before_its_messages_come_back(table, clock):
    workers = Workers(table, clock)
    workers.renew("w", stops_at_s=clock.wall_s() + 900)
    assert LEASE_S < 90
    clock.advance(LEASE_S)
    fate = workers.fate("w")
    assert fate.started is None and fate.soon_s == clock.wall_s() and fate.latest_s > fate.soon_s
    workers.start("w", ["j1", "j2"])
    clock.advance(LEASE_S + 1)
    assert workers.fate("w").started == {"j1", "j2"}
    assert workers.fate("w").started == {"j1", "j2"}  # for everybody who asks


def test_an_unknown_worker_is_dead_and_has_begun_nothing(table, clock):
    assert Workers(table, clock).fate("nobody").started == frozenset()


def test_items_are_read_by_the_hundred(table):
    for n in range(5):
        table.write(Write((f"K#{n}", "META"), set_={"n": n}))
    keys = [(f"K#{n}", "META") for n in range(250)]
    assert {item["n"] for item in table.get_many(keys)} == {0, 1, 2, 3, 4} and table.get_many([]) == []
