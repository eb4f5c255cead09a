"""The network: shapes, and that gathering a window gives what a dense evaluation gives there."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepmask.config import DeepMaskConfig
from deepmask.export import merged
from deepmask.geometry import cell_indices, cell_windows, input_size, pyramid
from deepmask.network import Peaks, cell_tables, peaks
from deepmask.network import _sample as network_sample
from deepmask.runtime import _sample as runtime_sample
from tests.networks import SMALL, small_network

CONFIG = SMALL
SIZE = (96, 160)


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def dense(network):
    images = torch.randint(0, 256, (2, 3, *SIZE)).float()
    return network.dense(images)


def test_dense_shapes_match_the_pyramid(dense):
    levels = pyramid(SIZE, CONFIG)
    cells = sum(level.rows * level.cols for level in levels)
    assert dense.objectness.shape == (2, cells)
    assert dense.features.shape[:2] == (2, int(cell_indices(SIZE, CONFIG).max()) + 1)
    assert dense.detail.shape == (2, CONFIG.detail, SIZE[0] // 4, SIZE[1] // 4)
    assert len(cell_windows(SIZE, CONFIG)) == cells


def test_gathered_windows_equal_the_dense_convolution(network, dense):
    """Window encoding only at chosen cells is the full convolution, read at those cells."""
    head, side = network.mask_head, CONFIG.window
    weight = head.encode.weight.view(CONFIG.embedding, side, side, CONFIG.channels)
    for level in pyramid(SIZE, CONFIG):
        cells = level.first + torch.arange(level.rows * level.cols)
        features = dense.features[:, cells].transpose(1, 2)
        grid = features.reshape(2, CONFIG.channels, level.rows, level.cols)
        weights = weight.permute(0, 3, 1, 2)
        everywhere = F.conv2d(grid, weights, head.encode.bias, padding=side // 2)
        index = torch.from_numpy(cell_indices(SIZE, CONFIG))[cells]
        gathered = head.encode(dense.features[:, index].flatten(2))
        torch.testing.assert_close(
            gathered.transpose(1, 2), everywhere.flatten(2), atol=1e-4, rtol=1e-4
        )


def test_the_cpu_samples_the_detail_where_the_network_does():
    y, x = np.mgrid[: SIZE[0] // 4, : SIZE[1] // 4]
    detail = np.stack([np.sin(x / 3), np.cos(y / 4), x * y / 500], -1).astype(np.float32)
    windows = cell_windows(SIZE, CONFIG)[::20]
    wanted = network_sample(
        torch.from_numpy(detail).permute(2, 0, 1)[None], torch.from_numpy(windows)[None], 56
    )
    given = runtime_sample(detail, windows, 56)
    np.testing.assert_allclose(given, wanted.permute(0, 2, 3, 1), atol=0.02)


def test_coarse_mask_and_enlargement_are_one_linear_map(network):
    head = network.mask_head
    windows = torch.randn(3, CONFIG.window**2 * CONFIG.channels)
    detail = torch.randn(3, CONFIG.detail, CONFIG.mask, CONFIG.mask)
    for given, wanted in zip(
        merged(copy.deepcopy(head))(windows, detail), head(windows, detail), strict=True
    ):
        torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-4)


def test_decoding_some_cells_equals_decoding_all(network, dense):
    index = torch.from_numpy(cell_indices(SIZE, CONFIG))
    windows = torch.from_numpy(cell_windows(SIZE, CONFIG))

    def decode(cells):
        return network.decode(
            dense.features,
            dense.detail,
            index[cells].expand(2, -1, -1),
            windows[cells].expand(2, -1, -1),
        )

    every = decode(torch.arange(len(index)))
    some = decode(torch.tensor([3, 200, len(index) - 1]))
    chosen = [3, 200, len(index) - 1]
    torch.testing.assert_close(some.masks, every.masks[:, chosen], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(some.quality, every.quality[:, chosen], atol=1e-4, rtol=1e-4)
    norms = some.appearance.norm(dim=2)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_an_empty_mask_looks_like_nothing_in_float16_too():
    network = small_network().half()
    cells = torch.randn(2, CONFIG.window**2 * CONFIG.channels).half()
    masks = torch.full((2, CONFIG.mask, CONFIG.mask), -20.0).half()
    assert (network.appearance(cells, masks) == 0).all()


def test_a_training_step_decodes_its_highest_peaks_where_nothing_is(network):
    images = torch.randint(0, 256, (2, 3, *SIZE)).float()
    tables = cell_tables(SIZE, CONFIG, torch.device("cpu"))
    dense = network.dense(images)
    high = peaks(dense.scores)
    empty = torch.zeros(high.shape, dtype=torch.bool)
    empty[0, : high.shape[1] // 2] = True
    empty[1, (high[1] > 0).nonzero()[5]] = True
    cells = torch.tensor([[3, 50], [7, 9]])
    objectness, decoded, mistaken = network(images, cells, empty, tables, 4)
    torch.testing.assert_close(objectness, dense.objectness)
    torch.testing.assert_close(mistaken[0], high[0, : high.shape[1] // 2].topk(4).values)
    assert (mistaken[1] > 0).tolist() == [True, False, False, False]
    everywhere = torch.cat([cells[0], (high[0] * empty[0]).topk(4).indices])
    wanted = network.decode(
        dense.features[:1], dense.detail[:1], *(table[everywhere][None] for table in tables)
    )
    torch.testing.assert_close(decoded.quality[:1], wanted.quality, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.masks[:1], wanted.masks, atol=1e-3, rtol=1e-4)


def test_a_picture_does_not_depend_on_its_batch(network, dense):
    images = torch.randint(0, 256, (1, 3, *SIZE)).float()
    alone = network.dense(images).objectness
    together = network.dense(images.repeat(3, 1, 1, 1)).objectness[2:]
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_peaks_are_local_maxima(network):
    images = torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8)
    peaks = Peaks(network)(images)[0][0]
    scores = network.dense(images.permute(0, 3, 1, 2).float()).objectness[0].sigmoid()
    level = pyramid(SIZE, CONFIG)[0]
    grid = scores[: level.rows * level.cols].view(level.rows, level.cols).numpy()
    found = peaks[: level.rows * level.cols].view(level.rows, level.cols).numpy()
    for y, x in np.ndindex(*grid.shape):
        around = grid[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert found[y, x] == (grid[y, x] if grid[y, x] == around.max() else 0)


@pytest.mark.parametrize("size", [(100, 160), (0, 64), (31, 32)])
def test_other_sides_are_refused(size):
    with pytest.raises(ValueError, match="multiples of 32"):
        pyramid(size, CONFIG)


@pytest.mark.parametrize("shape", [(480, 640), (375, 1242), (1080, 1920), (720, 480)])
def test_input_has_the_asked_number_of_pixels(shape):
    height, width = input_size(shape, 512)
    assert height % 32 == width % 32 == 0
    assert 0.85 < height * width / (512 * 384) < 1.15
    assert abs(np.log((height / width) / (shape[0] / shape[1]))) < 0.12


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="odd"):
        DeepMaskConfig(window=10)
