"""The ablations: changed weights, changed scores, and results at the working point."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.network_ablation import (
    SILENCED,
    at_working_point,
    by_objectness,
    by_quality,
    variants,
    write_silenced,
)
from deepmask import checkpoint
from deepmask.config import DeepMaskConfig
from deepmask.network import DeepMask
from deepmask.proposals import Windows
from tests.networks import SMALL, small_network


def test_masks_without_refinement_are_those_of_a_network_without_it(tmp_path):
    checkpoint.save(tmp_path / "whole.safetensors", small_network())
    silent = write_silenced(tmp_path / "whole.safetensors", "mask_head.dynamic", tmp_path)
    unrefined = checkpoint.load(silent)
    alone = DeepMask(dataclasses.replace(SMALL, refinement="none"))
    alone.load_state_dict(unrefined.state_dict(), strict=False)
    windows, detail = torch.randn(2, 81 * 16), torch.randn(2, 8, 56, 56)
    masks = unrefined.mask_head(windows, detail)[0]
    torch.testing.assert_close(masks, alone.mask_head(windows, detail)[0])
    whole = checkpoint.load(tmp_path / "whole.safetensors").mask_head(windows, detail)[0]
    assert not torch.allclose(masks, whole)


def test_only_parts_that_a_network_has_are_silenced(tmp_path):
    weights = tmp_path / "whole.safetensors"
    checkpoint.save(weights, DeepMask(dataclasses.replace(SMALL, refinement="none")))
    names = {variant.name for variant in variants(str(weights), tmp_path)}
    assert names & set(SILENCED) == set(SILENCED) - {"mask: low-rank alone, not refined"}


@pytest.mark.parametrize("refinement", ["none", "convolution", "detail"])
def test_the_stride_4_detail_is_seen_only_where_it_should(refinement):
    torch.manual_seed(0)
    network = DeepMask(DeepMaskConfig(channels=16, embedding=24, refinement=refinement))
    windows = torch.randn(2, 81 * 16)
    masks = [network.mask_head(windows, torch.randn(2, 8, 56, 56))[0] for _ in range(2)]
    assert torch.allclose(*masks) == (refinement != "detail")


def test_a_score_of_one_part_alone():
    some = np.array([0.9, 0.4], np.float32)
    rest = np.zeros((2, 1), np.float32)
    windows = Windows(some, some[::-1], rest, rest, rest)
    assert by_objectness(windows).scores == pytest.approx([0.9, 0.4])
    assert by_quality(windows).scores == pytest.approx([0.4, 0.9])


def test_the_working_point_is_where_val_has_ten_results_a_picture():
    on_val = [{"image_id": 1 + i % 2, "score": i / 100} for i in range(100)]
    on_novel = [{"image_id": 3, "score": score} for score in (0.9, 0.8, 0.79)]
    kept, kept_novel = at_working_point(2, on_val, on_novel)
    assert len(kept) == 20
    assert [row["score"] for row in kept_novel] == [0.9, 0.8]
    assert at_working_point(2, [], []) == ([], [])
