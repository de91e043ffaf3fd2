"""Queued jobs: claimed once, taken over from the dead, done once.

`JOB#j/META`. Every change names the state, attempt and hop that its maker has seen, so that of two workers one wins.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from slackwater.adapters.ledger.retry import transact
from slackwater.adapters.ledger.table import ConditionFailed, Item, Key, Table, TransactionFailed, Write
from slackwater.model import ids
from slackwater.model.claim import AlreadyClaimed, Entry, Finished, JobState, Placed, QueueRun, RunClosed
from slackwater.model.clock import Clock, iso, later, parse_iso
from slackwater.model.run import RunState, throttle_counts

JOBS_A_TRANSACTION: Final = 90  # of DynamoDB's 100 actions; the others are the run and its blocks
JOBS_A_BLOCK: Final = 1_000
JOBS_AN_ITEM: Final = 50  # listed together: DynamoDB bills a write by the whole item's size
LISTED_ID_BYTES: Final = 200  # of a caller's id in its list


class Jobs:
    """The ledger of queued jobs."""

    def __init__(self, table: Table, clock: Clock, *, retain_days: int = 30) -> None:
        self._table = table
        self._clock = clock
        self._retain_s = (retain_days + 1) * 86_400

    def get(self, job: str) -> Entry | None:
        item = self._table.get(_job(job))
        return None if item is None else entry_of(item)

    def get_many(self, jobs: Iterable[str]) -> dict[str, Entry]:
        """Those that are in the ledger."""
        items = self._table.get_many([_job(job) for job in dict.fromkeys(jobs)])
        return {entry.job: entry for entry in map(entry_of, items)}

    # ------------------------------------------------------------------ claims

    def claim(self, run: QueueRun, placed: Sequence[Placed], owner: str) -> list[Entry]:
        """Enters new jobs as being called by `owner` and counts them in their run, all or none, at most 90.

        Raises RunClosed, or AlreadyClaimed with the jobs that are in the ledger already.
        """
        entries = [_entered(run, place, owner) for place in placed]
        refused = sum(entry.refused for entry in entries)
        writes = [Write(_job(e.job), put=self._item(e), condition="attribute_not_exists(pk)") for e in entries]
        writes += self._listed(entries)
        writes.append(self._arrival(run, entries, refused))
        try:
            transact(self._table, writes)
        except TransactionFailed as exc:
            there = {e.job for e, why in zip(entries, exc.reasons, strict=False) if why == "ConditionalCheckFailed"}
            if there:
                raise AlreadyClaimed(frozenset(there)) from None
            if exc.reasons and exc.reasons[-1] == "ConditionalCheckFailed":
                raise RunClosed(run.run_id) from None
            raise
        return entries

    def _arrival(self, run: QueueRun, entries: Sequence[Entry], refused: int) -> Write:
        now = iso(self._clock.now())
        latest = max(run.deadline, *(entry.deadline for entry in entries))
        return Write(
            ("RUN#" + run.run_id, "META"),
            # a lower deadline of a claim that came between is mended by the tick, which asks each job for its own
            set_={
                "last_arrival_at": now,
                "deadline_at": iso(latest),
                **({"next_check_at": now} if run.close_asked_at else {}),
            },
            add={"accepted": len(entries) - refused, "refused": refused, "unsettled": len(entries)},
            condition="#state = :open",
            values={"open": RunState.OPEN.value},
        )

    def _listed(self, entries: Sequence[Entry]) -> list[Write]:
        """Which ordinals of a block are taken, and by whom: what the results are proved complete against."""
        lists: dict[Key, dict[str, str]] = {}
        for entry in entries:
            part = f"BLOCK#{entry.block}#{entry.ordinal // JOBS_AN_ITEM:07d}"
            names = lists.setdefault((f"RUN#{entry.run_id}", part), {})
            names[f"j_{entry.ordinal}"] = f"{entry.job} {_short(entry.id)}"
        return [Write(key, set_=names, set_once={"v": 1, "ttl": self._ttl()}) for key, names in lists.items()]

    def take(self, seen: Entry, *, owner: str, message_id: str, hop: int, repeat: bool) -> Entry | None:
        """Takes a waiting job, or a dead worker's, as it was seen; `repeat`: its call may have been answered and is
        made again, which the run counts in the same step. None if somebody was quicker."""
        owners = [*seen.owners, owner]
        write = Write(
            _job(seen.job),
            set_={
                "state": JobState.CALLING.value,
                "attempt": seen.attempt + 1,
                "owners": owners,
                "message_id": message_id,
                "hop": hop,
            },
            remove=("pool",),
            **_as_seen(seen),
        )
        try:
            if repeat:
                transact(self._table, [write, Write(("RUN#" + seen.run_id, "META"), add={"repeats": 1})])
                item = self._table.get(_job(seen.job))
            else:
                item = self._table.write(write, returns="ALL_NEW")
        except (ConditionFailed, TransactionFailed) as exc:
            if isinstance(exc, TransactionFailed) and exc.reasons[0] != "ConditionalCheckFailed":
                raise
            return None
        return None if item is None else entry_of(item)

    def wait(self, held: Entry, *, faults: int) -> bool:
        """Hands a held job on to the message with the next hop. False if it is no longer held as it was seen."""
        return self._changed(held, set_={"state": JobState.WAITING.value, "hop": held.hop + 1, "faults": faults})

    def leave_pool(self, waiting: Entry) -> bool:
        """A pooled job goes on by the message with the next hop. False if it is not waiting as it was seen."""
        return self._changed(waiting, set_={"hop": waiting.hop + 1}, remove=("pool",))

    def joined(self, held: Entry, pool: str) -> Write:
        """The job's side of joining a pool, for the pool's own transaction."""
        noted = {} if held.decided is None else {"decided": dict(held.decided)}
        return Write(_job(held.job), set_={"state": JobState.WAITING.value, "pool": pool, **noted}, **_as_seen(held))

    def _changed(self, seen: Entry, **change: Any) -> bool:
        try:
            self._table.write(Write(_job(seen.job), **change, **_as_seen(seen)))
        except ConditionFailed:
            return False
        return True

    # ------------------------------------------------------------------ ends

    def settle(self, run_id: str, finished: Sequence[Finished]) -> frozenset[str]:
        """Ends jobs of a run whose rows are in S3, each once; gives those that somebody else had ended (counted as
        `extras`)."""
        late: set[str] = set()
        for start in range(0, len(finished), JOBS_A_TRANSACTION):
            late |= self._settle(run_id, list(finished[start : start + JOBS_A_TRANSACTION]))
        return frozenset(late)

    def _settle(self, run_id: str, finished: list[Finished]) -> set[str]:
        late: set[str] = set()
        while finished:
            try:
                transact(self._table, [*map(_ended, finished), _count(run_id, finished)])
                break
            except TransactionFailed as exc:
                done = {f.job for f, why in zip(finished, exc.reasons, strict=False) if why == "ConditionalCheckFailed"}
                if not done:
                    raise
                late |= done
                finished = [f for f in finished if f.job not in done]
        if late:
            self._table.write(Write(("RUN#" + run_id, "META"), add={"extras": len(late)}))
        return late

    def replied(self, job: str) -> None:
        """Its reply has been sent."""
        self._table.write(Write(_job(job), set_={"replied": True}))

    def add_repeats(self, run_id: str, number: int) -> None:
        """Counts calls whose reply was lost and that are made again."""
        self._table.write(Write(("RUN#" + run_id, "META"), add={"repeats": number}))

    def add_rerouted(self, run_id: str, number: int) -> None:
        """Counts answered calls that did not go by the route that their profile's mode prefers for them."""
        self._table.write(Write(("RUN#" + run_id, "META"), add={"rerouted": number}))

    def add_throttles(self, run_id: str, by_region: Mapping[str, int]) -> None:
        """Counts calls that a region refused for its quota."""
        self._table.write(Write(("RUN#" + run_id, "META"), add=throttle_counts(by_region)))

    def _item(self, entry: Entry) -> Item:
        item: Item = {
            "v": 1,
            "ttl": self._ttl(),
            "job": entry.job,
            "run": entry.run_id,
            "block": entry.block,
            "ordinal": entry.ordinal,
            "id": entry.id,
            "sha": entry.sha,
            "state": entry.state.value,
            "profile": entry.profile,
            "deadline_at": iso(entry.deadline),
            "message_id": entry.message_id,
            "hop": entry.hop,
            "attempt": entry.attempt,
            "owners": list(entry.owners),
            "refused": entry.refused,
        }
        if entry.reply_to is not None:
            item["reply_to"] = entry.reply_to
        if entry.result_dialect is not None:
            item["result_dialect"] = entry.result_dialect
        return item

    def _ttl(self) -> int:
        return int(later(self._clock.now(), self._retain_s).timestamp())


