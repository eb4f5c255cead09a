"""A bounded hand-over of items between two threads. It knows nothing of video.

    producer: put(item) ... close() or close(error)          consumer: for item in channel
                                                                       cancel() to stop early

There are three ends, and none leaves anybody waiting: the producer has no more (`close()`: the
consumer gets what is left, then iteration stops), the producer failed (`close(error)`: the
consumer gets what is left, then the error), the consumer has enough (`cancel()`: the producer's
`put` raises `Closed`).
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Policy(enum.Enum):
    """What `put` does with a full channel."""

    WAIT = "wait"
    """Wait for room: no item is lost. For files."""

    LATEST = "latest"
    """Throw the oldest item away: the newest wins. For live sources."""


class Closed(Exception):
    """The channel takes or gives no more items."""


class Channel(Generic[T]):
    """A queue of at most `capacity` items; any number of threads at either end.

    Args:
        capacity: Most items that wait, at least 1.
        policy: What `put` does when that many wait.

    Raises:
        ValueError: If `capacity` is below 1.
    """

    def __init__(self, capacity: int, policy: Policy = Policy.WAIT) -> None:
        if capacity < 1:
            raise ValueError(f"Channel capacity should be at least 1, got {capacity}")
        self._capacity = capacity
        self._policy = policy
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, timeout_s: float | None = None) -> None:
        """Hand an item over; with `Policy.WAIT` this waits while the channel is full.

        Raises:
            Closed: If either end closed the channel, before or while this waited.
            TimeoutError: If there was no room within `timeout_s` seconds.
        """
        with self._changed:
            if self._policy is Policy.LATEST and not self._closed:
                while len(self._items) >= self._capacity:
                    self._items.popleft()
            elif self._policy is Policy.WAIT:
                self._wait(lambda: len(self._items) < self._capacity, timeout_s)
            if self._closed:
                raise Closed("the channel takes no more items")
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T:
        """Return the oldest item, waiting for one where there is none.

        Raises:
            Closed: If the channel is closed and empty.
            TimeoutError: If no item came within `timeout_s` seconds.
            BaseException: What the producer passed to `close`, after the last item.
        """
        with self._changed:
            self._wait(lambda: bool(self._items), timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise Closed("the channel holds no more items")

    def __iter__(self) -> Iterator[T]:
        """Give items until the producer closes; raises its error, if it closed with one."""
        while True:
            try:
                item = self.get()
            except Closed:
                return
            yield item

    def close(self, error: BaseException | None = None) -> None:
        """Producer's end: no more items come. The first close decides; later ones do nothing."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
                self._changed.notify_all()

    def cancel(self) -> None:
        """Consumer's end: throw away what waits, and free a producer that waits in `put`."""
        with self._changed:
            self._closed = True
            self._error = None
            self._items.clear()
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait, holding the lock, until `ready` or closed."""
        if not self._changed.wait_for(lambda: ready() or self._closed, timeout_s):
            raise TimeoutError(f"nothing moved in the channel within {timeout_s} s")
