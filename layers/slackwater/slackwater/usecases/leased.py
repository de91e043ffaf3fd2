"""A shard under a lease: one worker at a time, and one that dies is followed within its visibility."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from slackwater.model.errors import Lost
from slackwater.model.shard import Shard

LEASE_S: Final = 80  # below the 90 s visibility: a message that comes back finds its shard free

Alive = Callable[[Callable[[], None]], AbstractContextManager[Any]]
"""`alive(renew)` is entered for as long as the worker lives: it keeps the message and, by `renew`, the lease."""


class LeasesPort(Protocol):
    def lease(self, shard_id: str, worker: str, *, seconds: int) -> Shard | None: ...
    def release(self, shard_id: str, worker: str) -> None: ...


@contextmanager
def leased(shards: LeasesPort, shard_id: str, worker: str, alive: Alive) -> Iterator[Shard | None]:
    """The shard, held by `worker` for the length of the block; None while another worker holds it.

    Raises Lost for an unknown shard.
    """

    def renew() -> None:
        if shards.lease(shard_id, worker, seconds=LEASE_S) is None:
            raise Lost(f"shard {shard_id} is another worker's now")

    shard = shards.lease(shard_id, worker, seconds=LEASE_S)
    if shard is None:
        yield None
        return
    try:
        with alive(renew):
            yield shard
    finally:
        shards.release(shard_id, worker)
