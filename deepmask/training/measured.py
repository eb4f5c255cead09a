"""What a network knows of photographs besides what it learnt: measured once it is trained.

The statistics of its norms, from which `deepmask.quantize` takes the ranges of 8-bit values, and
what all objects look like to it, which is taken off their appearance.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deepmask.network import DeepMask, normalized
from deepmask.torch_runtime import TorchRuntime
from deepmask.training.coco import Photograph
from deepmask.training.samples import shrunk

MEASURED = 60
"""So many photographs of each set."""


def measure(network: DeepMask, sets: Mapping[str, Sequence[Photograph]]) -> None:
    """What a network knows of photographs besides its weights, from some of each set."""
    some = [photograph for photographs in sets.values() for photograph in photographs[:MEASURED]]
    measure_norms(network, some)
    measure_appearance(network, some)


@torch.no_grad()
def measure_norms(network: DeepMask, photographs: Sequence[Photograph]) -> None:
    """Give the trunk's norms the statistics of some photographs; what it computes stays the same.

    Training leaves those of ImageNet where they are while the trunk moves away from them, and
    `deepmask.quantize` takes the ranges of 8-bit values from them.
    """
    norms = norms_of(network)
    moments: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0]
        moments[norm].append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    for photograph in photographs:
        pixels = shrunk(photograph).to(network.appearance_mean.device)
        network.trunk(normalized(pixels))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = torch.stack(moments[norm]).mean(0)
        restate(norm, mean, (square - mean**2).clamp(min=0))


def norms_of(network: DeepMask) -> list[nn.BatchNorm2d]:
    """Those of the trunk; those of pyramid and heads learn their statistics in training."""
    return [m for m in network.trunk.modules() if isinstance(m, nn.BatchNorm2d)]


@torch.no_grad()
def restate(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Give a norm other statistics, and factors with which it computes what it did before."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.copy_(norm.bias + (mean - norm.running_mean) * scale)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def measure_appearance(network: DeepMask, photographs: Sequence[Photograph]) -> None:
    """Set `appearance_mean` to the mean over what the network finds in some photographs."""
    network.appearance_mean.zero_()
    runtime = TorchRuntime(copy.deepcopy(network), next(network.parameters()).device)
    found = [
        runtime(photograph.image(), (288, 384), 0.4, 20).appearance for photograph in photographs
    ]
    vectors = np.concatenate(found)
    if len(vectors):
        network.appearance_mean.copy_(torch.from_numpy(vectors.mean(0)))
