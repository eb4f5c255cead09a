"""The ablations: changed weights, changed scores, and results at the working point."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.network_ablation import (
    at_working_point,
    by_objectness,
    by_quality,
    write_unrefined,
)
from deepmask import checkpoint
from deepmask.config import DeepMaskConfig
from deepmask.network import DeepMask
from deepmask.proposals import Windows


def test_unrefined_masks_are_those_of_a_network_without_refinement(tmp_path):
    torch.manual_seed(0)
    network = DeepMask(DeepMaskConfig(channels=16, embedding=24))
    checkpoint.save(tmp_path / "whole.safetensors", network)
    write_unrefined(tmp_path / "whole.safetensors", tmp_path / "unrefined.safetensors")
    unrefined = checkpoint.load(tmp_path / "unrefined.safetensors")
    alone = DeepMask(dataclasses.replace(network.config, refinement="none"))
    alone.load_state_dict(unrefined.state_dict(), strict=False)
    windows, detail = torch.randn(2, 81 * 16), torch.randn(2, 8, 56, 56)
    masks = unrefined.mask_head(windows, detail)[0]
    torch.testing.assert_close(masks, alone.mask_head(windows, detail)[0])
    whole = checkpoint.load(tmp_path / "whole.safetensors").mask_head(windows, detail)[0]
    assert not torch.allclose(masks, whole)


def test_what_is_not_refined_stays_as_it_is(tmp_path):
    network = DeepMask(DeepMaskConfig(channels=16, embedding=24, refinement="none"))
    checkpoint.save(tmp_path / "whole.safetensors", network)
    write_unrefined(tmp_path / "whole.safetensors", tmp_path / "unrefined.safetensors")
    names = ("whole", "unrefined")
    ours, theirs = (checkpoint.load(tmp_path / f"{name}.safetensors") for name in names)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


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
