"""Which tracklets and detections belong together: what the passes of an update find out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import association

Indices = NDArray[np.intp]


class Matches:
    """Which tracklet was matched with which detection during one update."""

    def __init__(self, tracklets: int, detections: int) -> None:
        self.shape = (tracklets, detections)
        self._pairs: list[tuple[Indices, Indices]] = []
        self.left = detections
        """How many detections are unmatched yet."""
        nobody = np.empty(tracklets + detections, np.intp)
        nobody.fill(-1)
        self.partner: Indices = nobody[:tracklets]
        """`(N,)` detection of each tracklet, -1 for none."""
        self.owner: Indices = nobody[tracklets:]
        """`(M,)` tracklet of each detection, -1 for none."""

    def free(self, i: Indices, j: Indices) -> NDArray[np.bool_]:
        """`(K,)` whether tracklet i[k] and detection j[k] are both unmatched."""
        return (self.partner.take(i) < 0) & (self.owner.take(j) < 0)

    def add(self, i: Indices, j: Indices) -> None:
        """Record that tracklets `i` are detections `j`."""
        self.partner[i] = j
        self.owner[j] = i
        self.left -= len(j)
        self._pairs.append((i, j))

    def assign(self, i: Indices, j: Indices, gain: NDArray[np.float64]) -> None:
        """Record those of the pairs i[k], j[k] that gain most together: `association.assign`."""
        self.add(*association.assign(i, j, gain, self.shape))

    def release(self, j: Indices) -> None:
        """Unmatch the detections `j`, as far as they are matched."""
        j = j[self.owner[j] >= 0]
        self.partner[self.owner[j]] = -1
        self.owner[j] = -1
        self.left += len(j)

    def pairs(self) -> tuple[Indices, Indices]:
        """Tracklet and detection of each match, `(K,)` both."""
        if len(self._pairs) == 1:
            return self._pairs[0]
        i = (self.partner >= 0).nonzero()[0]
        return i, self.partner.take(i)
