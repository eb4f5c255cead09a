"""Do the scores mean what they say? What was predicted of results against their real IoU.

Results are put into bins of the predicted value; in each the mean prediction should be the mean of
the IoU with the labelled object that the mask fits best (reliability diagrams: Niculescu-Mizil and
Caruana 2005; expected calibration error: Guo et al. 2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from deepmask.training.coco import Photograph

PREDICTIONS = {"predicted IoU": "predicted_iou", "score": "score"}
"""What is compared with the real IoU -> its key in a result."""
BINS = 10


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Results in B equal bins of their predicted value, lowest first; means of empty bins are 0."""

    counts: NDArray[np.int64]
    """`(B,)` results."""
    predicted: NDArray[np.float64]
    """`(B,)` mean prediction."""
    real: NDArray[np.float64]
    """`(B,)` mean IoU."""
    hits: NDArray[np.float64]
    """`(B,)` share with IoU >= .5."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean over the results of their bin's |predicted - real|."""
        gaps = np.abs(self.predicted - self.real)
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1))


def measure(
    photographs: Sequence[Photograph], results: Sequence[Mapping[str, Any]]
) -> dict[str, Reliability]:
    """Each of `PREDICTIONS` against the real IoU.

    Args:
        photographs: those in which not every object is labelled are left out, for what is found
            there may be an object all the same; so are results inside of crowds.
        results: in COCO's form, with `predicted_iou`.
    """
    of_image: dict[int, list[Mapping[str, Any]]] = {p.id: [] for p in photographs if p.exhaustive}
    for row in results:
        if row["image_id"] in of_image:
            of_image[row["image_id"]].append(row)
    known = [
        (row, iou)
        for photograph in photographs
        if (found := of_image.get(photograph.id))
        for row, iou in zip(found, real_ious(photograph, found), strict=True)
        if iou is not None
    ]
    real = np.array([iou for _, iou in known])
    return {
        name: in_bins(np.array([row[key] for row, _ in known]), real)
        for name, key in PREDICTIONS.items()
    }


def real_ious(photograph: Photograph, results: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """IoU of each result with the object that it fits best; None where it lies in a crowd."""
    crowd = [int(a.get("iscrowd", 0)) for a in photograph.annotations]
    given = [row["segmentation"] for row in results]
    wanted = [a["segmentation"] for a in photograph.annotations]
    if not wanted:
        return [0.0] * len(results)
    # With a crowd, pycocotools gives the share of the result that lies in it.
    overlaps = np.asarray(coco_mask.iou(given, wanted, crowd))
    in_crowd = np.array(crowd, bool)
    best = overlaps[:, ~in_crowd].max(1, initial=0.0)
    lost = overlaps[:, in_crowd].max(1, initial=0.0) > 0.5
    return [
        None if away and iou < 0.5 else float(iou) for iou, away in zip(best, lost, strict=True)
    ]


def in_bins(predicted: NDArray[np.float64], real: NDArray[np.float64]) -> Reliability:
    """Reliability of predictions `(n,)` in [0, 1] of IoUs `(n,)`.

    >>> found = in_bins(np.array([0.95, 0.91, 0.35]), np.array([0.9, 0.4, 0.35]))
    >>> found.counts.tolist(), round(found.error, 3)
    ([0, 0, 0, 1, 0, 0, 0, 0, 0, 2], 0.187)
    """
    of = np.minimum((predicted * BINS).astype(int), BINS - 1)
    counts = np.bincount(of, minlength=BINS)
    total = np.maximum(counts, 1)
    means = (np.bincount(of, values, BINS) / total for values in (predicted, real, real >= 0.5))
    return Reliability(counts, *means)


def table(measured: Mapping[str, Reliability]) -> str:
    """The bins that hold results, as text."""
    lines = []
    for name, found in measured.items():
        lines.append(f"{name:<16} {'results':>8} {'mean':>6} {'real IoU':>9} {'IoU >= .5':>10}")
        for i in np.flatnonzero(found.counts):
            bounds = f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}"
            lines.append(
                f"{bounds:<16} {found.counts[i]:8d} {found.predicted[i]:6.3f} "
                f"{found.real[i]:9.3f} {found.hits[i]:10.3f}"
            )
        lines.append(f"expected calibration error {found.error:.3f}")
    return "\n".join(lines)


def pyplot() -> Any:
    """Matplotlib's pyplot, that draws into files.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to get it.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the plot needs matplotlib: pip install 'deepmask-tracking[train]' (in a clone "
            "pip install -e '.[train]')"
        ) from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot(measured: Mapping[str, Reliability], picture: Path) -> None:
    """Draw the bins, with the number of results in each.

    Raises:
        ModuleNotFoundError: see `pyplot`.
    """
    plt = pyplot()
    figure, axes = plt.subplots(1, len(measured), figsize=(9, 4), constrained_layout=True)
    centres = (np.arange(BINS) + 0.5) / BINS
    for axis, (name, found) in zip(axes, measured.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="gray", linewidth=1)
        full = found.counts > 0
        axis.bar(centres, found.hits, 0.9 / BINS, alpha=0.25, label="share with IoU >= .5")
        axis.plot(found.predicted[full], found.real[full], "o-", label="mean real IoU")
        for i in np.flatnonzero(full):
            at = (found.predicted[i], found.real[i])
            axis.annotate(
                str(found.counts[i]), at, (0, 6), textcoords="offset points", ha="center", size=7
            )
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel=name, ylabel="real")
        axis.set_title(f"calibration error {found.error:.3f}", size=10)
        axis.legend(fontsize=8, loc="upper left")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
