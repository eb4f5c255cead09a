"""The trunk in 8 bits, for CPUs that multiply bytes faster.

Inputs and weights are rounded to the values that 8-bit integers can hold; OpenVINO makes integer
convolutions of that. No pictures are needed: a pixel is such a value, after a ReLU6 values lie in
[0, 6], and elsewhere batch norm knows their mean and deviation (Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, ICCV 2019), which a training measures
at its end. Pyramid and heads, which it would harm more than it gains, stay in floating point.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepmask.network import DeepMask, InvertedResidual, normalized

DEVIATIONS = 6.0
"""How many standard deviations from its mean the value of a channel may lie (Nagel et al.)."""

STEPS = 255
"""Between the lowest and the highest value of 8 bits."""


class Rounded(nn.Module):
    """A convolution with its norm folded in, inputs and weights rounded to 8 bits.

    Args:
        conv: the convolution.
        norm: that follows it.
        low: inputs below are cut off; at most 0.
        high: inputs above are cut off.
    """

    scales: Tensor
    zeros: Tensor

    def __init__(self, conv: nn.Module, norm: nn.Module, low: float, high: float) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(conv, norm)
        self.step = (high - low) / STEPS
        self.zero = round(-low / self.step)
        largest = self.conv.weight.abs().amax((1, 2, 3))
        self.register_buffer("scales", largest.clamp(min=1e-12) / (STEPS // 2))
        self.register_buffer("zeros", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, 0, STEPS)
        weight = torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.scales, self.zeros, 0, -(STEPS // 2), STEPS // 2
        )
        conv = self.conv
        return nn.functional.conv2d(
            x, weight, conv.bias, conv.stride, conv.padding, groups=conv.groups
        )


def quantized(network: DeepMask) -> DeepMask:
    """A copy of `network`, in evaluation mode, with its trunk rounded."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    stem, stem_norm, stem_clamp = network.trunk.stem
    darkest, brightest = normalized(torch.tensor([0.0, 255.0])).tolist()
    network.trunk.stem = nn.Sequential(Rounded(stem, stem_norm, darkest, brightest), stem_clamp)
    mean = variance = torch.zeros(1)
    for block in [each for each in network.trunk.modules() if isinstance(each, InvertedResidual)]:
        *expansion, depthwise, norm, clamp, project, last = block.body
        assert isinstance(last, nn.BatchNorm2d)
        # ReLU6 comes before every depthwise convolution, and after it.
        layers = [Rounded(depthwise, norm, 0.0, 6.0), clamp, Rounded(project, last, 0.0, 6.0)]
        if expansion:
            expand, expand_norm, expand_clamp = expansion
            reach = DEVIATIONS * variance.sqrt()
            low, high = float((mean - reach).min()), float((mean + reach).max())
            layers = [Rounded(expand, expand_norm, low, high), expand_clamp, *layers]
        block.body = nn.Sequential(*layers)
        if not block.residual:
            mean = variance = torch.zeros(1)
        mean, variance = mean + last.bias, variance + last.weight**2
    return network
