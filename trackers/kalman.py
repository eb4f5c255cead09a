"""Constant-velocity Kalman filters of all objects in one array.

The state of one object, as a row:

    x = [cx, cy, w, h, vx, vy, vw, vh]        pixels and pixels a second

Centre and size each follow the same model, with their own noise. For one coordinate p and its
velocity v, over a step of dt seconds:

    p' = p + r v           F = | 1  r |        d = exp(-dt / decay_s)
    v' = d v                   | 0  d |        r = decay_s (1 - d), which is dt without decay

    Q = q | dt^3/3  dt^2/2 |                   white noise of density q on the acceleration
          | dt^2/2  dt     |                   (Bar-Shalom et al. 2001, section 6.2.2)

The velocity decays with its own time constant (infinite for none), which keeps a box that is
not seen from growing or flying away. Both are exact for any dt: two steps of dt/2 predict what
one step of dt predicts.

Noise is stated as fractions of the object's size, for the prediction of a large object errs by
more pixels than that of a small one. Process and measurement noise then scale alike, the size
cancels in the gain, and the covariance is kept in units of size^2:

    P = [Ppp_c, Ppp_s, Ppv_c, Ppv_s, Pvv_c, Pvv_s]        c: cx and cy, s: w and h

cx and cy share theirs, and so do w and h. With F and Q above, P' = F P F^T + Q is linear in
these six numbers. State and covariance stand side by side in a row of 14 numbers, a *filter*, and
a step of N filters is one product `(N, 14) @ (14, 14)`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MOST = 1e6  # sizes, and sizes a second: more overflows where it is squared


@dataclasses.dataclass(frozen=True, slots=True)
class MotionConfig:
    """Noise of the motion model. Lengths are fractions of the object's size sqrt(w h)."""

    centre_noise: float = 0.05
    """Standard deviation of a measured centre."""

    size_noise: float = 0.08
    """Standard deviation of a measured width or height."""

    centre_drift: float = 2.0
    """Density q of the centre's acceleration noise, size^2 / s^3. Larger follows faster."""

    size_drift: float = 0.5
    """Density q of the size's acceleration noise, size^2 / s^3."""

    first_speed: float = 1.0
    """Standard deviation of a new object's speed, sizes a second."""

    centre_decay_s: float = math.inf
    """Time constant with which the speed of the centre dies out, seconds."""

    size_decay_s: float = 0.5
    """Time constant with which growth and shrinkage die out, seconds."""

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self)):
            value, is_time = getattr(self, name), name.endswith("_s")
            if not value >= 0.0 or (is_time and value == 0.0):
                least = "above 0" if is_time else "0 or more"
                raise ValueError(f"{name} should be {least}, got {value}")
            if not is_time and value > _MOST:
                raise ValueError(f"{name} should be at most {_MOST:g}, got {value}")


