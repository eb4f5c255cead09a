"""The compiled depthwise convolution is torch's, but for the rounding to bfloat16."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.network import DeepMask, Depthwise
from deepmask.training import depthwise
from deepmask.training.depthwise import TrainedDepthwise, compiled, quicken
from tests.networks import SMALL

needs_compiler = pytest.mark.skipif(compiled() is None, reason="no C compiler here")


def gradients(layer: torch.nn.Module, x: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    """What a layer gives under autocast, and the gradients of its input and weight."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.backward(upstream.to(y.dtype))
    assert x.grad is not None
    weight = next(layer.parameters())
    found, weight.grad = weight.grad, None
    assert found is not None
    return y.detach(), x.grad, found


def exact(layer: Depthwise, x: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    """The same in float32 by torch's own convolution."""
    x = x.float().requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    y = F.conv2d(x, weight, None, layer.stride, layer.padding, groups=layer.groups)
    y.backward(upstream.float())
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(12, 20), (7, 9), (1, 3)])
@pytest.mark.parametrize(
    "by_compiled", [pytest.param(True, marks=needs_compiler), False], ids=["compiled", "fallback"]
)
def test_outputs_and_gradients_are_those_of_torch(
    kernel: int,
    stride: int,
    size: tuple[int, int],
    by_compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not by_compiled:
        monkeypatch.setattr(depthwise, "compiled", lambda: None)
    torch.manual_seed(0)
    plain = Depthwise(48, kernel, stride)
    x = torch.randn(3, 48, *size).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(3, 48, *(-(-side // stride) for side in size)).to(torch.bfloat16)
    got = gradients(TrainedDepthwise(plain), x, upstream)
    for ours, theirs in zip(got, exact(plain, x, upstream), strict=True):
        assert (ours.float() - theirs).norm() < 0.005 * theirs.norm()


@needs_compiler
def test_threads_share_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than blocks of channels, and fewer."""
    plain, upstream = Depthwise(80, 5), torch.randn(2, 80, 6, 6)
    x = torch.randn(2, 80, 6, 6).to(torch.bfloat16)
    library = compiled()
    assert library is not None
    one_of_each = []
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(library, "threads", threads)
        one_of_each.append(gradients(TrainedDepthwise(plain), x, upstream))
    for found in one_of_each[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, one_of_each[0], strict=True))


def test_a_quickened_network_is_the_same_network() -> None:
    """The same names, parameters and outputs; what is frozen stays as it is."""
    network = DeepMask(SMALL)
    network.trunk.stem.requires_grad_(False)
    network.trunk.stages[0].requires_grad_(False)
    before = copy.deepcopy(network).eval()
    parameters = dict(network.named_parameters())
    quicken(network)
    assert {name: id(p) for name, p in network.named_parameters()} == {
        name: id(p) for name, p in parameters.items()
    }
    kinds = {type(m) for m in network.trunk.stages[0].modules()}
    assert Depthwise in kinds
    assert TrainedDepthwise not in kinds
    assert not any(isinstance(m, Depthwise) for m in network.score_tower.modules())
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        now, then = network.eval().dense(images), before.dense(images)
    assert torch.allclose(now.objectness, then.objectness, atol=1e-4)
