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
    filters = model.start(z[0])
    oracles = [filterpy_filter(config, z[0, i], steps[0]) for i in range(5)]
    for k, dt in enumerate(steps):
        model.predict(filters, dt)
        m = np.flatnonzero(seen[k])
        some = filters[m]
        model.correct(some, z[k + 1, m])
        filters[m] = some
        for i, oracle in enumerate(oracles):
            again = filterpy_filter(config, z[0, i], dt)
            oracle.F, oracle.Q = again.F, again.Q
            oracle.predict()
            if seen[k, i]:
                oracle.update(z[k + 1, i])
            np.testing.assert_allclose(filters[i, :8], oracle.x.ravel(), rtol=1e-9, atol=1e-9)
            entries = [oracle.P[r, c] for r, c in ((0, 0), (2, 2), (0, 4), (2, 6), (4, 4), (6, 6))]
            np.testing.assert_allclose(filters[i, 8:], entries, rtol=1e-9, atol=1e-12)


def predicted(model, filters, *steps):
    """A copy of the filters after steps of so many seconds."""
    filters = filters.copy()
    for dt in steps:
        model.predict(filters, dt)
    return filters


def test_constant_velocity_is_learnt_and_predicted():
    model = KalmanModel(MotionConfig())
    filters = model.start(np.array([[0.0, 0.0, 40.0, 40.0]]))
    for k in range(1, 60):
        model.predict(filters, 1 / 30)
        model.correct(filters, np.array([[2.0 * k, -1.0 * k, 40.0, 40.0]]))
    np.testing.assert_allclose(filters[0, 4:6], [60.0, -30.0], rtol=0.01)
    ahead = predicted(model, filters, 0.5)
    np.testing.assert_allclose(ahead[0, :2], filters[0, :2] + 0.5 * filters[0, 4:6])


@pytest.mark.parametrize("decay_s", [math.inf, 0.3])
def test_two_half_steps_predict_what_one_step_predicts(decay_s):
    model = KalmanModel(
        MotionConfig(centre_decay_s=decay_s, size_decay_s=decay_s, centre_drift=0, size_drift=0)
    )
    filters = model.start(np.array([[10.0, 20.0, 30.0, 40.0]]))
    filters[:, 4:8] = [5.0, -4.0, 3.0, 2.0]
    once, twice = predicted(model, filters, 0.4), predicted(model, filters, 0.2, 0.2)
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_noise_of_two_half_steps_adds_up_without_decay():
    model = KalmanModel(MotionConfig(size_decay_s=math.inf))
    filters = model.start(np.array([[10.0, 20.0, 30.0, 40.0]]))
    once, twice = predicted(model, filters, 0.4), predicted(model, filters, 0.2, 0.2)
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_the_gain_settles():
    """With regular measurements the covariance reaches a steady state."""
    model = KalmanModel(MotionConfig())
    filters = model.start(np.array([[0.0, 0.0, 10.0, 10.0]]))
    for _ in range(300):
        before = filters.copy()
        model.predict(filters, 1 / 25)
        model.correct(filters, np.array([[0.0, 0.0, 10.0, 10.0]]))
    np.testing.assert_allclose(filters, before, rtol=1e-6)


def test_rows_of_a_wider_table_are_changed_in_place():
    model = KalmanModel(MotionConfig())
    table = np.zeros((3, 20))
    table[:, :14] = model.start(np.full((3, 4), 10.0))
    model.correct(table[:, :14], np.full((3, 4), 12.0))
    assert (table[:, :4] > 10.0).all()
    assert (table[:, 14:] == 0.0).all()


def test_a_box_never_turns_inside_out():
    model = KalmanModel(MotionConfig())
    filters = model.start(np.array([[0.0, 0.0, 10.0, 10.0]]))
    filters[:, 6:8] = -1000.0
    assert (predicted(model, filters, 1.0)[:, 2:4] > 0).all()
