"""A network small enough for tests."""

from __future__ import annotations

import torch

from deepmask.config import DeepMaskConfig
from deepmask.network import DeepMask

SMALL = DeepMaskConfig(channels=16, embedding=24)


def small_network() -> DeepMask:
    """Untrained, the same each time, with objects in noise; no part of it gives zeros."""
    torch.manual_seed(0)
    network = DeepMask(SMALL).eval().requires_grad_(False)
    network.score_tower.score.weight.normal_(std=1.0)
    network.load_state_dict({"score_tower.score.bias": torch.zeros(1)}, strict=False)
    network.score_tower.context.weight.normal_(std=0.1)
    for parameter in network.mask_head.correct[-1].parameters():
        parameter.normal_(std=0.1)
    return network
