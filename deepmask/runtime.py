"""What runs the network, pictures in, windows out; and OpenVINO doing it, on the CPU.

It runs the dense half on the whole picture, says how good the masks of the best cells will be, and
draws those that reach the wanted score. It does without torch: `torch_runtime.py` is the other way
to run it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import platform
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from deepmask.config import DeepMaskConfig
from deepmask.geometry import DETAIL_STRIDE, cell_indices, cell_windows
from deepmask.proposals import Windows, choose_cells

log = logging.getLogger(__name__)

ROOM_BYTES = 50 * 10**6
"""What the converted network takes in its cache, and some more."""

MOST_SHAPES = 32
"""Networks compiled for so many input sizes are kept, those used last: each takes some 60 MB."""

_first_use = threading.Lock()
"""OpenVINO's Python binding deadlocks if two threads make their first call at once."""

_converting = threading.Lock()
"""torch can trace only one network at a time in a process."""

_compiling = threading.Lock()
"""OpenVINO sets the process's locale while it compiles and then restores the one that it found: of
two threads, the later would restore what the earlier has set."""

Precision = Literal["auto", "int8", "bf16", "f32"]

FORMAT = 15
"""Counts up when the converted graphs change, so that old caches are left alone."""


class Runtime(Protocol):
    """Runs the network on one picture at a time; may be called from several threads."""

    config: DeepMaskConfig
    description: str
    """For people: device, library, precision."""
    concurrency: int
    """Calls at once that make it busy."""

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        """The best windows of a picture.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            size: (H, W) that the network sees it at, multiples of 32 px.
            min_score: windows that cannot reach this score are not returned.
            count: most windows.
        """
        ...


class OpenVinoRuntime:
    """The network in OpenVINO on the CPU, converted from the weights once and kept in a cache.

    Args:
        weights: a file written by `deepmask.checkpoint.save`.
        threads: CPU cores to use; 0 means all that this process may.
        precision: see `DeployConfig.precision`.
        throughput: more calls at once than cores, so that a core has work while the result of
            another call is made; each call takes longer for it.
    """

    def __init__(
        self,
        weights: Path,
        threads: int = 0,
        precision: Precision = "auto",
        throughput: bool = False,
    ) -> None:
        import openvino

        self.weights = weights
        self.core = openvino.Core()
        self.cores = threads or usable_cores()
        # A third of a call is not the dense network's.
        self.concurrency = math.ceil(1.5 * self.cores) if throughput else self.cores
        if precision == "auto":
            # Elsewhere integers have not been measured.
            is_x86 = platform.machine().lower() in ("x86_64", "amd64")
            precision = "int8" if is_x86 else "f32"
        able = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.floats = "bf16" if "BF16" in able and precision != "f32" else "f32"
        self.in_integers = precision == "int8"
        used = f"int8 and {self.floats}" if self.in_integers else self.floats
        self.description = f"OpenVINO {used} on {self.cores} CPU cores"
        self.cache = _cache_folder(weights)
        self.config = self._load_config()
        self._halves = self._open("judge"), self._open("draw")
        self._dense: dict[tuple[int, int], Any] = {}
        self._lock = threading.RLock()
        self._local = threading.local()

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        if not hasattr(self._local, "dense"):
            # A thread's first call is alone. OpenVINO's Python binding fills its tables at first
            # use, and two threads that both do so wait for each other for ever.
            with _first_use:
                self._local.halves = [half.create_infer_request() for half in self._halves]
                self._local.dense = {}
                return self._infer(image, size, min_score, count)
        return self._infer(image, size, min_score, count)

    def _infer(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        dense, judge, draw = self._requests(size)
        dense.infer({0: _resize(image, size)[None]}, share_inputs=True, share_outputs=True)
        objectness = dense.get_output_tensor(0).data[0]
        chosen = choose_cells(objectness, min_score**2, count)
        if len(chosen) == 0:
            return _no_windows(self.config)
        features = dense.get_output_tensor(1).data[0]
        cells = features[cell_indices(size, self.config)[chosen]].reshape(len(chosen), -1)
        judged = judge.infer({"cells": cells}, share_inputs=True, share_outputs=True)
        vectors, quality = judged[0], judged[1]
        objectness = objectness[chosen]
        good = np.flatnonzero(objectness * quality >= min_score**2)
        if len(good) == 0:
            return _no_windows(self.config)
        windows = cell_windows(size, self.config)[chosen[good]]
        inputs = {
            "vectors": vectors[good],
            "cells": cells[good],
            "samples": _sample(dense.get_output_tensor(2).data[0], windows, self.config.mask),
        }
        drawn = draw.infer(inputs, share_inputs=True, share_outputs=True)
        return Windows(objectness[good], quality[good], drawn[0].copy(), windows, drawn[1].copy())

    def _requests(self, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        """This thread's infer requests for pictures of `size`."""
        requests = self._local.dense
        if size not in requests:
            with self._lock:
                if size not in self._dense:
                    name = "dense8" if self.in_integers else "dense"
                    self._dense[size] = self._open(name, size)
                network = _latest(self._dense, size)
            requests[size] = network.create_infer_request()
        return _latest(requests, size), *self._local.halves

    def _load_config(self) -> DeepMaskConfig:
        """The network's config, without torch where the cache knows it."""
        path = self.cache / "config.json"
        try:
            return DeepMaskConfig(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            log.info("preparing the network for this computer, once: it takes some seconds")
            from deepmask import checkpoint

            config = checkpoint.load(self.weights).config
            with contextlib.suppress(OSError):  # a full disk: it is asked for again
                path.write_text(json.dumps(dataclasses.asdict(config)), encoding="utf-8")
            return config

    def _open(self, name: str, size: tuple[int, int] | None = None) -> Any:
        """Compile a graph of the cache; one that is missing or damaged is converted first."""
        path = self.cache / f"{name}.xml"
        if path.is_file():
            try:
                return self._compile_or_not_keep(path, size)
            except RuntimeError as error:
                log.warning("converting again, the cached network is damaged: %s", error)
                shutil.rmtree(self.cache / "compiled", ignore_errors=True)
                path.unlink(missing_ok=True)
        from deepmask import checkpoint, export

        convert = {
            "dense": export.dense,
            "dense8": export.rounded_dense,
            "judge": export.judge,
            "draw": export.draw,
        }
        with _converting:
            if not path.is_file():
                convert[name](checkpoint.load(self.weights), path)
        return self._compile_or_not_keep(path, size)

    def _compile_or_not_keep(self, path: Path, size: tuple[int, int] | None) -> Any:
        try:
            return self._compile(path, size)
        except RuntimeError as error:
            # Another process compiles the same network: OpenVINO writes both under one name.
            log.warning("the compiled network is not kept: %s", error)
            return self._compile(path, size, keep=False)

    def _compile(self, path: Path, size: tuple[int, int] | None, keep: bool = True) -> Any:
        model = self.core.read_model(path)
        if size is not None:
            model.reshape([1, *size, 3])
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(self.cores),
            "INFERENCE_NUM_THREADS": str(self.cores),
            # Threads tied to cores wait there for other work while other cores are free.
            "ENABLE_CPU_PINNING": "NO",
            "INFERENCE_PRECISION_HINT": self.floats,
            "CACHE_DIR": str(self.cache / "compiled") if keep else "",
        }
        with _compiling:
            return self.core.compile_model(model, "CPU", settings)


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU cores that this process may use: those that it may run on, or what its container allows.

    Args:
        quota: microseconds of CPU time in each period, and its length, as Linux's cgroup v2 has
            them: `200000 100000` are two cores, `max 100000` is no limit.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    try:
        allowed_us, period_us = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(allowed_us) / int(period_us))))
    except (OSError, ValueError):  # no such file, or no limit
        return cores


