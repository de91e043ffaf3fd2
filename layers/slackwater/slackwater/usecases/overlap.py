"""Writes that go on while the next block is being made, bounded in number and in bytes."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

THREADS: Final = 8
MAX_BYTES: Final = 32 * 1024 * 1024


class Overlap:
    """`with Overlap() as writes: writes.submit(size, put, key, body)`; leaving waits for all and raises the first
    failure."""

    def __init__(self, threads: int = THREADS, max_bytes: int = MAX_BYTES) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._max_bytes = max_bytes
        self._bytes = 0
        self._under_way: deque[tuple[int, Future[Any]]] = deque()

    def __enter__(self) -> Self:
        return self

    def submit(self, size_bytes: int, write: Callable[..., Any], *arguments: Any) -> None:
        """Waits until there is room, then has `write` called in the background. Raises what an earlier write raised."""
        while self._under_way and (
            self._bytes + size_bytes > self._max_bytes or self._under_way[0][1].done()  # also forgets what is done
        ):
            self._forget_first()
        self._bytes += size_bytes
        self._under_way.append((size_bytes, self._pool.submit(write, *arguments)))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._under_way:
                self._forget_first()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget_first(self) -> None:
        size, future = self._under_way.popleft()
        future.result()
        self._bytes -= size
