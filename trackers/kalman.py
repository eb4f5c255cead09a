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
these six numbers, so one step for N objects is one `(N, 8) @ (8, 8)` and one `(N, 6) @ (6, 6)`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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


class KalmanModel:
    """The filter's matrices for a `MotionConfig`. Holds no state of any object."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._measurement = np.array([config.centre_noise**2, config.size_noise**2])
        self._step_s = -1.0
        self._matrices: tuple[Floats, Floats, Floats] = (np.eye(8), np.eye(6), np.zeros(6))

    def start(self, measured: Floats) -> tuple[Floats, Floats]:
        """States `(N, 8)` at rest and covariances `(N, 6)` of objects first seen.

        Args:
            measured: `(N, 4)` cx, cy, w, h in pixels.
        """
        speed = self.config.first_speed**2
        states = np.concatenate((measured, np.zeros_like(measured)), axis=1)
        first = np.array([*self._measurement, 0.0, 0.0, speed, speed])
        return states, np.tile(first, (len(measured), 1))

    def predict(self, states: Floats, covariances: Floats, dt_s: float) -> tuple[Floats, Floats]:
        """States `(N, 8)` and covariances `(N, 6)` as they are expected `dt_s` seconds later."""
        transition, spread, noise = self._for_step(dt_s)
        ahead = states @ transition
        np.maximum(ahead[:, 2:4], MIN_SIDE_PX, out=ahead[:, 2:4])
        return ahead, covariances @ spread + noise

    def correct(
        self, states: Floats, covariances: Floats, measured: Floats
    ) -> tuple[Floats, Floats]:
        """States and covariances after a measurement of each object.

        Args:
            states: `(N, 8)`.
            covariances: `(N, 6)`.
            measured: `(N, 4)` cx, cy, w, h in pixels.
        """
        n = len(states)
        P = covariances.reshape(n, 3, 2)  # (pp, pv, vv) of centre and of size
        S = P[:, 0] + self._measurement
        K = P[:, :2] / S[:, None]  # gain of position and of velocity
        y = (measured - states[:, :4]).reshape(n, 1, 2, 2)
        x = states.reshape(n, 2, 2, 2) + K[..., None] * y
        # P' = P - K H P, entry by entry: (1 - Kp) Ppp, (1 - Kp) Ppv, Pvv - Kv Ppv
        P_new = np.empty_like(P)
        np.multiply(P[:, :2], (1.0 - K[:, 0])[:, None], out=P_new[:, :2])
        np.subtract(P[:, 2], K[:, 1] * P[:, 1], out=P_new[:, 2])
        return x.reshape(n, 8), P_new.reshape(n, 6)

    def _for_step(self, dt_s: float) -> tuple[Floats, Floats, Floats]:
        """Transposed F of the state, its counterpart for P, and Q; built anew when dt changes."""
        if dt_s != self._step_s:
            self._matrices = self._build(dt_s)
            self._step_s = dt_s
        return self._matrices

    def _build(self, dt: float) -> tuple[Floats, Floats, Floats]:
        config = self.config
        F, A, q = np.eye(8), np.zeros((6, 6)), np.zeros(6)
        kinds = (
            (config.centre_decay_s, config.centre_drift, (0, 1)),
            (config.size_decay_s, config.size_drift, (2, 3)),
        )
        for kind, (decay_s, density, coordinates) in enumerate(kinds):
            r, d = _reach(dt, decay_s)
            for p in coordinates:
                F[p + 4, p], F[p + 4, p + 4] = r, d
            pp, pv, vv = kind, kind + 2, kind + 4
            A[pp, pp] = 1.0  # Ppp' = Ppp + 2 r Ppv + r^2 Pvv
            A[pv, pp], A[vv, pp] = 2 * r, r * r
            A[pv, pv], A[vv, pv] = d, d * r  # Ppv' = d (Ppv + r Pvv)
            A[vv, vv] = d * d  # Pvv' = d^2 Pvv
            q[[pp, pv, vv]] = density * np.array([dt**3 / 3, dt**2 / 2, dt])
        return F, A, q


def _reach(dt_s: float, decay_s: float) -> tuple[float, float]:
    """r and d of the module's docstring: seconds of motion left in `dt_s`, share of speed kept."""
    d = math.exp(-dt_s / decay_s)
    return (dt_s if math.isinf(decay_s) else decay_s * (1.0 - d)), d


MIN_SIDE_PX = 1.0
"""A predicted box never becomes thinner than this."""


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
