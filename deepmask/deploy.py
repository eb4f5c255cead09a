"""The network as users run it: defaults that the pipeline and `evaluate --deployed` share."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging

from deepmask.checkpoint import find_weights
from deepmask.proposals import ProposalConfig
from deepmask.runtime import OpenVinoRuntime, Runtime, TorchRuntime

log = logging.getLogger(__name__)


class DeviceError(ValueError):
    """The device that was asked for is not there."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeployConfig:
    """What runs, where, and how closely it looks."""

    weights: str = "deepmask-lite0"
    """Name of shipped weights, or a .safetensors file."""

    device: str = "auto"
    """"auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N"."""

    size_px: int = 512
    """How large the network sees a picture: the long side of a 4:3 one; see `input_size`."""

    decoded: int = 60
    """Most windows a picture whose masks are decoded."""

    threads: int = 0
    """CPU cores that the network may use; 0 means all."""

    proposals: ProposalConfig = dataclasses.field(default_factory=ProposalConfig)


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

        if torch.cuda.is_available():
            name = "cuda:0" if device in ("auto", "cuda") else device
            if not name[5:].isdigit() or int(name[5:]) >= torch.cuda.device_count():
                raise DeviceError(
                    f"no device {name!r}: this machine has cuda:0 to "
                    f"cuda:{torch.cuda.device_count() - 1}"
                )
            return TorchRuntime(checkpoint.load(path), torch.device(name))
        if device != "auto":
            raise DeviceError(
                f"device {device!r} asked for, but this torch ({torch.__version__}) finds no CUDA "
                "GPU: use --device cpu, or install a CUDA build of torch and the driver"
            )
    if importlib.util.find_spec("openvino") is not None:
        return OpenVinoRuntime(path, threads=config.threads)
    import torch

    from deepmask import checkpoint

    log.warning("openvino is not installed: running in torch, several times slower")
    return TorchRuntime(checkpoint.load(path), torch.device("cpu"))


def _has_nvidia() -> bool:
    """Whether asking torch for CUDA is worth the seconds that importing it takes."""
    from pathlib import Path

    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()