def _resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """At `size` (H, W): linear, or averages where much is left out."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    smaller = size[0] * size[1] < 0.5 * image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=way), np.uint8)


def _sample(
    detail: NDArray[np.float32], windows: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """Bilinear samples of the stride-4 detail `(h, w, D)` over `windows` `(K, 4)` px.

    As `network._sample`, four times as fast as OpenVINO's and not in bfloat16, which would move
    places by pixels.

    Returns:
        `(K, side, side, D)`; zero outside the picture.
    """
    samples = np.empty((len(windows), side, side, detail.shape[2]), np.float32)
    pitches = (windows[:, 2] - windows[:, 0]) / (DETAIL_STRIDE * side)
    # Pixel i is centred at i + 1/2 in the window, and at i in OpenCV.
    corners = windows[:, :2] / DETAIL_STRIDE + pitches[:, None] / 2 - 0.5
    for sample, pitch, (x, y) in zip(samples, pitches, corners, strict=True):
        matrix = np.array([[pitch, 0, x], [0, pitch, y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(detail, matrix, (side, side), dst=sample, flags=flags)
    return samples


def _no_windows(config: DeepMaskConfig) -> Windows:
    return Windows(
        np.zeros(0, np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, config.mask, config.mask), np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((0, config.channels), np.float32),
    )


def _latest(kept: dict[tuple[int, int], Any], size: tuple[int, int]) -> Any:
    """What is kept for `size`, now the one used last; forgets what was used longest ago."""
    kept[size] = kept.pop(size)
    if len(kept) > MOST_SHAPES:
        del kept[next(iter(kept))]
    return kept[size]


def _cache_folder(weights: Path) -> Path:
    """Where the graphs made of `weights` are kept: below XDG_CACHE_HOME, else ~/.cache.

    Where that cannot be written or is full, below the system's folder for temporary files.
    """
    import openvino

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    version = openvino.__version__.split("-")[0]
    owner = os.getuid() if hasattr(os, "getuid") else "user"  # not on Windows
    roots = [Path(tempfile.gettempdir()) / f"cache-{owner}"]
    with contextlib.suppress(RuntimeError):  # nobody's home
        roots.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"))
    for root in roots:
        folder = root / "deepmask-tracking" / f"{digest}-{version}-{FORMAT}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK):
                for old in folder.parent.glob(f"{digest}-{version}-*"):
                    if old != folder:  # of an earlier version of this project
                        shutil.rmtree(old, ignore_errors=True)
                if (folder / "draw.xml").is_file() or _free_bytes(folder) > ROOM_BYTES:
                    return folder
    raise OSError(
        f"no folder for the converted network can be written and has {ROOM_BYTES // 10**6} MB left "
        f"(tried: {', '.join(map(str, roots))}); set XDG_CACHE_HOME to one"
    )


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
