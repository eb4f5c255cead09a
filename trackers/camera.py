"""The camera's motion, from the objects alone: what they all do is not what any of them does.

While a camera turns, everything in its picture moves alike. What has been followed for a while has
learnt this as its own velocity. What is new has not, and would be sought where it was born; at ten
frames a second a parked car is then a whole length away, and its neighbour in its place. So new
objects start with the common motion, for each axis

    c = the velocity nearest to 0 in [q, Q]        q, Q: fifths of the known velocities from below
                                                         and from above

which is 0 as soon as they go both ways, and else the least that four in five of them share: near
objects are faster than far ones when the camera drives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXCEPTIONS = 0.2
"""Share of the objects, on either side, that may move otherwise."""


def common_velocity(velocities: Floats) -> Floats:
    """`(2,)` what `(N, 2)` velocities vx, vy have in common; N from 1.

    >>> common_velocity(np.array([[9.0, 1.0], [4.0, -1.0], [5.0, 0.0]])).tolist()
    [4.0, 0.0]
    """
    ordered = np.sort(velocities, axis=0)
    few = int(EXCEPTIONS * len(velocities))
    common: Floats = np.clip(0.0, ordered[few], ordered[-1 - few])
    return common
