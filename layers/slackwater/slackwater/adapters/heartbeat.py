"""Holding messages while their worker lives: a killed worker's messages come back within the visibility it last asked
for."""

import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from slackwater.model.errors import Lost

EVERY_S: Final = 30.0
HOLD_S: Final = 90  # a killed worker's message is received again after at most so long


class Holds(Protocol):
    """The queue whose messages are held."""

    def hold_many(self, receipts: Sequence[str], seconds: int) -> None: ...


class Heartbeat:
    """Renews the visibility of messages (and, by `renew`, a lease in the ledger) every 30 s, in a thread of its own.

    `renew` runs first, so that a lease that is shorter than the visibility has ended when a message comes back. It
    raises Lost to say that the work is another's now: then nothing is held any more and `lost` is true. Any other
    error of a beat is kept out of the worker's way and the beat is tried again: one missed beat is harmless, two let
    the message come back.
    """

    def __init__(
        self,
        queue: Holds,
        receipts: Iterable[str],
        *,
        renew: Callable[[], None] | None = None,
        every_s: float = EVERY_S,
        hold_s: int = HOLD_S,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._queue = queue
        self._held = list(receipts)
        self._renew = renew
        self._every_s = every_s
        self._hold_s = hold_s
        self._on_error = on_error
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    def start(self) -> Self:
        """The first beat is done when this returns: raises what it raises, for nothing has begun yet."""
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """No beat begins after this returns."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def drop(self, receipt: str, hidden_s: int | None = None) -> None:
        """Holds this message no more; it comes back when its time is over, or `hidden_s` from now."""
        with self._guard:
            if receipt in self._held:
                self._held.remove(receipt)
            if hidden_s is not None:
                self._queue.hold_many([receipt], hidden_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._beat()
            except Lost:
                self.lost = True
                return
            except Exception as exc:  # noqa: BLE001 - told by its class; the worker's own calls meet the same trouble
                self._on_error(type(exc).__name__)

    def _beat(self) -> None:
        if self._renew is not None:
            self._renew()
        with self._guard:
            if self._held:
                self._queue.hold_many(list(self._held), self._hold_s)