class KalmanModel:
    """The filters' matrices for a `MotionConfig`. Holds no state of any object."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self.noise = np.array([[config.centre_noise**2], [config.size_noise**2]])
        """`(2, 1)` variance of a measured centre and of a measured side: R in units of size^2."""

    def start(self, measured: Floats, velocity: Floats | float = 0.0) -> Floats:
        """`(N, 14)` filters of objects first seen.

        Args:
            measured: `(N, 4)` cx, cy, w, h in pixels.
            velocity: `(2,)` expected vx, vy of their centres in pixels a second, or at rest.
        """
        filters = np.zeros((len(measured), 14))
        filters[:, :4] = measured
        filters[:, 4:6] = velocity
        filters[:, 8:10] = self.noise.T
        filters[:, 12:] = self.config.first_speed**2
        return filters

    def predict(self, filters: Floats, dt_s: float) -> None:
        """Move `(N, 14)` filters in place to what is expected `dt_s` seconds later."""
        transition, noise = _step(self.config, dt_s)
        ahead = filters @ transition
        ahead += noise
        np.maximum(ahead, LEAST, out=filters)

    def correct(self, filters: Floats, measured: Floats) -> None:
        """Correct `(N, 14)` filters in place by a measurement of each object.

        Args:
            filters: Rows of a table.
            measured: `(N, 4)` cx, cy, w, h in pixels.
        """
        n = len(filters)
        columns = filters.T.copy()  # each contiguous: arithmetic is several times faster
        x = columns[:8].reshape(2, 2, 2, n)  # position and velocity of centre and of size
        P = columns[8:].reshape(3, 2, n)  # pp, pv, vv of centre and of size
        K = P[:2] / (P[0] + self.noise)  # P H^T S^-1, S = H P H^T + R
        y = measured.T.reshape(2, 2, n) - x[0]
        x += K[:, :, None] * y
        # P' = P - K H P, entry by entry: Ppp - Kp Ppp, Ppv - Kp Ppv, Pvv - Kv Ppv
        P -= K.take((0, 0, 1), 0) * P.take((0, 1, 1), 0)
        filters[:] = columns.T


@functools.lru_cache(maxsize=64)
def _step(config: MotionConfig, dt: float) -> tuple[Floats, Floats]:
    """The matrix that a row of 14 is multiplied by, and the noise that is added.

    Even at a steady rate the steps differ in their last bits, so some are remembered.
    """
    T, q = np.eye(14), np.zeros(14)
    kinds = (
        (config.centre_decay_s, config.centre_drift, (0, 1)),
        (config.size_decay_s, config.size_drift, (2, 3)),
    )
    for kind, (decay_s, density, coordinates) in enumerate(kinds):
        r, d = _reach(dt, decay_s)
        for p in coordinates:
            T[p + 4, p], T[p + 4, p + 4] = r, d
        pp, pv, vv = 8 + kind, 10 + kind, 12 + kind
        T[pv, pp], T[vv, pp] = 2 * r, r * r  # Ppp' = Ppp + 2 r Ppv + r^2 Pvv
        T[pv, pv], T[vv, pv] = d, d * r  # Ppv' = d (Ppv + r Pvv)
        T[vv, vv] = d * d  # Pvv' = d^2 Pvv
        q[[pp, pv, vv]] = density * np.array([dt**3 / 3, dt**2 / 2, dt])
    return T, q


def _reach(dt_s: float, decay_s: float) -> tuple[float, float]:
    """r and d of the module's docstring: seconds of motion left in `dt_s`, share of speed kept."""
    d = math.exp(-dt_s / decay_s)
    return (dt_s if math.isinf(decay_s) else decay_s * (1.0 - d)), d


MIN_SIDE_PX = 1.0
"""A predicted box never becomes thinner than this."""
LEAST: Floats = np.array([-math.inf] * 2 + [MIN_SIDE_PX] * 2 + [-math.inf] * 10)
"""The same for a whole filter."""


def filterpy_filter(config: MotionConfig, measured: Floats, dt_s: float) -> Any:
    """The same filter for one object, built with filterpy: the oracle of the tests.

    Args:
        config: The noise.
        measured: `(4,)` cx, cy, w, h of the first measurement in units of the object's size.
        dt_s: Length of every step in seconds.

    Returns:
        A `filterpy.kalman.KalmanFilter` of 8 states and 4 measurements.
    """
    from filterpy.common import Q_continuous_white_noise
    from filterpy.kalman import KalmanFilter

    kf = KalmanFilter(dim_x=8, dim_z=4)
    kf.x = np.concatenate((measured, np.zeros(4)))
    kf.H = np.eye(4, 8)
    kf.R = np.diag(np.repeat([config.centre_noise**2, config.size_noise**2], 2))
    kf.P = np.diag([*np.diag(kf.R), *np.full(4, config.first_speed**2)])
    kf.F, kf.Q = np.eye(8), np.zeros((8, 8))
    for p in range(4):
        decay_s = config.centre_decay_s if p < 2 else config.size_decay_s
        density = config.centre_drift if p < 2 else config.size_drift
        block = np.ix_([p, p + 4], [p, p + 4])
        r, d = _reach(dt_s, decay_s)
        kf.F[block] = [[1.0, r], [0.0, d]]
        kf.Q[block] = Q_continuous_white_noise(2, dt_s, density)
    return kf
