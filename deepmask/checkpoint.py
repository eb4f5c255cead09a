"""Weights with their config in one safetensors file: never pickle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from configs import user_file
from deepmask.config import DeepMaskConfig

if TYPE_CHECKING:  # torch takes seconds to import, and who only looks for a file needs none
    from torch import Tensor

    from deepmask.network import DeepMask

WEIGHTS = Path(__file__).parent / "weights"
"""The shipped weights: one `NAME.safetensors` with its model card `NAME.md`."""


class CheckpointError(ValueError):
    """The weights are missing, damaged, or do not fit the network that their config describes."""


def shipped_weights(name: str) -> Path | None:
    """The file of the shipped weights `name`; None where there are none of that name."""
    return user_file(WEIGHTS / f"{name}.safetensors")


def find_weights(name: str) -> Path:
    """The file of the shipped weights `name`, or of a path given by the user.

    Raises:
        CheckpointError: neither exists; the message lists what is shipped.
    """
    path = shipped_weights(name) or user_file(name)
    if path is None:
        known = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))) or "none"
        raise CheckpointError(
            f"no weights {name!r}: expected a .safetensors file or one of the shipped: {known}"
        )
    return path


def save(path: Path, network: DeepMask, notes: dict[str, str] | None = None) -> None:
    """Write the weights as float16, with the network's config and `notes` in the header.

    Raises:
        OSError: they cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    config = json.dumps(dataclasses.asdict(network.config))
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial, {"config": config, **(notes or {})})
    except SafetensorError as error:
        raise OSError(f"cannot write {str(path)!r}: {error}") from error
    partial.replace(path)


def load(path: Path) -> DeepMask:
    """The network that a file holds, in float32, evaluation mode.

    Raises:
        CheckpointError: the file is damaged or does not fit; the message says what to do.
    """
    from safetensors import SafetensorError, safe_open

    from deepmask.network import DeepMask

    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights {str(path)!r} cannot be read ({error}): download or train them again"
        ) from error
    network = DeepMask(_config(path, notes))
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    wrong = [k for k, v in tensors.items() if k not in wanted or wanted[k].shape != v.shape]
    if missing or wrong:
        raise CheckpointError(
            f"the weights {str(path)!r} do not fit this version's network: "
            f"{len(missing)} tensors missing, {len(wrong)} unknown or of another shape "
            f"(first: {(missing + wrong)[0]!r}); use weights made by this version"
        )
    network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    return network.eval().requires_grad_(False)


def _config(path: Path, notes: dict[str, str]) -> DeepMaskConfig:
    try:
        return DeepMaskConfig(**json.loads(notes["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} holds no DeepMask config ({error}): expected a file written by "
            "deepmask.training.train"
        ) from error