def block_of(ordinal: int) -> str:
    """The block of a queued job: its ordinal div 1000."""
    return ids.block_name(ordinal // JOBS_A_BLOCK)


def entry_of(item: Mapping[str, Any]) -> Entry:
    """The entry in a JOB item."""
    return Entry(
        job=item["job"],
        run_id=item["run"],
        block=item["block"],
        ordinal=item["ordinal"],
        id=item["id"],
        sha=item["sha"],
        state=JobState(item["state"]),
        profile=item["profile"],
        deadline=parse_iso(item["deadline_at"]),
        message_id=item["message_id"],
        hop=item["hop"],
        attempt=item["attempt"],
        owners=tuple(item["owners"]),
        pool=item.get("pool"),
        part=item.get("part"),
        replied=item.get("replied", False),
        reply_to=item.get("reply_to"),
        result_dialect=item.get("result_dialect"),
        faults=item.get("faults", 0),
        refused=item["refused"],
        decided=item.get("decided"),
    )


def _entered(run: QueueRun, place: Placed, owner: str) -> Entry:
    asked = place.asked
    return Entry(
        job=asked.job,
        run_id=run.run_id,
        block=block_of(place.ordinal),
        ordinal=place.ordinal,
        id=asked.id,
        sha=asked.sha,
        state=JobState.CALLING,
        profile=asked.profile,
        deadline=asked.deadline,
        message_id=asked.message_id,
        hop=asked.hop,
        owners=(owner,),
        reply_to=asked.reply_to,
        result_dialect=asked.result_dialect,
        refused=asked.refusal is not None,
    )


def _as_seen(entry: Entry) -> dict[str, Any]:
    return {
        "condition": "#state = :seen_state AND #attempt = :seen_attempt AND #hop = :seen_hop",
        "values": {"seen_state": entry.state.value, "seen_attempt": entry.attempt, "seen_hop": entry.hop},
    }


def _ended(finished: Finished) -> Write:
    return Write(
        _job(finished.job),
        set_={
            "state": JobState.DONE.value,
            "part": finished.part,
            "status": finished.row["status"],
            "ended_at": finished.row["finished_at"],
            **({} if finished.decided is None else {"decided": dict(finished.decided)}),
        },
        remove=("pool",),
        condition="attribute_exists(pk) AND #state <> :done",
        values={"done": JobState.DONE.value},
    )


def _count(run_id: str, finished: Sequence[Finished]) -> Write:
    jobs = [f for f in finished if not f.refused]
    succeeded = sum(f.succeeded for f in jobs)
    return Write(
        ("RUN#" + run_id, "META"),
        add={"unsettled": -len(finished), "succeeded": succeeded, "failed": len(jobs) - succeeded},
    )


def _short(caller_id: str) -> str:
    return caller_id.encode()[:LISTED_ID_BYTES].decode(errors="ignore")


def _job(job: str) -> Key:
    return f"JOB#{job}", "META"
