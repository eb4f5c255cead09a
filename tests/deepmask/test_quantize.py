"""Rounding to 8 bits: what it does to one convolution, and to the shipped network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from deepmask import checkpoint
from deepmask.quantize import LARGEST, STEPS, Rounded, quantized
from deepmask.runtime import OpenVinoRuntime
from deepmask.torch_runtime import TorchRuntime
from tests.networks import small_network


@pytest.fixture(scope="module")
def network():
    return checkpoint.load(checkpoint.find_weights("deepmask-lite0"))


def picture():
    """`(96, 128, 3)` uint8: a bright disc on a soft background."""
    y, x = np.mgrid[:96, :128]
    image = np.stack([60 + x / 2, 90 + y / 4, 120 - x / 4], -1)
    image[(y - 48) ** 2 + (x - 64) ** 2 < 22**2] = 230, 60, 40
    return image.astype(np.uint8)


def integer_convolutions(runtime):
    """Names of the convolutions that OpenVINO computes in integers."""
    (compiled,) = runtime._dense.values()
    return [
        op.get_friendly_name()
        for op in compiled.get_runtime_model().get_ops()
        if op.get_rt_info()["layerType"].astype(str) in ("Convolution", "GroupConvolution")
        and "I8" in op.get_rt_info()["primitiveType"].astype(str)
    ]


CONVOLUTIONS = {
    "pointwise": nn.Conv2d(12, 5, 1, bias=False),
    "depthwise": nn.Conv2d(12, 12, 3, 2, 1, groups=12, bias=False),
}


def random_layer(kind):
    """A convolution and its norm."""
    torch.manual_seed(0)
    conv = CONVOLUTIONS[kind]
    norm = nn.BatchNorm2d(conv.out_channels)
    nn.init.normal_(conv.weight)
    norm.running_mean = torch.randn(conv.out_channels)
    norm.running_var = torch.rand(conv.out_channels) + 0.5
    return nn.Sequential(conv, norm).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_rounded_convolution_is_off_by_no_more_than_its_steps(kind):
    exact = random_layer(kind)
    conv, norm = exact
    rounded = Rounded(conv, norm, -2.0, 6.0, torch.zeros(1))
    x = torch.rand(1, 12, 7, 9) * 8 - 2
    wanted, given = exact(x), rounded(x).detach()
    weights = rounded.conv.weight.detach().abs()
    inputs = 0.5 * 8 / STEPS * weights.sum((1, 2, 3))
    reached = copy.deepcopy(conv)
    nn.init.ones_(reached.weight)
    seen = reached(x.abs()).detach().amax((0, 2, 3))
    kernels = 0.5 * weights.amax((1, 2, 3)) / LARGEST * seen
    # The zero of the inputs is rounded too, which moves the ends of their range by half a step.
    most = (2 * inputs + kernels).view(1, -1, 1, 1)
    assert ((given - wanted).abs() <= most).all()
    assert not torch.equal(given, wanted)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_rounding_the_weights_leaves_the_mean_where_it_was(kind):
    """Of inputs that are on average what they were said to be."""
    conv, norm = exact = random_layer(kind)
    mean = torch.linspace(-1.0, 5.0, 12)
    x = mean.view(1, -1, 1, 1) + torch.rand(1, 12, 65, 65) - 0.5
    conv.padding = (0, 0)

    def shift(said):
        rounded = Rounded(conv, norm, -2.0, 6.0, said)
        return (rounded(x) - exact(x)).mean((0, 2, 3)).abs().max()

    assert shift(mean) < 0.1 * shift(torch.zeros(1))


def test_two_products_fit_in_16_bits(network):
    """That is how processors without VNNI add them."""
    for module in quantized(network).trunk.modules():
        if isinstance(module, Rounded):
            integers = module.rounded_weight() / module.scales.view(-1, 1, 1, 1)
            torch.testing.assert_close(integers, integers.round())
            assert 2 * STEPS * integers.abs().max() < 2**15


def test_the_shipped_network_stays_the_same_but_for_rounding(network):
    image = torch.from_numpy(picture()).permute(2, 0, 1)[None].float()
    wanted = network.dense(image).objectness.sigmoid()
    given = quantized(network).dense(image).objectness.sigmoid()
    assert wanted.max() > 0.5
    assert 0 < (given - wanted).abs().max() < 0.1


def test_the_ranges_hold_what_the_shipped_network_computes(network):
    """Batch norm's statistics bound the inputs: next to nothing is cut off."""
    rounded, outside = quantized(network), []
    for module in rounded.trunk.modules():
        if isinstance(module, Rounded):
            low = -module.zero * module.step
            high = low + STEPS * module.step
            module.register_forward_pre_hook(
                lambda _, inputs, low=low, high=high: outside.append(
                    float(((inputs[0] < low) | (inputs[0] > high)).float().mean())
                )
            )
    rounded.dense(torch.from_numpy(picture()).permute(2, 0, 1)[None].float())
    assert len(outside) == 48
    assert np.median(outside) < 1e-4
    assert max(outside) < 1e-3


def test_openvino_computes_them_in_integers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = small_network()
    checkpoint.save(tmp_path / "tiny.safetensors", network)
    runtime = OpenVinoRuntime(tmp_path / "tiny.safetensors", 1, "int8")
    reference = TorchRuntime(quantized(network), torch.device("cpu"))
    given, wanted = (each(picture(), (96, 128), 0.3, 20) for each in (runtime, reference))
    np.testing.assert_allclose(given.objectness, wanted.objectness, atol=0.02)
    assert len(integer_convolutions(runtime)) == 48
