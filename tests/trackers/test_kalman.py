import math

import numpy as np
import pytest

from trackers.kalman import KalmanModel, MotionConfig, filterpy_filter


def measurements(rng, steps, objects):
    """Objects that drift and grow a little: `(steps, objects, 4)` in units of their size."""
    start = rng.uniform(-5, 5, (objects, 4))
    speed = rng.normal(0, 0.3, (objects, 4))
    noise = rng.normal(0, 0.05, (steps, objects, 4))
    walk = start + np.arange(steps)[:, None, None] * 0.04 * speed + noise
    walk[..., 2:] = np.abs(walk[..., 2:]) + 3.0  # far from the smallest side
    return walk


@pytest.mark.parametrize("config", [MotionConfig(), MotionConfig(centre_decay_s=0.7)])
def test_batch_equals_filterpy_object_by_object(config):
    rng = np.random.default_rng(1)
    steps = rng.choice([0.02, 0.04, 0.2], 30)
    z = measurements(rng, len(steps) + 1, 5)
    seen = rng.random((len(steps), 5)) < 0.7
    model = KalmanModel(config)
    x, P = model.start(z[0])
    oracles = [filterpy_filter(config, z[0, i], steps[0]) for i in range(5)]
    for k, dt in enumerate(steps):
        x, P = model.predict(x, P, dt)
        m = np.flatnonzero(seen[k])
        x[m], P[m] = model.correct(x[m], P[m], z[k + 1, m])
        for i, oracle in enumerate(oracles):
            again = filterpy_filter(config, z[0, i], dt)
            oracle.F, oracle.Q = again.F, again.Q
            oracle.predict()
            if seen[k, i]:
                oracle.update(z[k + 1, i])
            np.testing.assert_allclose(x[i], oracle.x.ravel(), rtol=1e-9, atol=1e-9)
            entries = [oracle.P[r, c] for r, c in ((0, 0), (2, 2), (0, 4), (2, 6), (4, 4), (6, 6))]
            np.testing.assert_allclose(P[i], entries, rtol=1e-9, atol=1e-12)


def test_constant_velocity_is_learnt_and_predicted():
    model = KalmanModel(MotionConfig())
    x, P = model.start(np.array([[0.0, 0.0, 40.0, 40.0]]))
    for k in range(1, 60):
        x, P = model.predict(x, P, 1 / 30)
        x, P = model.correct(x, P, np.array([[2.0 * k, -1.0 * k, 40.0, 40.0]]))
    np.testing.assert_allclose(x[0, 4:6], [60.0, -30.0], rtol=0.01)
    ahead, _ = model.predict(x, P, 0.5)
    np.testing.assert_allclose(ahead[0, :2], x[0, :2] + 0.5 * x[0, 4:6])


@pytest.mark.parametrize("decay_s", [math.inf, 0.3])
def test_two_half_steps_predict_what_one_step_predicts(decay_s):
    config = MotionConfig(
        centre_decay_s=decay_s, size_decay_s=decay_s, centre_drift=0, size_drift=0
    )
    model = KalmanModel(config)
    x, P = model.start(np.array([[10.0, 20.0, 30.0, 40.0]]))
    x[:, 4:] = [5.0, -4.0, 3.0, 2.0]
    once = model.predict(x, P, 0.4)
    twice = model.predict(*model.predict(x, P, 0.2), 0.2)
    np.testing.assert_allclose(once[0], twice[0], rtol=1e-12)
    np.testing.assert_allclose(once[1], twice[1], rtol=1e-12)


def test_noise_of_two_half_steps_adds_up_without_decay():
    model = KalmanModel(MotionConfig(size_decay_s=math.inf))
    x, P = model.start(np.array([[10.0, 20.0, 30.0, 40.0]]))
    once = model.predict(x, P, 0.4)[1]
    twice = model.predict(*model.predict(x, P, 0.2), 0.2)[1]
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_gain_settles():
    """With regular measurements the covariance reaches a steady state."""
    model = KalmanModel(MotionConfig())
    x, P = model.start(np.array([[0.0, 0.0, 10.0, 10.0]]))
    for _ in range(300):
        before = P
        x, P = model.predict(x, P, 1 / 25)
        x, P = model.correct(x, P, np.array([[0.0, 0.0, 10.0, 10.0]]))
    np.testing.assert_allclose(P, before, rtol=1e-6)


def test_a_box_never_turns_inside_out():
    model = KalmanModel(MotionConfig())
    x, P = model.start(np.array([[0.0, 0.0, 10.0, 10.0]]))
    x[:, 6:] = -1000.0
    ahead, _ = model.predict(x, P, 1.0)
    assert (ahead[:, 2:4] > 0).all()
