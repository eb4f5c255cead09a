"""The trunk in integers, for CPUs that multiply bytes faster.

Inputs and weights are rounded to the values that integers can hold; OpenVINO makes integer
convolutions of that. No pictures are needed (Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019). The ranges: a pixel is such a value, after a ReLU6
values lie in [0, 6], and elsewhere batch norm knows their mean and deviation, which a training
measures at its end. And the bias: what rounding adds to a weight, times what it multiplies on
average, is taken off again. Pyramid and heads, which it would harm more than it gains, stay in
floating point.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepmask.network import DeepMask, InvertedResidual, normalized

DEVIATIONS = 6.0
"""How many standard deviations from its mean the value of a channel may lie (Nagel et al.)."""

STEPS = 255
"""Between the lowest and the highest input: 8 bits."""

LARGEST = 63
"""The largest weight, of either sign: 7 bits. Processors without VNNI add two products of bytes in
16 bits, where 2 x 255 x 127 would not fit."""

CEILING = 6.0
"""Where ReLU6 ends."""


class Rounded(nn.Module):
    """A convolution with its norm folded in, inputs rounded to 8 bits and weights to 7.

    Args:
        conv: the convolution, pointwise or depthwise unless the mean input is 0.
        norm: that follows it.
        low: inputs below are cut off; at most 0.
        high: inputs above are cut off.
        mean: `(C,)` or `(1,)` what the channels of the input are on average.
    """

    scales: Tensor
    zeros: Tensor

    def __init__(
        self, conv: nn.Module, norm: nn.Module, low: float, high: float, mean: Tensor
    ) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(conv, norm).requires_grad_(False)
        self.step = (high - low) / STEPS
        self.zero = round(-low / self.step)
        largest = self.conv.weight.abs().amax((1, 2, 3))
        self.register_buffer("scales", largest.clamp(min=1e-12) / LARGEST)
        self.register_buffer("zeros", torch.zeros(len(largest), dtype=torch.int32))
        added = (self.rounded_weight() - self.conv.weight).sum((2, 3))
        assert self.conv.bias is not None
        self.conv.bias -= (added * (mean.view(-1, 1) if conv.groups > 1 else mean)).sum(1)

    def rounded_weight(self) -> Tensor:
        """The weight as integers have it, in its own units."""
        # In the range of 8 bits, of which half is used: OpenVINO makes integers of no other.
        half = STEPS // 2
        return torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.scales, self.zeros, 0, -half, half
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, 0, STEPS)
        conv = self.conv
        return nn.functional.conv2d(
            x, self.rounded_weight(), conv.bias, conv.stride, conv.padding, groups=conv.groups
        )


def clamped_mean(norm: nn.Module) -> Tensor:
    """`(C,)` the mean of ReLU6 after a norm, whose channels are taken to be normally distributed.

    >>> norm = nn.BatchNorm2d(2)
    >>> norm.bias.data = torch.tensor([0.0, 3.0])
    >>> [round(mean, 3) for mean in clamped_mean(norm).tolist()]  # sqrt(1 / 2 pi), and the middle
    [0.399, 3.0]
    """
    assert isinstance(norm, nn.BatchNorm2d)
    mean, deviation = norm.bias.detach().double(), norm.weight.detach().double().abs() + 1e-9
    ends = (torch.tensor([[0.0], [CEILING]], dtype=torch.double) - mean) / deviation
    below, under = torch.special.ndtr(ends)
    a, b = (-(ends**2) / 2).exp() / math.sqrt(2 * math.pi)
    inside = mean * (under - below) + deviation * (a - b)
    clamped: Tensor = inside + CEILING * (1 - under)
    return clamped.float()


def quantized(network: DeepMask) -> DeepMask:
    """A copy of `network`, in evaluation mode, with its trunk rounded."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    stem, stem_norm, stem_clamp = network.trunk.stem
    darkest, brightest = normalized(torch.tensor([0.0, 255.0])).tolist()
    nothing = torch.zeros(1)
    network.trunk.stem = nn.Sequential(
        Rounded(stem, stem_norm, darkest, brightest, nothing), stem_clamp
    )
    mean = variance = nothing
    before = stem_norm
    for block in [each for each in network.trunk.modules() if isinstance(each, InvertedResidual)]:
        *expansion, depthwise, norm, clamp, project, last = block.body
        assert isinstance(last, nn.BatchNorm2d)
        layers: list[nn.Module] = []
        if expansion:
            expand, before, clamp = expansion
            reach = DEVIATIONS * variance.sqrt()
            low, high = float((mean - reach).min()), float((mean + reach).max())
            layers = [Rounded(expand, before, low, high, mean), clamp]
        # ReLU6 comes before every depthwise convolution, and after it.
        layers += [
            Rounded(depthwise, norm, 0.0, CEILING, clamped_mean(before)),
            clamp,
            Rounded(project, last, 0.0, CEILING, clamped_mean(norm)),
        ]
        block.body = nn.Sequential(*layers)
        if not block.residual:
            mean = variance = nothing
        mean, variance = mean + last.bias, variance + last.weight**2
    return network
