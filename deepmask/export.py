"""The network as OpenVINO graphs: torch modules in, `.xml` and `.bin` files out."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path

import openvino
import torch
from torch import Tensor, nn

from deepmask.network import DeepMask, MaskHead, Peaks
from deepmask.quantize import quantized


class _Dense(nn.Module):
    """`Peaks` with features in float16, half as much to copy, and the detail's channels last.

    That is how OpenCV samples it.
    """

    def __init__(self, network: DeepMask) -> None:
        super().__init__()
        self.peaks = Peaks(network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, features, detail = self.peaks(images)
        return scores, features.half(), detail.permute(0, 2, 3, 1)


class _Judge(nn.Module):
    """The features of windows, as `_Dense` gives them, to embedding vectors and predicted IoU in
    [0, 1]."""

    def __init__(self, network: DeepMask) -> None:
        super().__init__()
        self.head = network.mask_head

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        vectors, quality = self.head.judge(cells.float())
        return vectors, quality.sigmoid()


class _Draw(nn.Module):
    """Embedding vectors to mask probabilities and appearance."""

    def __init__(self, network: DeepMask) -> None:
        super().__init__()
        self.network = network

    def forward(self, vectors: Tensor, cells: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        masks = self.network.mask_head.draw(vectors, samples.permute(0, 3, 1, 2))
        return masks.sigmoid(), self.network.appearance(cells.float(), masks)


def dense(network: DeepMask, path: Path) -> None:
    """Write the dense half, for pictures `(1, H, W, 3)` uint8 of any size."""
    model = _convert(_Dense(network), torch.zeros(1, 128, 192, 3, dtype=torch.uint8))
    model.reshape([1, -1, -1, 3])
    _save(model, path)


def rounded_dense(network: DeepMask, path: Path) -> None:
    """`dense` with integer convolutions in the trunk."""
    dense(quantized(network), path)


def judge(network: DeepMask, path: Path) -> None:
    """Write the half of the mask decoder that says what a mask will be worth."""
    _save(_convert(_Judge(network), {"cells": _cells(network)}), path)


def draw(network: DeepMask, path: Path) -> None:
    """Write the half of the mask decoder that draws."""
    network = copy.deepcopy(network)
    network.mask_head = merged(network.mask_head)
    config = network.config
    example = {
        "vectors": torch.zeros(3, config.embedding),
        "cells": _cells(network),
        "samples": torch.zeros(3, config.mask, config.mask, config.detail),
    }
    _save(_convert(_Draw(network), example), path)


def _cells(network: DeepMask) -> Tensor:
    """As an example; there may be any number."""
    config = network.config
    return torch.zeros(3, config.window**2 * config.channels, dtype=torch.float16)


def merged(head: MaskHead) -> MaskHead:
    """Make the coarse mask and its enlargement in `head` the one linear map that they are."""
    coarse, enlarge = head.coarse, head.enlarge
    head.coarse = nn.Linear(coarse.in_features, head.config.mask**2)
    head.coarse.weight = nn.Parameter(enlarge(coarse.weight.T).T)
    head.coarse.bias = nn.Parameter(enlarge(coarse.bias[None])[0])
    head.enlarge = nn.Identity()
    return head


def _convert(module: nn.Module, example: Tensor | dict[str, Tensor]) -> openvino.Model:
    with warnings.catch_warnings():
        # Of shapes that tracing takes for constant; the graph is reshaped to each input size.
        warnings.simplefilter("ignore")
        return openvino.convert_model(module, example_input=example)


def _save(model: openvino.Model, path: Path) -> None:
    """Write elsewhere first, so that nobody else who starts now reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}-") as folder:
        partial = Path(folder) / path.name
        # Half as large in float16, but then the linear layers widen them in each request.
        try:
            openvino.save_model(model, partial, compress_to_fp16=False)
        except RuntimeError as error:
            raise OSError(
                f"the converted network cannot be written in {path.parent} ({error}): probably the "
                "disk or quota is full; set XDG_CACHE_HOME to a folder with room"
            ) from error
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
