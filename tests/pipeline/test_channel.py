"""Every end of a channel, from both sides: nothing may hang, nothing may be lost unseen."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.channel import Channel, Closed, Policy

SOON_S = 5.0
"""Far longer than anything here takes: a test that waits so long has found a hang."""


class Worker(threading.Thread):
    """Runs a function; `result` gives what it returned or raises what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.join(SOON_S)
        assert not self.is_alive(), "hangs"
        if self._error is not None:
            raise self._error
        return self._value


def until_waiting() -> None:
    """Give a worker time to reach the place where it waits."""
    time.sleep(0.05)


def test_items_arrive_in_order_and_none_is_lost() -> None:
    channel: Channel[int] = Channel(2)

    def produce() -> None:
        for i in range(200):
            channel.put(i)
        channel.close()

    worker = Worker(produce)
    assert list(channel) == list(range(200))
    worker.result()


def test_full_channel_makes_the_producer_wait() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    worker = Worker(lambda: channel.put(2))
    until_waiting()
    assert worker.is_alive()
    assert channel.get() == 1
    worker.result()
    assert channel.get() == 2


def test_latest_keeps_the_newest_and_throws_the_rest_away() -> None:
    channel: Channel[int] = Channel(1, Policy.LATEST)
    for i in range(10):
        channel.put(i)
    channel.close()
    assert list(channel) == [9]


def test_latest_with_room_for_more_drops_the_oldest() -> None:
    channel: Channel[int] = Channel(3, Policy.LATEST)
    for i in range(5):
        channel.put(i)
    channel.close()
    assert list(channel) == [2, 3, 4]


def test_producer_closing_frees_a_waiting_consumer() -> None:
    channel: Channel[int] = Channel(1)
    worker = Worker(channel.get)
    until_waiting()
    channel.close()
    with pytest.raises(Closed):
        worker.result()


def test_error_comes_after_the_last_good_item_and_again_to_whoever_asks_again() -> None:
    channel: Channel[int] = Channel(4)
    error = RuntimeError("decoder")
    channel.put(1)
    channel.put(2)
    channel.close(error)
    items = iter(channel)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(RuntimeError, match="decoder") as caught:
        next(items)
    assert caught.value is error
    with pytest.raises(RuntimeError, match="decoder"):
        channel.get()


def test_error_frees_a_waiting_consumer() -> None:
    channel: Channel[int] = Channel(1)
    worker = Worker(channel.get)
    until_waiting()
    channel.close(ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        worker.result()


@pytest.mark.parametrize("policy", list(Policy))
def test_cancelling_ends_a_producer(policy: Policy) -> None:
    channel: Channel[int] = Channel(1, policy)
    channel.put(1)
    channel.cancel()
    with pytest.raises(Closed):
        channel.put(2)


def test_cancelling_frees_a_waiting_producer() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    worker = Worker(lambda: channel.put(2))
    until_waiting()
    channel.cancel()
    with pytest.raises(Closed):
        worker.result()


def test_cancelling_frees_a_waiting_consumer_and_throws_away_what_waits() -> None:
    channel: Channel[int] = Channel(2)
    worker = Worker(lambda: list(channel))
    until_waiting()
    channel.cancel()
    assert worker.result() == []

    channel = Channel(2)
    channel.put(1)
    channel.put(2)
    channel.cancel()
    assert list(channel) == []


def test_put_after_close_is_refused_and_the_first_close_decides() -> None:
    channel: Channel[int] = Channel(1)
    channel.close()
    channel.close(RuntimeError("too late"))
    with pytest.raises(Closed):
        channel.put(1)
    assert list(channel) == []


def test_closing_frees_a_second_producer() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    worker = Worker(lambda: channel.put(2))
    until_waiting()
    channel.close()
    with pytest.raises(Closed):
        worker.result()
    assert list(channel) == [1]


def test_time_outs() -> None:
    channel: Channel[int] = Channel(1)
    with pytest.raises(TimeoutError):
        channel.get(timeout_s=0.01)
    channel.put(1)
    with pytest.raises(TimeoutError):
        channel.put(2, timeout_s=0.01)
    assert channel.get(timeout_s=0.01) == 1


def test_several_at_both_ends() -> None:
    channel: Channel[int] = Channel(3)

    def produce(first: int) -> None:
        for i in range(first, first + 100):
            channel.put(i)

    producers = [Worker(functools.partial(produce, first)) for first in (0, 100, 200)]
    consumers = [Worker(lambda: list(channel)) for _ in range(2)]
    for producer in producers:
        producer.result()
    channel.close()
    got = [item for consumer in consumers for item in consumer.result()]
    assert sorted(got) == list(range(300))


def test_capacity_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Channel(0)


def test_a_closed_channel_of_a_live_source_keeps_what_waits():
    channel: Channel[int] = Channel(1, Policy.LATEST)
    channel.put(1)
    channel.close()
    with pytest.raises(Closed):
        channel.put(2)
    assert list(channel) == [1]
