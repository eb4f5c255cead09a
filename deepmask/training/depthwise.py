"""Depthwise convolutions that a CPU trains fast.

Half of a training step on a CPU was the backward pass of 5x5 and strided depthwise convolutions:
oneDNN has no fast one. `depthwise.c` is ours, compiled when a training starts, in a second, for the
processor that it runs on. Where there is no C compiler they are computed in float32 instead, which
is faster than oneDNN's in bfloat16 but far from fast.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.network import Depthwise

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".c")
COMPILERS: tuple[str, ...] = (os.environ.get("CC", "cc"), "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC")
LANES = 16
"""Channels that are computed at a time."""


class Shape(ctypes.Structure):
    """A map `(B, H, W, C)`, and the convolution of it."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("batch", "height", "width", "channels", "kernel", "stride")
    ]


class Compiled:
    """`depthwise.c`, its work divided among as many threads as torch has."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library, self.threads = library, torch.get_num_threads()
        self.pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="depthwise")

    def forward(self, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """`x` `(B, C, H, W)` bfloat16, `weight` `(K * K, C)` float32."""
        batch, channels, height, width = x.shape
        size = (batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
        out = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        self._share(self.library.forward, x, weight, stride, out)
        return out

    def backward(
        self, x: Tensor, weight: Tensor, stride: int, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of `x` and `weight`, from that of what `forward` gave."""
        grad_x, grad_weight = torch.empty_like(x), torch.empty_like(weight)
        self._share(self.library.backward, x, weight, stride, grad, grad_x, grad_weight)
        return grad_x, grad_weight

    def _share(self, work: Any, x: Tensor, weight: Tensor, stride: int, *others: Tensor) -> None:
        batch, channels, height, width = x.shape
        shape = Shape(batch, height, width, channels, round(len(weight) ** 0.5), stride)
        places = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, weight, *others)]
        work = functools.partial(work, ctypes.byref(shape), *places)
        blocks = channels // LANES
        mine, *theirs = itertools.pairwise(
            blocks * i // self.threads for i in range(self.threads + 1)
        )
        shared = [self.pool.submit(work, first, last) for first, last in theirs]
        work(*mine)
        for future in shared:
            future.result()


@functools.lru_cache(maxsize=1)
def compiled() -> Compiled | None:
    """`depthwise.c` for this processor; None where nothing can compile it."""
    for compiler in filter(shutil.which, COMPILERS):
        try:
            with tempfile.TemporaryDirectory() as folder:
                library = Path(folder) / "depthwise.so"
                command = [compiler, *FLAGS, "-o", str(library), str(SOURCE)]
                subprocess.run(command, capture_output=True, check=True)
                return Compiled(ctypes.CDLL(str(library)))
        except (subprocess.CalledProcessError, OSError) as error:  # or nothing may run from there
            log.debug("%s: %s", compiler, error)
    log.info("no C compiler here: a CPU with one (gcc, say) takes a fifth less time a step")
    return None


class Convolution(torch.autograd.Function):
    """Depthwise convolution of bfloat16 maps by `Compiled`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """`x` `(B, C, H, W)` bfloat16, `weight` `(C, 1, K, K)` float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        flat = weight.detach().flatten(1).T.contiguous()
        ctx.save_for_backward(x, flat)
        ctx.stride = stride
        return _library().forward(x, flat, stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients of `x` and `weight`."""
        x, flat = ctx.saved_tensors
        grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
        grad_x, grad_flat = _library().backward(x, flat, ctx.stride, grad)
        kernel = round(len(flat) ** 0.5)
        return grad_x, grad_flat.T.reshape(-1, 1, kernel, kernel), None


class TrainedDepthwise(nn.Module):
    """A `Depthwise` convolution as a CPU trains it, under bfloat16 autocast; the same weights."""

    def __init__(self, plain: Depthwise) -> None:
        super().__init__()
        self.weight, self.stride = plain.weight, plain.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> `(B, C, ceil(H / stride), ceil(W / stride))`."""
        kernel, channels = self.weight.shape[2], self.weight.shape[0]
        bf16 = torch.is_autocast_enabled("cpu")
        if bf16 and channels % LANES == 0 and kernel in (3, 5) and compiled():
            y: Tensor = Convolution.apply(  # type: ignore[no-untyped-call]
                x.to(torch.bfloat16), self.weight, self.stride
            )
            return y
        slow = kernel > 3 or self.stride > 1
        with torch.autocast("cpu", enabled=bf16 and not slow):
            seen = x.float() if slow else x
            y = F.conv2d(seen, self.weight, None, self.stride, kernel // 2, groups=channels)
        return y.to(x.dtype)


def quicken(network: nn.Module) -> None:
    """Let the depthwise convolutions that learn be `TrainedDepthwise`, with their parameters."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Depthwise) and child.weight.requires_grad:
                setattr(parent, name, TrainedDepthwise(child))


def _library() -> Compiled:
    library = compiled()
    assert library is not None  # `TrainedDepthwise` asked before
    return library
