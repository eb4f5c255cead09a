"""The torch runtime: alone or in batches, from many threads, one picture gets the same answer."""

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch

from deepmask.torch_runtime import MOST_PROGRAMS, TorchRuntime, _Lane
from tests.networks import small_network
from tests.operators import WAITING, Asked

SIZE = (96, 128)
CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda", 0), marks=pytest.mark.gpu)]


def pictures(count, shape=(90, 140)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for _ in range(count)]


class Watched(TorchRuntime):
    """Notes the size of each batch; the first one waits until `go` is set."""

    def __init__(self, batch):
        super().__init__(small_network(), CPU, batch)
        self.batches: list[int] = []
        self.began, self.go = threading.Event(), threading.Event()

    def look(self, pixels, size, count):
        self.batches.append(len(pixels))
        self.began.set()
        assert self.go.wait(60)
        return super().look(pixels, size, count)


def wait_for_waiting(runtime, count):
    deadline = time.monotonic() + 60
    while len(runtime._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_answers_as_one_by_one(device):
    alone = TorchRuntime(small_network(), device)
    together = TorchRuntime(small_network(), device, batch=4)
    given = pictures(8)
    wanted = [alone(picture, SIZE, 0.2, 10) for picture in given]
    for _ in range(3):  # without a graph, when it is captured, and from it
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda picture: together(picture, SIZE, 0.2, 10), given))
        tolerance = 1e-4 if device == CPU else 2e-2
        for one, other in zip(wanted, found, strict=True):
            assert len(one.scores) > 0
            np.testing.assert_allclose(np.sort(other.scores), np.sort(one.scores), atol=tolerance)
            if device == CPU:
                np.testing.assert_array_equal(other.windows, one.windows)
                np.testing.assert_allclose(other.masks, one.masks, atol=1e-4)


def test_what_waits_is_looked_at_together_and_what_comes_alone_at_once():
    runtime = Watched(batch=4)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(runtime, pictures(1)[0], SIZE, 0.2, 10)
        assert runtime.began.wait(60)  # alone, though a batch would have room for more
        others = [pool.submit(runtime, picture, SIZE, 0.2, 10) for picture in pictures(6)]
        others.append(pool.submit(runtime, pictures(1, (64, 64))[0], SIZE, 0.2, 10))
        wait_for_waiting(runtime, 7)
        runtime.go.set()
        for run in [first, *others]:
            assert len(run.result().scores) <= 10
    assert runtime.batches[0] == 1
    assert sorted(runtime.batches[1:]) == [1, 2, 4]  # the picture of another shape is by itself


def test_a_batch_is_never_larger_than_asked_for():
    runtime = Watched(batch=5)
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(runtime, pictures(1)[0], SIZE, 0.2, 10)]
        assert runtime.began.wait(60)
        runs += [pool.submit(runtime, picture, SIZE, 0.2, 10) for picture in pictures(5)]
        wait_for_waiting(runtime, 5)
        runtime.go.set()
        assert all(len(run.result().scores) <= 10 for run in runs)
    assert runtime.batches == [1, 5]


def test_a_failure_reaches_every_call_of_its_batch_and_ends_there(monkeypatch):
    runtime = TorchRuntime(small_network(), CPU, batch=4)

    def fail(pixels, size, count):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr(runtime, "look", fail)
        for run in [pool.submit(runtime, p, SIZE, 0.2, 10) for p in pictures(4, (64, 64))]:
            with pytest.raises(RuntimeError, match="out of memory"):
                run.result()
    assert len(runtime(pictures(1)[0], SIZE, 0.2, 10).scores) > 0


class Mean(TorchRuntime):
    """Says of each picture how bright it is; has two lanes, as on a GPU."""

    def __init__(self):
        super().__init__(small_network(), CPU, batch=5)
        self._free.append(_Lane(self, False))

    def look(self, pixels, size, count):
        time.sleep(0.001)
        mean = pixels.float().mean((1, 2, 3))[:, None]
        return torch.ones_like(mean), mean, mean, mean, mean


def test_many_threads_get_their_own_answers():
    runtime = Mean()
    given = [np.full((4, 4 + i % 3, 3), i % 251, np.uint8) for i in range(400)]
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda picture: runtime(picture, SIZE, 0.0, 1), given))
    assert [int(windows.quality[0]) for windows in found] == [i % 251 for i in range(400)]


