"""Every number that shapes the network. A checkpoint carries its own `DeepMaskConfig`."""

from __future__ import annotations

import dataclasses
from typing import Literal

TrunkName = Literal["lite0", "lite1", "lite2"]
Refinement = Literal["none", "convolution", "detail"]


@dataclasses.dataclass(frozen=True, slots=True)
class DeepMaskConfig:
    """Shape of the network; see docs/deepmask.md for the picture."""

    trunk: TrunkName = "lite0"
    """EfficientNet-Lite variant (Tan and Le, ICML 2019, in its form without squeeze-excite)."""

    channels: int = 96
    """Channels of the feature pyramid."""

    levels: int = 8
    """Pyramid levels, half an octave apart, from stride 8 px: 8, 11.3, 16, ... 90.5."""

    window: int = 9
    """Side of the window that belongs to a location, in cells of its level; odd."""

    score_layers: int = 3
    """Depthwise-separable 5x5 layers of the objectness tower."""

    embedding: int = 256
    """Length of the vector that encodes a window: DeepMask's 512-vector."""

    coarse: int = 28
    """Side of the low-rank mask, in pixels over the window."""

    mask: int = 56
    """Side of the final mask, in pixels over the window; twice `coarse`."""

    refinement: Refinement = "detail"
    """What sharpens the low-rank mask: nothing, a dynamic convolution of it, or one that sees the
    stride-4 map too."""

    detail: int = 8
    """Channels of the stride-4 map that sharpens the mask's outline."""

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise ValueError(
                f"window should be odd, so that it has a middle cell, got {self.window}"
            )
        if self.mask != 2 * self.coarse:
            raise ValueError(f"mask should be twice coarse ({2 * self.coarse}), got {self.mask}")

    @property
    def canonical(self) -> float:
        """Long side of the object that a location stands for, in cells (128/224 of the window)."""
        return self.window * 128 / 224
