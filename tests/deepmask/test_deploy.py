"""Looks at a picture: at several sizes, and at its mirror image."""

import cv2
import numpy as np

from deepmask.config import DeepMaskConfig
from deepmask.deploy import DeployConfig, find_proposals, find_windows
from deepmask.proposals import Windows

SIDE = 56


class Ink:
    """A runtime to which all ink is one object, in a window twice as large."""

    config = DeepMaskConfig()
    concurrency = 1
    description = "ink"

    def __call__(self, image, size, min_score, count):
        pixels = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)[..., 0] > 127
        rows, cols = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
        x, y = (cols[0] + cols[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
        reach = float(max(np.ptp(rows), np.ptp(cols)) + 1)
        matrix = np.array([[SIDE / 2 / reach, 0, 0], [0, SIDE / 2 / reach, 0]])
        matrix[:, 2] = SIDE / 2 - 0.5 - matrix[:, :2] @ (x - 0.5, y - 0.5)
        mask = cv2.warpAffine(pixels.astype(np.float32), matrix, (SIDE, SIDE)).astype(np.float32)
        one = np.full(1, 0.9, np.float32)
        window = np.array([[x - reach, y - reach, x + reach, y + reach]], np.float32)
        return Windows(one, one, mask[None], window, np.ones((1, 4), np.float32))


def letter():
    """`(96, 128, 3)`: an L, left of the middle."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:60, 16:24] = 255
    image[52:60, 16:48] = 255
    return image


def test_each_size_is_looked_at_once_or_in_the_mirror_too():
    config = DeployConfig(sizes_px=(64, 96, 128))
    assert len(find_windows(Ink(), letter(), config).scores) == 3
    both = DeployConfig(sizes_px=(64, 96, 128), mirrored=True)
    assert len(find_windows(Ink(), letter(), both).scores) == 6


def test_what_the_mirror_shows_lies_where_it_is_in_the_picture():
    config = DeployConfig(sizes_px=(128,), mirrored=True)
    straight, mirrored = (
        find_windows(Ink(), letter(), config).chosen(np.array([i])) for i in (0, 1)
    )
    np.testing.assert_allclose(mirrored.windows, straight.windows, atol=1e-3)
    np.testing.assert_allclose(mirrored.masks, straight.masks, atol=0.05)
    found = find_proposals(Ink(), letter(), config)
    assert len(found.scores) == 1
    np.testing.assert_allclose(found.boxes, [[16, 20, 48, 60]], atol=2)
    drawn = np.zeros((96, 128), bool)
    x, y = found.offsets[0]
    drawn[y : y + found.crops[0].shape[0], x : x + found.crops[0].shape[1]] = found.crops[0]
    truth = letter()[..., 0] > 0
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.85
