"""Two ways to run the network: torch (CUDA or CPU) and OpenVINO (CPU). Pictures in, windows out.

Both run the dense half on the whole picture, then decode masks only for the cells that can still
reach the wanted score. Neither needs the other installed or imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from deepmask.config import DeepMaskConfig
from deepmask.geometry import cell_indices, cell_windows, mask_grid
from deepmask.proposals import LEAST, Windows, choose_cells

if TYPE_CHECKING:
    import torch

    from deepmask.network import DeepMask

log = logging.getLogger(__name__)

Precision = Literal["auto", "int8", "bf16", "f32"]

FORMAT = 4
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
            min_score: windows that cannot reach this score are not decoded.
            count: most windows.
        """
        ...


class TorchRuntime:
    """The network in torch: float16 on a CUDA stream for each thread, or float32 on the CPU.

    All shapes are fixed by the picture's size and `count`, and nothing waits for the device before
    the one download at the end, so that two frames in flight keep a GPU busy.
    """

    def __init__(self, network: DeepMask, device: torch.device) -> None:
        import torch

        from deepmask.network import Peaks

        self.config, self.device = network.config, device
        self.cuda = device.type == "cuda"
        dtype = torch.float16 if self.cuda else torch.float32
        network = network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.eval().requires_grad_(False)
        self._peaks = Peaks(self.network)
        name = torch.cuda.get_device_name(device) if self.cuda else "CPU"
        self.description = f"torch {'float16' if self.cuda else 'float32'} on {name}"
        self.concurrency = 2 if self.cuda else 1
        self._local = threading.local()
        self._tables: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        import torch

        with torch.inference_mode(), self._stream():
            scores, features, detail = self._peaks(self._upload(_resize(image, size)))
            indices, windows = self._geometry(size)
            objectness, cells = scores[0].topk(min(count, len(indices)))
            masks, quality, appearance = self.network.decode(
                features, detail, indices[cells][None], windows[cells][None]
            )
            quality, masks = quality[0].float().sigmoid(), masks[0].sigmoid()
            tensors = (objectness, quality, masks, windows[cells], appearance[0])
            arrays = self._download(tensors)
        keep = arrays[0] >= max(min_score**2, LEAST)
        return Windows(*(np.asarray(array[keep], np.float32) for array in arrays))

    def _geometry(self, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """`cell_indices` and `cell_windows` on the device."""
        import torch

        if size not in self._tables:
            indices = torch.from_numpy(cell_indices(size, self.config)).to(self.device)
            windows = torch.from_numpy(cell_windows(size, self.config)).to(self.device)
            self._tables[size] = indices, windows
        return self._tables[size]

    def _upload(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 to the device, through this thread's pinned buffer where there is a GPU."""
        import torch

        if not self.cuda:
            return torch.from_numpy(image)[None]
        pinned = getattr(self._local, "pixels", None)
        if pinned is None or pinned.shape != image.shape:
            pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
            self._local.pixels = pinned
        pinned.numpy()[:] = image
        return pinned.to(self.device, non_blocking=True)[None]

    def _download(self, tensors: tuple[torch.Tensor, ...]) -> list[NDArray[Any]]:
        """The tensors as arrays, with one wait for all; the arrays live until the next call."""
        import torch

        if not self.cuda:
            return [tensor.numpy() for tensor in tensors]
        pinned = getattr(self._local, "results", None)
        if pinned is None or any(p.shape != t.shape for p, t in zip(pinned, tensors, strict=True)):
            pinned = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            self._local.results = pinned
        for host, tensor in zip(pinned, tensors, strict=True):
            host.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        return [host.numpy() for host in pinned]

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        import torch

        if not self.cuda:
            yield
            return
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device), torch.cuda.stream(self._local.stream):
            yield


class OpenVinoRuntime:
    """The network in OpenVINO on the CPU, converted from the weights once and kept in a cache.

    Args:
        weights: a file written by `deepmask.checkpoint.save`.
        threads: CPU cores to use; 0 means all that this process may.
        precision: see `DeployConfig.precision`.
    """

    def __init__(self, weights: Path, threads: int = 0, precision: Precision = "auto") -> None:
        import openvino

        self.weights = weights
        self.core = openvino.Core()
        self.concurrency = threads or len(os.sched_getaffinity(0))
        if precision == "auto":
            able = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "int8" if "BF16" in able else "f32"
        self.precision = precision
        self.description = f"OpenVINO {self.precision} on {self.concurrency} CPU cores"
        self.cache = _cache_folder(weights)
        self.config = self._load_config()
        self._decoder = self._open("decode")
        self._dense: dict[tuple[int, int], Any] = {}
        self._lock = threading.RLock()
        self._local = threading.local()

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        if not hasattr(self._local, "dense"):
            # A thread's first call is alone. OpenVINO's Python binding fills its tables at first
            # use, and two threads that both do so wait for each other for ever.
            with self._lock:
                self._local.dense = {}
                self._local.decode = self._decoder.create_infer_request()
                return self._infer(image, size, min_score, count)
        return self._infer(image, size, min_score, count)

    def _infer(
        self, image: NDArray[np.uint8], size: tuple[int, int], min_score: float, count: int
    ) -> Windows:
        dense, decode = self._requests(size)
        dense.infer({0: _resize(image, size)[None]}, share_inputs=True)
        objectness = dense.get_output_tensor(0).data[0]
        cells = choose_cells(objectness, min_score**2, count)
        if len(cells) == 0:
            return _no_windows(self.config)
        windows = cell_windows(size, self.config)[cells]
        inputs = {
            "features": dense.get_output_tensor(1),
            "detail": dense.get_output_tensor(2),
            "indices": cell_indices(size, self.config)[cells][None],
            # An input, because in bfloat16 the graph would compute places that are pixels off.
            "grid": mask_grid(windows, size, self.config)[None],
        }
        result = decode.infer(inputs, share_inputs=True)
        masks, quality, appearance = (result[i][0] for i in range(3))
        return Windows(objectness[cells], quality.copy(), masks.copy(), windows, appearance.copy())

    def _requests(self, size: tuple[int, int]) -> tuple[Any, Any]:
        """This thread's infer requests for pictures of `size`."""
        if size not in self._local.dense:
            with self._lock:
                if size not in self._dense:
                    name = "dense8" if self.precision == "int8" else "dense"
                    self._dense[size] = self._open(name, size)
            self._local.dense[size] = self._dense[size].create_infer_request()
        return self._local.dense[size], self._local.decode

    def _load_config(self) -> DeepMaskConfig:
        """The network's config, without torch where the cache knows it."""
        path = self.cache / "config.json"
        try:
            return DeepMaskConfig(**json.loads(path.read_text()))
        except (OSError, TypeError, ValueError):
            from deepmask import checkpoint

            config = checkpoint.load(self.weights).config
            path.write_text(json.dumps(dataclasses.asdict(config)))
            return config

    def _open(self, name: str, size: tuple[int, int] | None = None) -> Any:
        """Compile a graph of the cache; one that is missing or damaged is converted first."""
        path = self.cache / f"{name}.xml"
        if path.is_file():
            try:
                return self._compile(path, size)
            except RuntimeError as error:
                log.warning("converting again, the cached network is damaged: %s", error)
                shutil.rmtree(self.cache / "compiled", ignore_errors=True)
        from deepmask import checkpoint, export

        convert = {"dense": export.dense, "dense8": export.rounded_dense, "decode": export.decoder}
        convert[name](checkpoint.load(self.weights), path)
        return self._compile(path, size)

    def _compile(self, path: Path, size: tuple[int, int] | None) -> Any:
        model = self.core.read_model(path)
        if size is not None:
            model.reshape([1, *size, 3])
        return self.core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": str(self.concurrency),
                "INFERENCE_NUM_THREADS": str(self.concurrency),
                "INFERENCE_PRECISION_HINT": "f32" if self.precision == "f32" else "bf16",
                "CACHE_DIR": str(self.cache / "compiled"),
            },
        )


def _resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    smaller = size[0] * size[1] < 0.5 * image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=way), np.uint8)


def _no_windows(config: DeepMaskConfig) -> Windows:
    return Windows(
        np.zeros(0, np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, config.mask, config.mask), np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((0, config.channels), np.float32),
    )


def _cache_folder(weights: Path) -> Path:
    """Where the graphs made of `weights` are kept: below XDG_CACHE_HOME, else ~/.cache.

    Where that cannot be written, below the system's folder for temporary files.
    """
    import openvino

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    version = openvino.__version__.split("-")[0]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for root in (user, Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"):
        folder = root / "deepmask-tracking" / f"{digest}-{version}-{FORMAT}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK):
                return folder
    raise OSError(f"no folder for the converted network: neither {user} nor {root} can be written")
