"""The three losses, each a few lines. All are computed in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def objectness_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017; gamma 2, alpha .25) over all cells, for each positive one.

    Args:
        logits: `(B, N)`.
        targets: `(B, N)` 0 or 1.
        weights: `(B, N)`; 0 leaves a cell out.
    """
    p = logits.sigmoid()
    wrong = torch.where(targets > 0.5, 1 - p, p)
    alpha = torch.where(targets > 0.5, 0.25, 0.75)
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weights * alpha * wrong.square() * bce).sum() / targets.sum().clamp(min=1)


def mask_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and Dice (Milletari et al. 2016) of window masks.

    Args:
        logits: `(n, S, S)`.
        targets: `(n, S, S)` in [0, 1].
        valid: `(n,)` bool.

    Returns:
        The two losses, each a mean over the valid windows.
    """
    count = valid.sum().clamp(min=1)
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2))
    p = logits.sigmoid()
    both = (p * targets).sum((1, 2))
    dice = 1 - (2 * both + 1) / (p.square().sum((1, 2)) + targets.square().sum((1, 2)) + 1)
    return (bce * valid).sum() / count, (dice * valid).sum() / count


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU `(n,)` of thresholded masks `(n, S, S)` with targets in [0, 1]."""
    given, wanted = logits > 0, targets > 0.5
    union = (given | wanted).sum((1, 2)).clamp(min=1)
    return (given & wanted).sum((1, 2)) / union


def quality_loss(logits: Tensor, iou: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of the predicted IoU with the real one (Mask Scoring R-CNN's idea).

    Args:
        logits: of any shape.
        iou: of the same shape, in [0, 1].
        valid: of the same shape, bool; the loss is the mean over these.
    """
    loss = F.binary_cross_entropy_with_logits(logits, iou, reduction="none")
    return (loss * valid).sum() / valid.sum().clamp(min=1)
