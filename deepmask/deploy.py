"""The network as users run it: defaults that the pipeline and `evaluate --deployed` share."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepmask.checkpoint import find_weights
from deepmask.geometry import input_size
from deepmask.proposals import ProposalConfig, Proposals, Windows, merge, propose
from deepmask.runtime import OpenVinoRuntime, Precision, Runtime

log = logging.getLogger(__name__)

LARGEST_PX = 4096
MOST_THREADS = 1024


class DeviceError(ValueError):
    """The device that was asked for is not there."""


class Look(NamedTuple):
    """One look of the network at a picture."""

    size_px: int
    """See `DeployConfig.sizes_px`."""
    mirrored: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class DeployConfig:
    """What runs, where, and how closely it looks."""

    weights: str = "deepmask-lite0"
    """Name of shipped weights, or a .safetensors file."""

    device: str = "auto"
    """"auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N"."""

    sizes_px: tuple[int, ...] = (512,)
    """How large the network sees a picture: the long side of a 4:3 one; see `input_size`. Given
    several, it looks once at each: small ones find what is large, large ones what is small."""

    mirrored: bool = False
    """Whether it looks at the mirrored picture too, at each size: twice the work, more found."""

    decoded: int = 60
    """Most windows whose masks are decoded, a picture and size."""

    threads: int = 0
    """CPU cores that the network may use; 0 means all that the process may, a container's limit
    counted. Of OpenVINO: torch has its own setting."""

    precision: Precision = "auto"
    """What a CPU computes the network in: "int8" (the trunk; the rest as with "bf16"), "bf16" (f32
    where the processor has none) or "f32"; "auto" takes int8 on x86, else f32."""

    batch: int = 8
    """Most pictures that a GPU looks at together, of those that wait for it; none waits for
    others. At 1 every picture is through as soon as can be, on a CPU too. Several sources share a
    detector whose batch is their number, whatever is set here."""

    proposals: ProposalConfig = dataclasses.field(default_factory=ProposalConfig)

    def __post_init__(self) -> None:
        if not self.sizes_px or min(self.sizes_px) < 64 or max(self.sizes_px) > LARGEST_PX:
            raise ValueError(
                f"sizes_px should be one or more sizes in [64, {LARGEST_PX}] px, "
                f"got {self.sizes_px}"
            )
        if not 0 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads should be in [0, {MOST_THREADS}], got {self.threads}")
        for name, least in (("decoded", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} should be {least} or more, got {getattr(self, name)}")

    @property
    def looks(self) -> list[Look]:
        """At each size one, or two."""
        ways = (False, True) if self.mirrored else (False,)
        return [Look(size_px, way) for size_px in self.sizes_px for way in ways]


def open_runtime(config: DeployConfig) -> Runtime:
    """The runtime for the device asked for; "auto" prefers CUDA, then OpenVINO, then torch.

    Raises:
        CheckpointError: the weights are missing or damaged.
        DeviceError: the device is not there, or its name is unknown.
    """
    path = find_weights(config.weights)
    device = config.device
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise DeviceError(f"unknown device {device!r}: expected auto, cpu, cuda or cuda:N")
    if device.startswith("cuda") or (device == "auto" and _has_nvidia()):
        import torch

        from deepmask import checkpoint
        from deepmask.torch_runtime import TorchRuntime

        if torch.cuda.is_available():
            name = "cuda:0" if device in ("auto", "cuda") else device
            if not name[5:].isdigit() or int(name[5:]) >= torch.cuda.device_count():
                raise DeviceError(
                    f"no device {name!r}: this machine has cuda:0 to "
                    f"cuda:{torch.cuda.device_count() - 1}"
                )
            network = checkpoint.load(path)
            try:
                return TorchRuntime(network, torch.device(name), config.batch)
            except RuntimeError as error:  # too old for this torch, or full
                if device != "auto":
                    raise
                log.warning("the GPU cannot be used: %s", str(error).strip().splitlines()[0])
        if device != "auto":
            raise DeviceError(
                f"device {device!r} asked for, but this torch ({torch.__version__}) finds no CUDA "
                "GPU: use --device cpu, or install a CUDA build of torch and the driver"
            )
    if importlib.util.find_spec("openvino") is not None:
        return OpenVinoRuntime(path, config.threads, config.precision, throughput=config.batch > 1)
    import torch

    from deepmask import checkpoint
    from deepmask.torch_runtime import TorchRuntime

    log.warning("openvino is not installed: running in torch, several times slower")
    return TorchRuntime(checkpoint.load(path), torch.device("cpu"))


def find_proposals(runtime: Runtime, image: NDArray[np.uint8], config: DeployConfig) -> Proposals:
    """The objects of a picture.

    Args:
        runtime: runs the network.
        image: `(H, W, 3)` uint8 RGB.
        config: sizes and thresholds; its device and weights are those of `runtime`.
    """
    windows = find_windows(runtime, image, config)
    return propose(windows, image, config.proposals)


def find_windows(runtime: Runtime, image: NDArray[np.uint8], config: DeployConfig) -> Windows:
    """The best windows of a picture from all looks at it, in the picture's pixels."""
    return merge([look(runtime, image, one, config) for one in config.looks])


def look(runtime: Runtime, image: NDArray[np.uint8], how: Look, config: DeployConfig) -> Windows:
    """The best windows of a picture from one look at it, in the picture's pixels."""
    height, width = image.shape[:2]
    size = input_size((height, width), how.size_px)
    if how.mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    windows = runtime(image, size, config.proposals.min_score, config.decoded)
    windows = windows.scaled(width / size[1], height / size[0])
    return windows.mirrored(width) if how.mirrored else windows


def _has_nvidia() -> bool:
    """Whether asking torch for CUDA is worth the seconds that importing it takes."""
    from pathlib import Path

    places = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
    return any(Path(place).exists() for place in places)