def test_shapes_are_forgotten_in_time():
    runtime = TorchRuntime(small_network(), CPU)
    for width in range(40, 40 + MOST_PROGRAMS + 3):
        runtime(pictures(1, (40, width))[0], (32, 32), 0.2, 1)
    assert len(runtime._free[0].programs) == MOST_PROGRAMS


def test_a_pool_of_memory_ends_with_its_last_graph(monkeypatch):
    pools, used = iter(range(9)), []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    runtime = TorchRuntime(small_network(), CPU)
    lane = runtime._free[0]
    lane.pool, lane.captures = torch.cuda.graph_pool_handle(), cast(torch.cuda.Stream, "a stream")

    def capture(work, stream, pool):
        used.append(pool)
        return cast(Any, SimpleNamespace(replay=lambda: None)), work()

    monkeypatch.setattr(runtime, "capture", capture)
    for width, times in [(40, 4), *((41 + i, 1) for i in range(MOST_PROGRAMS)), (40, 4), (41, 4)]:
        for _ in range(times):
            runtime(pictures(1, (40, width))[0], (32, 32), 0.2, 1)
    assert used == [0, 1, 1]


@pytest.mark.parametrize(("size", "way"), [(SIZE, cv2.INTER_LINEAR), ((32, 64), cv2.INTER_AREA)])
def test_pictures_are_resized_as_on_the_cpu(size, way):
    picture = pictures(1, (123, 157))[0]
    images = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()[None]
    given = TorchRuntime(small_network(), CPU)._resize(images, size)[0].numpy().transpose(1, 2, 0)
    wanted = cv2.resize(picture, size[::-1], interpolation=way)
    assert np.abs(given - wanted).max() < 1


def test_looking_waits_for_nothing_that_is_computed():
    """What a CUDA graph cannot hold, and what would keep the CPU from working ahead of a GPU."""
    runtime = TorchRuntime(small_network(), CPU)
    pixels = torch.zeros(2, 90, 140, 3, dtype=torch.uint8)
    with torch.inference_mode():
        runtime.look(pixels, SIZE, 10)  # makes its tables
        with Asked() as asked:
            runtime.look(pixels, SIZE, 10)
    assert asked.names & WAITING == set()


def test_looking_stays_on_the_device():
    """Without a GPU: torch's device without memory refuses, as a GPU does, what lies elsewhere."""
    meta = torch.device("meta")
    runtime = TorchRuntime(small_network(), meta)
    pixels = torch.zeros(2, 90, 140, 3, dtype=torch.uint8, device=meta)
    with torch.inference_mode():
        results = runtime.look(pixels, SIZE, 10)
    assert {result.device for result in results} == {meta}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which captures")
def test_a_graph_that_cannot_be_captured_is_one_warning(caplog):
    runtime, stream = TorchRuntime(small_network(), CPU), cast(torch.cuda.Stream, None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert runtime.capture(lambda: (torch.zeros(1),), stream) is None
    assert len(caplog.records) == 1
    assert len(runtime(pictures(1)[0], SIZE, 0.2, 10).scores) > 0


def test_a_capture_whose_end_fails_leaves_its_stream(monkeypatch):
    current = ["the lane's"]

    @contextlib.contextmanager
    def use(stream):
        before, current[0] = current[0], stream
        try:
            yield
        finally:
            current[0] = before

    class Capturing:
        """As torch's: what ends the capture comes first, and the stream is left after it."""

        def __init__(self, graph, pool, stream, capture_error_mode):
            self.stream = use(stream)

        def __enter__(self):
            self.stream.__enter__()

        def __exit__(self, *error):
            raise RuntimeError("the capture was invalidated")

    monkeypatch.setattr(torch.cuda, "stream", use)
    monkeypatch.setattr(torch.cuda, "graph", Capturing)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    streams = []

    def work():
        streams.append(current[0])
        return (torch.zeros(1),)

    runtime = TorchRuntime(small_network(), CPU)
    assert runtime.capture(work, cast(torch.cuda.Stream, "for captures")) is None
    assert streams == ["the lane's", "for captures"]
    assert current == ["the lane's"]


@pytest.mark.gpu
def test_the_third_batch_of_a_shape_is_captured():
    runtime = TorchRuntime(small_network(), torch.device("cuda", 0))
    for _ in range(5):
        runtime(pictures(1)[0], SIZE, 0.2, 10)
    programs = [program for lane in runtime._free for program in lane.programs.values()]
    assert runtime.graphs
    assert any(program.captured is not None for program in programs)
