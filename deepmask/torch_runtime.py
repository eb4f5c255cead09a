"""The network in torch: on a GPU in batches, captured as CUDA graphs; or, slower, on the CPU.

Two lanes keep a GPU busy, each with a stream of its own: while one computes, pictures and results
of the other travel. Calls that find no lane free wait, and those that wait for the same shape are
answered together. No call waits for others to come.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepmask.network import DeepMask, Peaks, cell_tables
from deepmask.proposals import LEAST, Windows
from deepmask.resample import resample, weights

log = logging.getLogger(__name__)

LANES = 2
"""On a GPU."""
MOST_PROGRAMS = 64
"""Batch sizes and shapes that a lane remembers; the one not used for longest goes first."""

Work = Callable[[], tuple[Tensor, ...]]
Captured = tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]
Capture = Callable[[Work], Captured | None]

_capturing = threading.Lock()
"""CUDA captures one graph at a time in a process."""


class _Shape(NamedTuple):
    """What calls that are answered together have in common."""

    picture: tuple[int, ...]
    """H, W, 3"""
    size: tuple[int, int]
    most: int


@dataclasses.dataclass(eq=False, slots=True)
class _Call:
    shape: _Shape
    pixels: Tensor
    """`(H, W, 3)` uint8, where the GPU can fetch it by itself."""
    answer: Future[list[Tensor]] = dataclasses.field(default_factory=Future)


class TorchRuntime:
    """The network in torch: float16 on a GPU, float32 on the CPU. Called from any threads.

    Args:
        network: taken over: it moves to the device.
        device: where it runs.
        batch: most pictures that are looked at together.
    """

    def __init__(self, network: DeepMask, device: torch.device, batch: int = 1) -> None:
        self.config, self.device, self.batch = network.config, device, batch
        cuda = device.type == "cuda"
        self.dtype = torch.float16 if cuda else torch.float32
        network = network.to(device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.eval().requires_grad_(False)
        self._peaks = Peaks(self.network)
        name = torch.cuda.get_device_name(device) if cuda else "CPU"
        self.description = f"torch {'float16' if cuda else 'float32'} on {name}"
        self._free = [_Lane(self, cuda) for _ in range(LANES if cuda else 1)]
        self.concurrency = len(self._free) * batch
        self.graphs = True
        self._waiting: list[_Call] = []
        self._change = threading.Condition()
        self._tables: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._matrices: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        if cuda:
            torch.cuda.synchronize(device)  # the lanes' streams do not wait for the weights

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        pixels = torch.empty(image.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        pixels.numpy()[:] = image
        call = _Call(_Shape(image.shape, size, count), pixels)
        arrays = [tensor.numpy() for tensor in self._answer(call)]
        keep = (arrays[0] >= LEAST) & (arrays[0] * arrays[1] >= min_score**2)
        return Windows(*(np.asarray(array[keep], np.float32) for array in arrays))

    def _answer(self, call: _Call) -> list[Tensor]:
        """One picture's results; computed by this thread, or by one that took the call along."""
        with self._change:
            self._waiting.append(call)
            self._change.wait_for(lambda: self._free or call not in self._waiting)
            calls = self._take(call)
            lane = self._free.pop() if calls else None
        if lane is not None:
            self._run(lane, calls)
        return call.answer.result()

    def _take(self, call: _Call) -> list[_Call]:
        """The call with those like it that wait; none if it was taken already."""
        if call not in self._waiting:
            return []
        alike = [c for c in self._waiting if c.shape == call.shape and c is not call]
        calls = [call, *alike[: self.batch - 1]]
        self._waiting = [c for c in self._waiting if c not in calls]
        return calls

    def _run(self, lane: _Lane, calls: Sequence[_Call]) -> None:
        try:
            answers = lane.run(calls[0].shape, [call.pixels for call in calls])
            for call, answer in zip(calls, answers, strict=True):
                call.answer.set_result(answer)
        except Exception as error:
            for call in calls:
                call.answer.set_exception(error)
        finally:
            with self._change:
                self._free.append(lane)
                self._change.notify_all()

    def look(self, pixels: Tensor, size: tuple[int, int], count: int) -> tuple[Tensor, ...]:
        """The best K cells of B pictures. All shapes follow from the arguments', and nothing waits.

        Args:
            pixels: `(B, H, W, 3)` uint8 RGB.
            size: (H, W) that the network sees them at.
            count: most cells.

        Returns:
            Objectness `(B, K)`, predicted IoU `(B, K)`, masks `(B, K, 56, 56)`, windows
            `(B, K, 4)` and appearance `(B, K, C)`, as `Windows` has them.
        """
        images = pixels.permute(0, 3, 1, 2).to(self.dtype, memory_format=torch.contiguous_format)
        if images.shape[2:] != size:
            images = self._resize(images, size)
        scores, features, detail = self._peaks(images.permute(0, 2, 3, 1))
        indices, windows = self._geometry(size)
        objectness, cells = scores.topk(min(count, scores.shape[1]))
        masks, quality, appearance = self.network.decode(
            features, detail, indices[cells], windows[cells]
        )
        return objectness, quality.float().sigmoid(), masks.sigmoid(), windows[cells], appearance

    def capture(self, work: Work, stream: torch.cuda.Stream, pool: Any = None) -> Captured | None:
        """`work` as a graph and where its results will be; None where a GPU refuses that.

        Graphs that share a `pool` of memory must not run at once, nor read each other's results.
        """
        with _capturing:
            if not self.graphs:
                return None
            work()  # a thread's first call makes handles of libraries: no graph can hold that
            collects = gc.isenabled()
            gc.disable()  # the end of an earlier runtime's graph would be the end of this capture
            try:
                graph = torch.cuda.CUDAGraph()
                # Other threads go on with their work meanwhile. A capture whose end fails would not
                # go back to the stream that was current before.
                with (
                    torch.cuda.stream(stream),
                    torch.cuda.graph(
                        graph, pool=pool, stream=stream, capture_error_mode="thread_local"
                    ),
                ):
                    return graph, work()
            except RuntimeError as error:
                self.graphs = False
                log.warning("the GPU runs without captured graphs, which costs speed: %s", error)
                return None
            finally:
                if collects:
                    gc.enable()

    def _geometry(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The cells' tables, kept for good: captured graphs read them where they are."""
        if size not in self._tables:
            self._tables.setdefault(size, cell_tables(size, self.config, self.device))
        return self._tables[size]

    def _resize(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """As the runtime on the CPU does: linear, or averages where much is left out."""
        of = images.shape[2], images.shape[3]
        if size[0] * size[1] >= 0.5 * of[0] * of[1]:
            return F.interpolate(images, size, mode="bilinear", align_corners=False)
        if (*of, *size) not in self._matrices:  # kept for good, as the tables
            rows, cols = (self._averages(n, m) for n, m in zip(size, of, strict=True))
            self._matrices.setdefault((*of, *size), (rows, cols))
        return resample(images, *self._matrices[*of, *size])

    def _averages(self, count: int, length: int) -> Tensor:
        """The matrix `(1, count, length)` that shrinks an axis."""
        of, to = (torch.tensor([[0.0, n]], device=self.device) for n in (length, count))
        upright = torch.zeros(1, dtype=torch.bool, device=self.device)
        matrix = weights(of, to, upright, count, length)
        return (matrix / matrix.sum(2, keepdim=True)).to(self.dtype)


class _Lane:
    """Looks at one batch at a time, and keeps what it made for each shape."""

    def __init__(self, runtime: TorchRuntime, cuda: bool) -> None:
        self.runtime = runtime
        # Pinned memory that is freed leaves an event on the streams that used it, which a capture
        # must not see: graphs are captured on a stream of their own, where nothing is copied.
        self.stream, self.captures = (
            torch.cuda.Stream(runtime.device) if cuda else None  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        # One for all graphs of a lane: they run one after another, and their results are copied.
        self.pool = torch.cuda.graph_pool_handle() if cuda else None
        self.programs: dict[tuple[_Shape, int], _Program] = {}

    def run(self, shape: _Shape, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
        """What `TorchRuntime.look` says of each picture, in the CPU's memory."""
        # A power of two, or all that there can be: few programs.
        batch = min(1 << (len(pictures) - 1).bit_length(), self.runtime.batch)
        with torch.inference_mode(), torch.cuda.stream(self.stream):
            program = self._program(shape, batch)
            results = [result.to("cpu", non_blocking=True) for result in program(pictures)]
            if self.stream is not None:
                self.stream.synchronize()
        return [[result[i] for result in results] for i in range(len(pictures))]

    def _program(self, shape: _Shape, batch: int) -> _Program:
        if (shape, batch) not in self.programs:
            if len(self.programs) == MOST_PROGRAMS:
                gone = self.programs.pop(next(iter(self.programs)))
                if gone.captured and not any(p.captured for p in self.programs.values()):
                    self.pool = torch.cuda.graph_pool_handle()  # it ended with its last graph
            capture = None
            if self.captures is not None:
                capture = partial(self.runtime.capture, stream=self.captures, pool=self.pool)
            self.programs[shape, batch] = _Program(self.runtime, shape, batch, capture)
        program = self.programs[shape, batch] = self.programs.pop((shape, batch))  # now the newest
        return program


class _Program:
    """What is done with batches of one shape: from the third on, on a GPU, one captured graph.

    The first runs without, so that pictures that come in all sizes are not captured in vain, and so
    does the second, which may be the mirror image of the first.

    Args:
        runtime: what looks.
        shape: of each picture.
        batch: pictures that it holds, B.
        capture: makes a graph of its work on a GPU, else None.
    """

    def __init__(
        self, runtime: TorchRuntime, shape: _Shape, batch: int, capture: Capture | None
    ) -> None:
        self.capture = capture
        size = (batch, *shape.picture)
        self.pixels = torch.zeros(size, dtype=torch.uint8, device=runtime.device)
        self.look = partial(runtime.look, self.pixels, shape.size, shape.most)
        self.runs = 0
        self.captured: Captured | None = None

    def __call__(self, pictures: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Results of `look`: up to B pictures' and, after them, what is left of earlier ones'."""
        for place, picture in zip(self.pixels, pictures, strict=False):
            place.copy_(picture, non_blocking=True)
        if self.runs == 2 and self.capture is not None:
            self.captured = self.capture(self.look)
        self.runs += 1
        if self.captured is None:
            return self.look()
        graph, outputs = self.captured
        graph.replay()
        return outputs
